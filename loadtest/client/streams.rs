//! Paced streams: when the first event came, how far apart the events were, what each cost.

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::LocalSet;

use super::connection::Connection;
use super::{Load, process};

/// Streams begin this far apart, so that their events do not come in one burst.
const STAGGER: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Seen {
    first: Vec<Duration>,
    gaps: Vec<Duration>,
    events: usize,
    ended: usize,
    failed: usize,
}

pub async fn run(load: &Load, streams: usize) -> Result<Value, Box<dyn Error>> {
    let (warmup, measured) = load.window();
    let begin = Instant::now() + warmup;
    let end = begin + measured;
    let seen = Rc::new(RefCell::new(Seen::default()));
    let local = LocalSet::new();
    for number in 0..streams {
        local.spawn_local(stream(load.clone(), number as u32, begin, end, seen.clone()));
    }
    let (cpu, memory) = local
        .run_until(async {
            tokio::time::sleep_until(begin.into()).await;
            let before = load.pid.map(process::cpu).transpose()?;
            tokio::time::sleep_until(end.into()).await;
            let after = load.pid.map(process::cpu).transpose()?;
            let memory = load.pid.map(process::memory_kib).transpose()?;
            std::io::Result::Ok((before.zip(after).map(|(before, after)| after - before), memory))
        })
        .await?;
    let mut seen = seen.borrow_mut();
    let events = seen.events.max(1) as f64;
    let (first, gaps) = (quantiles(&mut seen.first), quantiles(&mut seen.gaps));
    Ok(json!({
        "target": load.target, "scenario": load.scenario, "failed": seen.failed, "count": seen.events,
        "streams": streams, "ended": seen.ended, "per_second": events / measured.as_secs_f64(),
        "first_p50_us": first[0], "first_p99_us": first[1], "gap_p50_us": gaps[0], "gap_p99_us": gaps[1],
        "cpu_us": cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / events), "memory_kib": memory,
    }))
}

/// One stream after the other until the end.
async fn stream(load: Load, number: u32, begin: Instant, end: Instant, seen: Rc<RefCell<Seen>>) {
    let ask = load.ask(true);
    tokio::time::sleep(STAGGER * number).await;
    let Ok(mut connection) = Connection::open(&ask).await else {
        seen.borrow_mut().failed += 1;
        return;
    };
    while Instant::now() < end {
        let asked = Instant::now();
        let mut last = None;
        let exchanged = connection.exchange(&ask, |events| {
            if events == 0 {
                return;
            }
            let now = Instant::now();
            let before = last.replace(now);
            if now < begin || now >= end {
                return;
            }
            let mut seen = seen.borrow_mut();
            seen.events += events;
            match before {
                None => seen.first.push(now - asked),
                Some(before) => seen.gaps.push(now - before),
            }
        });
        let exchanged = exchanged.await;
        let mut seen = seen.borrow_mut();
        seen.ended += 1;
        if exchanged.is_err() {
            seen.failed += 1;
            return;
        }
    }
}

/// The median and the 99th percentile, in microseconds.
pub fn quantiles(durations: &mut [Duration]) -> [Option<f64>; 2] {
    durations.sort_unstable();
    let at = |of: f64| durations.get(((durations.len() as f64 * of) as usize).min(durations.len().saturating_sub(1)));
    [0.5, 0.99].map(|of| at(of).map(|duration| duration.as_secs_f64() * 1e6))
}
