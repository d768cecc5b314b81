//! How the tightest limits on requests and tokens stand.

use std::time::Duration;

use super::super::meters::{Gauge, Meter};

/// How the tightest limits on requests and tokens stand: for an answer's headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    pub requests: Option<Bucket>,
    pub tokens: Option<Bucket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub limit: u64,
    pub remaining: u64,
    pub reset: Duration,
}

impl Binding {
    pub(in crate::catalog::limits) fn of<'a>(meters: impl Iterator<Item = &'a Meter>, nanos: u64) -> Self {
        let mut binding = Self::default();
        for meter in meters {
            let (place, limit, pace, rate) = match &meter.gauge {
                Gauge::Requests(limit, pace, rate) => (&mut binding.requests, *limit, pace, rate),
                Gauge::Tokens(_, limit, pace, rate) => (&mut binding.tokens, *limit, pace, rate),
                Gauge::Slots(..) | Gauge::Budget(..) => continue,
            };
            let level = rate.level(nanos);
            let bucket = Bucket { limit, remaining: pace.left(level), reset: Duration::from_nanos(level) };
            if place.is_none_or(|tightest| bucket.remaining < tightest.remaining) {
                *place = Some(bucket);
            }
        }
        binding
    }
}
