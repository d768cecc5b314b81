//! The bounded queue between the gateways' requests and whoever writes events down.
//!
//! A request pays for one push onto a lock-free queue. The writer is woken only while it says that it waits: under load
//! it takes a look now and then by itself, so that no request pays for a wake-up.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_queue::SegQueue;
use tokio::sync::oneshot;

use super::{Metrics, Record};

/// A writer that waits for nothing.
const AWAKE: usize = usize::MAX;

/// Where requests leave their facts. Cloning is cheap and gives the same journal.
#[derive(Clone)]
pub struct Journal {
    metrics: Arc<Metrics>,
    queue: Arc<Queue>,
}

/// The writing end's counterpart: whoever holds it makes the records durable.
pub struct Records {
    queue: Arc<Queue>,
}

/// A place in the queue that is held until its record is durable, so that a request that was admitted can
/// always be recorded. Dropping it unwritten gives the place back.
#[must_use = "a slot that is not written leaves a request unrecorded"]
pub struct Slot {
    journal: Journal,
    /// Whether there is a place at all; what is written without one is counted and given up.
    holds: bool,
}

/// A record on its way to the log.
#[derive(Debug)]
pub struct Queued {
    pub record: Record,
    /// Who waits for it to be on disk.
    pub waiter: Option<oneshot::Sender<()>>,
}

/// Calls the writer from its wait.
pub struct Bell {
    // Whoever may call writes nothing: the queue closes without it.
    queue: Weak<Queue>,
}

/// The queue has no place left: records arrive faster than they can be made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Why [`Records::wait`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// There are records.
    Records,
    /// There are records, and somebody waits for one of them to be on disk.
    Urgent,
    /// Nothing came.
    InVain,
    /// Every journal and every slot is gone, and nothing is left.
    Closed,
}

struct Queue {
    records: SegQueue<Queued>,
    /// How many records are in the queue.
    waiting: AtomicUsize,
    /// Places that are held: by slots, by records in the queue, and by records that are being made durable.
    held: AtomicUsize,
    capacity: usize,
    /// How many waiting records wake the writer.
    wake_at: AtomicUsize,
    /// Whether somebody waits for a record that the writer has not been told of.
    is_urgent: AtomicBool,
    /// Whether the writer is to end its wait, whatever it waits for.
    is_called: AtomicBool,
    writer: OnceLock<Thread>,
}

impl Journal {
    /// A journal with room for `capacity` records that were not made durable yet.
    pub fn new(capacity: usize, metrics: Arc<Metrics>) -> (Self, Records) {
        metrics.journal_capacity(capacity);
        let queue = Arc::new(Queue {
            records: SegQueue::new(),
            waiting: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            capacity,
            wake_at: AtomicUsize::new(AWAKE),
            is_urgent: AtomicBool::new(false),
            is_called: AtomicBool::new(false),
            writer: OnceLock::new(),
        });
        (Self { metrics, queue: queue.clone() }, Records { queue })
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Holds a place for one record.
    pub fn reserve(&self) -> Result<Slot, Full> {
        let held = &self.queue.held;
        if held.fetch_add(1, Ordering::Relaxed) >= self.queue.capacity {
            held.fetch_sub(1, Ordering::Relaxed);
            return Err(Full);
        }
        Ok(Slot { journal: self.clone(), holds: true })
    }

    /// A slot without a place, for what is served although it cannot be recorded.
    pub fn forgo(&self) -> Slot {
        Slot { journal: self.clone(), holds: false }
    }

    /// The Prometheus text exposition of every metric.
    pub fn expose(&self) -> String {
        self.metrics.journal_depth(self.queue.held.load(Ordering::Relaxed));
        self.metrics.expose()
    }
}

impl Slot {
    pub fn metrics(&self) -> &Metrics {
        &self.journal.metrics
    }

    /// Counts the record in the metrics and queues it for the event log.
    pub fn write(self, record: Record) {
        self.queue(Queued { record, waiter: None });
    }

    /// Like [`Slot::write`]; and the answer tells when the record is on disk, or will not be.
    pub fn write_through(self, record: Record) -> oneshot::Receiver<()> {
        let (waiter, on_disk) = oneshot::channel();
        self.queue(Queued { record, waiter: Some(waiter) });
        on_disk
    }

    /// Whether what is written will be recorded.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// Gives the place back: what is written is only counted.
    pub fn forgo(self) -> Self {
        self.journal.forgo()
    }

    fn queue(mut self, queued: Queued) {
        self.journal.metrics.observe(&queued.record);
        if std::mem::take(&mut self.holds) {
            self.journal.queue.push(queued);
        } else {
            self.journal.metrics.journal_dropped(1);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.holds {
            self.journal.queue.held.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Queue {
    fn push(&self, queued: Queued) {
        let is_urgent = queued.waiter.is_some();
        self.records.push(queued);
        if is_urgent {
            self.is_urgent.store(true, Ordering::SeqCst);
        }
        // Counted after it was pushed, and compared with what the writer said before it counted: one of the two sees
        // the other.
        let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
        let is_enough = waiting >= self.wake_at.load(Ordering::SeqCst);
        if (is_enough || is_urgent)
            && self.wake_at.swap(AWAKE, Ordering::SeqCst) != AWAKE
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }
}

impl Records {
    /// Waits until `count` records are in the queue (or it is half full), but no longer than `patience`. Belongs to one
    /// thread.
    pub fn wait(&self, count: usize, patience: Duration) -> Waited {
        let queue = &*self.queue;
        let deadline = Instant::now() + patience;
        queue.writer.get_or_init(thread::current);
        let count = count.min(queue.capacity.div_ceil(2));
        loop {
            queue.wake_at.store(count, Ordering::SeqCst);
            let waiting = queue.waiting.load(Ordering::SeqCst);
            let left = deadline.saturating_duration_since(Instant::now());
            let closed = self.is_closed();
            if waiting > 0 && queue.is_urgent.swap(false, Ordering::SeqCst) {
                queue.wake_at.store(AWAKE, Ordering::SeqCst);
                return Waited::Urgent;
            }
            let is_called = queue.is_called.swap(false, Ordering::SeqCst);
            if waiting >= count || left.is_zero() || closed || is_called {
                queue.wake_at.store(AWAKE, Ordering::SeqCst);
                // Looked at last: the last journal may have written something before it went.
                return match queue.waiting.load(Ordering::SeqCst) {
                    1.. => Waited::Records,
                    0 if closed => Waited::Closed,
                    0 => Waited::InVain,
                };
            }
            thread::park_timeout(left);
        }
    }

    /// What calls this writer.
    pub fn bell(&self) -> Bell {
        Bell { queue: Arc::downgrade(&self.queue) }
    }

    /// Moves up to `limit` records from the queue to `batch`, and tells how many. Their places stay held.
    pub fn take(&self, batch: &mut Vec<Queued>, limit: usize) -> usize {
        let queue = &*self.queue;
        // What is counted has been pushed.
        let waiting = queue.waiting.load(Ordering::Acquire).min(limit);
        let before = batch.len();
        batch.extend(std::iter::from_fn(|| queue.records.pop()).take(waiting));
        let taken = batch.len() - before;
        queue.waiting.fetch_sub(taken, Ordering::Release);
        taken
    }

    /// Gives back the places of `count` records that were taken: they are durable, or given up.
    pub fn done(&self, count: usize) {
        self.queue.held.fetch_sub(count, Ordering::Relaxed);
    }

    /// Whether nobody can write any more.
    fn is_closed(&self) -> bool {
        let alone = Arc::strong_count(&self.queue) == 1;
        // What the last of the others did happened before it was gone.
        std::sync::atomic::fence(Ordering::Acquire);
        alone
    }
}

impl Bell {
    /// Ends the wait of [`Records::wait`], the present one or the next.
    pub fn ring(&self) {
        let Some(queue) = self.queue.upgrade() else { return };
        queue.is_called.store(true, Ordering::SeqCst);
        if let Some(writer) = queue.writer.get() {
            writer.unpark();
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a place in the journal")
    }
}

#[cfg(test)]
mod tests {
    use crate::journal::write::tests::opening;

    use super::*;

    fn journal(capacity: usize) -> (Journal, Records) {
        Journal::new(capacity, Arc::new(Metrics::new("test", 10).unwrap()))
    }

    fn record() -> Record {
        Record::Opened(Arc::new(opening()))
    }

    #[test]
    fn a_place_is_held_until_its_record_is_durable() {
        let (journal, records) = journal(2);
        let (first, second) = (journal.reserve().unwrap(), journal.reserve().unwrap());
        assert_eq!(journal.reserve().unwrap_err(), Full);
        drop(first);
        journal.reserve().unwrap().write(record());
        second.write(record());
        let mut batch = Vec::new();
        assert_eq!((records.take(&mut batch, 1), records.take(&mut batch, 5)), (1, 1));
        assert_eq!(journal.reserve().unwrap_err(), Full, "they may not be durable yet");
        records.done(2);
        assert!(journal.reserve().is_ok());
    }

    #[test]
    fn waiting_ends_with_records_with_patience_and_with_the_last_journal() {
        let (journal, records) = journal(100);
        let (brief, long) = (Duration::from_millis(5), Duration::from_secs(60));
        assert_eq!(records.wait(1, brief), Waited::InVain);
        let later = |work: Box<dyn FnOnce() + Send>| {
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                work();
            })
        };
        let slot = journal.reserve().unwrap();
        let writing = later(Box::new(|| slot.write(record())));
        assert_eq!(records.wait(1, long), Waited::Records);
        writing.join().unwrap();
        assert_eq!(records.wait(2, brief), Waited::Records, "fewer than it waited for are records too");
        drop(journal);
        assert_eq!(records.wait(2, long), Waited::Records, "nobody will bring more");
        let mut batch = Vec::new();
        records.take(&mut batch, 10);
        assert_eq!(records.wait(1, long), Waited::Closed);
    }

    #[test]
    fn somebody_who_waits_wakes_the_writer_at_once() {
        let (journal, records) = journal(100);
        let slot = journal.reserve().unwrap();
        let writing = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            slot.write_through(record())
        });
        assert_eq!(records.wait(50, Duration::from_secs(60)), Waited::Urgent);
        let mut on_disk = writing.join().unwrap();
        let mut batch = Vec::new();
        records.take(&mut batch, 10);
        assert!(on_disk.try_recv().is_err());
        assert!(batch.pop().unwrap().waiter.unwrap().send(()).is_ok());
        assert!(on_disk.try_recv().is_ok());
    }

    #[test]
    fn what_is_forgone_is_counted_and_holds_no_place() {
        let (journal, records) = journal(1);
        journal.reserve().unwrap().forgo().write(record());
        assert!(journal.forgo().write_through(record()).try_recv().is_err());
        assert!(journal.reserve().is_ok());
        assert_eq!(records.wait(1, Duration::ZERO), Waited::InVain);
        assert!(journal.expose().contains("keeptrusts_journal_dropped_total 2"));
    }

    #[test]
    fn nothing_is_lost_between_many_writers_and_a_writer_that_sleeps() {
        let (journal, records) = journal(64);
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let journal = journal.clone();
                thread::spawn(move || {
                    for _ in 0..5_000 {
                        let slot = loop {
                            match journal.reserve() {
                                Ok(slot) => break slot,
                                Err(Full) => thread::yield_now(),
                            }
                        };
                        slot.write(record());
                    }
                })
            })
            .collect();
        drop(journal);
        let mut taken = 0;
        let mut batch = Vec::new();
        while records.wait(1, Duration::from_millis(100)) != Waited::Closed {
            let count = records.take(&mut batch, 16);
            records.done(count);
            taken += count;
            batch.clear();
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(taken, 20_000);
    }
}
