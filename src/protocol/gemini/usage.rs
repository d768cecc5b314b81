//! Usage as Gemini reports it: in every chunk, and the last one counts.
//!
//! What is read from the cache is part of the prompt; the prompts of tools that the provider runs are not, and
//! are input all the same. Thoughts are no part of the candidates, and are output all the same.

use serde::Deserialize;

use crate::domain::{ServiceTier, Tokens};
use crate::protocol::json::lenient::{Count, Each, Gather, Object, Text};
use crate::protocol::meter::Metered;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Usage {
    prompt_token_count: Count,
    cached_content_token_count: Count,
    tool_use_prompt_token_count: Count,
    candidates_token_count: Count,
    thoughts_token_count: Count,
    prompt_tokens_details: Each<Modalities>,
    tool_use_prompt_tokens_details: Each<Modalities>,
    candidates_tokens_details: Each<Modalities>,
    /// How the request was served: `ON_DEMAND`, `ON_DEMAND_FLEX`, `ON_DEMAND_PRIORITY`, …
    traffic_type: Text,
    /// The same, in the words of the developers' API.
    service_tier: Text,
}

/// Tokens that were no text.
#[derive(Clone, Copy, Debug, Default)]
struct Modalities {
    audio: u64,
    image: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Modality {
    modality: Text,
    token_count: Count,
}

impl Usage {
    /// Takes over these figures, where they are figures; the later ones replace the earlier.
    pub(crate) fn tell(&self, metered: &mut Metered) {
        metered.tokens = self.tokens().or(metered.tokens);
        let tier = [&self.traffic_type, &self.service_tier].into_iter().find_map(tier);
        metered.tier = tier.unwrap_or(metered.tier);
    }

    fn tokens(&self) -> Option<Tokens> {
        let figure = |count: Count| count.0.unwrap_or(0);
        let input = self.prompt_token_count.0? + figure(self.tool_use_prompt_token_count);
        let reasoning = figure(self.thoughts_token_count);
        let [prompt, tools] = [self.prompt_tokens_details.all, self.tool_use_prompt_tokens_details.all];
        let produced = self.candidates_tokens_details.all;
        Some(Tokens {
            input,
            cache_read: figure(self.cached_content_token_count),
            output: figure(self.candidates_token_count) + reasoning,
            reasoning,
            input_audio: prompt.audio + tools.audio,
            input_image: prompt.image + tools.image,
            output_audio: produced.audio,
            output_image: produced.image,
            ..Tokens::default()
        })
    }
}

impl Gather for Modalities {
    type Item = Object<Modality>;

    fn add(&mut self, Object(item): Object<Modality>) {
        let Modality { modality, token_count: Count(count) } = item.unwrap_or_default();
        let count = count.unwrap_or(0);
        match modality.as_str() {
            "AUDIO" => self.audio = self.audio.saturating_add(count),
            "IMAGE" => self.image = self.image.saturating_add(count),
            _ => {}
        }
    }
}

fn tier(word: &Text) -> Option<ServiceTier> {
    match word.as_str() {
        "ON_DEMAND_FLEX" | "flex" | "FLEX" => Some(ServiceTier::Flex),
        "ON_DEMAND_PRIORITY" | "priority" | "PRIORITY" => Some(ServiceTier::Priority),
        "BATCH" | "batch" => Some(ServiceTier::Batch),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metered(text: &str) -> Metered {
        let mut metered = Metered::default();
        serde_json::from_str::<Usage>(text).unwrap().tell(&mut metered);
        metered
    }

    #[test]
    fn thoughts_are_output_and_the_prompts_of_tools_are_input() {
        let text = r#"{"promptTokenCount":100,"cachedContentTokenCount":64,"toolUsePromptTokenCount":9,
            "candidatesTokenCount":20,"thoughtsTokenCount":30,"totalTokenCount":159,
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":70},{"modality":"AUDIO","tokenCount":30}],
            "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":20}],"trafficType":"ON_DEMAND_FLEX"}"#;
        let tokens = Tokens {
            input: 109,
            cache_read: 64,
            output: 50,
            reasoning: 30,
            input_audio: 30,
            output_image: 20,
            ..Tokens::default()
        };
        assert_eq!((metered(text).tokens, metered(text).tier), (Some(tokens), ServiceTier::Flex));
    }

    #[test]
    fn without_a_prompt_there_are_no_figures() {
        for text in ["{}", r#"{"candidatesTokenCount":3}"#, r#"{"promptTokenCount":"7"}"#, r#"{"promptTokenCount":-1}"#]
        {
            assert_eq!(metered(text).tokens, None, "{text}");
        }
    }
}
