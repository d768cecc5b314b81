//! Anthropic's errors, as an answer and inside a stream: the same object.

use serde::Serialize;

use crate::protocol::error::{ErrorFacts, ErrorKind};
use crate::protocol::json;

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    error: Error<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Error<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'a str,
}

pub(crate) fn body(facts: &ErrorFacts<'_>) -> Vec<u8> {
    let ErrorFacts { kind, message, request_id, .. } = *facts;
    json::written(&Body { kind: "error", error: Error { kind: word(kind), message }, request_id })
}

fn word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Permission => "permission_error",
        ErrorKind::Billing => "billing_error",
        ErrorKind::InvalidRequest => "invalid_request_error",
        ErrorKind::NotFound => "not_found_error",
        ErrorKind::RateLimit => "rate_limit_error",
        ErrorKind::Api => "api_error",
        ErrorKind::Overloaded => "overloaded_error",
        ErrorKind::Timeout => "timeout_error",
    }
}
