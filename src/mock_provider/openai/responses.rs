//! `POST /v1/responses`, plain and streamed.

use super::super::answer::{Answer, Deltas, Stream};
use super::super::ask::{Ask, Output};
use super::super::dialect::Question;
use super::super::words::{Pieces, escaped};
use crate::domain::Tokens;

/// One answer, whichever way it goes out.
struct Response<'a> {
    question: &'a Question<'a>,
    id: String,
    item_id: String,
    /// Escaped.
    model: String,
    /// The tool to call, escaped, and the id of the call.
    call: Option<(String, String)>,
    limit: Option<u64>,
    output: Output,
    tokens: Tokens,
}

pub(super) fn answer(question: &Question<'_>, ask: &Ask) -> Answer {
    let output = ask.output(question.tokens);
    let call = ask.tool().map(|name| (escaped(name, false), question.id("call_", 24)));
    let response = Response {
        question,
        id: question.id("resp_", 48),
        item_id: question.id(if call.is_some() { "fc_" } else { "msg_" }, 48),
        model: escaped(&ask.model, false),
        call,
        limit: ask.max_output_tokens,
        output,
        tokens: ask.usage(output),
    };
    if ask.streams() {
        Answer::stream(response.stream()).reporting(response.tokens)
    } else {
        Answer::json(response.finished(&response.pieces())).reporting(response.tokens)
    }
}

impl Response<'_> {
    fn stream(&self) -> Stream {
        let pieces = self.pieces();
        let begun = self.whole("in_progress", "[]", "null");
        let mut opening = vec![("response.created", format!(r#""response":{begun}"#))];
        opening.push(("response.in_progress", format!(r#""response":{begun}"#)));
        let item = self.item("in_progress", None);
        opening.push(("response.output_item.added", format!(r#""output_index":0,"item":{item}"#)));
        let place = format!(r#""item_id":"{}","output_index":0"#, self.item_id);
        if self.call.is_none() {
            let part = part("");
            opening.push(("response.content_part.added", format!(r#"{place},"content_index":0,"part":{part}"#)));
        }
        let mut closing = match &self.call {
            None => {
                let done = format!(r#"{place},"content_index":0,"text":"{pieces}","logprobs":[]"#);
                let part = format!(r#"{place},"content_index":0,"part":{}"#, part(&pieces));
                vec![("response.output_text.done", done), ("response.content_part.done", part)]
            }
            Some((name, _)) => {
                let done = format!(r#"{place},"name":"{name}","arguments":"{pieces}""#);
                vec![("response.function_call_arguments.done", done)]
            }
        };
        let item = self.item(self.status(), Some(&pieces));
        closing.push(("response.output_item.done", format!(r#""output_index":0,"item":{item}"#)));
        let last = if self.output.cut_short { "response.incomplete" } else { "response.completed" };
        closing.push((last, format!(r#""response":{}"#, self.finished(&pieces))));
        self.numbered(&opening, &closing, &place)
    }

    /// Gives the events their numbers, the deltas between the opening and the closing ones.
    fn numbered(&self, opening: &[(&str, String)], closing: &[(&str, String)], place: &str) -> Stream {
        let (delta, place, logprobs) = match self.call {
            None => ("response.output_text.delta", format!(r#"{place},"content_index":0"#), r#","logprobs":[]"#),
            Some(_) => ("response.function_call_arguments.delta", place.to_owned(), ""),
        };
        let first_delta = opening.len() as u32;
        let first_closing = first_delta + self.visible();
        let all = |events: &[(&str, String)], first: u32| {
            events.iter().zip(first..).map(|((name, fields), number)| event(name, number, fields)).collect()
        };
        Stream {
            opening: all(opening, 0),
            deltas: Deltas {
                before: format!("event: {delta}\ndata: {{\"type\":\"{delta}\",\"sequence_number\":"),
                first_number: Some(first_delta),
                between: format!(r#",{place},"delta":""#),
                after: format!("\"{logprobs}}}\n\n"),
                words: self.question.words.clone(),
                pieces: self.kind(),
                count: self.visible(),
            },
            closing: all(closing, first_closing),
            error: event(
                "error",
                first_closing,
                r#""code":"server_error","message":"The server had an error while processing your request. Sorry about that!","param":null"#,
            ),
        }
    }

    /// The response at its end, with its only item.
    fn finished(&self, pieces: &str) -> String {
        let item = self.item(self.status(), Some(pieces));
        self.whole(self.status(), &format!("[{item}]"), &self.usage())
    }

    fn whole(&self, status: &str, output: &str, usage: &str) -> String {
        let limit = self.limit.map_or_else(|| "null".to_owned(), |limit| limit.to_string());
        let incomplete = if status == "incomplete" { r#"{"reason":"max_output_tokens"}"# } else { "null" };
        format!(
            r#"{{"id":"{}","object":"response","created_at":{},"status":"{status}","background":false,"error":null,"incomplete_details":{incomplete},"instructions":null,"max_output_tokens":{limit},"max_tool_calls":null,"model":"{}","output":{output},"parallel_tool_calls":true,"previous_response_id":null,"prompt_cache_key":null,"reasoning":{{"effort":null,"summary":null}},"safety_identifier":null,"service_tier":"default","store":true,"temperature":1.0,"text":{{"format":{{"type":"text"}},"verbosity":"medium"}},"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1.0,"truncation":"disabled","usage":{usage},"user":null,"metadata":{{}}}}"#,
            self.id, self.question.created, self.model
        )
    }

    /// The item of the output: as it begins (`None`), or with its pieces.
    fn item(&self, status: &str, pieces: Option<&str>) -> String {
        let id = &self.item_id;
        match &self.call {
            None => {
                let content = pieces.map(part).unwrap_or_default();
                format!(
                    r#"{{"id":"{id}","type":"message","status":"{status}","content":[{content}],"role":"assistant"}}"#
                )
            }
            Some((name, call_id)) => {
                let arguments = pieces.unwrap_or_default();
                format!(
                    r#"{{"id":"{id}","type":"function_call","status":"{status}","arguments":"{arguments}","call_id":"{call_id}","name":"{name}"}}"#
                )
            }
        }
    }

    fn kind(&self) -> Pieces {
        match self.call {
            None => Pieces::Text,
            Some(_) => Pieces::Arguments { cut_short: self.output.cut_short },
        }
    }

    fn pieces(&self) -> String {
        self.question.words.joined(self.kind(), self.visible())
    }

    fn status(&self) -> &'static str {
        if self.output.cut_short { "incomplete" } else { "completed" }
    }

    fn visible(&self) -> u32 {
        self.output.tokens - self.tokens.reasoning as u32
    }

    fn usage(&self) -> String {
        let Tokens { input, cache_read, cache_write, cache_write_long, output, reasoning, .. } = self.tokens;
        let (short, total) = (cache_write - cache_write_long, input + output);
        format!(
            r#"{{"input_tokens":{input},"input_tokens_details":{{"cached_tokens":{cache_read},"cache_write_tokens":{cache_write},"cache_write_tokens_details":{{"ttl_30m_tokens":{short},"ttl_12h_tokens":{cache_write_long}}}}},"output_tokens":{output},"output_tokens_details":{{"reasoning_tokens":{reasoning}}},"total_tokens":{total}}}"#
        )
    }
}

fn event(name: &str, number: u32, fields: &str) -> String {
    format!("event: {name}\ndata: {{\"type\":\"{name}\",\"sequence_number\":{number},{fields}}}\n\n")
}

fn part(pieces: &str) -> String {
    format!(r#"{{"type":"output_text","annotations":[],"logprobs":[],"text":"{pieces}"}}"#)
}
