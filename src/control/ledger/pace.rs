//! How fast events become durable. Run with `--release`: see benches/README.md.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::control::data_dir::DataDir;
use crate::control::store::conformance::opening;
use crate::control::store::segments::{Limits, SegmentLog};
use crate::control::store::{EventStore, Group, Part, Wait};
use crate::domain::{Cost, Ended, NanoUsd, Timestamp, Tokens, Usage, UsageSource, Verdict};
use crate::journal::{Closing, EventWriter, Full, Journal, Metrics, Opening, Record};

use super::{GROUP_MAX, Ledger, id};

fn pair(number: usize) -> [Record; 2] {
    let request_id = format!("0198c0de-0000-7000-8000-{number:012}");
    let opening = Arc::new(Opening { address: Some([127, 0, 0, 1].into()), ..opening(&request_id) });
    let closing = Closing {
        opening: opening.clone(),
        time: Timestamp::from_micros(1_705_314_614_000_000 + number as i64),
        verdict: Verdict::Pass,
        reason: None,
        model_served: Some("gpt-4o-mini-2024-07-18".into()),
        status: 200,
        first_token: Some(Duration::from_millis(210)),
        duration: Duration::from_millis(1893),
        response_bytes: 4321,
        usage: Usage {
            tokens: Tokens { input: 812, output: 164, cache_read: 512, ..Tokens::default() },
            source: UsageSource::Provider,
            complete: true,
            ..Usage::default()
        },
        cost: Some(Cost { amount: NanoUsd(220_200), price_version: "2026-01-15".into() }),
        advisors: Vec::new(),
        ended: Ended::Complete,
        policies: Vec::new(),
        thresholds: Vec::new(),
    };
    [Record::Opened(opening), Record::Closed(Box::new(closing))]
}

fn log(dir: &std::path::Path) -> Arc<SegmentLog> {
    Arc::new(SegmentLog::open(Arc::new(DataDir::open(dir).unwrap()), Limits::default()).unwrap())
}

/// What one event costs the ledger's thread, step by step.
#[test]
#[ignore = "a measurement"]
fn what_an_event_costs() {
    const ROUNDS: usize = 400;
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    let records: Vec<_> = (0..GROUP_MAX / 2).flat_map(pair).collect();
    let mut events = EventWriter::new("edge-1");
    let mut group = Group::default();
    let (mut making, mut appending) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        group.begin(log.tip() + 1);
        for (place, record) in records.iter().enumerate() {
            let seq = group.next_seq();
            let time = Timestamp::from_micros(1_705_314_612_000_000 + seq);
            events.write(record, id(time, place, &[7; 10]), seq, &mut group.json);
            group.add(time, Part::Whole);
        }
        making += begun.elapsed();
        let begun = Instant::now();
        log.append(&group, Wait::Process).unwrap();
        appending += begun.elapsed();
    }
    let each = |spent: Duration| spent.as_nanos() / (ROUNDS * GROUP_MAX) as u128;
    println!(
        "an event of {} bytes: {} ns to make, {} ns to seal and write",
        group.json.len() / GROUP_MAX,
        each(making),
        each(appending)
    );
}

/// What a record costs the request that leaves it: a place, the metrics, one push. A ledger takes them away meanwhile.
#[tokio::test]
#[ignore = "a measurement"]
async fn what_a_record_costs_its_request() {
    const RECORDS: usize = 200_000;
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new("test", 10).unwrap());
    let (journal, records) = Journal::new(RECORDS, metrics.clone());
    let ledger = Ledger::start(log(dir.path()), Arc::default(), records, metrics, "edge-1").unwrap();
    let ready: Vec<_> = (0..RECORDS / 2).flat_map(pair).collect();
    let mut costs: Vec<_> = ready
        .into_iter()
        .map(|record| {
            let begun = Instant::now();
            journal.reserve().unwrap().write(record);
            begun.elapsed()
        })
        .collect();
    drop(journal);
    ledger.finish(Duration::from_secs(60)).await.unwrap();
    costs.sort();
    let [median, p99, most] = [RECORDS / 2, RECORDS * 99 / 100, RECORDS - 1].map(|at| costs[at]);
    println!("a record costs its request {median:?}, p99 {p99:?}, at most {most:?}");
}

/// How many events a second come through the whole ledger, from the journal to the log.
#[tokio::test]
#[ignore = "a measurement"]
async fn how_many_events_a_second() {
    const EVENTS: usize = 1_000_000;
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new("test", 10).unwrap());
    let (journal, records) = Journal::new(65_536, metrics.clone());
    let ledger = Ledger::start(log(dir.path()), Arc::default(), records, metrics, "edge-1").unwrap();
    let begun = Instant::now();
    let writing = thread::spawn(move || {
        for number in 0..EVENTS / 2 {
            for record in pair(number) {
                let slot = loop {
                    match journal.reserve() {
                        Ok(slot) => break slot,
                        Err(Full) => thread::sleep(Duration::from_millis(1)),
                    }
                };
                slot.write(record);
            }
        }
    });
    tokio::task::spawn_blocking(|| writing.join().unwrap()).await.unwrap();
    ledger.finish(Duration::from_secs(60)).await.unwrap();
    let took = begun.elapsed().as_secs_f64();
    println!("{EVENTS} events in {took:.2} s: {:.0} a second", EVENTS as f64 / took);
    assert!(EVENTS as f64 / took > 20_000.0);
}
