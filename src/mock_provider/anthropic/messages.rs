//! `POST /v1/messages`, plain and streamed.

use super::super::answer::{Answer, Deltas, Refusal, Stream};
use super::super::ask::{Ask, Output};
use super::super::dialect::Question;
use super::super::words::{Pieces, escaped};
use crate::domain::Tokens;

/// One answer, whichever way it goes out.
struct Message<'a> {
    question: &'a Question<'a>,
    id: String,
    /// Escaped.
    model: String,
    /// The tool to use, escaped, and the id of the use.
    tool: Option<(String, String)>,
    output: Output,
    tokens: Tokens,
}

pub(super) fn answer(question: &Question<'_>, ask: &Ask) -> Result<Answer, Refusal> {
    if ask.max_tokens.is_none() {
        return Err(Refusal::new(400, "max_tokens: Field required"));
    }
    let output = ask.output(question.tokens);
    let message = Message {
        question,
        id: question.id("msg_01", 22),
        model: escaped(&ask.model, false),
        tool: ask.tool().map(|name| (escaped(name, false), question.id("toolu_01", 22))),
        output,
        tokens: ask.usage(output),
    };
    let answer = if ask.streams() { Answer::stream(message.stream()) } else { Answer::json(message.plain()) };
    Ok(answer.reporting(message.tokens))
}

impl Message<'_> {
    fn plain(&self) -> String {
        let words = self.question.words;
        let content = match &self.tool {
            None => format!(r#"{{"type":"text","text":"{}"}}"#, words.joined(Pieces::Text, self.visible())),
            Some((name, id)) => {
                // Here the arguments are no string but the document itself; a plain answer is never left invalid.
                let arguments = words.joined(Pieces::Arguments { cut_short: false }, self.visible());
                let input = serde_json::from_str::<String>(&format!("\"{arguments}\"")).unwrap_or_default();
                let input = if input.is_empty() { "{}" } else { &input };
                format!(r#"{{"type":"tool_use","id":"{id}","name":"{name}","input":{input}}}"#)
            }
        };
        let usage = self.usage(self.tokens.output, &self.thinking());
        self.whole(&content, &format!("\"{}\"", self.stop_reason()), &usage)
    }

    fn stream(&self) -> Stream {
        let (block, delta) = match &self.tool {
            None => (r#"{"type":"text","text":""}"#.to_owned(), r#"{"type":"text_delta","text":""#),
            Some((name, id)) => (
                format!(r#"{{"type":"tool_use","id":"{id}","name":"{name}","input":{{}}}}"#),
                r#"{"type":"input_json_delta","partial_json":""#,
            ),
        };
        let start = self.whole("", "null", &self.usage_at_the_start());
        let stop = format!(
            r#""delta":{{"stop_reason":"{}","stop_sequence":null}},"usage":{}"#,
            self.stop_reason(),
            self.usage_at_the_end()
        );
        Stream {
            opening: vec![
                event("message_start", &format!(r#""message":{start}"#)),
                event("content_block_start", &format!(r#""index":0,"content_block":{block}"#)),
                "event: ping\ndata: {\"type\": \"ping\"}\n\n".to_owned(),
            ],
            deltas: Deltas {
                before: "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
                    .to_owned(),
                first_number: None,
                between: delta.to_owned(),
                after: "\"}}\n\n".to_owned(),
                words: self.question.words.clone(),
                pieces: match self.tool {
                    None => Pieces::Text,
                    Some(_) => Pieces::Arguments { cut_short: self.output.cut_short },
                },
                count: self.visible(),
            },
            closing: vec![
                event("content_block_stop", r#""index":0"#),
                event("message_delta", &stop),
                "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".to_owned(),
            ],
            error: event("error", r#""error":{"type":"overloaded_error","message":"Overloaded"}"#),
        }
    }

    fn whole(&self, content: &str, stop_reason: &str, usage: &str) -> String {
        format!(
            r#"{{"model":"{}","id":"{}","type":"message","role":"assistant","content":[{content}],"stop_reason":{stop_reason},"stop_sequence":null,"usage":{usage}}}"#,
            self.model, self.id
        )
    }

    fn stop_reason(&self) -> &'static str {
        match (&self.tool, self.output.cut_short) {
            (_, true) => "max_tokens",
            (Some(_), false) => "tool_use",
            (None, false) => "end_turn",
        }
    }

    fn visible(&self) -> u32 {
        self.output.tokens - self.tokens.reasoning as u32
    }

    /// Input, which here leaves out what came from the cache or went to it.
    fn uncached(&self) -> u64 {
        self.tokens.input - self.tokens.cache_read - self.tokens.cache_write
    }

    /// The figures of `message_start`: the input is known, the output has only begun.
    fn usage_at_the_start(&self) -> String {
        self.usage(self.tokens.output.min(1), "")
    }

    fn usage(&self, output: u64, thinking: &str) -> String {
        let Tokens { cache_read, cache_write, cache_write_long, .. } = self.tokens;
        let (input, short) = (self.uncached(), cache_write - cache_write_long);
        format!(
            r#"{{"input_tokens":{input},"cache_creation_input_tokens":{cache_write},"cache_read_input_tokens":{cache_read},"cache_creation":{{"ephemeral_5m_input_tokens":{short},"ephemeral_1h_input_tokens":{cache_write_long}}},"output_tokens":{output}{thinking},"service_tier":"standard","inference_geo":"not_available"}}"#
        )
    }

    /// The cumulative figures of `message_delta`, which do not split what was written to the cache.
    fn usage_at_the_end(&self) -> String {
        let Tokens { cache_read, cache_write, output, .. } = self.tokens;
        let input = self.uncached();
        format!(
            r#"{{"input_tokens":{input},"cache_creation_input_tokens":{cache_write},"cache_read_input_tokens":{cache_read},"output_tokens":{output}{}}}"#,
            self.thinking()
        )
    }

    fn thinking(&self) -> String {
        match self.tokens.reasoning {
            0 => String::new(),
            tokens => format!(r#","output_tokens_details":{{"thinking_tokens":{tokens}}}"#),
        }
    }
}

fn event(name: &str, fields: &str) -> String {
    format!("event: {name}\ndata: {{\"type\":\"{name}\",{fields}}}\n\n")
}
