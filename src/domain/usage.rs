//! Tokens by kind, with one meaning for every provider.

use serde::{Deserialize, Serialize};

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
    pub source: UsageSource,
    /// The provider's last word was seen; otherwise the counts cover what had passed so far.
    pub complete: bool,
}
