//! How much is left, for whoever asks: the holder of a key, the operator, the metrics, a refusal. All of them are
//! told the same figures, because there is one function that reads them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::catalog::Scope;
use crate::domain::{Allowance, Bounds, Count, Timestamp, Window};

use super::meters::{Gauge, Kind, Meter};
use super::purse::Short;
use super::rate::{Pace, Rate, TooFast};
use super::{Demand, Moment, Scopes};

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Named {
    Requests,
    Tokens,
    InputTokens,
    OutputTokens,
    Concurrency,
    BodyBytes,
    OutputTokensEach,
    Budget,
}

/// What a limit's figures count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    Requests,
    Tokens,
    Bytes,
    /// Figures are nano-USD.
    Money,
}

/// How one limit stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub scope: Scope,
    /// Who has the limit: the name of the key, the team or the organization.
    pub name: Arc<str>,
    pub named: Named,
    /// The limit as it is written, such as `rpm` or `50usd/month`.
    pub text: String,
    /// For requests of which models; `None` for all.
    pub model: Option<String>,
    pub unit: Unit,
    pub max: u64,
    /// How much there can be left at most: less than `max` where a burst is smaller than a minute's requests.
    pub room: u64,
    pub remaining: u64,
    /// What running requests may still spend of a budget.
    pub reserved: u64,
    /// How long until all of it is there again; `None` where time alone brings nothing back.
    pub resets_in: Option<Duration>,
    pub resets_at: Option<Timestamp>,
    /// A soft budget refuses nothing.
    pub hard: bool,
}

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

/// A limit as the admin API and `GET /keeptrusts/me` show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitDocument {
    /// Who sets it: key, team or organization.
    pub scope: String,
    pub name: String,
    /// `rpm`, `tpm`, `concurrency`, …; of a budget, the budget itself, such as `50usd/month`.
    pub limit: String,
    pub model: Option<String>,
    /// requests, tokens, bytes or usd.
    pub unit: String,
    pub max: f64,
    pub remaining: f64,
    /// What running requests may still spend of a budget.
    pub reserved: f64,
    pub utilization: f64,
    pub resets_in_seconds: Option<f64>,
    pub resets_at: Option<Timestamp>,
    pub hard: bool,
}

/// The limit that would refuse what `demand` asks for; of several, the one that would do so for longest.
pub fn check(scopes: Scopes<'_>, demand: &Demand<'_>, now: Moment) -> Option<Hit> {
    let mut worst: Option<Hit> = None;
    for (scope, quota) in scopes.each() {
        let Some(meters) = quota.map(|quota| quota.0.load()) else { continue };
        let Some(meters) = &*meters else { continue };
        let refusing = meters.of(demand.model).filter(|(_, meter)| !meter.fits(demand, now));
        for (_, meter) in refusing {
            let hit = Hit::at(scopes, scope, meter, demand, now);
            if worst.as_ref().is_none_or(|worst| worst.weight() < hit.weight()) {
                worst = Some(hit);
            }
        }
    }
    worst
}

/// Every limit that concerns a key, from its own to the organization's.
pub fn standings(scopes: Scopes<'_>, now: Moment) -> Vec<Standing> {
    let of_scope = |(scope, quota): (Scope, Option<&super::Quota>)| {
        let Some(meters) = quota.and_then(|quota| quota.0.load_full()) else { return Vec::new() };
        let name = scopes.name(scope);
        meters.standings(scope, &name, now)
    };
    scopes.each().into_iter().flat_map(of_scope).collect()
}

/// The tightest of the limits that nothing is counted for, and who sets it.
pub fn tightest(
    scopes: Scopes<'_>,
    model: Option<&str>,
    of: impl Fn(&Bounds) -> Option<Count>,
) -> Option<(u64, Scope)> {
    let bounds = scopes.each().into_iter().filter_map(|(scope, quota)| {
        let meters = quota?.0.load();
        Some((meters.as_ref()?.bound(model, &of)?, scope))
    });
    bounds.min_by_key(|(bound, _)| *bound)
}

impl super::Meters {
    /// How each limit stands, of the scope with this `name`.
    pub fn standings(&self, scope: Scope, name: &Arc<str>, now: Moment) -> Vec<Standing> {
        let counted = self.iter().map(|meter| meter.standing(scope, name, now));
        counted.chain(self.bounds(scope, name)).collect()
    }

    /// The limits that hold for each request by itself.
    fn bounds(&self, scope: Scope, name: &Arc<str>) -> Vec<Standing> {
        let limits = self.limits();
        let named = limits.models.iter().map(|(model, bounds)| (Some(model.to_string()), bounds));
        let each = std::iter::once((None, &limits.all)).chain(named).flat_map(|(model, bounds)| {
            let sorts = [
                (Named::BodyBytes, Unit::Bytes, bounds.body_bytes_max),
                (Named::OutputTokensEach, Unit::Tokens, bounds.output_tokens_max),
            ];
            sorts.into_iter().filter_map(move |(named, unit, bound)| Some((model.clone(), named, unit, bound?.get())))
        });
        let untouched = |(model, named, unit, max)| Standing::untouched(scope, name, model, named, unit, max);
        each.map(untouched).collect()
    }
}

impl Meter {
    fn standing(&self, scope: Scope, name: &Arc<str>, now: Moment) -> Standing {
        let model = self.model.as_ref().map(ToString::to_string);
        let plain = |named, unit, max| Standing::untouched(scope, name, model.clone(), named, unit, max);
        let bucket = |plain: Standing, pace: &Pace, rate: &Rate| {
            let level = rate.level(now.nanos);
            let resets_in = Duration::from_nanos(level);
            let resets_at = Some(now.wall.saturating_add(resets_in));
            Standing { room: pace.room(), remaining: pace.left(level), resets_in: Some(resets_in), resets_at, ..plain }
        };
        match &self.gauge {
            Gauge::Slots(max, slots) => {
                let plain = plain(Named::Concurrency, Unit::Requests, *max);
                Standing { remaining: max.saturating_sub(slots.taken()), ..plain }
            }
            Gauge::Requests(max, pace, rate) => bucket(plain(Named::Requests, Unit::Requests, *max), pace, rate),
            Gauge::Tokens(kind, max, pace, rate) => bucket(plain(Named::tokens(*kind), Unit::Tokens, *max), pace, rate),
            Gauge::Budget(budget, purse) => {
                let unit = match budget.allowance {
                    Allowance::Money(_) => Unit::Money,
                    Allowance::Tokens(_) => Unit::Tokens,
                };
                let max = budget.allowance.units();
                let contents = purse.contents(budget, now.wall);
                let end = (contents.window != Window::EVER).then_some(contents.window.end);
                Standing {
                    text: budget.to_string(),
                    remaining: max.saturating_sub(contents.spent),
                    reserved: contents.reserved,
                    resets_in: end.map(|end| end.since(now.wall)),
                    resets_at: end,
                    hard: budget.hard,
                    ..plain(Named::Budget, unit, max)
                }
            }
        }
    }
}

impl Hit {
    pub(super) fn at(scopes: Scopes<'_>, scope: Scope, meter: &Meter, demand: &Demand<'_>, now: Moment) -> Self {
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
    fn weight(&self) -> (u8, Duration) {
        match self.wait {
            Wait::Running => (0, Duration::ZERO),
            Wait::For(wait) => (1, wait),
            Wait::Window => (2, self.standing.resets_in.unwrap_or(Duration::MAX)),
            Wait::Never => (3, Duration::ZERO),
        }
    }
}

impl Binding {
    pub(super) fn of<'a>(meters: impl Iterator<Item = &'a Meter>, nanos: u64) -> Self {
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

impl Named {
    pub const ALL: [Self; 8] = [
        Self::Requests,
        Self::Tokens,
        Self::InputTokens,
        Self::OutputTokens,
        Self::Concurrency,
        Self::BodyBytes,
        Self::OutputTokensEach,
        Self::Budget,
    ];

    /// The setting's name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Requests => "rpm",
            Self::Tokens => "tpm",
            Self::InputTokens => "input_tpm",
            Self::OutputTokens => "output_tpm",
            Self::Concurrency => "concurrency",
            Self::BodyBytes => "body_bytes_max",
            Self::OutputTokensEach => "output_tokens_max",
            Self::Budget => "budget",
        }
    }

    fn tokens(kind: Kind) -> Self {
        match kind {
            Kind::All => Self::Tokens,
            Kind::Input => Self::InputTokens,
            Kind::Output => Self::OutputTokens,
        }
    }
}

impl Unit {
    pub fn label(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Bytes => "bytes",
            Self::Money => "usd",
        }
    }

    /// A figure in this unit, money in dollars.
    pub fn figure(self, figure: u64) -> f64 {
        match self {
            Self::Money => figure as f64 / 1e9,
            Self::Requests | Self::Tokens | Self::Bytes => figure as f64,
        }
    }
}

impl Standing {
    /// A limit of which nothing is used up.
    fn untouched(scope: Scope, name: &Arc<str>, model: Option<String>, named: Named, unit: Unit, max: u64) -> Self {
        let (name, text) = (name.clone(), named.label().into());
        let (room, remaining, reserved, hard) = (max, max, 0, true);
        let (resets_in, resets_at) = (None, None);
        Self { scope, name, named, text, model, unit, max, room, remaining, reserved, resets_in, resets_at, hard }
    }

    /// How much of it is used up, from 0 to 1.
    pub fn utilization(&self) -> f64 {
        1.0 - self.remaining as f64 / self.room.max(1) as f64
    }

    /// Whether anything of it can be used up.
    pub fn is_counted(&self) -> bool {
        !matches!(self.named, Named::BodyBytes | Named::OutputTokensEach)
    }

    /// The limit with the models it is for, as metrics name it.
    pub fn label(&self) -> String {
        match &self.model {
            Some(model) => format!("{} {model}", self.text),
            None => self.text.clone(),
        }
    }
}

impl From<&Standing> for LimitDocument {
    fn from(standing: &Standing) -> Self {
        let figure = |figure| standing.unit.figure(figure);
        Self {
            scope: standing.scope.label().into(),
            name: standing.name.to_string(),
            limit: standing.text.clone(),
            model: standing.model.clone(),
            unit: standing.unit.label().into(),
            max: figure(standing.max),
            remaining: figure(standing.remaining),
            reserved: figure(standing.reserved),
            utilization: standing.utilization(),
            resets_in_seconds: standing.resets_in.map(|time| time.as_secs_f64()),
            resets_at: standing.resets_at,
            hard: standing.hard,
        }
    }
}

/// `the team's limit of 60 requests a minute for models gpt-*`.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, max, text, .. } = self;
        let whose = match scope {
            Scope::Key => "this key's".into(),
            Scope::Team => format!("the team {}'s", self.name),
            Scope::Organization => "the organization's".to_owned(),
        };
        match self.named {
            Named::Requests => write!(f, "{whose} limit of {max} requests a minute"),
            Named::Tokens => write!(f, "{whose} limit of {max} tokens a minute"),
            Named::InputTokens => write!(f, "{whose} limit of {max} input tokens a minute"),
            Named::OutputTokens => write!(f, "{whose} limit of {max} output tokens a minute"),
            Named::Concurrency => write!(f, "{whose} limit of {max} requests at the same time"),
            Named::BodyBytes => write!(f, "{whose} limit of {max} bytes for a request's body"),
            Named::OutputTokensEach => write!(f, "{whose} limit of {max} output tokens for a request"),
            Named::Budget => write!(f, "{whose} budget of {text}"),
        }?;
        match &self.model {
            Some(model) => write!(f, " for models {model}"),
            None => Ok(()),
        }
    }
}
