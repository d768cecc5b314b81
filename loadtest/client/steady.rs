//! A steady load: each connection asks so many times a second, whatever else goes on.

use std::error::Error;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};

use super::connection::Connection;
use super::{Load, process, streams::quantiles};

pub async fn run(load: &Load, connections: u32, rate: f64) -> Result<Value, Box<dyn Error>> {
    let (warmup, measured) = load.window();
    let begin = Instant::now() + warmup;
    let end = begin + measured;
    let (ask, every) = (load.ask(false), Duration::from_secs_f64(1.0 / rate));
    let mut clients = JoinSet::new();
    for number in 0..connections {
        let (ask, first) = (ask.clone(), Instant::now() + every * number / connections);
        clients.spawn(async move {
            let mut took = Vec::new();
            let Ok(mut connection) = Connection::open(&ask).await else { return (took, 1) };
            let mut turns = interval_at(first.into(), every);
            // An answer that comes late must not become a burst.
            turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
            while Instant::now() < end {
                turns.tick().await;
                let asked = Instant::now();
                match connection.exchange(&ask, |_| {}).await {
                    Ok(()) if asked >= begin => took.push(asked.elapsed()),
                    Ok(()) => {}
                    Err(_) => return (took, 1),
                }
            }
            (took, 0)
        });
    }
    tokio::time::sleep_until(begin.into()).await;
    let used = |pid: Option<u32>| pid.map(process::cpu).transpose();
    let before = used(load.pid)?;
    tokio::time::sleep_until(end.into()).await;
    let cpu =
        before.zip(used(load.pid)?).map(|(before, after)| (after - before).as_secs_f64() / measured.as_secs_f64());
    let (mut took, mut failed) = (Vec::new(), 0);
    while let Some(client) = clients.join_next().await {
        let (theirs, wrong) = client?;
        took.extend(theirs);
        failed += wrong;
    }
    let [p50, p99] = quantiles(&mut took);
    Ok(json!({
        "target": load.target, "scenario": load.scenario, "failed": failed, "count": took.len(),
        "p50_us": p50, "p99_us": p99, "cpu_share": cpu,
    }))
}
