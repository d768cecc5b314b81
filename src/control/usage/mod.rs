//! Events → sums of usage: who used how much, and what it cost.
//!
//! The event log is the truth, the sums are derived from it: each is stored together with the number of the last
//! event that is part of it, so that they are never less nor more than what the events say, whenever the process
//! ends. The ledger hands over the sums of what it has just written; whatever it did not is read from the log, as followers
//! read it. Sums are stored once a second, and whoever asks gets everything that was durable when they asked.
//!
//! Sums of quarter-hours are joined to days after [`QUARTERS_KEPT`] and forgotten after [`DAYS_KEPT`], so that they
//! outlive the events and still end somewhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::domain::Timestamp;

use super::store::usage::{
    Batch, Checkpoint, DAY_SECONDS, Dimension, QUARTER_SECONDS, SumQuery, SumRow, Sums, UsageStore,
};
use super::store::{EventFilter, EventOrder, EventPage, EventQuery, EventStore, StoreError, StoredEvent};

mod fresh; // what the ledger has just written
mod row; // what sums take from an event
mod tally; // one event's part in the sums

pub(super) use fresh::Fresh;

use fresh::Next;
use row::Row;
use tally::Tally;

/// How long sums are kept by the quarter-hour: longer than the longest month, so that a month's budget can be
/// told exactly in any time zone.
pub(crate) const QUARTERS_KEPT: Duration = Duration::from_secs(40 * DAY_SECONDS as u64);
/// How long sums are kept at all: three years.
const DAYS_KEPT: Duration = Duration::from_secs(3 * 366 * DAY_SECONDS as u64);
/// How often sums are stored.
const STORE_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked for what has become old.
const AGE_EVERY: Duration = Duration::from_secs(15 * 60);
/// How often a long sum tells how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Events that are read from the log at a time.
const PAGE: usize = 1000;
/// Sums that are held in memory; beyond them they are stored at once, or read again later.
const HELD_MAX: usize = 50_000;
/// Askers that may wait.
const ASKS_MAX: usize = 64;

/// A way to the sums. All of its clones lead to the same.
#[derive(Clone)]
pub(crate) struct Usage {
    store: Arc<dyn UsageStore>,
    asks: mpsc::Sender<Ask>,
}

/// Wants to know when everything that is durable by now is part of the sums.
type Ask = oneshot::Sender<Result<(), StoreError>>;

/// The summing that goes on beside the ledger.
pub(super) struct Summing {
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Summing {
    /// Returns when everything that is durable by now is part of the stored sums, or cannot be.
    pub(super) async fn finish(self) {
        // It may have ended by itself.
        let _ = self.stop.send(());
        let _ = self.running.await;
    }
}

impl Usage {
    /// Brings the sums up to the end of the log, and goes on as it grows. The sums are exact when this returns.
    pub(super) async fn start(
        store: Arc<dyn UsageStore>,
        events: Arc<dyn EventStore>,
        fresh: Arc<Fresh>,
    ) -> Result<(Self, Summing), StoreError> {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let (stop, stopped) = oneshot::channel();
        let mut roller = Roller::open(store.clone(), events, fresh).await?;
        roller.settle().await?;
        let running = tokio::spawn(roller.run(asked, stopped));
        Ok((Self { store, asks }, Summing { stop, running }))
    }

    /// The sums as of now: with everything that is durable.
    pub(crate) async fn sums(&self, query: SumQuery) -> Result<Vec<SumRow>, StoreError> {
        Ok(self.each(vec![query]).await?.pop().unwrap_or_default())
    }

    /// The same for several queries.
    pub(crate) async fn each(&self, queries: Vec<SumQuery>) -> Result<Vec<Vec<SumRow>>, StoreError> {
        let (ask, answer) = oneshot::channel();
        let stopped =
            || StoreError::Failed("the sums of usage are no longer kept up, because the gateway stops".into());
        self.asks.send(ask).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())??;
        let mut found = Vec::with_capacity(queries.len());
        for query in queries {
            found.push(self.store.sums(query).await?);
        }
        Ok(found)
    }

    /// What each key (by id), team or organization (by name) used since the quarter-hour in which `since` lies.
    /// Before [`QUARTERS_KEPT`] it is the day (UTC) in which it lies.
    #[cfg_attr(not(test), expect(dead_code, reason = "budgets begin with it"))]
    pub(crate) async fn since(
        &self,
        dimension: Dimension,
        since: Timestamp,
    ) -> Result<HashMap<String, Sums>, StoreError> {
        let since = Some(self.begin(since).await?);
        let rows = self.sums(SumQuery { since, by: vec![dimension], limit: usize::MAX >> 1, ..SumQuery::default() });
        let name = |row: SumRow| match dimension {
            Dimension::Team => (row.series.team, row.sums),
            Dimension::Organization => (row.series.organization, row.sums),
            Dimension::Provider => (row.series.provider, row.sums),
            Dimension::Model => (row.series.model, row.sums),
            Dimension::Key | Dimension::Time => (row.series.key, row.sums),
        };
        Ok(rows.await?.into_iter().map(name).collect())
    }

    /// The beginning of the quarter-hour or day that `time` lies in, as finely as sums are kept.
    pub(crate) async fn begin(&self, time: Timestamp) -> Result<Timestamp, StoreError> {
        Ok(begin(time, self.seconds(time).await?))
    }

    /// The end of it; `time` itself, if it is an end.
    pub(crate) async fn end(&self, time: Timestamp) -> Result<Timestamp, StoreError> {
        let seconds = self.seconds(time).await?;
        let begin = begin(time, seconds);
        Ok(if begin == time { time } else { begin.saturating_add(Duration::from_secs(seconds as u64)) })
    }

    async fn seconds(&self, time: Timestamp) -> Result<i64, StoreError> {
        let is_old = time < self.store.progress().await?.days_before;
        Ok(if is_old { DAY_SECONDS } else { QUARTER_SECONDS })
    }
}

/// The one who sums.
struct Roller {
    store: Arc<dyn UsageStore>,
    events: Arc<dyn EventStore>,
    fresh: Arc<Fresh>,
    tally: Tally,
    /// What is on its way into the store, and stays until it is there.
    unstored: Option<Arc<Batch>>,
    /// The number of the last event that was summed; 0 before the first.
    seq: i64,
    last: Option<Checkpoint>,
    /// Events of quarter-hours before this were summed long ago.
    kept_before: Timestamp,
    failing: bool,
}

impl Roller {
    /// Begins where the sums end, if the log is still the one they were made from.
    async fn open(
        store: Arc<dyn UsageStore>,
        events: Arc<dyn EventStore>,
        fresh: Arc<Fresh>,
    ) -> Result<Self, StoreError> {
        let progress = store.progress().await?;
        let known = store.models().await?;
        fresh.models(|models| models.extend(known));
        let mut roller = Self {
            store,
            events,
            fresh,
            tally: Tally::default(),
            unstored: None,
            seq: 0,
            last: None,
            kept_before: progress.kept_before,
            failing: false,
        };
        if let Some(through) = progress.through {
            match roller.is_in_log(through).await? {
                true => roller.seq = through.seq,
                false => roller.restart(progress.days_before).await?,
            }
        }
        Ok(roller)
    }

    /// Whether the log still has what was summed last or, if it begins later, may have had it.
    async fn is_in_log(&self, through: Checkpoint) -> Result<bool, StoreError> {
        let at = self.page(through.seq - 1, 1).await?.events.pop();
        Ok(at.is_some_and(|found| found.seq > through.seq || read(&found).is_some_and(|row| row.id == through.event)))
    }

    /// The log lost its end, as it may in a power cut, or is another one: what it covers is summed again, and
    /// what is older than it stays.
    async fn restart(&mut self, days_before: Timestamp) -> Result<(), StoreError> {
        let first = self.page(0, 1).await?.events.pop();
        let from = first.as_ref().and_then(|first| Some((first.seq, read(first)?.time))).map(|(seq, time)| {
            let seconds = if time < days_before { DAY_SECONDS } else { QUARTER_SECONDS };
            // Events that were removed from the log may be part of the first sums it covers.
            let is_whole = seq == 1;
            begin(time, seconds).saturating_add(Duration::from_secs(if is_whole { 0 } else { seconds as u64 }))
        });
        log::warn!("the event log does not go on from where usage was summed: it is summed again as far as it reaches");
        self.store.restart(from).await?;
        self.kept_before = from.unwrap_or_default();
        Ok(())
    }

    /// Sums until it is stopped, which is when the ledger has ended.
    async fn run(mut self, mut asked: mpsc::Receiver<Ask>, mut stopped: oneshot::Receiver<()>) {
        let mut storing = tokio::time::interval(STORE_EVERY);
        let mut ageing = tokio::time::interval(AGE_EVERY);
        storing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ageing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                _ = storing.tick() => {
                    let kept = self.settle().await;
                    self.report(kept);
                }
                _ = ageing.tick() => {
                    let aged = self.age().await;
                    self.report(aged);
                }
                Some(answer) = asked.recv() => {
                    // Whoever asked may have given up.
                    let _ = answer.send(self.settle().await);
                }
            }
        }
        let settled = self.settle().await;
        self.report(settled);
    }

    /// Tells the log once that something fails, and once that it does no more. What is not stored stays in memory,
    /// or is read from the event log again.
    fn report(&mut self, done: Result<(), StoreError>) {
        match (done, std::mem::take(&mut self.failing)) {
            (Err(error), was_failing) => {
                self.failing = true;
                if !was_failing {
                    log::error!("failed to keep the sums of usage up, trying again until it succeeds: {error}");
                }
            }
            (Ok(()), true) => log::info!("the sums of usage are kept up again"),
            (Ok(()), false) => {}
        }
    }

    /// Makes everything that is in the log part of the stored sums.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let tip = self.events.tip();
        let mut told = Instant::now();
        while self.seq < tip {
            if self.tally.len() >= HELD_MAX {
                self.store_sums().await?;
            }
            match self.fresh.after(self.seq) {
                Next::Run(run) => {
                    self.tally.add(run.tally);
                    self.seq = run.through.seq;
                    self.last = Some(run.through);
                }
                Next::After(seq) if self.read(seq.min(tip)).await? => {}
                Next::Nothing if self.read(tip).await? => {}
                Next::After(_) | Next::Nothing => break,
            }
            if told.elapsed() > TELL_EVERY {
                told = Instant::now();
                log::info!("summing usage: event {} of {tip}", self.seq);
            }
        }
        self.store_sums().await
    }

    /// Sums the next events of the log, but none after `through`; false if the log has none.
    async fn read(&mut self, through: i64) -> Result<bool, StoreError> {
        let limit = usize::try_from(through - self.seq).unwrap_or(PAGE).min(PAGE);
        let page = self.page(self.seq, limit).await?;
        self.fresh.models(|models| {
            for (seq, row) in page.events.iter().filter_map(|stored| Some((stored.seq, read(stored)?))) {
                self.tally.take(&row, models);
                self.last = Some(Checkpoint { seq, event: row.id });
            }
        });
        let goes_on = page.reached > self.seq || !page.events.is_empty();
        self.seq = page.reached;
        Ok(goes_on)
    }

    async fn store_sums(&mut self) -> Result<(), StoreError> {
        loop {
            if self.unstored.is_none() {
                let Some(through) = self.last.take() else { return Ok(()) };
                self.tally.forget_before(self.kept_before);
                let (sums, names) = self.tally.take_all();
                self.unstored = Some(Arc::new(Batch { through, sums, names }));
            }
            if let Some(batch) = &self.unstored {
                self.store.add(batch.clone()).await?;
            }
            self.unstored = None;
        }
    }

    /// Joins and forgets what has become old, a day at a time.
    async fn age(&mut self) -> Result<(), StoreError> {
        let old = |kept| begin(Timestamp::from(SystemTime::now()).saturating_sub(kept), DAY_SECONDS);
        while self.store.join_a_day(old(QUARTERS_KEPT)).await? {}
        self.store.forget(old(DAYS_KEPT)).await
    }

    async fn page(&self, after: i64, limit: usize) -> Result<EventPage, StoreError> {
        let order = EventOrder::OldestFirst { after };
        self.events.events(EventQuery { filter: EventFilter::default(), order, limit }).await
    }
}

fn read(stored: &StoredEvent) -> Option<Row<'_>> {
    let read = serde_json::from_str(stored.json.get());
    read.inspect_err(|error| {
        log::error!("event {} cannot be read, and is no part of the sums of usage: {error}", stored.seq);
    })
    .ok()
}

/// The beginning of the quarter-hour or day (UTC) that `time` lies in.
fn begin(time: Timestamp, seconds: i64) -> Timestamp {
    let micros = seconds * 1_000_000;
    Timestamp::from_micros(time.as_micros() - time.as_micros().rem_euclid(micros))
}

#[cfg(test)]
mod tests;
