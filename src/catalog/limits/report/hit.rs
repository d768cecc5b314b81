//! The limit that refuses a request, and when it would not.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::catalog::Scope;

use super::super::meters::{Gauge, Meter};
use super::super::purse::Short;
use super::super::rate::TooFast;
use super::{Binding, Bucket, Demand, Moment, Named, Scopes, Standing, Unit};

/// A limit that refuses a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    pub standing: Standing,
    /// How much of it the request asked for.
    pub asked: u64,
    pub wait: Wait,
}

/// When the same request would be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait {
    /// Never: it asks for more than there is even when nothing is used up.
    Never,
    /// When the budget's window ends.
    Window,
    /// When a running request has ended.
    Running,
    For(Duration),
}

impl Hit {
    pub(in crate::catalog::limits) fn at(
        scopes: Scopes<'_>,
        scope: Scope,
        meter: &Meter,
        demand: &Demand<'_>,
        now: Moment,
    ) -> Self {
        let standing = meter.standing(scope, &scopes.name(scope), now);
        let wait = |too_fast: Result<(), TooFast>| match too_fast {
            Ok(()) => Wait::For(Duration::ZERO),
            Err(TooFast::Wait(nanos)) => Wait::For(Duration::from_nanos(nanos)),
            Err(TooFast::Never) => Wait::Never,
        };
        let (asked, wait) = match &meter.gauge {
            Gauge::Slots(..) => (1, Wait::Running),
            Gauge::Requests(_, pace, rate) => (1, wait(rate.fits(*pace, 1, now.nanos))),
            Gauge::Tokens(kind, _, pace, rate) => {
                let asked = kind.of(demand);
                (asked, wait(rate.fits(*pace, asked, now.nanos)))
            }
            Gauge::Budget(budget, purse) => {
                let asked = budget.part_of(demand.bound);
                let wait = match purse.fits(budget, asked, now.wall) {
                    _ if asked > budget.allowance.units() => Wait::Never,
                    Err(Short::Spent) => Wait::Window,
                    Err(Short::Reserved) | Ok(()) => Wait::Running,
                };
                (asked, wait)
            }
        };
        Self { standing, asked, wait }
    }

    /// The code of the refusal.
    pub fn code(&self) -> &'static str {
        match (self.standing.named, self.passes()) {
            (Named::Budget, false) => "budget_exceeded",
            (Named::Budget, true) => "budget_reserved",
            (Named::Requests, _) => "requests_limited",
            (Named::Concurrency, _) => "concurrency_limited",
            _ => "tokens_limited",
        }
    }

    /// Whether it passes by itself, and soon: what needs a smaller request, or more budget, does not.
    pub fn passes(&self) -> bool {
        matches!(self.wait, Wait::For(_) | Wait::Running)
    }

    /// How the limit stands, for the headers of the refusal.
    pub fn binding(&self) -> Binding {
        let Standing { max, remaining, resets_in, .. } = self.standing;
        let bucket = resets_in.map(|reset| Bucket { limit: max, remaining, reset });
        match self.standing.named {
            Named::Requests => Binding { requests: bucket, tokens: None },
            Named::Tokens | Named::InputTokens | Named::OutputTokens => Binding { requests: None, tokens: bucket },
            _ => Binding::default(),
        }
    }

    /// A hit to show what a refusal by such a limit is like.
    pub fn example(named: Named, wait: Wait) -> Self {
        let unit = if named == Named::Concurrency || named == Named::Requests { Unit::Requests } else { Unit::Tokens };
        Self { standing: Standing::untouched(Scope::Key, &"example".into(), None, named, unit, 1), asked: 1, wait }
    }

    /// How long a caller would have to wait: what nobody can wait for weighs most.
    pub(super) fn weight(&self) -> (u8, Duration) {
        match self.wait {
            Wait::Running => (0, Duration::ZERO),
            Wait::For(wait) => (1, wait),
            Wait::Window => (2, self.standing.resets_in.unwrap_or(Duration::MAX)),
            Wait::Never => (3, Duration::ZERO),
        }
    }
}
