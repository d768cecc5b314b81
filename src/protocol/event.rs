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
    pub(crate) name: Name,
    /// A JSON object, or `[DONE]`.
    pub(crate) data: Vec<u8>,
}

/// What stands beside an event's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Is(&'static str),
    /// The default one; a torn event that becomes this one may have had its own.
    Default,
    /// Nothing ever: some of the dialect's clients take any other line for a fault.
    Never,
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
    /// Elements of an array, all whole; what has to stand before the next.
    Between(&'static str),
    /// An element of an array that is not whole.
    Element(HalfObject),
    /// Nothing can follow.
    Closed,
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
    pub(crate) fn new(name: Name, object: &impl Serialize) -> Self {
        Self { name, data: json::written(object) }
    }

    /// The chat's last word.
    pub(crate) fn done() -> Self {
        Self { name: Name::Default, data: b"[DONE]".to_vec() }
    }

    /// Behind events that are whole.
    pub(crate) fn alone(&self) -> Vec<u8> {
        let name = match self.name {
            Name::Is(name) => format!("event: {name}\n"),
            Name::Default | Name::Never => String::new(),
        };
        [name.as_bytes(), b"data: ", &self.data, b"\n\n"].concat()
    }
}

impl Half {
    pub(crate) fn of(torn: Torn<'_>) -> Self {
        match torn {
            Torn::Nothing => Self::Nothing,
            Torn::Part(part) => Self::part(part),
            Torn::Unknown => Self::Strange,
            Torn::Array { part: [], lead } => Self::Between(lead),
            Torn::Array { part, .. } => match closing(part) {
                Some(closing) => Self::Element(HalfObject { data: part.to_vec(), line: "", closing }),
                None => Self::Closed,
            },
            Torn::Closed => Self::Closed,
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

    /// The bytes by which this half becomes the first of `events` and is followed by the others, and the answer by
    /// nothing more.
    pub(crate) fn ended_by(&self, mut events: impl Iterator<Item = Event>) -> Vec<u8> {
        let mut bytes = match (events.next(), self) {
            (Some(first), _) => self.turn_into(&first),
            // Not even its bracket has come.
            (None, Self::Between("[")) => b"[".to_vec(),
            (None, _) => Vec::new(),
        };
        match self {
            Self::Done(_) | Self::Closed => {}
            Self::Between(_) | Self::Element(_) => {
                bytes.extend(events.flat_map(|event| [b",", event.data.as_slice()].concat()));
                bytes.push(b']');
            }
            _ => bytes.extend(events.flat_map(|event| event.alone())),
        }
        bytes
    }

    /// The bytes by which this half becomes `event`, or is ended for `event` to follow.
    fn turn_into(&self, event: &Event) -> Vec<u8> {
        let name = match event.name {
            Name::Is(name) => format!("event: {name}\n"),
            // An empty name is the default one again.
            Name::Default => "event: \n".into(),
            Name::Never => String::new(),
        };
        match self {
            Self::Nothing => event.alone(),
            Self::Blank { line_end, .. } => [line_end, name.as_bytes(), b"data: ", &event.data, b"\n\n"].concat(),
            Self::Object(half) => {
                let members = event.data.strip_prefix(b"{").unwrap_or_default();
                [half.line.as_bytes(), &half.closing.bytes, half.comma(), members, b"\n", name.as_bytes(), b"\n"]
                    .concat()
            }
            // All was said but this.
            Self::Done(rest) => [rest, &b"\n\n"[..]].concat(),
            Self::Between(lead) => [lead.as_bytes(), &event.data].concat(),
            Self::Element(half) => {
                let members = event.data.strip_prefix(b"{").unwrap_or_default();
                [&half.closing.bytes, half.comma(), members].concat()
            }
            Self::Closed => Vec::new(),
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
