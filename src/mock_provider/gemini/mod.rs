//! The answers of Gemini: routes, headers, errors, the list of models.

mod generate; // …:generateContent and …:streamGenerateContent
mod embeddings; // …:embedContent and …:batchEmbedContents

use super::answer::{Answer, Refusal};
use super::ask::Ask;
use super::dialect::{Credential, Question};
use super::words::escaped;

/// Whether a path is Gemini's own.
pub(super) fn is_path(path: &str) -> bool {
    path.starts_with("/v1beta/") || asked(path).is_some()
}

pub(super) fn answer(question: &Question<'_>) -> Result<Answer, Refusal> {
    check_credential(question)?;
    let path = question.request.path();
    match (question.request.method.as_str(), asked(path)) {
        ("POST", Some((model, verb))) => generated(question, model, verb),
        ("GET" | "HEAD", None) if path.ends_with("/models") => Ok(models()),
        _ => Err(Refusal::new(404, "Requested entity was not found.")),
    }
}

fn generated(question: &Question<'_>, model: &str, verb: &str) -> Result<Answer, Refusal> {
    let mut ask = read(question)?;
    ask.model = model.to_owned();
    if model.starts_with("unknown") {
        let message = format!("models/{model} is not found for API version v1beta, or is not supported for {verb}.");
        return Err(Refusal::new(404, message));
    }
    match verb {
        "generateContent" => generate::answer(question, &ask, generate::Form::Plain),
        "streamGenerateContent" if question.request.has_query("alt=sse") => {
            generate::answer(question, &ask, generate::Form::Events)
        }
        "streamGenerateContent" => generate::answer(question, &ask, generate::Form::Array),
        "countTokens" => Ok(count(&ask)),
        "embedContent" => Ok(embeddings::one(question, &ask)),
        "batchEmbedContents" => Ok(embeddings::many(question, &ask)),
        _ => Err(Refusal::new(404, format!("The method {verb} is unknown."))),
    }
}

/// `/v1beta/models/gemini-3.8-flash:generateContent` → model and verb.
fn asked(path: &str) -> Option<(&str, &str)> {
    let (_, named) = path.rsplit_once("/models/")?;
    named.rsplit_once(':')
}

pub(super) fn error(refusal: &Refusal) -> String {
    let Refusal { status, ref message, .. } = *refusal;
    let word = match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INVALID_ARGUMENT",
    };
    format!(
        "{{\n  \"error\": {{\n    \"code\": {status},\n    \"message\": \"{}\",\n    \"status\": \"{word}\"\n  }}\n}}\n",
        escaped(message, false)
    )
}

pub(super) fn headers() -> String {
    "vary: Origin\r\nvary: X-Origin\r\nvary: Referer\r\nserver: scaffolding on HTTPServer2\r\nx-xss-protection: 0\r\n\
     x-frame-options: SAMEORIGIN\r\nx-content-type-options: nosniff\r\nserver-timing: gfet4t7; dur=1\r\n"
        .to_owned()
}

fn check_credential(question: &Question<'_>) -> Result<(), Refusal> {
    match question.credential(question.request.headers.x_goog_api_key.as_deref()) {
        Credential::Accepted => Ok(()),
        Credential::Missing => {
            let message = "Method doesn't allow unregistered callers (callers without established identity). Please \
                           use API Key or other form of API consumer identity to call this API.";
            Err(Refusal::new(403, message))
        }
        Credential::Wrong(_) => Err(Refusal::new(400, "API key not valid. Please pass a valid API key.")),
    }
}

fn read(question: &Question<'_>) -> Result<Ask, Refusal> {
    question.ask().map_err(|why| Refusal::new(400, format!("Invalid JSON payload received. {why}")))
}

/// Costs nothing, so it reports nothing.
fn count(ask: &Ask) -> Answer {
    Answer::json(format!("{{\n  \"totalTokens\": {}\n}}\n", ask.input_tokens()))
}

fn models() -> Answer {
    const MODELS: [&str; 5] = [
        "gemini-3.8-flash",
        "gemini-3.8-flash-cached",
        "gemini-3.8-flash-tools",
        "gemini-2.5-pro",
        "gemini-embedding-001",
    ];
    let model = |id: &&str| {
        format!(
            r#"{{"name":"models/{id}","version":"001","displayName":"{id}","inputTokenLimit":1048576,"outputTokenLimit":65536,"supportedGenerationMethods":["generateContent","countTokens"]}}"#
        )
    };
    let models: Vec<String> = MODELS.iter().map(model).collect();
    Answer::json(format!(r#"{{"models":[{}]}}"#, models.join(",")))
}
