//! 9 Write it down: one [`Entry`] when a request is judged, one [`Book`] that is closed when it has ended.
//!
//! Both hold their place in the journal from the beginning and write themselves when dropped, because
//! Pingora's `logging` is skipped when a task is dropped: no way of ending leaves a request unrecorded.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use crate::catalog::{Credential, Crossing, Moment};
use crate::domain::{Advisor, Cost, Ended, NanoUsd, PriceTable, Spending, Usage, Verdict};
use crate::journal::{
    Closing, EventNumber, Journal, KeyIdentity, Metrics, Opening, Record, Refused, Reserved, Slot, Threshold,
};
use crate::policy::{Action, Hit};

use super::admit::Taken;
use super::journey::Facts;
use super::refusal::Refusal;

/// The status recorded when the caller left before it got one.
pub const CLIENT_CLOSED_STATUS: u16 = 499;

/// The record of a request that is being judged.
pub struct Entry {
    pub facts: Facts,
    slot: Option<Slot>,
}

impl Entry {
    pub fn new(facts: Facts, slot: Slot) -> Self {
        Self { facts, slot: Some(slot) }
    }

    /// Records that the request was refused.
    pub fn refuse(mut self, refusal: &Refusal) {
        let row = refusal.row();
        self.write(refusal.verdict(), Some(Refused { code: row.code, status: row.status.as_u16() }));
    }

    fn write(&mut self, verdict: Verdict, refusal: Option<Refused>) {
        let (opening, slot) = self.close(verdict, refusal);
        if let Some(slot) = slot {
            slot.write(Record::Opened(opening));
        }
    }

    fn close(&mut self, verdict: Verdict, refusal: Option<Refused>) -> (Arc<Opening>, Option<Slot>) {
        let taken = self.facts.started.elapsed();
        let overhead = refusal.is_none().then(|| taken.saturating_sub(self.facts.waited));
        let opening = Arc::new(self.facts.opening(verdict, refusal, overhead, taken));
        (opening, self.slot.take())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.slot.is_some() {
            self.write(
                Verdict::Error,
                Some(Refused { code: Ended::ClientClosed.label(), status: CLIENT_CLOSED_STATUS }),
            );
        }
    }
}

/// A request that is nobody's, or a key's that may not be used. Recorded, as far as it can be, when this is dropped: that
/// is when its caller has been told, so that how long the answer takes does not tell a key that was revoked from one that
/// nobody ever had.
pub struct Barred {
    journal: Journal,
    refusal: Refusal,
    /// Of a request whose key is known.
    facts: Option<Facts>,
}

impl Barred {
    pub fn new(journal: Journal, refusal: Refusal, facts: Option<Facts>) -> Box<Self> {
        Box::new(Self { journal, refusal, facts })
    }

    pub fn refusal(&self) -> &Refusal {
        &self.refusal
    }
}

impl Drop for Barred {
    fn drop(&mut self) {
        let metrics = self.journal.metrics();
        match self.facts.take().map(|facts| (facts, self.journal.reserve())) {
            Some((facts, Ok(slot))) => Entry::new(facts, slot).refuse(&self.refusal),
            Some((_, Err(_full))) => metrics.journal_dropped(1),
            None => metrics.stranger_refused(self.refusal.row().code),
        }
    }
}

impl Facts {
    /// The record of the request, `taken` after it arrived.
    fn opening(
        &self,
        verdict: Verdict,
        refusal: Option<Refused>,
        overhead: Option<Duration>,
        taken: Duration,
    ) -> Opening {
        let key = &self.credential.key;
        Opening {
            request_id: self.request_id.clone(),
            started_at: self.started_at,
            time: self.started_at.saturating_add(taken),
            verdict,
            refusal,
            key: KeyIdentity { id: key.id.clone(), name: key.name.clone(), series: key.state.series() },
            team: key.team.as_ref().map(|team| team.name.clone()),
            organization: self.organization.clone(),
            credential: self.kind,
            fingerprint: self.fingerprint.clone(),
            provider: self.provider.clone(),
            endpoint: self.endpoint,
            dialect: self.dialect.label(),
            model_requested: self.model.clone(),
            price: self.price.clone(),
            client: self.client,
            address: self.address,
            stream: self.stream,
            request_bytes: self.request_bytes,
            policies: self.policies.clone(),
            overhead,
            number: EventNumber::default(),
            reserved: Reserved::default(),
        }
    }
}

/// What a request, or an answer, is to whoever let it pass.
pub fn verdict(hits: &[Hit]) -> Verdict {
    let is_redacted = hits.iter().any(|hit| hit.action == Action::Redact);
    if is_redacted { Verdict::Redact } else { Verdict::Pass }
}

/// The books of one admitted request: open until it has ended, closed exactly once.
pub struct Book {
    opening: Arc<Opening>,
    credential: Credential,
    started: Instant,
    prices: Arc<PriceTable>,
    slot: Option<Slot>,
    /// What it holds of limits, if any concern it.
    taken: Option<Taken>,
}

/// What an admitted request came to.
#[derive(Debug)]
pub struct Receipt {
    pub verdict: Verdict,
    pub reason: Option<&'static str>,
    pub status: u16,
    pub ended: Ended,
    pub model_served: Option<Arc<str>>,
    pub first_token: Option<Duration>,
    pub response_bytes: u64,
    pub usage: Usage,
    pub advisors: Vec<Advisor>,
    pub cost: Option<Cost>,
    /// The policies that found something in the answer.
    pub policies: Vec<Hit>,
}

impl Book {
    /// Records that the request was admitted; `slot` is for what it will come to. With `through`, also tells when that
    /// is on disk.
    pub fn open(
        mut entry: Entry,
        mut slot: Slot,
        prices: Arc<PriceTable>,
        taken: Option<Taken>,
        through: bool,
    ) -> (Self, Option<oneshot::Receiver<()>>) {
        let (opening, first) = entry.close(verdict(&entry.facts.policies), None);
        if let Some(hold) = taken.as_ref().map(Taken::hold) {
            opening.reserved.set(hold.reserved());
            hold.number().into_iter().for_each(|number| opening.number.set(number));
        }
        let mut on_disk = None;
        if let Some(mut first) = first {
            // A request is recorded with both of its events or with none.
            if !(first.holds() && slot.holds()) {
                (first, slot) = (first.forgo(), slot.forgo());
            }
            let record = Record::Opened(opening.clone());
            match through {
                true => on_disk = Some(first.write_through(record)),
                false => first.write(record),
            }
        }
        let Facts { started, ref credential, .. } = entry.facts;
        let book = Self { opening, credential: credential.clone(), started, prices, slot: Some(slot), taken };
        (book, on_disk)
    }

    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// What the caller showed; its standing is asked for as long as the answer runs.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    pub fn prices(&self) -> &Arc<PriceTable> {
        &self.prices
    }

    /// Whether a budget can refuse what the request spends.
    pub fn has_hard_budget(&self) -> bool {
        self.taken.as_ref().is_some_and(|taken| taken.hold().has_hard_budget())
    }

    /// Makes sure that its budgets have room for what it has spent so far; `false` if one has not.
    pub fn cover(&mut self, spending: Spending) -> bool {
        let Some(taken) = &mut self.taken else { return true };
        let is_covered = taken.cover(spending, self.opening.number.get());
        self.opening.reserved.set(taken.hold().reserved());
        is_covered
    }

    /// What it holds of limits, if any concern it.
    pub fn taken(&self) -> Option<&Taken> {
        self.taken.as_ref()
    }

    /// When the request arrived.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Records the end of the request.
    pub fn close(mut self, receipt: Receipt) {
        self.write(receipt);
    }

    fn write(&mut self, receipt: Receipt) {
        let Some(slot) = self.slot.take() else { return };
        let Receipt {
            verdict,
            reason,
            status,
            ended,
            model_served,
            first_token,
            response_bytes,
            usage,
            advisors,
            cost,
            policies,
        } = receipt;
        let mut thresholds = Vec::new();
        let (instant, time) = (Instant::now(), SystemTime::now().into());
        // Before the record: whoever has seen the end of a request finds nothing held by it.
        if let Some(taken) = self.taken.take() {
            let model = self.opening.model_requested.as_deref();
            let amount = cost.as_ref().map_or(NanoUsd(0), |cost| cost.amount);
            let crossings = taken.settle(&self.credential, model, &usage, amount, Moment::of(instant, time));
            thresholds.extend(crossings.into_iter().map(|crossing| tell(crossing, slot.metrics())));
        }
        slot.write(Record::Closed(Box::new(Closing {
            opening: self.opening.clone(),
            time,
            verdict,
            reason,
            model_served,
            status,
            first_token,
            duration: instant.saturating_duration_since(self.started),
            response_bytes,
            usage,
            advisors,
            cost,
            ended,
            policies,
            thresholds,
        })));
    }
}

/// A share of a budget was spent: once for each share and window. What the record says of it.
fn tell(crossing: Crossing, metrics: &Metrics) -> Threshold {
    let Crossing { scope, name, budget, model, threshold: percent } = crossing;
    let (scope, budget) = (scope.label(), budget.to_string());
    metrics.budget_threshold_passed(scope, &name, &budget, percent);
    let models = model.as_ref().map(|model| format!(" for models {model}")).unwrap_or_default();
    log::warn!("{percent} % of the budget {budget}{models} of the {scope} {name} is spent");
    Threshold { scope, name, budget, model, percent }
}

impl Receipt {
    /// For a request that ended without any use of a provider.
    pub fn unused(verdict: Verdict, reason: Option<&'static str>, status: u16, ended: Ended) -> Self {
        Self {
            verdict,
            reason,
            status,
            ended,
            model_served: None,
            first_token: None,
            response_bytes: 0,
            usage: Usage::default(),
            advisors: Vec::new(),
            cost: None,
            policies: Vec::new(),
        }
    }
}

/// A book that nobody closed belonged to a task that was dropped with the request running.
impl Drop for Book {
    fn drop(&mut self) {
        self.write(Receipt::unused(
            Verdict::Error,
            Some(Ended::Shutdown.label()),
            CLIENT_CLOSED_STATUS,
            Ended::Shutdown,
        ));
    }
}
