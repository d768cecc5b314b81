use async_trait::async_trait;
use parking_lot::Mutex;

use crate::control::store::conformance::opening;
use crate::control::store::segments::Verification;
use crate::control::store::{EventPage, EventQuery, StoreError};
use crate::journal::{Event, Journal};

use super::*;

/// A store that can be told to fail.
#[derive(Default)]
struct Flaky {
    failing: AtomicBool,
    events: Mutex<Vec<Event>>,
}

#[async_trait]
impl EventStore for Flaky {
    fn append(&self, group: &Group, _: Wait) -> Result<(), StoreError> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(StoreError::Failed("disk full".into()));
        }
        let mut begin = 0;
        for row in &group.rows {
            self.events.lock().push(serde_json::from_slice(&group.json[begin..row.end]).unwrap());
            begin = row.end;
        }
        Ok(())
    }

    fn tip(&self) -> i64 {
        self.events.lock().len() as i64
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

    async fn events(&self, _: EventQuery) -> Result<EventPage, StoreError> {
        Ok(EventPage { events: Vec::new(), reached: 0, more: false })
    }
}

fn started(capacity: usize) -> (Arc<Flaky>, Journal, Ledger) {
    let metrics = Arc::new(Metrics::new("test", 10).unwrap());
    let (journal, records) = Journal::new(capacity, metrics.clone());
    let store = Arc::new(Flaky::default());
    let ledger = Ledger::start(store.clone(), Arc::default(), records, metrics, "edge-1").unwrap();
    (store, journal, ledger)
}

fn write(journal: &Journal, number: usize) -> bool {
    let slot = journal.reserve();
    slot.map(|slot| slot.write(Record::Opened(Arc::new(opening(&number.to_string()))))).is_ok()
}

#[tokio::test]
async fn a_store_that_fails_and_recovers_loses_no_record() {
    let (store, journal, ledger) = started(64);
    store.failing.store(true, Ordering::SeqCst);
    // The queue fills and then refuses: what was not taken was never promised.
    let written = (0..200).filter(|&number| write(&journal, number)).count();
    assert_eq!(written, 64);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!write(&journal, 1000), "what is in hand is not durable");
    store.failing.store(false, Ordering::SeqCst);
    let mut tip = ledger.tip().clone();
    tip.wait_for(|tip| *tip == 64).await.unwrap();
    assert!(write(&journal, 1000), "the queue has room again");
    drop(journal);
    assert_eq!(ledger.finish(Duration::from_secs(10)).await, Ok(()));
    let events = store.events.lock();
    assert_eq!(events.len(), written + 1);
    assert!(events.iter().map(|event| event.seq).eq(1..=65), "numbered without gaps");
    assert!(events.iter().map(|event| event.request_id.parse::<usize>().unwrap()).is_sorted(), "order is kept");
    assert!(events.iter().map(|event| event.id).collect::<std::collections::HashSet<_>>().len() == 65);
}

#[tokio::test]
async fn what_cannot_be_written_in_time_is_counted() {
    let (store, journal, ledger) = started(64);
    store.failing.store(true, Ordering::SeqCst);
    assert!((0..10).all(|number| write(&journal, number)));
    let exposed = journal.clone();
    drop(journal);
    assert_eq!(ledger.finish(Duration::from_millis(200)).await, Err(Unwritten(10)));
    assert!(exposed.expose().contains("keeptrusts_journal_dropped_total 10"));
}

#[tokio::test]
async fn finishing_waits_for_what_is_queued() {
    let (store, journal, ledger) = started(4096);
    assert!((0..4000).all(|number| write(&journal, number)));
    drop(journal);
    assert_eq!(ledger.finish(Duration::from_secs(10)).await, Ok(()));
    assert_eq!(store.events.lock().len(), 4000);
}
