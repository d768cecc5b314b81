//! So much money, or so many tokens, an hour, a day, a week, a month, or in all.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::NanoUsd;

use super::{Count, Period, TimeZone};

/// What may be spent in each window of a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Budget {
    pub allowance: Allowance,
    pub per: Period,
    /// Whose calendar the windows follow.
    pub time_zone: TimeZone,
    /// Whether a request that does not fit is refused. If not, it is only told that the budget is used up.
    pub hard: bool,
}

/// What a budget counts, and how much of it there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    Money(NanoUsd),
    Tokens(Count),
}

/// Money and tokens, for budgets to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spending {
    pub money: NanoUsd,
    pub tokens: u64,
}

/// Why a text is no budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetError {
    Form,
    Amount,
    Period,
    TimeZone,
    /// Both money and tokens, or neither.
    Allowance,
}

/// A budget as it is written in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Dollars, as a text such as "12.50" so that nothing is rounded, or as a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    usd: Option<Dollars>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens: Option<Count>,
    per: Period,
    #[serde(default, skip_serializing_if = "TimeZone::is_utc")]
    time_zone: TimeZone,
    #[serde(default = "yes")]
    hard: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Dollars {
    Text(String),
    Whole(u64),
    Number(f64),
}

fn yes() -> bool {
    true
}

impl Budget {
    /// Reads `50usd/month`, `2000000tokens/day`, with an optional `@Europe/Berlin` and `:soft` behind it.
    pub fn parse(text: &str) -> Result<Self, BudgetError> {
        let (text, hard) = match text.strip_suffix(":soft") {
            Some(text) => (text, false),
            None => (text.strip_suffix(":hard").unwrap_or(text), true),
        };
        let (text, zone) = text.split_once('@').map_or((text, None), |(text, zone)| (text, Some(zone)));
        let (amount, per) = text.split_once('/').ok_or(BudgetError::Form)?;
        let per = Period::ALL.into_iter().find(|period| period.label() == per).ok_or(BudgetError::Period)?;
        let time_zone = zone.map_or(Some(TimeZone::utc()), TimeZone::named).ok_or(BudgetError::TimeZone)?;
        let allowance = if let Some(dollars) = amount.strip_suffix("usd") {
            Allowance::dollars(dollars).ok_or(BudgetError::Amount)?
        } else {
            let tokens = amount.strip_suffix("tokens").ok_or(BudgetError::Form)?;
            let count = tokens.parse().ok().and_then(|count| Count::new(count).ok());
            Allowance::Tokens(count.ok_or(BudgetError::Amount)?)
        };
        Ok(Self { allowance, per, time_zone, hard })
    }

    /// What of a spending it counts.
    pub fn part_of(&self, spending: Spending) -> u64 {
        match self.allowance {
            Allowance::Money(_) => spending.money.0,
            Allowance::Tokens(_) => spending.tokens,
        }
    }

    /// Whether a change from one to the other leaves what was spent comparable: both count the same in the same
    /// windows.
    pub fn counts_like(&self, other: &Self) -> bool {
        let same_unit = matches!(
            (self.allowance, other.allowance),
            (Allowance::Money(_), Allowance::Money(_)) | (Allowance::Tokens(_), Allowance::Tokens(_))
        );
        same_unit && self.per == other.per && self.time_zone == other.time_zone
    }
}

impl Allowance {
    /// More than a thousand million dollars is a mistake.
    const DOLLARS_MAX: u64 = 1_000_000_000;

    /// Reads dollars with up to nine decimals, exactly.
    pub fn dollars(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 9 || !digits(whole) || !digits(fraction) {
            return None;
        }
        let whole: u64 = whole.parse().ok().filter(|whole| *whole <= Self::DOLLARS_MAX)?;
        let nano: u64 = format!("{fraction:0<9}").parse().ok()?;
        let amount = whole * 1_000_000_000 + nano;
        (amount > 0).then_some(Self::Money(NanoUsd(amount)))
    }

    /// The bare number: nano-USD, or tokens.
    pub fn units(self) -> u64 {
        match self {
            Self::Money(NanoUsd(units)) => units,
            Self::Tokens(count) => count.get(),
        }
    }
}

impl TryFrom<Written> for Budget {
    type Error = BudgetError;

    fn try_from(written: Written) -> Result<Self, BudgetError> {
        let Written { usd, tokens, per, time_zone, hard } = written;
        let allowance = match (usd, tokens) {
            (Some(dollars), None) => {
                let text = match dollars {
                    Dollars::Text(text) => text,
                    Dollars::Whole(whole) => whole.to_string(),
                    // The shortest text that is this number.
                    Dollars::Number(number) => number.to_string(),
                };
                Allowance::dollars(&text).ok_or(BudgetError::Amount)?
            }
            (None, Some(count)) => Allowance::Tokens(count),
            _ => return Err(BudgetError::Allowance),
        };
        Ok(Self { allowance, per, time_zone, hard })
    }
}

impl From<Budget> for Written {
    fn from(budget: Budget) -> Self {
        let Budget { allowance, per, time_zone, hard } = budget;
        let (usd, tokens) = match allowance {
            Allowance::Money(amount) => (Some(Dollars::Text(amount.dollars())), None),
            Allowance::Tokens(count) => (None, Some(count)),
        };
        Self { usd, tokens, per, time_zone, hard }
    }
}

/// As [`Budget::parse`] reads it.
impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.allowance {
            Allowance::Money(amount) => write!(f, "{}usd", amount.dollars())?,
            Allowance::Tokens(count) => write!(f, "{count}tokens")?,
        }
        write!(f, "/{}", self.per.label())?;
        if !self.time_zone.is_utc() {
            write!(f, "@{}", self.time_zone)?;
        }
        if self.hard { Ok(()) } else { f.write_str(":soft") }
    }
}

impl fmt::Display for BudgetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "write 50usd/month or 2000000tokens/day, with @Europe/Berlin or :soft behind it if you like",
            Self::Amount => "an amount is more than nothing: dollars with up to nine decimals, or whole tokens",
            Self::Period => "a budget is per hour, day, week, month or total",
            Self::TimeZone => "no such time zone; write one such as Europe/Berlin",
            Self::Allowance => "a budget is either in usd or in tokens",
        })
    }
}

impl std::error::Error for BudgetError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_and_shown_alike() {
        for text in
            ["50usd/month", "0.25usd/hour", "2000000tokens/day:soft", "12.5usd/week@Europe/Berlin:soft", "9usd/total"]
        {
            let budget = Budget::parse(text).unwrap();
            assert_eq!(budget.to_string(), text);
            let json = serde_json::to_string(&budget).unwrap();
            assert_eq!(serde_json::from_str::<Budget>(&json).unwrap(), budget, "{json}");
        }
        assert_eq!(Budget::parse("50usd/month").unwrap().allowance, Allowance::Money(NanoUsd(50_000_000_000)));
    }

    #[test]
    fn mistakes_are_named() {
        let fault = |text| Budget::parse(text).unwrap_err();
        assert_eq!(
            (fault("50"), fault("50eur/month"), fault("")),
            (BudgetError::Form, BudgetError::Form, BudgetError::Form)
        );
        assert_eq!((fault("usd/month"), fault("0usd/day")), (BudgetError::Amount, BudgetError::Amount));
        assert_eq!((fault("1.5tokens/day"), fault("-5usd/day")), (BudgetError::Amount, BudgetError::Amount));
        assert_eq!((fault("5usd/year"), fault("5usd/day@Bonn")), (BudgetError::Period, BudgetError::TimeZone));
        let read = |json| serde_json::from_str::<Budget>(json);
        assert!(read(r#"{"usd":5,"tokens":5,"per":"day"}"#).is_err() && read(r#"{"per":"day"}"#).is_err());
        assert!(read(r#"{"usd":5,"per":"day","zone":"UTC"}"#).is_err());
        assert_eq!(read(r#"{"usd":0.5,"per":"day"}"#).unwrap(), Budget::parse("0.5usd/day").unwrap());
        assert_eq!(read(r#"{"usd":"7","per":"day"}"#).unwrap(), Budget::parse("7usd/day").unwrap());
    }
}
