//! Pictures, speech, transcripts and moderations. Models called `gpt-…` report tokens, the others do not.

use super::super::answer::{Answer, Refusal};
use super::super::ask::Ask;
use super::super::dialect::Question;
use super::super::words::{Pieces, escaped};
use crate::domain::Tokens;

/// What one picture is worth.
const IMAGE_TOKENS: u64 = 1056;
/// A token of sound for so many bytes of a form.
const BYTES_A_TOKEN: u64 = 64;

pub(super) fn image(question: &Question<'_>, ask: &Ask) -> Answer {
    let head = format!(r#"{{"created":{},"data":[{{"b64_json":"iVBORw0KGgo="}}]"#, question.created);
    if !ask.model.starts_with("gpt-") {
        return Answer::json(format!("{head}}}"));
    }
    let input = ask.input_tokens();
    let total = input + IMAGE_TOKENS;
    let usage = format!(
        r#"{{"input_tokens":{input},"input_tokens_details":{{"text_tokens":{input},"image_tokens":0}},"output_tokens":{IMAGE_TOKENS},"output_tokens_details":{{"text_tokens":0,"image_tokens":{IMAGE_TOKENS}}},"total_tokens":{total}}}"#
    );
    let tokens = Tokens { input, output: IMAGE_TOKENS, output_image: IMAGE_TOKENS, ..Tokens::default() };
    Answer::json(format!(r#"{head},"usage":{usage}}}"#)).reporting(tokens)
}

pub(super) fn speech(question: &Question<'_>) -> Answer {
    let sound = format!("ID3\u{4}{}", question.words.text(question.tokens));
    Answer { content_type: "audio/mpeg", ..Answer::json(sound) }
}

/// The request is a form; its model stands in a part of that name.
pub(super) fn transcript(question: &Question<'_>) -> Result<Answer, Refusal> {
    let form = String::from_utf8_lossy(&question.request.body);
    let model = form.split_once("name=\"model\"\r\n\r\n").and_then(|(_, rest)| rest.split_once("\r\n"));
    let (model, _) = model.ok_or_else(|| Refusal::new(400, "you must provide a model parameter"))?;
    let text = question.words.joined(Pieces::Text, question.tokens);
    if !model.starts_with("gpt-") {
        return Ok(Answer::json(format!(r#"{{"text":"{text}","usage":{{"type":"duration","seconds":3}}}}"#)));
    }
    let (input, output) = (question.request.body.len() as u64 / BYTES_A_TOKEN, u64::from(question.tokens));
    let total = input + output;
    let usage = format!(
        r#"{{"type":"tokens","input_tokens":{input},"input_token_details":{{"text_tokens":0,"audio_tokens":{input}}},"output_tokens":{output},"total_tokens":{total}}}"#
    );
    let tokens = Tokens { input, output, input_audio: input, ..Tokens::default() };
    Ok(Answer::json(format!(r#"{{"text":"{text}","usage":{usage}}}"#)).reporting(tokens))
}

/// Costs nothing, so it reports nothing.
pub(super) fn moderation(question: &Question<'_>, ask: &Ask) -> Answer {
    let (id, model) = (question.id("modr-", 24), escaped(&ask.model, false));
    let result = r#"{"flagged":false,"categories":{"violence":false},"category_scores":{"violence":0.01}}"#;
    Answer::json(format!(r#"{{"id":"{id}","model":"{model}","results":[{result}]}}"#))
}
