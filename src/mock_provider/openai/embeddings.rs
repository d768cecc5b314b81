//! `POST /v1/embeddings`.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::answer::{Answer, Refusal};
use super::super::ask::Ask;
use super::super::dialect::Question;
use super::super::words::{escaped, scatter};
use crate::domain::Tokens;

const DIMENSIONS: usize = 1536;
const DIMENSIONS_MAX: usize = 3072;
const INPUTS_MAX: usize = 2048;

pub(super) fn answer(question: &Question<'_>, ask: &Ask) -> Result<Answer, Refusal> {
    if !(1..=INPUTS_MAX).contains(&ask.input.items) {
        let refusal = Refusal::new(400, "'$.input' is invalid. Please check the API reference.");
        return Err(Refusal { param: Some("input"), ..refusal });
    }
    let dimensions = ask.dimensions.unwrap_or(DIMENSIONS).clamp(1, DIMENSIONS_MAX);
    let base64 = ask.encoding_format.as_deref() == Some("base64");
    let mut data = String::new();
    for index in 0..ask.input.items {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(data, r#"{comma}{{"object":"embedding","index":{index},"embedding":"#);
        push_vector(vector(question.seed, index, dimensions), base64, &mut data);
        data.push('}');
    }
    let input = ask.input_tokens();
    let body = format!(
        r#"{{"object":"list","data":[{data}],"model":"{}","usage":{{"prompt_tokens":{input},"total_tokens":{input}}}}}"#,
        escaped(&ask.model, false)
    );
    Ok(Answer::json(body).reporting(Tokens { input, ..Tokens::default() }))
}

/// Numbers between -1 and 1 that depend on the seed and the input's place, not on its text. They are multiples of
/// 1/8192, exact in both encodings.
pub(in crate::mock_provider) fn vector(seed: u64, index: usize, dimensions: usize) -> impl Iterator<Item = f32> {
    const STEPS: u64 = 8192;
    let seed = scatter(seed, index as u64);
    (0..dimensions).map(move |at| {
        let step = scatter(seed, at as u64) % (2 * STEPS + 1);
        (step as f32 - STEPS as f32) / STEPS as f32
    })
}

pub(in crate::mock_provider) fn push_vector(vector: impl Iterator<Item = f32>, base64: bool, out: &mut String) {
    if base64 {
        let bytes: Vec<u8> = vector.flat_map(f32::to_le_bytes).collect();
        out.push('"');
        STANDARD.encode_string(bytes, out);
        out.push('"');
        return;
    }
    out.push('[');
    for (at, number) in vector.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // As f64, whose shortest form is exact.
        let _ = write!(out, "{comma}{}", f64::from(number));
    }
    out.push(']');
}
