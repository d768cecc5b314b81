//! What a model costs, and what a request therefore cost.
//!
//! A price is known, free (0), or unknown (there is no row): three different things.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{NanoUsd, PicoUsd, ServiceTier, Tokens, Usage};

mod table; // every known price, and which one holds

pub use table::{PriceRow, PriceTable, Unknown, undated};

/// Prices per token by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    pub input: PicoUsd,
    pub cache_read: PicoUsd,
    pub cache_write: PicoUsd,
    /// For cache entries bought for longer (Anthropic 1 h, OpenAI 12 h).
    pub cache_write_long: PicoUsd,
    pub output: PicoUsd,
    pub reasoning: PicoUsd,
    pub input_audio: PicoUsd,
    pub input_image: PicoUsd,
    pub output_audio: PicoUsd,
    pub output_image: PicoUsd,
}

/// Rates that replace a model's ordinary ones for the whole request once its input is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// The tier applies to inputs of *more* tokens than this.
    pub input_tokens_above: u64,
    pub rates: Rates,
}

/// What every token's price is multiplied by, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Factor(pub u32);

/// The factors of the service tiers a provider may serve at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Factors {
    pub flex: Factor,
    pub batch: Factor,
    pub priority: Factor,
    pub fast: Factor,
}

/// What one model costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelPrice {
    /// The name in the table, which is also the `model` label in metrics.
    pub name: Arc<str>,
    /// Who makes the model: `openai`, `anthropic`, …
    pub vendor: Arc<str>,
    pub rates: Rates,
    /// In ascending order of `input_tokens_above`.
    pub tiers: Vec<Tier>,
    pub factors: Factors,
    /// For one search of the web; no factor applies to it.
    pub web_search: PicoUsd,
}

/// What a request cost, and by which table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    pub amount: NanoUsd,
    pub price_version: Arc<str>,
}

impl Rates {
    /// One price for everything the model is given, and one for everything it makes.
    pub fn flat(input: PicoUsd, output: PicoUsd) -> Self {
        Self {
            input,
            cache_read: input,
            cache_write: input,
            cache_write_long: input,
            output,
            reasoning: output,
            input_audio: input,
            input_image: input,
            output_audio: output,
            output_image: output,
        }
    }

    fn dearest_input(&self) -> PicoUsd {
        let Self { input, cache_read, cache_write, cache_write_long, input_audio, input_image, .. } = *self;
        [cache_read, cache_write, cache_write_long, input_audio, input_image].into_iter().fold(input, PicoUsd::max)
    }

    fn dearest_output(&self) -> PicoUsd {
        let Self { output, reasoning, output_audio, output_image, .. } = *self;
        [reasoning, output_audio, output_image].into_iter().fold(output, PicoUsd::max)
    }

    /// The cost of `tokens` in pico-USD: every token is charged once, at the rate of its most specific kind.
    ///
    /// Parts that exceed their whole (a provider's figures are not to be trusted) are charged as reported,
    /// and the remainder counts as zero rather than wrapping.
    fn pico(&self, tokens: &Tokens) -> u128 {
        let short = tokens.cache_write.saturating_sub(tokens.cache_write_long);
        let fresh = tokens.input.saturating_sub(tokens.cache_read.saturating_add(tokens.cache_write));
        // Sound and pictures may themselves have been cached, and are then charged as that.
        let input_audio = tokens.input_audio.min(fresh);
        let input_image = tokens.input_image.min(fresh - input_audio);
        let reasoning = tokens.reasoning.min(tokens.output);
        let output_audio = tokens.output_audio.min(tokens.output - reasoning);
        let output_image = tokens.output_image.min(tokens.output - reasoning - output_audio);
        let parts = [
            (fresh - input_audio - input_image, self.input),
            (input_audio, self.input_audio),
            (input_image, self.input_image),
            (tokens.cache_read, self.cache_read),
            (short, self.cache_write),
            (tokens.cache_write_long, self.cache_write_long),
            (tokens.output - reasoning - output_audio - output_image, self.output),
            (reasoning, self.reasoning),
            (output_audio, self.output_audio),
            (output_image, self.output_image),
        ];
        parts.iter().fold(0, |sum, &(count, rate)| sum.saturating_add(u128::from(count) * u128::from(rate.0)))
    }
}

impl Factor {
    pub const ONE: Self = Self(1000);
}

impl Default for Factor {
    fn default() -> Self {
        Self::ONE
    }
}

impl Factors {
    fn of(&self, tier: ServiceTier) -> Factor {
        match tier {
            ServiceTier::Standard => Factor::ONE,
            ServiceTier::Flex => self.flex,
            ServiceTier::Batch => self.batch,
            ServiceTier::Priority => self.priority,
            ServiceTier::Fast => self.fast,
        }
    }
}

impl ModelPrice {
    /// The cost of `tokens` at the ordinary service tier.
    pub fn cost(&self, tokens: &Tokens) -> NanoUsd {
        self.charge(&Usage { tokens: *tokens, ..Usage::default() })
    }

    /// The cost of everything that was used; rounded once, half up.
    pub fn charge(&self, usage: &Usage) -> NanoUsd {
        let Factor(factor) = self.factors.of(usage.tier);
        let tokens = self.rates_for(usage.tokens.input).pico(&usage.tokens).saturating_mul(u128::from(factor));
        let searches = u128::from(usage.web_searches) * u128::from(self.web_search.0);
        NanoUsd::from_femto(tokens.saturating_add(searches.saturating_mul(u128::from(Factor::ONE.0))))
    }

    /// The most that so many tokens can cost, whatever kinds they turn out to be of, if they are asked for at `tier`.
    /// Searches of the web are not tokens; how many there will be is not known before.
    pub fn dearest(&self, input: u64, output: u64, tier: ServiceTier) -> NanoUsd {
        let reached = self.tiers.iter().filter(|tier| input > tier.input_tokens_above).map(|tier| &tier.rates);
        let rates = || std::iter::once(&self.rates).chain(reached.clone());
        let per_input = rates().map(Rates::dearest_input).max().unwrap_or_default();
        let per_output = rates().map(Rates::dearest_output).max().unwrap_or_default();
        let tokens = u128::from(input) * u128::from(per_input.0) + u128::from(output) * u128::from(per_output.0);
        // Providers serve a request at the ordinary tier where the one it asks for is taken.
        let Factor(factor) = self.factors.of(tier).max(Factor::ONE);
        // Rounded up rather than half up.
        NanoUsd::from_femto(tokens.saturating_mul(u128::from(factor)).saturating_add(499_999))
    }

    pub fn is_free(&self) -> bool {
        let rates = |rates: &Rates| *rates == Rates::default();
        rates(&self.rates) && self.tiers.iter().all(|tier| rates(&tier.rates)) && self.web_search.0 == 0
    }

    fn rates_for(&self, input_tokens: u64) -> &Rates {
        let tier = self.tiers.iter().rev().find(|tier| input_tokens > tier.input_tokens_above);
        tier.map_or(&self.rates, |tier| &tier.rates)
    }
}

#[cfg(test)]
mod tests;
