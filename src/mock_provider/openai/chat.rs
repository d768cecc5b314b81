//! `POST /v1/chat/completions`, plain and streamed.

use super::super::answer::{Answer, Deltas, Refusal, Stream};
use super::super::ask::{Ask, Output};
use super::super::dialect::Question;
use super::super::words::{Pieces, escaped};
use crate::domain::Tokens;

/// One answer, whichever way it goes out.
struct Completion<'a> {
    question: &'a Question<'a>,
    id: String,
    /// Escaped.
    model: String,
    /// The tool to call, escaped, and the id of the call.
    call: Option<(String, String)>,
    output: Output,
    tokens: Tokens,
}

pub(super) fn answer(question: &Question<'_>, ask: &Ask) -> Result<Answer, Refusal> {
    if ask.messages.items == 0 {
        let refusal = Refusal::new(400, "Invalid 'messages': empty array. Expected an array with minimum length 1.");
        return Err(Refusal { code: Some("empty_array"), param: Some("messages"), ..refusal });
    }
    let output = ask.output(question.tokens);
    let completion = Completion {
        question,
        id: question.id("chatcmpl-", 29),
        model: escaped(&ask.model, false),
        call: ask.tool().map(|name| (escaped(name, false), question.id("call_", 24))),
        output,
        // The format has no figure for the long-lived part.
        tokens: Tokens { cache_write_long: 0, ..ask.usage(output) },
    };
    Ok(if !ask.streams() {
        Answer::json(completion.plain()).reporting(completion.tokens)
    } else if ask.includes_usage() {
        Answer::stream(completion.stream(true)).reporting(completion.tokens)
    } else {
        Answer::stream(completion.stream(false))
    })
}

/// What Azure sends before anything else.
const FILTERED: &str = concat!(
    r#"data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"#,
    r#""content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}"#,
    "\n\n"
);

impl Completion<'_> {
    fn plain(&self) -> String {
        let pieces = self.question.words.joined(self.pieces(), self.visible());
        let message = match &self.call {
            None => format!(r#"{{"role":"assistant","content":"{pieces}","refusal":null,"annotations":[]}}"#),
            Some((name, id)) => format!(
                r#"{{"role":"assistant","content":null,"tool_calls":[{{"id":"{id}","type":"function","function":{{"name":"{name}","arguments":"{pieces}"}}}}],"refusal":null,"annotations":[]}}"#
            ),
        };
        format!(
            r#"{{"id":"{}","object":"chat.completion","created":{},"model":"{}","choices":[{{"index":0,"message":{message},"logprobs":null,"finish_reason":"{}"}}],"usage":{},"service_tier":"default","system_fingerprint":"fp_mock"}}"#,
            self.id,
            self.question.created,
            self.model,
            self.finish_reason(),
            self.usage()
        )
    }

    fn stream(&self, include_usage: bool) -> Stream {
        let role = match &self.call {
            None => r#"{"role":"assistant","content":"","refusal":null}"#.to_owned(),
            Some((name, id)) => format!(
                r#"{{"role":"assistant","content":null,"tool_calls":[{{"index":0,"id":"{id}","type":"function","function":{{"name":"{name}","arguments":""}}}}],"refusal":null}}"#
            ),
        };
        let (piece_before, piece_after) = match self.call {
            None => (r#"{"content":""#, r#""}"#),
            Some(_) => (r#"{"tool_calls":[{"index":0,"function":{"arguments":""#, r#""}}]}"#),
        };
        let usage = if include_usage { r#","usage":null"# } else { "" };
        let head = self.chunk_head();
        let tail = format!("{usage}}}\n\n");
        let finish = self.finish_reason();
        let mut closing =
            vec![format!(r#"{head}[{{"index":0,"delta":{{}},"logprobs":null,"finish_reason":"{finish}"}}]{tail}"#)];
        if include_usage {
            closing.push(format!("{head}[],\"usage\":{}}}\n\n", self.usage()));
        }
        closing.push("data: [DONE]\n\n".to_owned());
        let first = format!(r#"{head}[{{"index":0,"delta":{role},"logprobs":null,"finish_reason":null}}]{tail}"#);
        let mut opening = vec![first];
        if super::is_azure(self.question) {
            opening.insert(0, FILTERED.to_owned());
        }
        Stream {
            opening,
            deltas: Deltas {
                before: format!(r#"{head}[{{"index":0,"delta":{piece_before}"#),
                first_number: None,
                between: String::new(),
                after: format!(r#"{piece_after},"logprobs":null,"finish_reason":null}}]{tail}"#),
                words: self.question.words.clone(),
                pieces: self.pieces(),
                count: self.visible(),
            },
            closing,
            error: super::STREAM_ERROR.to_owned(),
        }
    }

    /// Every chunk up to its choices.
    fn chunk_head(&self) -> String {
        format!(
            r#"data: {{"id":"{}","object":"chat.completion.chunk","created":{},"model":"{}","service_tier":"default","system_fingerprint":"fp_mock","choices":"#,
            self.id, self.question.created, self.model
        )
    }

    fn pieces(&self) -> Pieces {
        match self.call {
            None => Pieces::Text,
            Some(_) => Pieces::Arguments { cut_short: self.output.cut_short },
        }
    }

    fn finish_reason(&self) -> &'static str {
        match (&self.call, self.output.cut_short) {
            (_, true) => "length",
            (Some(_), false) => "tool_calls",
            (None, false) => "stop",
        }
    }

    fn visible(&self) -> u32 {
        self.output.tokens - self.tokens.reasoning as u32
    }

    fn usage(&self) -> String {
        let Tokens { input, cache_read, cache_write, output, reasoning, .. } = self.tokens;
        let total = input + output;
        format!(
            r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":{cache_read},"cache_write_tokens":{cache_write},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#
        )
    }
}
