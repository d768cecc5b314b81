//! Journal → durable events → whoever follows.
//!
//! One thread takes what has gathered in the journal, makes JSON of it and appends it to the log, a group at a time. While
//! the store fails, the group in hand is kept and tried again; the journal's bounded queue then fills, and the gateway
//! refuses requests it could not record. No record is lost while the process runs, and none waits in unbounded memory.
//! Followers are told how far the log reaches and read it themselves, so none of them can hold up the ledger.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use uuid::{Builder, Uuid};

use crate::catalog::{CurrentCatalog, Retention};
use crate::domain::{Spending, Timestamp};
use crate::journal::{Bell, EventWriter, Metrics, Opening, Queued, Record, Records, Waited};

use super::now;
use super::store::{EventStore, Group, Part, StoreError, Wait};
use super::usage::{Fresh, Summing};

pub(super) mod orphans; // requests whose end was never recorded

/// The most events one group holds.
const GROUP_MAX: usize = 1024;
/// How long a group waits for more records before it is written. Within 5 ms is promised (docs/EVENTS.md); the write takes
/// its part of them, and on a machine under load the wait for a core takes more.
const GROUP_WINDOW: Duration = Duration::from_millis(2);
/// How long after the last record the ledger looks for more by itself, a window at a time. Only then it wants to be woken.
const DOZE: Duration = Duration::from_secs(1);
/// How often the store is given time for what is due.
const TEND_PERIOD: Duration = Duration::from_secs(1);
/// The pauses between attempts while the store fails: doubled from the first to the last.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often a waiting ledger looks whether it is to give up.
const GIVE_UP_LOOK: Duration = Duration::from_millis(10);
/// How long a writer that is to give up may take to notice; one that hangs in a disk does not.
const GIVE_UP_PATIENCE: Duration = Duration::from_millis(500);

/// The running ledger.
pub struct Ledger {
    tip: watch::Receiver<i64>,
    running: watch::Receiver<()>,
    state: Arc<State>,
    writer: Thread,
    bell: Bell,
    ended: oneshot::Receiver<Rest>,
    /// Sums up what is written, to its end.
    summing: Option<Summing>,
}

#[derive(Default)]
struct State {
    /// Says how long events are kept.
    catalog: OnceLock<Arc<CurrentCatalog>>,
    gives_up: AtomicBool,
    /// Whether another process goes on with the log.
    hands_over: AtomicBool,
    /// Records that were taken from the journal and are not durable yet.
    in_hand: AtomicUsize,
}

/// What is left when the writer has ended.
struct Rest {
    /// How many records were given up.
    lost: usize,
    records: Records,
    taken: Vec<Queued>,
    limited: BTreeMap<i64, Arc<Opening>>,
}

/// What a ledger leaves to be written by another process.
pub(super) struct Left {
    pub(super) records: Records,
    /// Records that were taken and did not get into the log.
    pub(super) taken: Vec<Queued>,
    /// What running requests may still spend, by the numbers of their INPUT events; of those that limits concern.
    pub(super) reserved: Vec<(i64, Spending)>,
}

/// Records that could not be made durable before the process had to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwritten(pub usize);

impl Ledger {
    /// Records an end for every request that the process before this one left without one.
    pub(super) async fn close_orphans(store: &dyn EventStore) -> Result<(), StoreError> {
        orphans::close(store).await
    }

    /// Begins to drain `records` on a thread of its own.
    pub(super) fn start(
        store: Arc<dyn EventStore>,
        fresh: Arc<Fresh>,
        records: Records,
        metrics: Arc<Metrics>,
        gateway: &str,
    ) -> std::io::Result<Self> {
        let (tell, tip) = watch::channel(store.tip());
        let (is_running, running) = watch::channel(());
        let (end, ended) = oneshot::channel();
        let state = Arc::new(State::default());
        let writer = Writer {
            store,
            fresh,
            records,
            metrics,
            tell,
            _is_running: is_running,
            state: state.clone(),
            events: EventWriter::new(gateway),
            taken: Vec::with_capacity(GROUP_MAX),
            group: Group::default(),
            ids: Vec::with_capacity(GROUP_MAX),
            random: vec![0; GROUP_MAX * RANDOM_BYTES],
            busy_at: Instant::now(),
            tended_at: Instant::now(),
            is_failing: false,
            limited: BTreeMap::new(),
        };
        let bell = writer.records.bell();
        let run = move || {
            // Nobody waits for the end any more if this fails.
            let _ = end.send(writer.run());
        };
        let thread = thread::Builder::new().name("ledger".into()).spawn(run)?;
        Ok(Self { tip, running, state, writer: thread.thread().clone(), bell, ended, summing: None })
    }

    /// How far the log reaches. Closed when the ledger has ended.
    pub(super) fn tip(&self) -> &watch::Receiver<i64> {
        &self.tip
    }

    /// Closed when the ledger has ended. Whoever waits for that alone is not woken for each group of events.
    pub(super) fn running(&self) -> &watch::Receiver<()> {
        &self.running
    }

    /// Where the operator's wishes about the log are from now on.
    pub(super) fn obey(&self, catalog: Arc<CurrentCatalog>) {
        // Said once, when the process starts.
        let _ = self.state.catalog.set(catalog);
    }

    /// What is to see the last event before the ledger is finished.
    pub(super) fn sum(&mut self, summing: Summing) {
        self.summing = Some(summing);
    }

    /// Waits until every journal is gone and all they held is durable, but no longer than `patience`.
    pub async fn finish(self, patience: Duration) -> Result<(), Unwritten> {
        let Self { tip: _, running: _, state, writer, bell: _, mut ended, summing } = self;
        let begun = Instant::now();
        let lost = loop {
            // It may be waiting for records, and the last journal goes without a word.
            writer.unpark();
            match timeout(GIVE_UP_LOOK, &mut ended).await {
                Ok(rest) => break rest.map_or(0, |rest| rest.lost),
                Err(_elapsed) if begun.elapsed() < patience => {}
                Err(_elapsed) if begun.elapsed() < patience + GIVE_UP_PATIENCE => {
                    state.gives_up.store(true, Ordering::Relaxed);
                }
                Err(_elapsed) => break state.in_hand.load(Ordering::Relaxed).max(1),
            }
        };
        if let Some(summing) = summing {
            summing.finish().await;
        }
        if lost == 0 { Ok(()) } else { Err(Unwritten(lost)) }
    }

    /// Ends the ledger while requests go on: writes what has gathered, and leaves the rest. Nothing of the log and of the
    /// sums of usage is touched any more when this returns. `None` if the writer broke.
    pub(super) async fn leave(self) -> Option<Left> {
        let Self { tip: _, running: _, state, writer: _, bell, ended, summing } = self;
        state.hands_over.store(true, Ordering::SeqCst);
        bell.ring();
        let Rest { lost: _, records, taken, limited } = ended.await.ok()?;
        if let Some(summing) = summing {
            summing.finish().await;
        }
        let reserved = limited.iter().filter_map(|(seq, opening)| Some((*seq, opening.reserved.get()?))).collect();
        Some(Left { records, taken, reserved })
    }
}

struct Writer {
    store: Arc<dyn EventStore>,
    /// Sums what is in the log.
    fresh: Arc<Fresh>,
    records: Records,
    metrics: Arc<Metrics>,
    tell: watch::Sender<i64>,
    _is_running: watch::Sender<()>,
    state: Arc<State>,
    events: EventWriter,
    /// Records that were taken from the journal and are not durable yet.
    taken: Vec<Queued>,
    /// The same, as events.
    group: Group,
    /// The events' ids.
    ids: Vec<Uuid>,
    /// For the ids of one group.
    random: Vec<u8>,
    /// When there was something to write.
    busy_at: Instant,
    tended_at: Instant,
    is_failing: bool,
    /// Running requests that limits concern.
    limited: BTreeMap<i64, Arc<Opening>>,
}

/// What is random in an event's id, in bytes.
const RANDOM_BYTES: usize = 10;

impl Writer {
    /// Returns once every journal is gone, or another process goes on, and everything is durable, or given up.
    fn run(mut self) -> Rest {
        while self.gather() {
            self.make_events();
            if !self.append() {
                return if self.hands_over() { self.leave() } else { self.abandon() };
            }
            let written = self.taken.iter().map(|queued| &queued.record).zip(self.ids.iter().copied());
            self.fresh.add(self.group.first_seq, written);
            self.records.done(self.taken.len());
            for waiter in self.taken.drain(..).filter_map(|queued| queued.waiter) {
                // Whoever waited may have given up.
                let _ = waiter.send(());
            }
            self.state.in_hand.store(0, Ordering::Relaxed);
            self.busy_at = Instant::now();
            self.tell.send_replace(self.group.next_seq() - 1);
        }
        self.leave()
    }

    fn hands_over(&self) -> bool {
        self.state.hands_over.load(Ordering::SeqCst)
    }

    /// Lets go of the log. What was taken and did not get into it has no number in it either.
    fn leave(self) -> Rest {
        if let Err(error) = self.store.close() {
            log::error!("failed to sync the event log: {error}");
        }
        let mut limited = self.limited;
        for queued in &self.taken {
            if let Record::Opened(opening) = &queued.record {
                opening.number.get().into_iter().for_each(|seq| _ = limited.remove(&seq));
                opening.number.set(0);
            }
        }
        Rest { lost: 0, records: self.records, taken: self.taken, limited }
    }

    /// Takes what has gathered in the journal; false if there will be no more.
    fn gather(&mut self) -> bool {
        loop {
            if self.hands_over() {
                return self.records.take(&mut self.taken, GROUP_MAX) > 0;
            }
            self.tend();
            // Records of a busy time find the ledger at its next look; only the first after a pause wakes it.
            let dozes = self.busy_at.elapsed() < DOZE;
            let waited =
                if dozes { self.records.wait(GROUP_MAX, GROUP_WINDOW) } else { self.records.wait(1, TEND_PERIOD) };
            match waited {
                Waited::Closed => return false,
                Waited::InVain => {}
                Waited::Records | Waited::Urgent => {
                    if !dozes && waited != Waited::Urgent {
                        self.records.wait(GROUP_MAX, GROUP_WINDOW);
                    }
                    let taken = self.records.take(&mut self.taken, GROUP_MAX);
                    self.state.in_hand.store(taken, Ordering::Relaxed);
                    return true;
                }
            }
        }
    }

    fn make_events(&mut self) {
        // Without new random bytes the old ones still tell events apart, by their time and place.
        let _ = getrandom::fill(&mut self.random[..self.taken.len() * RANDOM_BYTES]);
        self.group.begin(self.store.tip() + 1);
        self.ids.clear();
        for (place, (queued, random)) in self.taken.iter().zip(self.random.chunks_exact(RANDOM_BYTES)).enumerate() {
            let record = &queued.record;
            let seq = self.group.next_seq();
            let (time, part) = match record {
                Record::Opened(opening) if opening.refusal.is_none() => {
                    opening.number.set(seq);
                    if opening.reserved.get().is_some() {
                        self.limited.insert(seq, opening.clone());
                    }
                    (opening.time, Part::Opens)
                }
                Record::Opened(opening) => (opening.time, Part::Whole),
                Record::Closed(closing) => {
                    let input = closing.opening.number.get();
                    if closing.opening.reserved.get().is_some() {
                        input.into_iter().for_each(|seq| _ = self.limited.remove(&seq));
                    }
                    (closing.time, input.map_or(Part::Whole, Part::Closes))
                }
            };
            let id = id(time, place, random);
            self.events.write(record, id, seq, &mut self.group.json);
            self.ids.push(id);
            self.group.add(time, part);
        }
    }

    /// Appends until the store has done it; false if it is to give up.
    fn append(&mut self) -> bool {
        let mut pause = RETRY_PAUSE_MIN;
        let is_awaited = self.taken.iter().any(|queued| queued.waiter.is_some());
        let wait = if is_awaited { Wait::Disk } else { Wait::Process };
        loop {
            let begun = Instant::now();
            match self.store.append(&self.group, wait) {
                Ok(()) => {
                    self.metrics.journal_committed(begun.elapsed());
                    if std::mem::take(&mut self.is_failing) {
                        log::info!("events are being written again");
                    }
                    return true;
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        log::error!("failed to write events, trying again until it succeeds: {error}");
                    }
                    // Retention may make room on a full disk.
                    self.tend();
                    if !self.pause(pause) {
                        return false;
                    }
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
            }
        }
    }

    /// Waits between two attempts; false if it is to give up.
    fn pause(&self, pause: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < pause {
            if self.state.gives_up.load(Ordering::Relaxed) || self.hands_over() {
                return false;
            }
            thread::sleep(GIVE_UP_LOOK);
        }
        true
    }

    fn tend(&mut self) {
        if self.tended_at.elapsed() < TEND_PERIOD {
            return;
        }
        self.tended_at = Instant::now();
        let catalog = self.state.catalog.get();
        let retention = catalog.map_or(Retention::default(), |catalog| catalog.load().settings.audit.retention);
        match self.store.tend(now(), retention) {
            Ok(removed) => self.metrics.events_removed(removed),
            Err(error) if !std::mem::replace(&mut self.is_failing, true) => {
                log::error!("failed to look after the event log: {error}");
            }
            Err(_) => {}
        }
    }

    /// Counts what is lost.
    fn abandon(mut self) -> Rest {
        let mut lost = self.taken.len();
        loop {
            self.taken.clear();
            match self.records.take(&mut self.taken, GROUP_MAX) {
                0 => break,
                more => lost += more,
            }
        }
        self.metrics.journal_dropped(lost);
        Rest { lost, records: self.records, taken: Vec::new(), limited: BTreeMap::new() }
    }
}

/// A UUID of version 7: the event's time, its place among the group's events, and random bits.
fn id(time: Timestamp, place: usize, random: &[u8]) -> Uuid {
    let mut bits = [0; RANDOM_BYTES];
    bits.copy_from_slice(random);
    bits[..2].copy_from_slice(&(place as u16).to_be_bytes());
    Builder::from_unix_timestamp_millis(u64::try_from(time.as_micros() / 1000).unwrap_or(0), &bits).into_uuid()
}

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records could not be written to the event log in time and are lost", self.0)
    }
}

impl std::error::Error for Unwritten {}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod pace;
