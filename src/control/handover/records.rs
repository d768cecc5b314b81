//! Records of the predecessor, counted, summed and written as this process's own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::control::ledger::orphans;
use crate::control::now;
use crate::control::store::{EventStore, StoreError};
use crate::domain::{Ended, Spending, Usage, Verdict};
use crate::journal::{Closing, Event, Full, Journal, Opening, Phase, Record};

use super::held::Held;
use super::wire::Passed;

/// How long a record waits before it asks again for a place in a full journal.
const FULL_PAUSE: Duration = Duration::from_millis(5);

pub(super) struct Clerk {
    pub(super) journal: Journal,
    pub(super) held: Arc<Held>,
    /// Requests whose end is still to come, by what the predecessor calls them.
    running: HashMap<i64, Arc<Opening>>,
}

impl Clerk {
    /// Takes over the requests that are open in the log: they are the predecessor's.
    pub(super) async fn begin(
        journal: Journal,
        held: Arc<Held>,
        events: &dyn EventStore,
        reserved: &[(i64, Spending)],
    ) -> Result<Self, StoreError> {
        let mut clerk = Self { journal, held, running: HashMap::new() };
        let reserved: HashMap<_, _> = reserved.iter().copied().collect();
        let mut open = Vec::new();
        for seq in events.open_requests() {
            // Retention may have removed it; then nothing is left to be closed.
            open.extend(orphans::find(events, seq).await?.map(|event| (seq, event)));
        }
        clerk.held.meet(open.iter().map(|(_, event)| event.key.id.clone()));
        for (seq, event) in open {
            let opening = clerk.opening(&event);
            clerk.journal.metrics().goes_on(&opening);
            if let Some(reserved) = reserved.get(&seq) {
                clerk.held.lodge(seq, &opening.key.id, opening.model_requested.as_deref(), *reserved);
            }
            clerk.running.insert(seq, opening);
        }
        Ok(clerk)
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Writes records down; they are on disk when this returns.
    pub(super) async fn write(&mut self, records: Vec<Passed>) {
        let mut awaited = None;
        for passed in records {
            match serde_json::from_str::<Event>(passed.event.get()) {
                Ok(event) => awaited = self.record(&passed, &event).await.or(awaited),
                Err(error) => log::error!("a record of the process before this one has no form: {error}"),
            }
        }
        if let Some(awaited) = awaited {
            // The journal keeps its order: what was written before the last is on disk with it.
            let _ = awaited.await;
        }
    }

    async fn record(&mut self, passed: &Passed, event: &Event) -> Option<oneshot::Receiver<()>> {
        let Passed { number, reserved, .. } = *passed;
        let record = match event.phase {
            // It came through before.
            Phase::Input if self.running.contains_key(&number) => return None,
            Phase::Input => {
                let opening = self.opening(event);
                opening.number.set(0);
                if opening.refusal.is_none() {
                    if let Some(reserved) = reserved {
                        self.held.lodge(number, &opening.key.id, opening.model_requested.as_deref(), reserved);
                    }
                    self.running.insert(number, opening.clone());
                }
                Record::Opened(opening)
            }
            Phase::Output => {
                let begun = self.running.remove(&number)?;
                // One whose INPUT event has no number yet gets it where the ledger writes it: there is no second.
                let opening = match begun.number.get() {
                    None => begun,
                    // The model that served is known now, and with it the price.
                    Some(_) => {
                        let price = self.opening(event).price.clone().or_else(|| begun.price.clone());
                        Arc::new(Opening { price, ..Opening::clone(&begun) })
                    }
                };
                let mut closing = event.closing(opening)?;
                self.held.settle(number, &mut closing, self.journal.metrics());
                Record::Closed(Box::new(closing))
            }
        };
        Some(self.queue(record).await)
    }

    /// Closes what has no end, now that the predecessor is gone.
    pub(super) async fn close(&mut self) -> usize {
        let left: Vec<_> = self.running.drain().collect();
        let count = left.len();
        for (number, opening) in left {
            let time = now();
            let closing = Closing {
                duration: time.since(opening.started_at),
                opening,
                time,
                verdict: Verdict::Error,
                reason: Some(Ended::Crashed.label()),
                model_served: None,
                status: 0,
                first_token: None,
                response_bytes: 0,
                usage: Usage::default(),
                advisors: Vec::new(),
                cost: None,
                ended: Ended::Crashed,
                policies: Vec::new(),
                thresholds: Vec::new(),
            };
            self.held.give_back(number);
            drop(self.queue(Record::Closed(Box::new(closing))).await);
        }
        count
    }

    fn opening(&self, event: &Event) -> Arc<Opening> {
        let catalog = self.held.catalog.load();
        let find = |model: &str| catalog.prices.find(event.provider.as_deref()?, model, event.started_at).cloned();
        let price = [&event.model_served, &event.model_requested].into_iter().flatten().find_map(|model| find(model));
        let known = self.held.key(&event.key.id);
        let metrics = self.journal.metrics();
        let series = known.map(|known| known.key.state.series());
        let series = series.unwrap_or_else(|| metrics.key_series(&event.key.name, event.team.as_deref()));
        Arc::new(event.opening(series, price))
    }

    async fn queue(&self, record: Record) -> oneshot::Receiver<()> {
        loop {
            match self.journal.reserve() {
                Ok(slot) => return slot.write_through(record),
                Err(Full) => sleep(FULL_PAUSE).await,
            }
        }
    }
}
