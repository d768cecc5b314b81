//! Gemini's errors, as an answer and inside a stream: the same object.

use serde::Serialize;

use crate::protocol::error::{ErrorFacts, ErrorKind};
use crate::protocol::json;

#[derive(Serialize)]
struct Body<'a> {
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    code: u16,
    message: &'a str,
    status: &'static str,
    details: [Info<'a>; 1],
}

/// Google's own way to say what machines shall read (`google.rpc.ErrorInfo`).
#[derive(Serialize)]
struct Info<'a> {
    #[serde(rename = "@type")]
    kind: &'static str,
    reason: &'a str,
    domain: &'static str,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    request_id: &'a str,
}

pub(crate) fn body(facts: &ErrorFacts<'_>) -> Vec<u8> {
    let ErrorFacts { kind, status, code, message, request_id } = *facts;
    let info = Info {
        kind: "type.googleapis.com/google.rpc.ErrorInfo",
        reason: code,
        domain: "keeptrusts",
        metadata: Metadata { request_id },
    };
    json::written(&Body { error: Error { code: status, message, status: word(kind), details: [info] } })
}

fn word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Authentication => "UNAUTHENTICATED",
        ErrorKind::Permission => "PERMISSION_DENIED",
        // No client asks again after this one; RESOURCE_EXHAUSTED would have them wait and try.
        ErrorKind::Billing => "FAILED_PRECONDITION",
        ErrorKind::InvalidRequest => "INVALID_ARGUMENT",
        ErrorKind::NotFound => "NOT_FOUND",
        ErrorKind::RateLimit => "RESOURCE_EXHAUSTED",
        ErrorKind::Api => "INTERNAL",
        ErrorKind::Overloaded => "UNAVAILABLE",
        ErrorKind::Timeout => "DEADLINE_EXCEEDED",
    }
}
