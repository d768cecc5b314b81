//! What a request asks for, and the tokens that this costs.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::domain::Tokens;

/// Output tokens of one answer, whatever the settings and the request say.
pub(super) const OUTPUT_TOKENS_MAX: u32 = 1_000_000;

/// Cached parts are counted in blocks of this many tokens.
const CACHE_BLOCK: u64 = 8;

/// The body of any request that costs tokens. The dialects' field names do not clash, so one reader serves all.
#[derive(Deserialize)]
pub(super) struct Ask {
    #[serde(default)]
    pub(super) model: String,
    #[serde(default)]
    pub(super) stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    pub(super) max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
    #[serde(default)]
    pub(super) max_output_tokens: Option<u64>,
    #[serde(default)]
    tools: Option<Vec<Tool>>,
    #[serde(default)]
    pub(super) messages: Text,
    #[serde(default)]
    pub(super) system: Text,
    #[serde(default)]
    pub(super) instructions: Text,
    #[serde(default)]
    pub(super) input: Text,
    #[serde(default)]
    pub(super) contents: Text,
    #[serde(default, alias = "systemInstruction")]
    system_instruction: Text,
    #[serde(default, alias = "generationConfig")]
    generation_config: Option<GenerationConfig>,
    #[serde(default)]
    content: Text,
    #[serde(default)]
    pub(super) requests: Text,
    /// Of the older completions, and of pictures.
    #[serde(default)]
    prompt: Text,
    #[serde(default)]
    pub(super) encoding_format: Option<String>,
    #[serde(default)]
    pub(super) dimensions: Option<usize>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct GenerationConfig {
    #[serde(default, alias = "maxOutputTokens")]
    max_output_tokens: Option<u64>,
}

/// A tool as Chat Completions writes it (`function.name`), as Gemini does (`functionDeclarations`) or as the others do
/// (`name`).
#[derive(Deserialize)]
struct Tool {
    #[serde(default, alias = "functionDeclarations")]
    function_declarations: Vec<Function>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    name: Option<String>,
}

/// How much text a part of the request holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) bytes: u64,
    /// Inputs of an embeddings request: the elements of an array, or one.
    pub(super) items: usize,
    /// A token id and not a text.
    is_number: bool,
}

/// How long the answer becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) tokens: u32,
    /// The request's own maximum ended it.
    pub(super) cut_short: bool,
}

impl Ask {
    pub(super) fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    pub(super) fn includes_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage == Some(true))
    }

    /// The tool to call: the first one, if the model is of those that call tools.
    pub(super) fn tool(&self) -> Option<&str> {
        if !self.model.ends_with("-tools") {
            return None;
        }
        let tool = self.tools.as_ref()?.first()?;
        let function = tool.function.as_ref().or_else(|| tool.function_declarations.first());
        let named = function.and_then(|function| function.name.as_deref());
        named.or(tool.name.as_deref())
    }

    pub(super) fn output(&self, wanted: u32) -> Output {
        let wanted = wanted.min(OUTPUT_TOKENS_MAX);
        let configured = self.generation_config.as_ref().and_then(|config| config.max_output_tokens);
        let limits = [self.max_tokens, self.max_completion_tokens, self.max_output_tokens, configured];
        let limit = limits.into_iter().flatten().min().and_then(|limit| u32::try_from(limit).ok());
        match limit {
            Some(limit) if limit < wanted => Output { tokens: limit.max(1), cut_short: true },
            _ => Output { tokens: wanted, cut_short: false },
        }
    }

    /// The usage function; the module documentation states it.
    pub(super) fn usage(&self, output: Output) -> Tokens {
        let input = self.input_tokens();
        let half = |tokens: u64| tokens / 2 / CACHE_BLOCK * CACHE_BLOCK;
        let cache_write = if self.model.contains("cachewrite") { half(input) } else { 0 };
        let output = u64::from(output.tokens);
        Tokens {
            input,
            cache_read: if self.model.contains("cached") { half(input) } else { 0 },
            cache_write,
            cache_write_long: half(cache_write),
            output,
            reasoning: if self.model.contains("reason") { output / 4 } else { 0 },
            ..Tokens::default()
        }
    }

    pub(super) fn input_tokens(&self) -> u64 {
        let texts = [self.messages, self.system, self.instructions, self.input, self.prompt];
        let generated = [self.contents, self.system_instruction, self.content, self.requests];
        let bytes: u64 = texts.iter().chain(&generated).map(|text| text.bytes).sum();
        bytes.div_ceil(4).max(1)
    }
}

/// Sums the strings of a value, and in its objects those under `content`, `text`, `output` and `parts`.
impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, or a structure that holds text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text { bytes: text.len() as u64, items: 1, is_number: false })
    }

    fn visit_u64<E>(self, _: u64) -> Result<Text, E> {
        // A token id: what four bytes of text would count as.
        Ok(Text { bytes: 4, items: 1, is_number: true })
    }

    fn visit_i64<E>(self, _: i64) -> Result<Text, E> {
        Ok(Text::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Text, E> {
        Ok(Text::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Text, E> {
        Ok(Text::default())
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Text, A::Error> {
        let mut sum = Text::default();
        let mut ids_only = true;
        while let Some(element) = elements.next_element::<Text>()? {
            sum.bytes += element.bytes;
            sum.items += 1;
            ids_only &= element.is_number;
        }
        // A bare array of token ids is one input.
        if ids_only {
            sum.items = sum.items.min(1);
        }
        Ok(sum)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Text, A::Error> {
        let mut sum = Text { bytes: 0, items: 1, is_number: false };
        while let Some(name) = fields.next_key::<String>()? {
            if matches!(name.as_str(), "content" | "text" | "output" | "parts") {
                sum.bytes += fields.next_value::<Text>()?.bytes;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(json: &str) -> Ask {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn text_is_counted_in_every_dialect() {
        let chat = r#"{"messages":[{"role":"system","content":"1234"},{"role":"user","content":[{"type":"text","text":"5678é"},
            {"type":"image_url","image_url":{"url":"data:not counted"}}]},{"role":"assistant","content":null}]}"#;
        assert_eq!(ask(chat).messages.bytes, 10);
        let responses = r#"{"instructions":"12","input":[{"role":"user","content":[{"type":"input_text","text":"345"}]},
            {"type":"function_call_output","call_id":"x","output":"678"}]}"#;
        assert_eq!(ask(responses).input_tokens(), 2);
        let anthropic = r#"{"system":[{"type":"text","text":"12345","cache_control":{"type":"ephemeral"}}],
            "messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"x","content":"67"}]}]}"#;
        assert_eq!(ask(anthropic).input_tokens(), 2);
        let gemini = r#"{"systemInstruction":{"parts":[{"text":"12"}]},"contents":[{"role":"user","parts":[{"text":"34567"},
            {"inlineData":{"mimeType":"image/png","data":"notcounted"}}]}]}"#;
        assert_eq!((ask(gemini).input_tokens(), ask(gemini).contents.items), (2, 1));
        assert_eq!(ask(r#"{"messages":[]}"#).input_tokens(), 1);
    }

    #[test]
    fn inputs_of_embeddings_are_told_apart() {
        let input = |json: &str| ask(json).input;
        assert_eq!(input(r#"{"input":"abc"}"#).items, 1);
        assert_eq!(input(r#"{"input":["abc","de"]}"#), Text { bytes: 5, items: 2, is_number: false });
        assert_eq!(input(r#"{"input":[1,2,3]}"#), Text { bytes: 12, items: 1, is_number: false });
        assert_eq!(input(r#"{"input":[[1,2],[3]]}"#), Text { bytes: 12, items: 2, is_number: false });
        assert_eq!(input(r#"{"input":[]}"#).items, 0);
    }

    #[test]
    fn the_smallest_limit_ends_the_answer() {
        let output = |json: &str| ask(json).output(16);
        assert_eq!(output(r#"{}"#), Output { tokens: 16, cut_short: false });
        assert_eq!(output(r#"{"max_tokens":16}"#), Output { tokens: 16, cut_short: false });
        assert_eq!(output(r#"{"max_completion_tokens":5}"#), Output { tokens: 5, cut_short: true });
        assert_eq!(output(r#"{"max_output_tokens":0}"#), Output { tokens: 1, cut_short: true });
    }

    #[test]
    fn the_models_name_decides_the_parts() {
        let usage = |model: &str| {
            let text = "x".repeat(400);
            let ask = ask(&format!(r#"{{"model":"{model}","messages":"{text}"}}"#));
            ask.usage(Output { tokens: 10, cut_short: false })
        };
        assert_eq!(usage("gpt"), Tokens { input: 100, output: 10, ..Tokens::default() });
        assert_eq!(usage("gpt-cached").cache_read, 48);
        assert_eq!(
            usage("gpt-cachewrite"),
            Tokens { input: 100, cache_write: 48, cache_write_long: 24, output: 10, ..Tokens::default() }
        );
        assert_eq!(usage("gpt-reason").reasoning, 2);
    }

    #[test]
    fn only_models_named_for_it_call_tools() {
        let tools = r#""tools":[{"type":"function","function":{"name":"look_up"}}]"#;
        assert_eq!(ask(&format!(r#"{{"model":"gpt-tools",{tools}}}"#)).tool(), Some("look_up"));
        assert_eq!(ask(&format!(r#"{{"model":"gpt",{tools}}}"#)).tool(), None);
        assert_eq!(ask(r#"{"model":"m-tools","tools":[{"name":"find","input_schema":{}}]}"#).tool(), Some("find"));
    }
}
