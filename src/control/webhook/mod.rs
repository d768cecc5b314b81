//! Durable events → the operator's receiver, each at least once and in their order.
//!
//! The sink follows the log like any follower, so it holds up nobody and needs no memory but one delivery's: what the
//! receiver does not take stays in the log. Where it is, is kept (`checkpoint.rs`) after each delivery. A delivery that
//! fails is tried again, ever more slowly; after `give_up_after` it is given up, counted and named in the process's log,
//! because a receiver that cannot take one delivery shall get the next.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::catalog::{CurrentCatalog, Webhook};
use crate::journal::Metrics;

use super::now;
use super::store::{EventFilter, EventOrder, EventPage, EventQuery, EventStore};
use checkpoint::Checkpoint;
use delivery::{Delivery, Failure, Postman};

mod checkpoint; // how far the receiver has been told
mod delivery; // some events as one signed POST

/// The most events of one delivery.
const EVENTS_MAX: usize = 500;
/// How long events gather before they are delivered.
const GATHER: Duration = Duration::from_millis(200);
/// The pauses between attempts: doubled from the first to the last.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(500);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often the sink looks whether the configuration has changed.
const LOOK: Duration = Duration::from_millis(500);

/// What delivers.
pub(super) struct Sink {
    pub(super) catalog: Arc<CurrentCatalog>,
    pub(super) events: Arc<dyn EventStore>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) gateway: Arc<str>,
    pub(super) data_dir: PathBuf,
    /// Closed when the ledger has ended.
    pub(super) ledger: watch::Receiver<()>,
}

/// What a sink that has a receiver knows.
struct Run {
    sink: Sink,
    postman: Postman,
    checkpoint: Checkpoint,
    is_failing: bool,
}

impl Sink {
    /// Delivers until the ledger has ended. What is not delivered by then, the next process delivers.
    pub(super) async fn run(self, mut tip: watch::Receiver<i64>) {
        // Without a receiver there is nothing to remember.
        while self.webhook().is_none() {
            if self.is_ended(LOOK).await {
                return;
            }
        }
        let checkpoint = loop {
            let reached = *tip.borrow();
            match Checkpoint::load(&self.data_dir, reached).await {
                Ok(checkpoint) => break checkpoint,
                Err(error) => log::error!(
                    "failed to read or write webhook.json, trying again (without it, events are sent from now on): {error}"
                ),
            }
            if self.is_ended(RETRY_PAUSE_MAX).await {
                return;
            }
        };
        let mut run = Run { sink: self, postman: Postman::new(), checkpoint, is_failing: false };
        while !run.sink.is_ended(Duration::ZERO).await {
            if run.sink.webhook().is_none() {
                run.sink.metrics.webhook_behind(0);
                sleep(LOOK).await;
                continue;
            }
            // Looked up after the wait: a receiver that was taken out meanwhile gets nothing more.
            if run.has_grown(&mut tip).await
                && let Some(webhook) = run.sink.webhook()
            {
                run.deliver(webhook, &mut tip).await;
            }
        }
    }

    /// Waits; true as soon as the ledger has ended.
    async fn is_ended(&self, pause: Duration) -> bool {
        timeout(pause, self.ledger.clone().changed()).await.is_ok()
    }

    fn webhook(&self) -> Option<Arc<Webhook>> {
        self.catalog.load().settings.webhook.clone()
    }
}

impl Run {
    /// Waits a while for something to deliver.
    async fn has_grown(&mut self, tip: &mut watch::Receiver<i64>) -> bool {
        let told = self.checkpoint.seq;
        self.tell_behind(tip);
        if *tip.borrow() > told {
            return true;
        }
        let has_grown = matches!(timeout(LOOK, tip.wait_for(|&tip| tip > told)).await, Ok(Ok(_)));
        if has_grown {
            sleep(GATHER).await;
        }
        has_grown
    }

    fn tell_behind(&self, tip: &watch::Receiver<i64>) {
        self.sink.metrics.webhook_behind(*tip.borrow() - self.checkpoint.seq);
    }

    /// Delivers what comes next, or gives it up.
    async fn deliver(&mut self, webhook: Arc<Webhook>, tip: &mut watch::Receiver<i64>) {
        let Some((page, delivery)) = self.next().await else {
            sleep(RETRY_PAUSE_MIN).await;
            return;
        };
        let (first, count) = (page.events.first().map_or(0, |event| event.seq), page.events.len() as u64);
        // Retention was faster than the receiver.
        let removed = (first - self.checkpoint.seq - 1).max(0);
        if removed > 0 {
            self.sink.metrics.webhook_ended("removed", removed.unsigned_abs());
            log::error!("{removed} events before {first} were removed by retention before the webhook took them");
        }
        let Some(end) = self.insist(webhook, &delivery, tip, (first, page.reached)).await else { return };
        self.sink.metrics.webhook_ended(end, count);
        if let Err(error) = self.checkpoint.move_to(page.reached).await {
            log::error!("failed to write webhook.json; a restart would deliver some events again: {error}");
        }
        self.tell_behind(tip);
    }

    /// The events after the checkpoint, as one delivery.
    async fn next(&mut self) -> Option<(EventPage, Delivery)> {
        let order = EventOrder::OldestFirst { after: self.checkpoint.seq };
        let query = EventQuery { filter: EventFilter::default(), order, limit: EVENTS_MAX };
        let page = self.sink.events.events(query).await;
        let page = page.inspect_err(|error| log::error!("failed to read events for the webhook: {error}")).ok()?;
        if page.events.is_empty() {
            return None;
        }
        let delivery = Delivery::new(&self.sink.gateway, &page.events, now()).ok()?;
        Some((page, delivery))
    }

    /// Tries until the receiver has taken it or it is given up; `None` if the ledger ended, or the configuration names no
    /// receiver any more.
    async fn insist(
        &mut self,
        mut webhook: Arc<Webhook>,
        delivery: &Delivery,
        tip: &mut watch::Receiver<i64>,
        (first, last): (i64, i64),
    ) -> Option<&'static str> {
        let begun = Instant::now();
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            let tried = self.postman.post(&webhook, delivery, now()).await;
            let Err(failure) = self.told(&webhook, tried) else { return Some("delivered") };
            if begun.elapsed() + pause > webhook.give_up_after {
                log::error!("the webhook did not take events {first} to {last} ({failure}): they are given up");
                return Some("given_up");
            }
            self.tell_behind(tip);
            let paused = Instant::now();
            while paused.elapsed() < pause {
                if self.sink.is_ended(LOOK.min(pause.saturating_sub(paused.elapsed()))).await {
                    return None;
                }
                let present = self.sink.webhook()?;
                if !Arc::ptr_eq(&present, &webhook) {
                    // Perhaps it was mended.
                    webhook = present;
                    break;
                }
            }
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// Counts an attempt, and says once that something fails and once that it does no more.
    fn told(&mut self, webhook: &Webhook, tried: Result<(), Failure>) -> Result<(), Failure> {
        let attempt = match &tried {
            Ok(()) => "taken",
            Err(Failure::Refused(_)) => "refused",
            Err(Failure::Unreachable(_)) => "unreachable",
        };
        self.sink.metrics.webhook_attempted(attempt);
        match (&tried, std::mem::replace(&mut self.is_failing, tried.is_err())) {
            (Err(failure), false) => {
                log::error!("failed to deliver events to {}, trying again: {failure}", webhook.url);
            }
            (Ok(()), true) => log::info!("events are being delivered to {} again", webhook.url),
            _ => {}
        }
        tried
    }
}
