//! The bounded queue between the gateways' requests and whoever writes events down.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::{Metrics, Record};

/// Where requests leave their facts. Cloning is cheap and gives the same journal.
#[derive(Clone)]
pub struct Journal {
    metrics: Arc<Metrics>,
    queue: mpsc::Sender<Record>,
    in_hand: Arc<AtomicUsize>,
}

/// The writing end's counterpart: whoever holds it makes the records durable.
pub struct Records {
    queue: mpsc::Receiver<Record>,
    /// Records that were received and may not be durable yet.
    in_hand: Arc<AtomicUsize>,
}

/// A place in the queue that is held until its record is written, so that a request that was admitted can
/// always be recorded. Dropping it gives the place back.
#[must_use = "a slot that is not written leaves a request unrecorded"]
pub struct Slot {
    metrics: Arc<Metrics>,
    place: mpsc::OwnedPermit<Record>,
}

/// The queue has no place left: records arrive faster than they can be made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Journal {
    /// A journal with room for `capacity` records that were not made durable yet.
    pub fn new(capacity: usize, metrics: Arc<Metrics>) -> (Self, Records) {
        let (sender, receiver) = mpsc::channel(capacity);
        let in_hand = Arc::new(AtomicUsize::new(0));
        metrics.journal_capacity(capacity);
        (Self { metrics, queue: sender, in_hand: in_hand.clone() }, Records { queue: receiver, in_hand })
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Holds a place for one record.
    pub fn reserve(&self) -> Result<Slot, Full> {
        let place = self.queue.clone().try_reserve_owned().map_err(|_| Full)?;
        Ok(Slot { metrics: self.metrics.clone(), place })
    }

    /// The Prometheus text exposition of every metric.
    pub fn expose(&self) -> String {
        let queued = self.queue.max_capacity() - self.queue.capacity();
        self.metrics.journal_depth(queued + self.in_hand.load(Ordering::Relaxed));
        self.metrics.expose()
    }
}

impl Slot {
    /// Counts the record in the metrics and queues it for the event log.
    pub fn write(self, record: Record) {
        self.metrics.observe(&record);
        self.place.send(record);
    }
}

impl Records {
    /// Waits for records and appends up to `limit` of them to `batch`; 0 means that every journal is gone and
    /// nothing is left.
    pub async fn receive(&mut self, batch: &mut Vec<Record>, limit: usize) -> usize {
        let received = self.queue.recv_many(batch, limit).await;
        self.in_hand.fetch_add(received, Ordering::Relaxed);
        received
    }

    /// Tells that all records received so far are durable, or given up.
    pub fn done(&self) {
        self.in_hand.store(0, Ordering::Relaxed);
    }
}
