//! Events of our own: written whole, or made of one that the provider left torn.
//!
//! A parser cannot be told to forget half an event, and would hand it on as broken JSON as soon as another
//! line ends it. So a torn event is not followed by ours but becomes it: its JSON is closed where it broke,
//! and our members are added to it. They come last, so that where a name is repeated (`type`), ours counts.
//! A client that refuses repeated names (Rust's serde) drops that one event or fails on it.

use serde::Serialize;

use super::error::Torn;
use super::json;
use super::json::torn::{Closing, closing, utf8_rest};
use super::sse::{data_value, lines};

/// An event in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The event's name, where the dialect names events.
    pub(crate) name: Option<&'static str>,
    /// A JSON object, or `[DONE]`.
    pub(crate) data: Vec<u8>,
}

/// What a client has of an event that never became whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    Nothing,
    /// No data yet that is more than blanks.
    Blank {
        /// What ends the line begun.
        line_end: Vec<u8>,
        has_data_line: bool,
    },
    Object(HalfObject),
    /// The event's data, whole but for the blank line.
    Whole(Vec<u8>),
    /// The chat's last word; what is missing from it.
    Done(&'static [u8]),
    /// Nothing we understand, or too much to remember.
    Strange,
}

/// The beginning of a JSON object, and how to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HalfObject {
    data: Vec<u8>,
    /// What has to stand before more data.
    line: &'static str,
    closing: Closing,
}

impl Event {
    pub(crate) fn new(name: Option<&'static str>, object: &impl Serialize) -> Self {
        Self { name, data: json::written(object) }
    }

    /// The chat's last word.
    pub(crate) fn done() -> Self {
        Self { name: None, data: b"[DONE]".to_vec() }
    }

    /// Behind events that are whole.
    pub(crate) fn alone(&self) -> Vec<u8> {
        let name = self.name.map(|name| format!("event: {name}\n")).unwrap_or_default();
        [name.as_bytes(), b"data: ", &self.data, b"\n\n"].concat()
    }
}

impl Half {
    pub(crate) fn of(torn: Torn<'_>) -> Self {
        match torn {
            Torn::Nothing => Self::Nothing,
            Torn::Part(part) => Self::part(part),
            Torn::Unknown => Self::Strange,
        }
    }

    fn part(part: &[u8]) -> Self {
        let is_at_line_start = matches!(part.last(), None | Some(b'\n' | b'\r'));
        let lines_of_data: Vec<_> = lines(part).filter_map(data_value).collect();
        let data = lines_of_data.join(&b'\n');
        if data.trim_ascii().is_empty() {
            // No client may stumble over half a character, even in a comment.
            let line_end = if is_at_line_start { Vec::new() } else { [utf8_rest(part), b"\n"].concat() };
            return Self::Blank { line_end, has_data_line: !lines_of_data.is_empty() };
        }
        if b"[DONE]".starts_with(&data) {
            return Self::Done(b"[DONE]".get(data.len()..).unwrap_or_default());
        }
        let Some(closing) = closing(&data) else {
            let is_whole = serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_ok();
            return if is_whole { Self::Whole(data) } else { Self::Strange };
        };
        let is_in_data_line = !is_at_line_start && lines(part).last().is_some_and(|line| line.starts_with(b"data:"));
        let line = match (is_in_data_line, is_at_line_start) {
            (true, _) => "",
            (false, true) => "data: ",
            (false, false) => "\ndata: ",
        };
        Self::Object(HalfObject { data, line, closing })
    }

    /// The bytes by which this half becomes `event`, or is ended for `event` to follow.
    pub(crate) fn turn_into(&self, event: &Event) -> Vec<u8> {
        // An empty name is the default one again, should the torn event have had its own.
        let name = event.name.unwrap_or_default();
        match self {
            Self::Nothing => event.alone(),
            Self::Blank { line_end, .. } => {
                [line_end, format!("event: {name}\ndata: ").as_bytes(), &event.data, b"\n\n"].concat()
            }
            Self::Object(half) => {
                let members = event.data.strip_prefix(b"{").unwrap_or_default();
                let name = format!("\nevent: {name}\n\n");
                [half.line.as_bytes(), &half.closing.bytes, half.comma(), members, name.as_bytes()].concat()
            }
            // All was said but this.
            Self::Done(rest) => [rest, &b"\n\n"[..]].concat(),
            Self::Whole(_) | Self::Strange => [b"\n\n", event.alone().as_slice()].concat(),
        }
    }
}

impl HalfObject {
    /// What the object says if nothing more is added to it.
    pub(crate) fn as_it_stands(&self) -> Vec<u8> {
        [&self.data, &self.closing.bytes, self.comma(), b"\"\":null}"].concat()
    }

    fn comma(&self) -> &'static [u8] {
        if self.closing.needs_comma { b"," } else { b"" }
    }
}
