//! `POST /v1/completions`, the older one, plain and streamed.

use super::super::answer::{Answer, Deltas, Stream};
use super::super::ask::Ask;
use super::super::dialect::Question;
use super::super::words::{Pieces, escaped};
use crate::domain::Tokens;

pub(super) fn answer(question: &Question<'_>, ask: &Ask) -> Answer {
    let output = ask.output(question.tokens);
    let Tokens { input, cache_read, output: produced, .. } = ask.usage(output);
    let tokens = Tokens { input, cache_read, output: produced, ..Tokens::default() };
    let total = input + produced;
    let usage = format!(
        r#"{{"prompt_tokens":{input},"completion_tokens":{produced},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":{cache_read}}}}}"#
    );
    let head = format!(
        r#"{{"id":"{}","object":"text_completion","created":{},"model":"{}","choices":"#,
        question.id("cmpl-", 29),
        question.created,
        escaped(&ask.model, false)
    );
    let reason = if output.cut_short { "length" } else { "stop" };
    if !ask.streams() {
        let text = question.words.joined(Pieces::Text, output.tokens);
        let choice = format!(r#"{{"text":"{text}","index":0,"logprobs":null,"finish_reason":"{reason}"}}"#);
        return Answer::json(format!(r#"{head}[{choice}],"usage":{usage}}}"#)).reporting(tokens);
    }
    let null = if ask.includes_usage() { r#","usage":null"# } else { "" };
    let mut closing = vec![format!(
        "data: {head}[{{\"text\":\"\",\"index\":0,\"logprobs\":null,\"finish_reason\":\"{reason}\"}}]{null}}}\n\n"
    )];
    if ask.includes_usage() {
        closing.push(format!("data: {head}[],\"usage\":{usage}}}\n\n"));
    }
    closing.push("data: [DONE]\n\n".to_owned());
    let stream = Stream {
        opening: Vec::new(),
        deltas: Deltas {
            before: format!(r#"data: {head}[{{"text":""#),
            first_number: None,
            between: String::new(),
            after: format!("\",\"index\":0,\"logprobs\":null,\"finish_reason\":null}}]{null}}}\n\n"),
            words: question.words.clone(),
            pieces: Pieces::Text,
            count: output.tokens,
        },
        closing,
        error: super::STREAM_ERROR.to_owned(),
    };
    let answer = Answer::stream(stream);
    if ask.includes_usage() { answer.reporting(tokens) } else { answer }
}
