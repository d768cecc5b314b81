use std::collections::HashSet;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::catalog::Retention;
use crate::control::data_dir::DataDir;
use crate::control::store::conformance::{event, opening};
use crate::control::store::segments::Verification;
use crate::control::store::sqlite::SqliteUsage;
use crate::control::store::usage::{Series, SumFilter};
use crate::control::store::{Group, StoredEvent, Wait};
use crate::domain::{self, Cost, Ended, NanoUsd, Tokens, UsageSource, Verdict};
use crate::journal::{Closing, Event, EventWriter, Phase, Record, Refused};

use super::*;

/// A log in memory that can lose its beginning and its end.
#[derive(Default)]
struct Log {
    events: Mutex<Vec<(i64, Arc<Event>)>>,
    next: AtomicI64,
}

impl Log {
    fn append(&self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            let seq = self.next.fetch_add(1, Ordering::SeqCst) + 1;
            self.events.lock().push((seq, Arc::new(Event { seq, ..event })));
        }
    }

    /// The sums by the plain way: over all events that are there.
    fn sums(&self) -> Sums {
        let mut tally = Tally::default();
        for (_, event) in &*self.events.lock() {
            let json = serde_json::to_string(&**event).unwrap();
            tally.take(&serde_json::from_str(&json).unwrap(), &mut HashSet::new());
        }
        let mut total = Sums::default();
        tally.take_all().0.values().for_each(|sums| total.add(sums));
        total
    }
}

#[async_trait]
impl EventStore for Log {
    fn append(&self, _: &Group, _: Wait) -> Result<(), StoreError> {
        Ok(())
    }

    fn tip(&self) -> i64 {
        self.events.lock().last().map_or(0, |(seq, _)| *seq)
    }

    fn tend(&self, _: Timestamp, _: Retention) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn open_requests(&self) -> Vec<i64> {
        Vec::new()
    }

    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn verify(&self) -> Result<Verification, StoreError> {
        Ok(Verification::default())
    }

    async fn events(&self, query: EventQuery) -> Result<EventPage, StoreError> {
        let EventOrder::OldestFirst { after } = query.order else { panic!("{query:?}") };
        let events = self.events.lock();
        let later = events.iter().filter(|(seq, _)| *seq > after).take(query.limit);
        let stored = |(seq, event): &(i64, Arc<Event>)| StoredEvent {
            seq: *seq,
            json: serde_json::value::to_raw_value(&**event).unwrap(),
        };
        let events: Vec<_> = later.map(stored).collect();
        Ok(EventPage { reached: events.last().map_or(after, |last| last.seq), more: false, events })
    }
}

/// Half past ten, some days ago.
static START: LazyLock<i64> = LazyLock::new(|| {
    let today = begin(SystemTime::now().into(), DAY_SECONDS).as_micros() / 1_000_000;
    today - 5 * DAY_SECONDS + 10 * 3600 + 1800
});

fn output(minute: i64, key: &str, model: &str, input: u64, cost: Option<u64>) -> Event {
    let mut event = event((*START + minute * 60) * 1_000_000);
    event.phase = Phase::Output;
    event.key.id = format!("ak_{key}");
    event.key.name = key.into();
    event.model_served = Some(model.into());
    let tokens = Tokens { input, output: 1, ..Tokens::default() };
    let usage = domain::Usage { tokens, source: UsageSource::Provider, complete: true, ..domain::Usage::default() };
    event.usage = Some((&usage).into());
    event.cost_nano_usd = cost;
    event
}

struct World {
    dir: TempDir,
    fresh: Mutex<Arc<Fresh>>,
    log: Arc<Log>,
    summing: Mutex<Option<Summing>>,
}

impl World {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            fresh: Mutex::default(),
            log: Arc::default(),
            summing: Mutex::default(),
        }
    }

    fn store(&self) -> Arc<SqliteUsage> {
        Arc::new(SqliteUsage::open(Arc::new(DataDir::open(self.dir.path()).unwrap())).unwrap())
    }

    async fn start(&self) -> Usage {
        let fresh = Arc::new(Fresh::default());
        *self.fresh.lock() = fresh.clone();
        let (usage, summing) = Usage::start(self.store(), self.log.clone(), fresh).await.unwrap();
        *self.summing.lock() = Some(summing);
        usage
    }

    /// Ends the process, in good order or at once.
    async fn end(&self, usage: Usage, in_good_order: bool) {
        drop(usage);
        let summing = self.summing.lock().take().unwrap();
        match in_good_order {
            true => summing.finish().await,
            false => summing.running.abort(),
        }
        while DataDir::open(self.dir.path()).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn rows(usage: &Usage, by: &[Dimension]) -> Vec<SumRow> {
    usage.sums(SumQuery { by: by.to_vec(), limit: 1000, ..SumQuery::default() }).await.unwrap()
}

async fn total(usage: &Usage) -> Sums {
    rows(usage, &[]).await.pop().map(|row| row.sums).unwrap_or_default()
}

#[tokio::test]
async fn sums_are_told_apart_by_everything_they_are_kept_by() {
    let world = World::new();
    let usage = world.start().await;
    let mut refused = output(0, "john", "gpt-4o", 0, None);
    (refused.phase, refused.usage, refused.status) = (Phase::Input, None, Some(403));
    refused.verdict = Verdict::Deny;
    let mut unpriced = output(16, "jane", "llama-4", 7, None);
    unpriced.provider = Some("local".into());
    world.log.append([
        output(0, "jane", "gpt-4o-2024-08-06", 10, Some(5)),
        output(14, "jane", "gpt-4o", 20, Some(6)),
        output(15, "john", "gpt-4o", 30, Some(7)),
        refused,
        unpriced,
    ]);
    let by_key = rows(&usage, &[Dimension::Key]).await;
    let told = |row: &SumRow| (row.key_name.clone(), row.sums.requests, row.sums.refused, row.sums.cost_nano_usd);
    assert_eq!(by_key.iter().map(told).collect::<Vec<_>>(), [("jane".into(), 3, 0, 11), ("john".into(), 1, 1, 7)]);
    let by_time = rows(&usage, &[Dimension::Time, Dimension::Model]).await;
    let told = |row: &SumRow| ((row.time - *START) / 60, row.series.model.clone(), row.sums.input, row.sums.unpriced);
    assert_eq!(
        by_time.iter().map(told).collect::<Vec<_>>(),
        [(0, "".into(), 0, 0), (0, "gpt-4o".into(), 30, 0), (15, "gpt-4o".into(), 30, 0), (15, "llama-4".into(), 7, 1)]
    );
    let filter = SumFilter { key: Some("jane".into()), provider: Some("openai".into()), ..SumFilter::default() };
    let since = Some(Timestamp::from_micros(*START * 1_000_000));
    let found = usage.sums(SumQuery { since, filter, limit: 9, ..SumQuery::default() }).await.unwrap();
    assert_eq!((found.len(), found[0].sums.input), (1, 30));
    let since = usage.since(Dimension::Key, Timestamp::from_micros((*START + 16 * 60) * 1_000_000)).await.unwrap();
    assert_eq!((since["ak_jane"].input, since["ak_john"].cost_nano_usd), (7, 7), "from the quarter-hour on");
    assert_eq!(total(&usage).await, world.log.sums());
}

/// A process may end at any moment, and what it had not stored is read from the log by the next.
#[tokio::test]
async fn nothing_is_counted_twice_or_not_at_all_whenever_the_process_ends() {
    let world = World::new();
    for round in 0..20 {
        // Sometimes more is written while nobody runs.
        world.log.append((0..round % 3).map(|minute| output(minute, "jane", "gpt-4o", 1, Some(1))));
        let usage = world.start().await;
        world.log.append((0..50).map(|minute| output(minute + round, "john", "gpt-4o", 3, Some(2))));
        if round % 4 != 0 {
            assert_eq!(total(&usage).await, world.log.sums(), "round {round}");
        }
        world.log.append([output(round, "late", "gpt-4o", 1, Some(1))]);
        if round % 5 == 0 {
            tokio::task::yield_now().await;
        }
        world.end(usage, round % 3 == 0).await;
    }
    let usage = world.start().await;
    assert_eq!(total(&usage).await, world.log.sums());
    assert_eq!(total(&usage).await.requests, 20 * 51 + 19);
}

/// A record of some kind, as `number` decides.
fn record(number: u64) -> Record {
    let mut opening = opening(&number.to_string());
    opening.time = Timestamp::from_micros((*START + (number * 7 % 90) as i64 * 60) * 1_000_000);
    if number.is_multiple_of(3) {
        opening.refusal = number.is_multiple_of(2).then_some(Refused { code: "model_not_allowed", status: 403 });
        return Record::Opened(Arc::new(opening));
    }
    let source = if number.is_multiple_of(5) { UsageSource::Estimated } else { UsageSource::Provider };
    let tokens = Tokens { input: number, output: number % 4, ..Tokens::default() };
    Record::Closed(Box::new(Closing {
        time: opening.time,
        opening: Arc::new(opening),
        verdict: Verdict::Pass,
        reason: None,
        model_served: (!number.is_multiple_of(7)).then(|| "gpt-4o-2024-08-06".into()),
        status: 200,
        first_token: None,
        duration: Duration::from_secs(1),
        response_bytes: 1,
        usage: domain::Usage { tokens, source, complete: true, ..domain::Usage::default() },
        cost: (!number.is_multiple_of(11)).then(|| Cost { amount: NanoUsd(number), price_version: "v".into() }),
        advisors: Vec::new(),
        ended: Ended::Complete,
        policies: Vec::new(),
        thresholds: Vec::new(),
    }))
}

/// The ledger may tell of what it wrote before or after it is asked for, only of some of it, or not at all.
#[tokio::test]
async fn what_the_ledger_hands_over_comes_to_the_same_as_what_it_wrote() {
    let world = World::new();
    let mut usage = world.start().await;
    let mut writer = EventWriter::new("edge-1");
    let (mut number, mut untold) = (0, Vec::new());
    let mut state = 12_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..400 {
        let group: Vec<_> = (0..1 + random(6)).map(|place| record(number + place)).collect();
        number += group.len() as u64;
        let ids: Vec<_> = group.iter().map(|_| uuid::Uuid::now_v7()).collect();
        let first_seq = world.log.next.load(Ordering::SeqCst) + 1;
        let events = group.iter().zip(&ids).map(|(record, id)| {
            let mut json = Vec::new();
            writer.write(record, *id, 0, &mut json);
            serde_json::from_slice(&json).unwrap()
        });
        world.log.append(events);
        untold.push((first_seq, group, ids));
        if random(4) > 0 {
            for (first_seq, group, ids) in untold.drain(..) {
                world.fresh.lock().add(first_seq, group.iter().zip(ids));
            }
        }
        match random(12) {
            0 => assert_eq!(total(&usage).await, world.log.sums(), "round {round}"),
            1 => untold.clear(),
            2 => {
                world.end(usage, random(2) == 0).await;
                untold.clear();
                usage = world.start().await;
            }
            _ => {}
        }
    }
    assert_eq!(total(&usage).await, world.log.sums());
}

#[tokio::test]
async fn a_batch_that_is_repeated_is_added_once() {
    let world = World::new();
    let store = world.store();
    let series = Series { key: "ak_1".into(), ..Series::default() };
    let huge = Sums { requests: 1, cost_nano_usd: u64::MAX, ..Sums::default() };
    for seq in [1, 1, 2, 2, 3] {
        let through = Checkpoint { seq, event: uuid::Uuid::from_u128(seq as u128) };
        // Two series, so that sums over both go beyond what one number holds.
        let sums = [(900, series.clone()), (900, Series { team: "t".into(), ..series.clone() })];
        let sums = sums.into_iter().map(|cell| (cell, huge)).collect();
        store.add(Arc::new(Batch { through, sums, names: HashMap::new() })).await.unwrap();
    }
    let row = store.sums(SumQuery { limit: 1, ..SumQuery::default() }).await.unwrap().pop().unwrap();
    assert_eq!((row.sums.requests, row.sums.cost_nano_usd), (6, u64::MAX - 1), "the largest number twice");
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_summed_again() {
    let world = World::new();
    let usage = world.start().await;
    world.log.append((0..40).map(|minute| output(minute, "jane", "gpt-4o", 1, Some(1))));
    assert_eq!(total(&usage).await.requests, 40);
    world.end(usage, true).await;
    // The last ten events are gone, and others have their numbers.
    world.log.events.lock().truncate(30);
    world.log.next.store(30, Ordering::SeqCst);
    world.log.append((0..20).map(|minute| output(30 + minute, "john", "gpt-4o", 1, Some(100))));
    let usage = world.start().await;
    assert_eq!(total(&usage).await, world.log.sums());
    world.end(usage, true).await;

    // The same once the log's beginning was removed, too: what was before it stays.
    world.log.events.lock().drain(..5);
    world.log.events.lock().pop();
    world.log.next.store(49, Ordering::SeqCst);
    world.log.append([output(49, "mary", "gpt-4o", 1, Some(7))]);
    let usage = world.start().await;
    assert_eq!((total(&usage).await.requests, total(&usage).await.cost_nano_usd), (50, 30 + 19 * 100 + 7));
    world.end(usage, true).await;

    // A log that is gone takes nothing with it.
    world.log.events.lock().clear();
    world.log.next.store(0, Ordering::SeqCst);
    world.log.append([]);
    let usage = world.start().await;
    assert_eq!(total(&usage).await.requests, 50);
    world.log.append([output(49, "mary", "gpt-4o", 1, Some(7))]);
    assert_eq!(total(&usage).await.requests, 51);
}

#[tokio::test]
async fn old_quarter_hours_become_days_and_old_days_end() {
    let world = World::new();
    let usage = world.start().await;
    let days = |days: i64| days * 24 * 60;
    world
        .log
        .append([0, 60, days(1), days(1) + 90, days(2)].map(|minute| output(minute, "jane", "gpt-4o", 1, Some(3))));
    let before = total(&usage).await;
    let store = usage.store.clone();
    let midnight = |day: i64| begin(Timestamp::from_micros((*START + days(day) * 60) * 1_000_000), DAY_SECONDS);
    assert_eq!(rows(&usage, &[Dimension::Time]).await.len(), 5);
    while store.join_a_day(midnight(2)).await.unwrap() {}
    let joined = rows(&usage, &[Dimension::Time]).await;
    let requests: Vec<_> = joined.iter().map(|row| (row.time * 1_000_000, row.sums.requests)).collect();
    let third = (*START + days(2) * 60) * 1_000_000;
    assert_eq!(requests, [(midnight(0).as_micros(), 2), (midnight(1).as_micros(), 2), (third, 1)]);
    assert_eq!(total(&usage).await, before);
    assert_eq!(store.progress().await.unwrap().days_before, midnight(2));
    let noon = midnight(1).saturating_add(Duration::from_secs(12 * 3600));
    assert_eq!(usage.begin(noon).await.unwrap(), midnight(1));
    assert_eq!(usage.since(Dimension::Team, noon).await.unwrap()["frontend"].requests, 3);
    store.forget(midnight(1)).await.unwrap();
    assert_eq!(total(&usage).await.requests, 3);
}
