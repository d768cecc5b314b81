//! The answers of Anthropic: routes, headers, errors, the list of models.

mod messages; // POST /v1/messages

use super::answer::{Answer, Refusal};
use super::ask::Ask;
use super::dialect::{Credential, Question};
use super::words::escaped;

pub(super) fn answer(question: &Question<'_>) -> Result<Answer, Refusal> {
    check_credential(question)?;
    match (question.request.method.as_str(), question.request.path()) {
        ("POST", "/v1/messages") => messages::answer(question, &read(question)?),
        ("POST", "/v1/messages/count_tokens") => Ok(count(&read(question)?)),
        ("GET" | "HEAD", "/v1/models") => Ok(models()),
        _ => Err(Refusal::new(404, "Not found")),
    }
}

pub(super) fn error(question: &Question<'_>, refusal: &Refusal) -> String {
    format!(
        r#"{{"type":"error","error":{{"type":"{}","message":"{}"}},"request_id":"{}"}}"#,
        error_type(refusal.status),
        escaped(&refusal.message, false),
        request_id(question)
    )
}

pub(super) fn headers(question: &Question<'_>) -> String {
    let reset = jiff::Timestamp::from_second(i64::try_from(question.created).unwrap_or(0) + 1).unwrap_or_default();
    let mut headers = format!(
        "request-id: {}\r\nanthropic-organization-id: 00000000-0000-4000-8000-000000000000\r\n",
        request_id(question)
    );
    for (what, limit) in [("requests", 4000), ("tokens", 480_000), ("input-tokens", 400_000), ("output-tokens", 80_000)]
    {
        let remaining = limit - 1;
        headers.push_str(&format!(
            "anthropic-ratelimit-{what}-limit: {limit}\r\n\
             anthropic-ratelimit-{what}-remaining: {remaining}\r\n\
             anthropic-ratelimit-{what}-reset: {reset}\r\n"
        ));
    }
    headers
}

fn request_id(question: &Question<'_>) -> String {
    question.id("req_011", 21)
}

fn error_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

fn check_credential(question: &Question<'_>) -> Result<(), Refusal> {
    match question.credential(question.request.headers.x_api_key.as_deref()) {
        Credential::Accepted => Ok(()),
        Credential::Missing => Err(Refusal::new(401, "x-api-key header is required")),
        Credential::Wrong(_) => Err(Refusal::new(401, "invalid x-api-key")),
    }
}

fn read(question: &Question<'_>) -> Result<Ask, Refusal> {
    let ask = question.ask().map_err(|why| Refusal::new(400, format!("The request body is not valid JSON: {why}")))?;
    if ask.model.is_empty() {
        return Err(Refusal::new(400, "model: Field required"));
    }
    if ask.model.starts_with("unknown") {
        return Err(Refusal::new(404, format!("model: {}", ask.model)));
    }
    if ask.messages.items == 0 {
        return Err(Refusal::new(400, "messages: at least one message is required"));
    }
    Ok(ask)
}

/// Costs nothing, so it reports nothing.
fn count(ask: &Ask) -> Answer {
    Answer::json(format!(r#"{{"input_tokens":{}}}"#, ask.input_tokens()))
}

fn models() -> Answer {
    const MODELS: [(&str, &str); 4] = [
        ("claude-sonnet-4-5", "Claude Sonnet 4.5"),
        ("claude-sonnet-4-5-cached", "Claude Sonnet 4.5 with a warm cache"),
        ("claude-sonnet-4-5-tools", "Claude Sonnet 4.5 that calls tools"),
        ("claude-haiku-4-5", "Claude Haiku 4.5"),
    ];
    let model = |(id, name): &(&str, &str)| {
        format!(
            r#"{{"type":"model","id":"{id}","display_name":"{name}","created_at":"2025-09-29T00:00:00Z","lifecycle":"active"}}"#
        )
    };
    let models: Vec<String> = MODELS.iter().map(model).collect();
    let [(first, _), .., (last, _)] = MODELS;
    Answer::json(format!(
        r#"{{"data":[{}],"has_more":false,"first_id":"{first}","last_id":"{last}"}}"#,
        models.join(",")
    ))
}
