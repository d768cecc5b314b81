//! `…:embedContent` and `…:batchEmbedContents`.

use super::super::answer::Answer;
use super::super::ask::Ask;
use super::super::dialect::Question;
use super::super::openai::embeddings::{push_vector, vector};
use crate::domain::Tokens;

const DIMENSIONS: usize = 768;

pub(super) fn one(question: &Question<'_>, ask: &Ask) -> Answer {
    finished(&format!(r#""embedding":{}"#, embedding(question, 0)), ask)
}

pub(super) fn many(question: &Question<'_>, ask: &Ask) -> Answer {
    let embeddings: Vec<_> = (0..ask.requests.items).map(|index| embedding(question, index)).collect();
    finished(&format!(r#""embeddings":[{}]"#, embeddings.join(",")), ask)
}

fn embedding(question: &Question<'_>, index: usize) -> String {
    let mut text = r#"{"values":"#.to_owned();
    push_vector(vector(question.seed, index, DIMENSIONS), false, &mut text);
    text.push('}');
    text
}

fn finished(embeddings: &str, ask: &Ask) -> Answer {
    let input = ask.input_tokens();
    let usage = format!(r#""usageMetadata":{{"promptTokenCount":{input},"totalTokenCount":{input}}}"#);
    Answer::json(format!("{{{embeddings},{usage}}}")).reporting(Tokens { input, ..Tokens::default() })
}
