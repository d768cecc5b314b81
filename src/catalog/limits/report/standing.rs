//! How one limit stands.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::catalog::Scope;
use crate::domain::{Allowance, Timestamp, Window};

use super::super::meters::{Gauge, Kind, Meter, Meters};
use super::super::rate::{Pace, Rate};
use super::Moment;

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

impl Standing {
    /// A limit of which nothing is used up.
    pub(super) fn untouched(
        scope: Scope,
        name: &Arc<str>,
        model: Option<String>,
        named: Named,
        unit: Unit,
        max: u64,
    ) -> Self {
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

impl Meters {
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
    pub(super) fn standing(&self, scope: Scope, name: &Arc<str>, now: Moment) -> Standing {
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
