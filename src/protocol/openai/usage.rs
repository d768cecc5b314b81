//! Usage as OpenAI and everyone who speaks its dialect reports it.
//!
//! Chat completions and embeddings say `prompt_tokens` and `completion_tokens`, responses say `input_tokens`
//! and `output_tokens`; some servers say both.

use serde::Deserialize;

use crate::domain::{NanoUsd, ServiceTier, Tokens};
use crate::protocol::json::lenient::{Count, Dollars, Object, Text};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    prompt_tokens: Count,
    input_tokens: Count,
    completion_tokens: Count,
    output_tokens: Count,
    total_tokens: Count,
    prompt_tokens_details: Object<InputDetails>,
    input_tokens_details: Object<InputDetails>,
    /// The word of transcriptions for `input_tokens_details`.
    input_token_details: Object<InputDetails>,
    completion_tokens_details: Object<OutputDetails>,
    output_tokens_details: Object<OutputDetails>,
    /// DeepSeek's word for what was read from the cache.
    prompt_cache_hit_tokens: Count,
    /// Moonshot's.
    cached_tokens: Count,
    /// What OpenRouter charged, in US dollars.
    cost: Dollars,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Count,
    cache_write_tokens: Count,
    cache_write_tokens_details: Object<CacheWriteDetails>,
    audio_tokens: Count,
    image_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CacheWriteDetails {
    ttl_12h_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Count,
    audio_tokens: Count,
    image_tokens: Count,
}

impl Usage {
    /// What a generated answer cost; `None` unless both sides are figures.
    pub(crate) fn generated(self) -> Option<Tokens> {
        let input = self.prompt_tokens.0.or(self.input_tokens.0)?;
        let output = self.completion_tokens.0.or(self.output_tokens.0)?;
        let total = self.total_tokens.0;
        let cached = [self.prompt_cache_hit_tokens, self.cached_tokens];
        let read = self.prompt_tokens_details.0.or(self.input_tokens_details.0).or(self.input_token_details.0);
        let read = read.unwrap_or_default();
        let wrote = read.cache_write_tokens_details.or_default();
        let produced = self.completion_tokens_details.0.or(self.output_tokens_details.0).unwrap_or_default();
        let reasoning = produced.reasoning_tokens.0.unwrap_or(0);
        Some(Tokens {
            input,
            cache_read: read.cached_tokens.0.or(cached[0].0).or(cached[1].0).unwrap_or(0),
            cache_write: read.cache_write_tokens.0.unwrap_or(0),
            cache_write_long: wrote.ttl_12h_tokens.0.unwrap_or(0),
            // Some servers (xAI) leave reasoning out of the completion; their total gives them away.
            output: if total == Some(input + output + reasoning) { output + reasoning } else { output },
            reasoning,
            input_audio: read.audio_tokens.0.unwrap_or(0),
            input_image: read.image_tokens.0.unwrap_or(0),
            output_audio: produced.audio_tokens.0.unwrap_or(0),
            output_image: produced.image_tokens.0.unwrap_or(0),
        })
    }

    /// Whether it says what the output consists of.
    pub(crate) fn tells_output_apart(&self) -> bool {
        self.completion_tokens_details.0.is_some() || self.output_tokens_details.0.is_some()
    }

    /// What the provider says it charged, if it says so.
    pub(crate) fn charged(&self) -> Option<NanoUsd> {
        self.cost.0
    }

    /// What embeddings cost: they have no output.
    pub(crate) fn embedded(self) -> Option<Tokens> {
        let input = self.prompt_tokens.0.or(self.input_tokens.0).or(self.total_tokens.0)?;
        Some(Tokens { input, ..Tokens::default() })
    }
}

/// The tier that an answer's `service_tier` names; what is unknown counts as the standard one.
pub(crate) fn tier(word: &Text) -> ServiceTier {
    match word.as_str() {
        "flex" => ServiceTier::Flex,
        "batch" => ServiceTier::Batch,
        "priority" => ServiceTier::Priority,
        "fast" => ServiceTier::Fast,
        _ => ServiceTier::Standard,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(text: &str) -> Option<Tokens> {
        serde_json::from_str::<Usage>(text).unwrap().generated()
    }

    #[test]
    fn figures_that_cannot_be_are_no_figures() {
        for text in [
            "{}",
            r#"{"prompt_tokens":5}"#,
            r#"{"prompt_tokens":-5,"completion_tokens":1}"#,
            r#"{"prompt_tokens":5,"completion_tokens":1e300}"#,
            r#"{"prompt_tokens":"5","completion_tokens":1}"#,
            r#"{"prompt_tokens":5.5,"completion_tokens":1}"#,
        ] {
            assert_eq!(generated(text), None, "{text}");
        }
    }

    #[test]
    fn strange_details_do_not_spoil_the_figures() {
        let text = r#"{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":[7],"completion_tokens_details":{"reasoning_tokens":-1}}"#;
        assert_eq!(generated(text), Some(Tokens { input: 5, output: 1, ..Tokens::default() }));
    }

    #[test]
    fn reasoning_left_out_of_the_completion_is_added() {
        let at = |total| {
            let text = format!(
                r#"{{"prompt_tokens":10,"completion_tokens":5,"total_tokens":{total},"completion_tokens_details":{{"reasoning_tokens":3}}}}"#
            );
            generated(&text).map(|tokens| tokens.output)
        };
        assert_eq!((at(15), at(18)), (Some(5), Some(8)));
    }

    #[test]
    fn other_makers_words_for_the_cache_are_known() {
        let read =
            |word| generated(&format!(r#"{{"prompt_tokens":9,"completion_tokens":1,"{word}":4}}"#)).unwrap().cache_read;
        assert_eq!((read("prompt_cache_hit_tokens"), read("cached_tokens"), read("x")), (4, 4, 0));
    }
}
