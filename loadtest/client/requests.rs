//! A closed loop: each connection asks again as soon as it is answered.

use std::error::Error;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::connection::Connection;
use super::{Load, process, streams::quantiles};

pub async fn run(load: &Load, connections: usize) -> Result<Value, Box<dyn Error>> {
    let (warmup, measured) = load.window();
    let begin = Instant::now() + warmup;
    let end = begin + measured;
    let ask = load.ask(false);
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let ask = ask.clone();
        clients.spawn(async move {
            let (mut took, mut failed) = (Vec::new(), 0);
            let Ok(mut connection) = Connection::open(&ask).await else { return (took, 1) };
            loop {
                let asked = Instant::now();
                if asked >= end {
                    return (took, failed);
                }
                match connection.exchange(&ask, |_| {}).await {
                    Ok(()) if asked >= begin => took.push(asked.elapsed()),
                    Ok(()) => {}
                    Err(_) => {
                        failed += 1;
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        let Ok(again) = Connection::open(&ask).await else { return (took, failed) };
                        connection = again;
                    }
                }
            }
        });
    }
    tokio::time::sleep_until(begin.into()).await;
    let used = |pid: Option<u32>| pid.map(process::cpu).transpose();
    let before = used(load.pid)?;
    tokio::time::sleep_until(end.into()).await;
    let after = used(load.pid)?;
    let memory = load.pid.map(process::memory_kib).transpose()?;
    let elapsed = begin.elapsed();
    let (mut took, mut failed) = (Vec::new(), 0);
    while let Some(client) = clients.join_next().await {
        let (theirs, wrong) = client?;
        took.extend(theirs);
        failed += wrong;
    }
    let count = took.len().max(1) as f64;
    let cpu = before.zip(after).map(|(before, after)| (after - before).as_secs_f64() * 1e6 / count);
    let [p50, p99] = quantiles(&mut took);
    Ok(json!({
        "target": load.target, "scenario": load.scenario, "failed": failed, "count": took.len(),
        "per_second": count / elapsed.as_secs_f64(), "p50_us": p50, "p99_us": p99, "cpu_us": cpu, "memory_kib": memory,
    }))
}
