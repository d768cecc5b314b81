//! What went wrong, in the caller's dialect: as an answer, or inside an answer that already streams.

use super::event::{Event, Half, Name};
use super::{Dialect, Endpoint, anthropic, gemini, openai};

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorFacts<'a> {
    pub kind: ErrorKind,
    /// The status of the answer; Gemini's shape repeats it, also inside a stream.
    pub status: u16,
    /// One of the codes users may rely on; Anthropic's shape has no place for it.
    pub code: &'a str,
    pub message: &'a str,
    pub request_id: &'a str,
}

/// The sort of an error, which tells clients whether asking again makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    Authentication,
    Permission,
    Billing,
    InvalidRequest,
    NotFound,
    RateLimit,
    /// The upstream or the gateway failed. Never for a refusal: some clients then ask again at any status.
    Api,
    Overloaded,
    Timeout,
}

/// What of an unfinished event the client already has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn<'a> {
    /// Nothing: the last event was whole.
    Nothing,
    Part(&'a [u8]),
    /// Too much to remember.
    Unknown,
    /// The answer is an array whose elements are events. What has come of one that is not whole, and what has to
    /// stand before the next.
    Array {
        part: &'a [u8],
        lead: &'static str,
    },
    /// An array that has ended, or of which too much would have to be remembered: nothing can be added.
    Closed,
}

/// The body of an answer that is an error.
pub fn body(dialect: Dialect, facts: &ErrorFacts<'_>) -> Vec<u8> {
    match dialect {
        Dialect::OpenAi => openai::error::body(facts),
        Dialect::Anthropic => anthropic::error::body(facts),
        Dialect::Gemini => gemini::error::body(facts),
    }
}

/// The event that ends a stream whose upstream failed, or that must not seem to end well. A torn event becomes it.
pub fn stream_event(endpoint: Endpoint, torn: Torn<'_>, facts: &ErrorFacts<'_>) -> Vec<u8> {
    let half = Half::of(torn);
    // Gemini's clients take an event for an error only if it begins as one, so that a torn one cannot become it.
    let needs_filler = endpoint.dialect() == Dialect::Gemini
        && matches!(half, Half::Object(_) | Half::Element(_) | Half::Blank { has_data_line: true, .. });
    let filler = needs_filler.then(gemini::generate::empty);
    let (name, data) = match (endpoint, endpoint.dialect()) {
        (Endpoint::Responses, _) => (Name::Is("error"), openai::error::responses_event(facts)),
        (_, Dialect::OpenAi) => (Name::Default, openai::error::body(facts)),
        (_, Dialect::Anthropic) => (Name::Is("error"), anthropic::error::body(facts)),
        (_, Dialect::Gemini) => (Name::Never, gemini::error::body(facts)),
    };
    half.ended_by(filler.into_iter().chain([Event { name, data }]))
}

#[cfg(test)]
mod tests;
