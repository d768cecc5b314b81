//! Tokens by kind, with one meaning for every provider.

use serde::{Deserialize, Serialize};

use super::NanoUsd;

/// Token counts of one request. Kinds that are parts of another say so.
///
/// Providers disagree on what includes what (OpenAI's prompt tokens include cached ones, Anthropic's input
/// tokens do not); the readers in `protocol` translate, so that here each field has one meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Everything the model was given, cached parts included.
    pub input: u64,
    /// The part of `input` that was read from the provider's cache.
    pub cache_read: u64,
    /// The part of `input` that was written to the provider's cache, short- and long-lived together.
    pub cache_write: u64,
    /// The part of `cache_write` that was bought for longer (Anthropic 1 h, OpenAI 12 h).
    pub cache_write_long: u64,
    /// Everything the model produced, reasoning included.
    pub output: u64,
    /// The part of `output` that the caller did not get to see as text.
    pub reasoning: u64,
    /// The parts of `input` and `output` that were sound or pictures, where the provider tells them apart.
    /// Models that take or give them price them apart from text.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub input_audio: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub input_image: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub output_audio: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub output_image: u64,
}

/// Another model that the provider asked for an answer (Anthropic's advisors), and what that used at its own price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advisor {
    pub model: Box<str>,
    #[serde(flatten)]
    pub tokens: Tokens,
}

/// How fast the provider was asked to answer, where that changes the price of every token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceTier {
    #[default]
    Standard,
    /// Slower and cheaper (OpenAI `flex`).
    Flex,
    /// Later and cheaper (OpenAI and Anthropic `batch`).
    Batch,
    /// Served before others, and dearer (OpenAI `priority`).
    Priority,
    /// Produced faster, and dearer (Anthropic `speed: fast`).
    Fast,
}

impl Tokens {
    /// The same, with no part larger than its whole: not every provider's figures agree with each other.
    pub fn bounded(self) -> Self {
        Self {
            cache_read: self.cache_read.min(self.input),
            cache_write: self.cache_write.min(self.input),
            cache_write_long: self.cache_write_long.min(self.cache_write).min(self.input),
            reasoning: self.reasoning.min(self.output),
            ..self
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// What is left when `other` is taken away.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.with(other, u64::saturating_sub)
    }

    fn with(self, other: Self, each: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            input: each(self.input, other.input),
            cache_read: each(self.cache_read, other.cache_read),
            cache_write: each(self.cache_write, other.cache_write),
            cache_write_long: each(self.cache_write_long, other.cache_write_long),
            output: each(self.output, other.output),
            reasoning: each(self.reasoning, other.reasoning),
            input_audio: each(self.input_audio, other.input_audio),
            input_image: each(self.input_image, other.input_image),
            output_audio: each(self.output_audio, other.output_audio),
            output_image: each(self.output_image, other.output_image),
        }
    }
}

impl ServiceTier {
    pub const ALL: [Self; 5] = [Self::Standard, Self::Flex, Self::Batch, Self::Priority, Self::Fast];

    /// The word in events, and in the price table.
    pub fn label(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Flex => "flex",
            Self::Batch => "batch",
            Self::Priority => "priority",
            Self::Fast => "fast",
        }
    }

    pub fn is_standard(&self) -> bool {
        *self == Self::Standard
    }
}

/// For members that are left out where they say nothing.
pub fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Where usage figures came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsageSource {
    /// The provider said so.
    Provider,
    /// Counted from the bytes seen, because the provider did not get to say.
    Estimated,
    /// Nothing was used, or nothing could be known.
    #[default]
    None,
}

impl UsageSource {
    pub const ALL: [Self; 3] = [Self::Provider, Self::Estimated, Self::None];

    pub fn label(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Estimated => "estimated",
            Self::None => "none",
        }
    }
}

/// What a request used: the counts, where they came from and whether they are final.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub tokens: Tokens,
    /// The tier at which the provider says it served.
    pub tier: ServiceTier,
    /// Searches of the web that the provider made for this answer, and bills one by one.
    pub web_searches: u64,
    /// What the provider itself says it charged (OpenRouter).
    pub charged: Option<NanoUsd>,
    pub source: UsageSource,
    /// The provider's last word was seen; otherwise the counts cover what had passed so far.
    pub complete: bool,
}
