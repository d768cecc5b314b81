//! The price table: what a model's tokens cost, and what a request therefore cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{NanoUsd, PicoUsd, Tokens};

/// Prices per token by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub input: PicoUsd,
    pub cache_read: PicoUsd,
    pub cache_write: PicoUsd,
    /// For cache entries bought for longer (Anthropic 1 h, OpenAI 12 h).
    pub cache_write_long: PicoUsd,
    pub output: PicoUsd,
}

/// Rates that replace a model's ordinary ones for the whole request once its input is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// The tier applies to inputs of *more* tokens than this.
    pub input_tokens_above: u64,
    pub rates: Rates,
}

/// What one model costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPrice {
    /// The name in the table, which is also the `model` label in metrics.
    pub name: Arc<str>,
    /// Who makes the model: `openai`, `anthropic`, …
    pub vendor: Arc<str>,
    pub rates: Rates,
    /// In ascending order of `input_tokens_above`.
    pub tiers: Vec<Tier>,
}

/// Every known price, with the version that costs refer to.
#[derive(Clone, Debug, Default)]
pub struct PriceTable {
    version: Arc<str>,
    models: BTreeMap<Arc<str>, Arc<ModelPrice>>,
}

/// What a request cost, and by which table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    pub amount: NanoUsd,
    pub price_version: Arc<str>,
}

impl ModelPrice {
    /// The cost of `tokens`: every token is charged once, at the rate of its most specific kind.
    ///
    /// Parts that exceed their whole (a provider's figures are not to be trusted) are charged as reported,
    /// and the remainder counts as zero rather than wrapping.
    pub fn cost(&self, tokens: &Tokens) -> NanoUsd {
        let rates = self.rates_for(tokens.input);
        let plain = tokens.input.saturating_sub(tokens.cache_read.saturating_add(tokens.cache_write));
        let short = tokens.cache_write.saturating_sub(tokens.cache_write_long);
        let parts = [
            (plain, rates.input),
            (tokens.cache_read, rates.cache_read),
            (short, rates.cache_write),
            (tokens.cache_write_long, rates.cache_write_long),
            (tokens.output, rates.output),
        ];
        NanoUsd::from_pico(parts.iter().map(|&(count, rate)| u128::from(count) * u128::from(rate.0)).sum())
    }

    fn rates_for(&self, input_tokens: u64) -> &Rates {
        let tier = self.tiers.iter().rev().find(|tier| input_tokens > tier.input_tokens_above);
        tier.map_or(&self.rates, |tier| &tier.rates)
    }
}

impl PriceTable {
    pub fn new(version: &str, models: impl IntoIterator<Item = ModelPrice>) -> Self {
        let models = models.into_iter().map(|price| (price.name.clone(), Arc::new(price))).collect();
        Self { version: version.into(), models }
    }

    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// All prices, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ModelPrice>> {
        self.models.values()
    }

    /// The price of `model`, which may carry a release date that the table does not
    /// (`gpt-4o-mini-2024-07-18`, `claude-haiku-4-5-20251001`).
    pub fn find(&self, model: &str) -> Option<&Arc<ModelPrice>> {
        self.models.get(model).or_else(|| self.models.get(undated(model)?))
    }
}

/// `model` without a trailing `-YYYY-MM-DD` or `-YYYYMMDD`; `None` if it has none.
pub fn undated(model: &str) -> Option<&str> {
    let matches = |tail: &str, shape: &str| {
        tail.len() == shape.len()
            && tail.bytes().zip(shape.bytes()).all(|(t, s)| if s == b'0' { t.is_ascii_digit() } else { t == s })
    };
    ["-0000-00-00", "-00000000"].into_iter().find_map(|shape| {
        let (base, tail) = model.split_at_checked(model.len().checked_sub(shape.len())?)?;
        matches(tail, shape).then_some(base)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> PicoUsd {
        PicoUsd::parse_usd_per_million(text).unwrap()
    }

    fn sonnet() -> ModelPrice {
        let rates = Rates {
            input: usd("2"),
            cache_read: usd("0.2"),
            cache_write: usd("2.5"),
            cache_write_long: usd("4"),
            output: usd("10"),
        };
        let dear = Rates { input: usd("4"), output: usd("15"), ..rates };
        let tiers = vec![Tier { input_tokens_above: 200_000, rates: dear }];
        ModelPrice { name: "claude-sonnet-5".into(), vendor: "anthropic".into(), rates, tiers }
    }

    #[test]
    fn every_kind_is_charged_once() {
        // Claude Code prints $0.00182 for this usage of claude-sonnet-5 (25 in, 200 written for 5 m, 100 for
        // 1 h, 1500 read, 57 out).
        let tokens = Tokens {
            input: 1825,
            cache_read: 1500,
            cache_write: 300,
            cache_write_long: 100,
            output: 57,
            reasoning: 30,
            ..Tokens::default()
        };
        assert_eq!(sonnet().cost(&tokens), NanoUsd(1_820_000));
    }

    #[test]
    fn a_long_input_moves_the_whole_request_to_the_next_tier() {
        let at = |input| sonnet().cost(&Tokens { input, output: 10, ..Tokens::default() });
        assert_eq!(at(200_000), NanoUsd(400_100_000));
        assert_eq!(at(200_001), NanoUsd(800_004_000 + 150_000));
    }

    #[test]
    fn parts_larger_than_the_whole_do_not_wrap() {
        let tokens = Tokens { input: 10, cache_read: 50, ..Tokens::default() };
        assert_eq!(sonnet().cost(&tokens), NanoUsd(10_000));
    }

    #[test]
    fn release_dates_are_ignored_when_looking_up() {
        let table = PriceTable::new("v1", [sonnet()]);
        for name in ["claude-sonnet-5", "claude-sonnet-5-20260101", "claude-sonnet-5-2026-01-01"] {
            assert!(table.find(name).is_some(), "{name}");
        }
        for name in ["claude-sonnet", "claude-sonnet-5-2026", "é", "claude-sonnet-5-latest"] {
            assert!(table.find(name).is_none(), "{name}");
        }
    }
}
