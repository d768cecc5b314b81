//! The facts of one request: what was known when it was judged, and what it came to.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::{Advisor, Cost, Ended, ModelPrice, NanoUsd, Spending, Timestamp, Usage, Verdict};
use crate::policy::Hit;

use super::{Credential, KeySeries};

/// What the journal is told about a request: once when it has been judged and, if it was admitted, once
/// more when it has ended. Events and metrics are both made from this and from nothing else.
#[derive(Clone, Debug)]
pub enum Record {
    Opened(Arc<Opening>),
    Closed(Box<Closing>),
}

/// What is known of a request when it is admitted or refused.
#[derive(Clone, Debug)]
pub struct Opening {
    pub request_id: Arc<str>,
    pub started_at: Timestamp,
    /// When the verdict fell.
    pub time: Timestamp,
    pub verdict: Verdict,
    pub refusal: Option<Refused>,
    pub key: KeyIdentity,
    pub team: Option<Arc<str>>,
    pub organization: Arc<str>,
    pub credential: Credential,
    pub fingerprint: Option<Arc<str>>,
    pub provider: Option<Arc<str>>,
    pub endpoint: &'static str,
    pub dialect: &'static str,
    pub model_requested: Option<Arc<str>>,
    /// The model's row in the price table, which is also its name in metrics.
    pub price: Option<Arc<ModelPrice>>,
    pub client: &'static str,
    pub address: Option<IpAddr>,
    pub stream: bool,
    pub request_bytes: u64,
    /// The policies that found something in what was asked.
    pub policies: Vec<Hit>,
    /// What the gateway itself added before the upstream was asked; `None` if it never was.
    pub overhead: Option<Duration>,
    pub number: EventNumber,
    pub reserved: Reserved,
}

/// The number the request's INPUT event got in the log: filled in by whoever writes it down, so that the OUTPUT event
/// can name it.
#[derive(Debug, Default)]
pub struct EventNumber(AtomicI64);

/// What the request may still spend of budgets, if limits concern it: for a process that goes on counting where this one
/// stops.
#[derive(Debug, Default)]
pub struct Reserved {
    is_limited: AtomicBool,
    money: AtomicU64,
    tokens: AtomicU64,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// One of the refusal codes users may rely on.
    pub code: &'static str,
    pub status: u16,
}

/// Which key a request is attributed to.
#[derive(Clone, Debug)]
pub struct KeyIdentity {
    pub id: Arc<str>,
    pub name: Arc<str>,
    pub series: Arc<KeySeries>,
}

/// What an admitted request came to.
#[derive(Clone, Debug)]
pub struct Closing {
    pub opening: Arc<Opening>,
    pub time: Timestamp,
    pub verdict: Verdict,
    pub reason: Option<&'static str>,
    pub model_served: Option<Arc<str>>,
    /// The status the caller got; 0 if it got none.
    pub status: u16,
    pub first_token: Option<Duration>,
    pub duration: Duration,
    pub response_bytes: u64,
    pub usage: Usage,
    /// Other models that were asked for the answer; what they used is part of `usage`.
    pub advisors: Vec<Advisor>,
    /// `None` if the price table does not know the model.
    pub cost: Option<Cost>,
    pub ended: Ended,
    /// The policies that found something in the answer.
    pub policies: Vec<Hit>,
    /// Shares of budgets of which the request spent the last part.
    pub thresholds: Vec<Threshold>,
}

/// A share of a budget has been spent, which is told once in each of its windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// `key`, `team` or `organization`, and which.
    pub scope: &'static str,
    pub name: Arc<str>,
    /// As it is written: `50usd/month`.
    pub budget: String,
    /// The models it is for; `None` for all.
    pub model: Option<String>,
    pub percent: u8,
}

impl EventNumber {
    /// The number, once the event has one.
    pub fn get(&self) -> Option<i64> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            seq => Some(seq),
        }
    }

    pub fn set(&self, seq: i64) {
        self.0.store(seq, Ordering::Relaxed);
    }
}

impl Reserved {
    /// What is reserved; `None` where no limit concerns the request.
    pub fn get(&self) -> Option<Spending> {
        let spending = || Spending {
            money: NanoUsd(self.money.load(Ordering::Relaxed)),
            tokens: self.tokens.load(Ordering::Relaxed),
        };
        self.is_limited.load(Ordering::Acquire).then(spending)
    }

    pub fn set(&self, spending: Spending) {
        self.money.store(spending.money.0, Ordering::Relaxed);
        self.tokens.store(spending.tokens, Ordering::Relaxed);
        self.is_limited.store(true, Ordering::Release);
    }
}

impl Clone for Reserved {
    fn clone(&self) -> Self {
        let copy = Self::default();
        if let Some(spending) = self.get() {
            copy.set(spending);
        }
        copy
    }
}

impl Clone for EventNumber {
    fn clone(&self) -> Self {
        Self(AtomicI64::new(self.0.load(Ordering::Relaxed)))
    }
}
