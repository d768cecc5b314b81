//! How the gateway ends a running stream: key revoked, budget spent, policy broken.
//!
//! Clients ask again after an error inside a stream, and some do so without end after a missing terminator. So
//! a cut stream says why, as text its user reads, and then ends as its dialect's answers *ordinarily* do. There
//! are two exceptions. A half-sent tool call must not look whole, as the client would run it: there it is the
//! dialect's error event. And an answer that had already been told entirely, or had failed, gets nothing but
//! the last word it lacks.
//!
//! An event that the client has half of becomes one without effect (`event`): its reader has not shown any of
//! it. What the gateway asked for on its own (`hides_usage`) is never torn, as it is not sent before it is whole.
//!
//! What it does not do: keep the answer's text. What an ending would have to repeat is left out instead, as
//! each dialect's `ending` says.

use crate::domain::Tokens;
use crate::protocol::Endpoint;
use crate::protocol::error::{self, ErrorFacts, Torn};
use crate::protocol::estimate;
use crate::protocol::event::Half;

use super::Metered;
use super::stream::Reader;

/// Why a stream is cut, and what its end needs to know where the provider did not get to say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice<'a> {
    pub facts: ErrorFacts<'a>,
    /// The model that was asked for.
    pub model: &'a str,
    /// The body that the provider was given, to estimate its tokens from.
    pub request: &'a [u8],
    /// Seconds since 1970: when an answer was made that had not begun.
    pub unix_seconds: u64,
}

/// How a stream is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// By a text and the ordinary end, where that is safe.
    Notice,
    /// By the dialect's error event, always.
    Error,
}

/// The end of a cut stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// What is still to be sent, and the last.
    pub bytes: Vec<u8>,
    pub told: Told,
}

/// What the client learns of the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Notice,
    Error,
    /// Nothing: the answer had been told entirely or had failed already, or it is no stream.
    Nothing,
}

/// What a dialect's ending is made of.
pub(crate) struct Ending<'a> {
    pub(crate) notice: &'a Notice<'a>,
    pub(crate) model: &'a str,
    /// What the answer has used, as it will be booked.
    pub(crate) tokens: Tokens,
}

/// `torn` is what has been passed on of an event that is not whole, `reader` has read those before it, and `metered`
/// is what was learned from them.
pub(crate) fn cut(
    endpoint: Endpoint,
    torn: Torn<'_>,
    reader: &Reader,
    metered: &Metered,
    manner: Manner,
    notice: &Notice<'_>,
) -> Cut {
    let half = Half::of(torn);
    let mut metered = metered.clone();
    // What follows is read as the client will read it, and leaves the meter's own books alone.
    let mut reader = reader.clone();
    if let Half::Whole(data) = &half {
        reader.event(data, &mut metered);
    }
    if metered.complete || metered.has_error {
        let bytes = match half {
            Half::Whole(_) => b"\n\n".to_vec(),
            Half::Between(_) => half.ended_by(std::iter::empty()),
            _ => Vec::new(),
        };
        return Cut { bytes, told: Told::Nothing };
    }
    let told = match (&half, manner) {
        (Half::Done(_) | Half::Closed, _) => Told::Nothing,
        (Half::Strange, _) => Told::Error,
        _ if reader.is_over() => Told::Nothing,
        (_, Manner::Error) => Told::Error,
        _ if reader.is_call_open() || begins_more(&reader, &half) => Told::Error,
        _ => Told::Notice,
    };
    if told == Told::Error {
        return Cut { bytes: error::stream_event(endpoint, torn, &notice.facts), told };
    }
    let model = metered.model_served.as_deref().unwrap_or(notice.model);
    let tokens = estimate::usage(endpoint, &metered, || estimate::input(endpoint, notice.request)).tokens;
    let ending = Ending { notice, model, tokens };
    let needs_filler = matches!(half, Half::Object(_) | Half::Element(_) | Half::Blank { has_data_line: true, .. });
    let filler = needs_filler.then(|| reader.filler(&ending));
    let events = filler.into_iter().chain(if told == Told::Nothing { reader.last_word() } else { reader.end(&ending) });
    Cut { bytes: half.ended_by(events), told }
}

/// Whether what has come of an event begins what is more than text. A tool call would be taken back by what is added
/// to the event; but not for every parser, and a tool that runs by mistake is worse than a request that is sent again.
/// An error of Gemini's cannot be taken back: its clients look for the member's name alone.
fn begins_more(reader: &Reader, half: &Half) -> bool {
    let (Half::Object(object) | Half::Element(object)) = half else { return false };
    let mut reader = reader.clone();
    let mut metered = Metered::default();
    reader.event(&object.as_it_stands(), &mut metered);
    reader.is_call_open() || metered.has_error && matches!(reader, Reader::Gemini(_))
}

impl Ending<'_> {
    /// What the user reads, set apart from the text that came before.
    pub(crate) fn text(&self, is_behind_text: bool) -> String {
        let ErrorFacts { code, message, .. } = self.notice.facts;
        let gap = if is_behind_text { "\n\n" } else { "" };
        format!("{gap}[keeptrusts: {code}: {message}]")
    }

    /// An id for what the provider gave none.
    pub(crate) fn id(&self, prefix: &str) -> String {
        format!("{prefix}keeptrusts_{}", self.notice.facts.request_id)
    }
}

#[cfg(test)]
mod tests;
