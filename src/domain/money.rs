//! Money in integers: what a request cost (nano-USD) and what a token costs (pico-USD).
//!
//! A cached token at $0.0125 per million costs 12.5 nano-USD, so nano is too coarse for a price while
//! being fine enough for a sum; hence two units and one rounding, in [`NanoUsd::from_femto`].

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// An amount in billionths of a US dollar. Saturates at about 18 billion dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NanoUsd(pub u64);

/// A price for one token in trillionths of a US dollar: $1 per million tokens is 1 000 000 pico-USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PicoUsd(pub u64);

impl NanoUsd {
    /// Rounds an amount of thousandths of a pico-USD half up.
    pub fn from_femto(femto: u128) -> Self {
        Self(u64::try_from(femto.saturating_add(500_000) / 1_000_000).unwrap_or(u64::MAX))
    }

    /// Dollars with as many decimals as are needed, exactly: `12.5`.
    pub fn dollars(self) -> String {
        let text = format!("{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

impl PicoUsd {
    /// Reads a price written in US dollars per million tokens, exactly.
    ///
    /// At most six decimals (one pico-USD per token) and at most $1 000 000 per million tokens;
    /// anything else gives `None`.
    pub fn parse_usd_per_million(text: &str) -> Option<Self> {
        const DECIMALS: usize = 6;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || whole.len() > 7 || !digits(whole) || !digits(fraction) {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > DECIMALS {
            return None;
        }
        let scale = 10u64.pow((DECIMALS - fraction.len()) as u32);
        let part = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()? * scale };
        let pico = whole.parse::<u64>().ok()? * 1_000_000 + part;
        (pico <= 1_000_000 * 1_000_000).then_some(Self(pico))
    }
}

impl PicoUsd {
    /// US dollars per million tokens, as [`PicoUsd::parse_usd_per_million`] reads them.
    pub fn per_million(self) -> String {
        let text = format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

impl Add for NanoUsd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for NanoUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

/// Dollars with six decimals, rounded half up: `$0.000220`.
impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micro = self.0 / 1000 + u64::from(self.0 % 1000 >= 500);
        write!(f, "${}.{:06}", micro / 1_000_000, micro % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_exactly() {
        let read = |text| PicoUsd::parse_usd_per_million(text).map(|p| p.0);
        assert_eq!(read("0.15"), Some(150_000));
        assert_eq!(read("2"), Some(2_000_000));
        assert_eq!(read("0.0125"), Some(12_500));
        assert_eq!(read("0.000001"), Some(1));
        assert_eq!(read("1.50000000"), Some(1_500_000));
        for text in ["0.15", "2", "0.0125", "0.000001", "0", "1000000", "10"] {
            assert_eq!(PicoUsd::parse_usd_per_million(text).unwrap().per_million(), text);
        }
        for bad in ["", ".5", "-1", "1e3", "0.0000001", "1,5", "99999999", "1.2.3", " 1"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn rounding_is_half_up_and_happens_once() {
        assert_eq!([499_999, 500_000, u128::MAX].map(|femto| NanoUsd::from_femto(femto).0), [0, 1, u64::MAX]);
    }

    #[test]
    fn amounts_show_six_decimals() {
        assert_eq!(NanoUsd(220_200).to_string(), "$0.000220");
        assert_eq!(NanoUsd(1_999_999_500).to_string(), "$2.000000");
        assert_eq!([NanoUsd(1), NanoUsd(2)].into_iter().sum::<NanoUsd>(), NanoUsd(3));
    }
}
