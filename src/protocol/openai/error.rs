//! OpenAI's errors, as an answer and inside a stream.

use serde::Serialize;

use crate::protocol::error::{ErrorFacts, ErrorKind};
use crate::protocol::json;

#[derive(Serialize)]
struct Body<'a> {
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'a str>,
    code: &'a str,
    request_id: &'a str,
}

/// Clients disagree on whether the error stands in the event itself or nested in it, so it does both.
#[derive(Serialize)]
struct ResponsesEvent<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    /// Required by the schema. The true number is not known here, and no client known checks the order.
    sequence_number: u64,
    code: &'a str,
    message: &'a str,
    param: Option<&'a str>,
    error: Error<'a>,
}

/// An answer that is an error, and the data of an error inside a stream of chat completions.
pub(crate) fn body(facts: &ErrorFacts<'_>) -> Vec<u8> {
    json::written(&Body { error: error(facts) })
}

/// The data of an error inside a stream of responses.
pub(crate) fn responses_event(facts: &ErrorFacts<'_>) -> Vec<u8> {
    let ErrorFacts { code, message, .. } = *facts;
    json::written(&ResponsesEvent {
        kind: "error",
        sequence_number: 0,
        code,
        message,
        param: None,
        error: error(facts),
    })
}

fn error<'a>(facts: &ErrorFacts<'a>) -> Error<'a> {
    let ErrorFacts { kind, code, message, request_id, .. } = *facts;
    Error { message, kind: word(kind), param: None, code, request_id }
}

fn word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Permission => "permission_error",
        ErrorKind::Billing => "billing_error",
        // OpenAI has no word of its own for what is not there.
        ErrorKind::InvalidRequest | ErrorKind::NotFound => "invalid_request_error",
        ErrorKind::RateLimit => "rate_limit_error",
        ErrorKind::Api | ErrorKind::Timeout => "server_error",
        // Also said by a gateway that refuses, hence no `server_error`.
        ErrorKind::Overloaded => "overloaded_error",
    }
}
