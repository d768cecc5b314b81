//! Which pieces of which texts an event brings, and which texts it ends: in each dialect.

use std::ops::Range;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::policy::Form;
use crate::protocol::Endpoint;
use crate::protocol::json::range_in;

/// The shape of a stream's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Chat,
    Responses,
    Messages,
    Gemini,
}

/// One text of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextId {
    /// The choice, the item or the block.
    pub(super) outer: u64,
    /// The member that brings it, or the event.
    pub(super) kind: String,
    /// The call in a choice, or the part of an item.
    pub(super) inner: u64,
    /// Of Responses: the item's id, as it is written.
    pub(super) item: Option<String>,
}

/// A piece of a text.
#[derive(Debug)]
pub(super) struct Delta {
    pub(super) id: TextId,
    /// Its content, between the quotes.
    pub(super) range: Range<usize>,
    pub(super) form: Form,
}

/// Which texts end with an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ends {
    Nothing,
    /// Those of these choices, items or blocks.
    Of(Vec<u64>),
    All,
}

/// What an event is made of.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) deltas: Vec<Delta>,
    pub(super) ends: Ends,
}

impl Shape {
    pub(super) fn of(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Responses => Self::Responses,
            Endpoint::Messages => Self::Messages,
            Endpoint::StreamGenerateContent | Endpoint::GenerateContent => Self::Gemini,
            _ => Self::Chat,
        }
    }

    /// Reads an event's data. What is not shaped as expected brings no pieces; its texts are then looked at by
    /// themselves.
    pub(super) fn read(self, data: &str) -> Reading {
        let read = match self {
            Self::Chat => serde_json::from_str(data).ok().map(|chunk| chat(data, chunk)),
            Self::Responses => serde_json::from_str(data).ok().map(|event| response(data, event)),
            Self::Messages => serde_json::from_str(data).ok().map(|event| message(data, event)),
            Self::Gemini => serde_json::from_str(data).ok().map(|event| gemini(data, event)),
        };
        read.unwrap_or(Reading { deltas: Vec::new(), ends: Ends::Nothing })
    }

    /// An event's data that brings `raw` to a text, made like `data`, the last event there was.
    pub(super) fn written(self, id: &TextId, raw: &str, data: &str, number: u64) -> (Option<String>, String) {
        let TextId { outer, kind, inner, item } = id;
        match self {
            Self::Chat => (None, chat_written(id, raw, data)),
            Self::Responses => {
                let item = item.as_deref().unwrap_or("\"\"");
                let part = match kind.as_str() {
                    "response.reasoning_summary_text.delta" => format!("\"summary_index\":{inner},"),
                    kind if kind.contains("_text.") || kind.contains("refusal") => {
                        format!("\"content_index\":{inner},")
                    }
                    _ => String::new(),
                };
                let text = format!(
                    "{{\"type\":\"{kind}\",\"item_id\":{item},\"output_index\":{outer},{part}\"delta\":\"{raw}\",\
                     \"sequence_number\":{number}}}"
                );
                (Some(kind.clone()), text)
            }
            Self::Messages => {
                let delta = match kind.as_str() {
                    "partial_json" => "input_json_delta",
                    "thinking" => "thinking_delta",
                    _ => "text_delta",
                };
                let text = format!(
                    "{{\"type\":\"content_block_delta\",\"index\":{outer},\"delta\":{{\"type\":\"{delta}\",\"{kind}\":\"{raw}\"}}}}"
                );
                (Some("content_block_delta".into()), text)
            }
            Self::Gemini => {
                let thought = if kind == "thought" { ",\"thought\":true" } else { "" };
                let parts = format!("[{{\"text\":\"{raw}\"{thought}}}]");
                let content = format!("{{\"role\":\"model\",\"parts\":{parts}}}");
                (None, format!("{{\"candidates\":[{{\"index\":{outer},\"content\":{content}}}]}}"))
            }
        }
    }
}

/// The content of the string `value` in `data`.
fn content(data: &str, value: Option<&RawValue>) -> Option<Range<usize>> {
    let value = value?.get();
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    range_in(data.as_bytes(), inner.as_bytes())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice<'a> {
    index: u64,
    #[serde(borrow)]
    delta: Option<ChatDelta<'a>>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ChatDelta<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
    #[serde(borrow)]
    function_call: Option<Function<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Call<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
    #[serde(borrow)]
    custom: Option<Function<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Function<'a> {
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

fn chat(data: &str, chunk: Chunk<'_>) -> Reading {
    let (mut deltas, mut finished) = (Vec::new(), Vec::new());
    for choice in chunk.choices {
        let outer = choice.index;
        let mut add = |kind: &str, inner: u64, form: Form, value: Option<&RawValue>| {
            if let Some(range) = content(data, value) {
                deltas.push(Delta { id: TextId { outer, kind: kind.into(), inner, item: None }, range, form });
            }
        };
        add("text", 0, Form::Plain, choice.text);
        if let Some(delta) = choice.delta {
            add("reasoning_content", 0, Form::Plain, delta.reasoning_content);
            add("reasoning", 0, Form::Plain, delta.reasoning);
            add("content", 0, Form::Plain, delta.content);
            add("refusal", 0, Form::Plain, delta.refusal);
            add("function_call", 0, Form::Json, delta.function_call.and_then(|call| call.arguments));
            for (number, call) in delta.tool_calls.unwrap_or_default().into_iter().enumerate() {
                let inner = call.index.unwrap_or(number as u64);
                add("tool_calls", inner, Form::Json, call.function.and_then(|function| function.arguments));
                add("custom", inner, Form::Plain, call.custom.and_then(|custom| custom.input));
            }
        }
        if choice.finish_reason.is_some() {
            finished.push(outer);
        }
    }
    deltas.sort_by_key(|delta| delta.range.start);
    let ends = if finished.is_empty() { Ends::Nothing } else { Ends::Of(finished) };
    Reading { deltas, ends }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Top<'a> {
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// A chunk like `data`, with this piece and nothing else.
fn chat_written(id: &TextId, raw: &str, data: &str) -> String {
    let TextId { outer, kind, inner, .. } = id;
    let delta = match kind.as_str() {
        "tool_calls" => format!("{{\"tool_calls\":[{{\"index\":{inner},\"function\":{{\"arguments\":\"{raw}\"}}}}]}}"),
        "custom" => format!("{{\"tool_calls\":[{{\"index\":{inner},\"custom\":{{\"input\":\"{raw}\"}}}}]}}"),
        "function_call" => format!("{{\"function_call\":{{\"arguments\":\"{raw}\"}}}}"),
        kind => format!("{{\"{kind}\":\"{raw}\"}}"),
    };
    let choice = match kind.as_str() {
        "text" => format!("[{{\"index\":{outer},\"text\":\"{raw}\",\"finish_reason\":null}}]"),
        _ => format!("[{{\"index\":{outer},\"delta\":{delta},\"finish_reason\":null}}]"),
    };
    let top: Top<'_> = serde_json::from_str(data).unwrap_or_default();
    let place = |value: Option<&RawValue>| range_in(data.as_bytes(), value?.get().as_bytes());
    let mut edits: Vec<(Range<usize>, &str)> = Vec::new();
    match place(top.choices) {
        Some(range) => edits.push((range, &choice)),
        None => return format!("{{\"object\":\"chat.completion.chunk\",\"choices\":{choice}}}"),
    }
    edits.extend(place(top.usage).map(|range| (range, "null")));
    edits.sort_by_key(|(range, _)| range.start);
    let (mut out, mut at) = (String::with_capacity(data.len() + choice.len()), 0);
    for (range, text) in edits {
        out.push_str(data.get(at..range.start).unwrap_or_default());
        out.push_str(text);
        at = range.end;
    }
    out.push_str(data.get(at..).unwrap_or_default());
    out
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseEvent<'a> {
    r#type: String,
    output_index: u64,
    content_index: Option<u64>,
    summary_index: Option<u64>,
    #[serde(borrow)]
    item_id: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
}

fn response(data: &str, event: ResponseEvent<'_>) -> Reading {
    let kind = event.r#type;
    let outer = event.output_index;
    let inner = event.content_index.or(event.summary_index).unwrap_or(0);
    let item = event.item_id.map(|item| item.get().to_owned());
    let is_delta = kind.ends_with(".delta") && !kind.contains("audio.");
    let range = if is_delta { content(data, event.delta) } else { None };
    let form = if kind.contains("arguments") { Form::Json } else { Form::Plain };
    let ends = match kind.as_str() {
        "response.completed" | "response.incomplete" | "response.failed" | "error" => Ends::All,
        kind if kind.ends_with(".done") => Ends::Of(vec![outer]),
        _ => Ends::Nothing,
    };
    let deltas = range.map(|range| Delta { id: TextId { outer, kind, inner, item }, range, form });
    Reading { deltas: deltas.into_iter().collect(), ends }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MessageEvent<'a> {
    r#type: String,
    index: u64,
    #[serde(borrow)]
    delta: Option<BlockDelta<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BlockDelta<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    partial_json: Option<&'a RawValue>,
}

fn message(data: &str, event: MessageEvent<'_>) -> Reading {
    let outer = event.index;
    let mut deltas = Vec::new();
    if let Some(delta) = event.delta {
        let kinds = [
            ("text", Form::Plain, delta.text),
            ("thinking", Form::Plain, delta.thinking),
            ("partial_json", Form::Json, delta.partial_json),
        ];
        for (kind, form, value) in kinds {
            let id = TextId { outer, kind: kind.into(), inner: 0, item: None };
            deltas.extend(content(data, value).map(|range| Delta { id, range, form }));
        }
    }
    let ends = match event.r#type.as_str() {
        "content_block_stop" => Ends::Of(vec![outer]),
        "message_delta" | "message_stop" | "error" => Ends::All,
        _ => Ends::Nothing,
    };
    Reading { deltas, ends }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GeminiEvent<'a> {
    #[serde(borrow)]
    candidates: Vec<Candidate<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Candidate<'a> {
    index: u64,
    #[serde(borrow)]
    content: Option<Parts<'a>>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Parts<'a> {
    #[serde(borrow)]
    parts: Vec<Part<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    thought: Option<bool>,
    function_call: Option<IgnoredAny>,
    executable_code: Option<IgnoredAny>,
}

fn gemini(data: &str, event: GeminiEvent<'_>) -> Reading {
    let (mut deltas, mut finished) = (Vec::new(), Vec::new());
    for candidate in event.candidates {
        for part in candidate.content.unwrap_or_default().parts {
            // Whoever calls or runs something has said what came before.
            if part.function_call.is_some() || part.executable_code.is_some() {
                finished.push(candidate.index);
            }
            let kind = if part.thought == Some(true) { "thought" } else { "text" };
            let id = TextId { outer: candidate.index, kind: kind.into(), inner: 0, item: None };
            deltas.extend(content(data, part.text).map(|range| Delta { id, range, form: Form::Plain }));
        }
        if candidate.finish_reason.is_some() {
            finished.push(candidate.index);
        }
    }
    let ends = if finished.is_empty() { Ends::Nothing } else { Ends::Of(finished) };
    Reading { deltas, ends }
}
