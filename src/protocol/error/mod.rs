//! What went wrong, in the caller's dialect: as an answer, or inside an answer that already streams.

use super::json::torn::{Closing, closing};
use super::sse::{data_value, lines};
use super::{Dialect, Endpoint, anthropic, openai};

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorFacts<'a> {
    pub kind: ErrorKind,
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
}

/// The body of an answer that is an error.
pub fn body(dialect: Dialect, facts: &ErrorFacts<'_>) -> Vec<u8> {
    match dialect {
        Dialect::OpenAi => openai::error::body(facts),
        Dialect::Anthropic => anthropic::error::body(facts),
    }
}

/// The event that ends a stream whose upstream failed.
///
/// A parser cannot be told to forget half an event, and would hand it on as broken JSON as soon as another
/// line ends it. So a torn event is not followed by the error but becomes it: its JSON is closed where it
/// broke, and the members of the error are added to it. They come last, so that where a name is repeated
/// (`type`), theirs counts.
pub fn stream_event(endpoint: Endpoint, torn: Torn<'_>, facts: &ErrorFacts<'_>) -> Vec<u8> {
    let event = InStream::new(endpoint, facts);
    match torn {
        Torn::Nothing => event.alone(""),
        Torn::Part(part) => event.after(part),
        Torn::Unknown => event.alone("\n\n"),
    }
}

/// A dialect's error event in its parts.
struct InStream {
    /// The event's name, where the dialect names events.
    name: Option<&'static str>,
    /// A JSON object.
    object: Vec<u8>,
}

impl InStream {
    fn new(endpoint: Endpoint, facts: &ErrorFacts<'_>) -> Self {
        match endpoint {
            Endpoint::Messages | Endpoint::CountTokens => {
                Self { name: Some("error"), object: anthropic::error::body(facts) }
            }
            Endpoint::Responses => Self { name: Some("error"), object: openai::error::responses_event(facts) },
            Endpoint::ChatCompletions | Endpoint::Embeddings | Endpoint::Models => {
                Self { name: None, object: openai::error::body(facts) }
            }
        }
    }

    fn alone(&self, before: &str) -> Vec<u8> {
        let name = self.name.map(|name| format!("event: {name}\n")).unwrap_or_default();
        [before.as_bytes(), name.as_bytes(), b"data: ", &self.object, b"\n\n"].concat()
    }

    fn after(&self, part: &[u8]) -> Vec<u8> {
        let is_at_line_start = matches!(part.last(), None | Some(b'\n' | b'\r'));
        let data: Vec<_> = lines(part).filter_map(data_value).collect();
        let data = data.join(&b'\n');
        // An empty name is the default one again, should the torn event have had its own.
        let name = self.name.unwrap_or_default();
        if data.trim_ascii().is_empty() {
            let line_end = if is_at_line_start { "" } else { "\n" };
            return [format!("{line_end}event: {name}\ndata: ").as_bytes(), &self.object, b"\n\n"].concat();
        }
        if b"[DONE]".starts_with(&data) {
            // All was said but this.
            let rest = b"[DONE]".get(data.len()..).unwrap_or_default();
            return [rest, b"\n\n"].concat();
        }
        let Some(Closing { bytes, needs_comma }) = closing(&data) else {
            // Whole but for its end, or nothing we understand.
            return self.alone("\n\n");
        };
        let is_in_data_line = !is_at_line_start && lines(part).last().is_some_and(|line| line.starts_with(b"data:"));
        let line: &[u8] = match (is_in_data_line, is_at_line_start) {
            (true, _) => b"",
            (false, true) => b"data: ",
            (false, false) => b"\ndata: ",
        };
        let comma: &[u8] = if needs_comma { b"," } else { b"" };
        let members = self.object.strip_prefix(b"{").unwrap_or_default();
        [line, &bytes, comma, members, format!("\nevent: {name}\n\n").as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests;
