//! How much a key, a team or the organization may use.
//!
//! Limits of a key, its team and the organization hold together, for all requests and for those of some models:
//! each must leave room. What of them is used up is not known here; that hangs on the key's own state.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::Pattern;

mod budget; // so much money, or so many tokens, an hour, a day, a week, a month, or in all
mod window; // when a calendar window begins and ends

pub use budget::{Allowance, Budget, BudgetError, Spending};
pub use window::{Period, TimeZone, Window};

/// How much may be used. What is absent is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// How large a share of a busy provider is, in turns: twice the weight gets twice the turns. A key has its own, else
    /// its team's, else 1; the organization has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Count>,
    /// For requests of any model.
    #[serde(flatten)]
    pub all: Bounds,
    /// For requests of the models that a pattern matches, together; by the name the caller asks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<Pattern, Bounds>,
}

/// Limits that hold for the same requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Requests a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpm: Option<Count>,
    /// How many of a minute's requests may come at once; all of them where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Count>,
    /// Tokens a minute, those given to the model and those it produces together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<Count>,
    /// Tokens a minute that are given to the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tpm: Option<Count>,
    /// Tokens a minute that the model produces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tpm: Option<Count>,
    /// Requests at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Count>,
    /// Bytes of one request's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<Count>,
    /// Tokens that one request may let the model produce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_max: Option<Count>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
}

/// A whole number from 1 to a million million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Count(u64);

/// What is to change about limits, as a merge patch (RFC 7396): a member that is absent stays, one that is there
/// replaces, `null` lifts the limit. Everything is lifted by `null` alone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LimitsChange(pub Value);

/// Why limits cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitsError {
    Count,
    Weight,
    ModelsTooMany,
    BudgetsTooMany,
    /// A burst without a rate.
    Burst,
    /// What the change makes of them cannot be read.
    Unreadable(String),
}

impl Limits {
    /// How many patterns may have limits of their own.
    pub const MODELS_MAX: usize = 12;
    /// The greatest weight.
    pub const WEIGHT_MAX: u64 = 1000;

    /// Nothing is limited.
    pub fn limit_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Checks what each member cannot know by itself.
    pub fn check(&self) -> Result<(), LimitsError> {
        if self.models.len() > Self::MODELS_MAX {
            return Err(LimitsError::ModelsTooMany);
        }
        if self.weight.is_some_and(|weight| weight.get() > Self::WEIGHT_MAX) {
            return Err(LimitsError::Weight);
        }
        let bounds = || std::iter::once(&self.all).chain(self.models.values());
        if bounds().any(|bounds| bounds.budgets.len() > Bounds::BUDGETS_MAX) {
            return Err(LimitsError::BudgetsTooMany);
        }
        if bounds().any(|bounds| bounds.burst.is_some() && bounds.rpm.is_none()) {
            return Err(LimitsError::Burst);
        }
        Ok(())
    }
}

impl Bounds {
    /// How many budgets may stand side by side.
    pub const BUDGETS_MAX: usize = 4;
}

impl Count {
    pub const MAX: u64 = 1_000_000_000_000;

    pub fn new(count: u64) -> Result<Self, LimitsError> {
        if (1..=Self::MAX).contains(&count) { Ok(Self(count)) } else { Err(LimitsError::Count) }
    }

    pub fn get(self) -> u64 {
        self.0
    }
}

impl LimitsChange {
    /// Lifts every limit.
    pub fn lift() -> Self {
        Self(Value::Null)
    }

    pub fn is_nothing(&self) -> bool {
        self.0.as_object().is_some_and(serde_json::Map::is_empty)
    }

    /// `before` with the changes.
    pub fn applied_to(self, before: &Limits) -> Result<Limits, LimitsError> {
        let unreadable = |error: serde_json::Error| LimitsError::Unreadable(error.to_string());
        if self.0.is_null() {
            return Ok(Limits::default());
        }
        let mut limits = serde_json::to_value(before).map_err(unreadable)?;
        merge(&mut limits, self.0);
        let limits: Limits = serde_json::from_value(limits).map_err(unreadable)?;
        limits.check().map(|()| limits)
    }
}

/// RFC 7396. Deeper than a pattern's bounds nothing is merged, so that this cannot be made to go deep.
fn merge(target: &mut Value, patch: Value) {
    fn at(target: &mut Value, patch: Value, depth: usize) {
        match (target, patch) {
            (Value::Object(target), Value::Object(patch)) if depth < 3 => {
                for (name, value) in patch {
                    if value.is_null() {
                        target.remove(&name);
                    } else {
                        at(target.entry(name).or_insert_with(|| Value::Object(Default::default())), value, depth + 1);
                    }
                }
            }
            (target, patch) => *target = patch,
        }
    }
    at(target, patch, 0);
    // A pattern whose limits were all lifted is gone.
    if let Some(models) = target.get_mut("models").and_then(Value::as_object_mut) {
        models.retain(|_, bounds| bounds.as_object().is_none_or(|bounds| !bounds.is_empty()));
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u64::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => write!(f, "a limit is a whole number from 1 to {}", Count::MAX),
            Self::Weight => write!(f, "a weight is a whole number from 1 to {}", Limits::WEIGHT_MAX),
            Self::ModelsTooMany => {
                write!(f, "at most {} patterns for models have limits of their own", Limits::MODELS_MAX)
            }
            Self::BudgetsTooMany => write!(f, "at most {} budgets stand side by side", Bounds::BUDGETS_MAX),
            Self::Burst => f.write_str("burst says how many of a minute's requests may come at once: it needs rpm"),
            Self::Unreadable(why) => write!(f, "the limits cannot be read: {why}"),
        }
    }
}

impl std::error::Error for LimitsError {}

#[cfg(test)]
mod tests;
