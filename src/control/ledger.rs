//! Journal → durable events → whoever follows.
//!
//! Records are written in groups, one transaction each. While the store fails, the group in hand is kept and
//! tried again; the journal's bounded queue then fills, and the gateway refuses requests it could not record.
//! No record is lost while the process runs, and none waits in unbounded memory.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout, timeout_at};

use crate::journal::{Event, Metrics, Record, Records};

use super::store::EventStore;
use super::usage::Summing;

/// The most events one transaction holds.
const GROUP_MAX: usize = 1024;
/// How long a group waits for more records before it is written.
const GROUP_WINDOW: Duration = Duration::from_millis(5);
/// The pauses between attempts while the store fails: doubled from the first to the last.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Events a follower may lag behind before it misses some.
const FOLLOWER_LAG_MAX: usize = 4096;

/// The running ledger.
pub struct Ledger {
    live: broadcast::Sender<Committed>,
    give_up: oneshot::Sender<()>,
    /// Ends with the number of records that were given up.
    writing: JoinHandle<usize>,
    /// Sums up what is written, to its end.
    summing: Option<Summing>,
}

/// An event that is durable.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub(crate) seq: i64,
    pub(crate) event: Arc<Event>,
}

/// Records that could not be made durable before the process had to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwritten(pub usize);

impl Ledger {
    /// Begins to drain `records` on the present runtime.
    pub(super) fn start(
        store: Arc<dyn EventStore>,
        records: Records,
        metrics: Arc<Metrics>,
        gateway: Arc<str>,
    ) -> Self {
        let (live, _) = broadcast::channel(FOLLOWER_LAG_MAX);
        let (give_up, given_up) = oneshot::channel();
        let group = Vec::with_capacity(GROUP_MAX);
        let writer = Writer { store, records, metrics, gateway, live: live.clone(), group, failing: false };
        Self { live, give_up, writing: tokio::spawn(writer.run(given_up)), summing: None }
    }

    /// Where committed events are told.
    pub(super) fn live(&self) -> &broadcast::Sender<Committed> {
        &self.live
    }

    /// What is to see the last event before the ledger is finished.
    pub(super) fn sum(&mut self, summing: Summing) {
        self.summing = Some(summing);
    }

    /// Waits until every journal is gone and all they held is durable, but no longer than `patience`.
    pub async fn finish(self, patience: Duration) -> Result<(), Unwritten> {
        let Self { give_up, mut writing, summing, .. } = self;
        let lost = match timeout(patience, &mut writing).await {
            Ok(ended) => ended,
            Err(_) => {
                // The writer may just have ended by itself.
                let _ = give_up.send(());
                writing.await
            }
        };
        if let Some(summing) = summing {
            summing.finish().await;
        }
        match lost.unwrap_or(0) {
            0 => Ok(()),
            lost => Err(Unwritten(lost)),
        }
    }
}

struct Writer {
    store: Arc<dyn EventStore>,
    records: Records,
    metrics: Arc<Metrics>,
    gateway: Arc<str>,
    live: broadcast::Sender<Committed>,
    /// Records that were taken from the queue and are not durable yet.
    group: Vec<Record>,
    failing: bool,
}

impl Writer {
    async fn run(mut self, given_up: oneshot::Receiver<()>) -> usize {
        let given_up = tokio::select! {
            () = self.drain() => false,
            Ok(()) = given_up => true,
        };
        if given_up { self.abandon() } else { 0 }
    }

    /// Returns once every journal is gone and everything is durable.
    async fn drain(&mut self) {
        while self.gather().await {
            let events: Arc<[_]> =
                self.group.iter().map(|record| Arc::new(Event::from_record(record, &self.gateway))).collect();
            let numbers = self.append(&events).await;
            self.group.clear();
            self.records.done();
            for (seq, event) in numbers.into_iter().zip(&*events) {
                // Fails only while nobody follows.
                let _ = self.live.send(Committed { seq, event: event.clone() });
            }
        }
    }

    /// Fills the group; false if there will be no more records.
    async fn gather(&mut self) -> bool {
        if self.records.receive(&mut self.group, GROUP_MAX).await == 0 {
            return false;
        }
        let closed = tokio::time::Instant::now() + GROUP_WINDOW;
        while self.group.len() < GROUP_MAX {
            let room = GROUP_MAX - self.group.len();
            match timeout_at(closed, self.records.receive(&mut self.group, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        true
    }

    /// Appends until the store has done it.
    async fn append(&mut self, events: &Arc<[Arc<Event>]>) -> Vec<i64> {
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            let begun = Instant::now();
            match self.store.append(events.clone()).await {
                Ok(numbers) => {
                    self.metrics.journal_committed(begun.elapsed());
                    if std::mem::take(&mut self.failing) {
                        log::info!("events are being written again");
                    }
                    return numbers;
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        log::error!("failed to write events, trying again until it succeeds: {error}");
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
            }
        }
    }

    /// Counts what is lost.
    fn abandon(mut self) -> usize {
        let mut lost = self.group.len();
        self.group.clear();
        while let Some(more @ 1..) = self.records.receive(&mut self.group, GROUP_MAX).now_or_never() {
            lost += more;
            self.group.clear();
        }
        self.metrics.journal_dropped(lost);
        lost
    }
}

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records could not be written to the event log in time and are lost", self.0)
    }
}

impl std::error::Error for Unwritten {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use parking_lot::Mutex;

    use crate::control::store::conformance::opening;
    use crate::control::store::{EventQuery, StoreError, StoredEvent};
    use crate::journal::Journal;

    use super::*;

    /// A store that can be told to fail.
    #[derive(Default)]
    struct Flaky {
        failing: AtomicBool,
        requests: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl EventStore for Flaky {
        async fn append(&self, events: Arc<[Arc<Event>]>) -> Result<Vec<i64>, StoreError> {
            if self.failing.load(Ordering::SeqCst) {
                return Err(StoreError::Failed("disk full".into()));
            }
            let mut requests = self.requests.lock();
            let first = requests.len() as i64 + 1;
            requests.extend(events.iter().map(|event| event.request_id.clone()));
            Ok((first..).take(events.len()).collect())
        }

        async fn events(&self, _: EventQuery) -> Result<Vec<StoredEvent>, StoreError> {
            Ok(Vec::new())
        }

        async fn tip(&self) -> Result<i64, StoreError> {
            Ok(0)
        }
    }

    fn started(capacity: usize) -> (Arc<Flaky>, Journal, Ledger) {
        let metrics = Arc::new(Metrics::new("test", 10).unwrap());
        let (journal, records) = Journal::new(capacity, metrics.clone());
        let store = Arc::new(Flaky::default());
        let ledger = Ledger::start(store.clone(), records, metrics, "edge-1".into());
        (store, journal, ledger)
    }

    fn write(journal: &Journal, number: usize) -> bool {
        let slot = journal.reserve();
        slot.map(|slot| slot.write(Record::Opened(Arc::new(opening(&number.to_string()))))).is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_and_recovers_loses_no_record() {
        let (store, journal, ledger) = started(64);
        let mut live = ledger.live().subscribe();
        store.failing.store(true, Ordering::SeqCst);
        let mut written = 0;
        // The queue fills and then refuses: what was not taken was never promised.
        for number in 0..200 {
            written += usize::from(write(&journal, number));
            sleep(Duration::from_millis(1)).await;
        }
        assert!((64..200).contains(&written), "{written}");
        store.failing.store(false, Ordering::SeqCst);
        sleep(RETRY_PAUSE_MAX).await;
        assert!(write(&journal, 1000), "the queue has room again");
        drop(journal);
        assert_eq!(ledger.finish(Duration::from_secs(10)).await, Ok(()));
        let requests = store.requests.lock();
        assert_eq!(requests.len(), written + 1);
        let numbers: Vec<usize> = requests.iter().map(|number| number.parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "order is kept");
        let mut told = Vec::new();
        while let Ok(committed) = live.try_recv() {
            told.push(committed.seq);
        }
        assert_eq!(told, (1..=written as i64 + 1).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_written_in_time_is_counted() {
        let (store, journal, ledger) = started(64);
        store.failing.store(true, Ordering::SeqCst);
        assert!((0..10).all(|number| write(&journal, number)));
        let exposed = journal.clone();
        drop(journal);
        assert_eq!(ledger.finish(Duration::from_secs(3)).await, Err(Unwritten(10)));
        assert!(exposed.expose().contains("keeptrusts_journal_dropped_total 10"));
    }

    #[tokio::test]
    async fn finishing_waits_for_what_is_queued() {
        let (store, journal, ledger) = started(4096);
        assert!((0..4000).all(|number| write(&journal, number)));
        drop(journal);
        assert_eq!(ledger.finish(Duration::from_secs(10)).await, Ok(()));
        assert_eq!(store.requests.lock().len(), 4000);
    }
}
