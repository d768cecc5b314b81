//! An answer as events: each is looked into as it passes.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use crate::protocol::error::Torn;
use crate::protocol::json::{range_in, splice};
use crate::protocol::sse::{self, Piece, Splitter};
use crate::protocol::{Endpoint, anthropic, gemini, openai};

use crate::protocol::event::Event;

use super::{Ending, Metered};

#[derive(Debug)]
pub(crate) struct Stream {
    splitter: Splitter,
    events: Events,
    /// What only the gateway asked for is taken out, and beginnings of events are held.
    is_hiding: bool,
}

/// What an event is to a client that did not ask for usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Ordinary,
    /// Figures and nothing else.
    UsageAlone,
    /// An ordinary chunk with a `"usage":null`; the range is that of the `null` in the data.
    NullUsage(Range<usize>),
}

#[derive(Debug)]
struct Events {
    reader: Reader,
    has_begun: bool,
    /// The last event was left out.
    was_hidden: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Reader {
    Chat(openai::chat::Reader),
    Responses(openai::responses::Reader),
    Messages(anthropic::messages::Reader),
    Gemini(gemini::generate::Reader),
    Media(openai::media::Reader),
}

/// What becomes of a piece of the stream.
enum Shown {
    Whole,
    Without(Range<usize>),
    Nothing,
}

impl Stream {
    /// `None` if answers of `endpoint` do not stream, or are not metered.
    pub(crate) fn new(endpoint: Endpoint, is_hiding: bool) -> Option<Self> {
        let reader = match endpoint {
            Endpoint::ChatCompletions => Reader::Chat(openai::chat::Reader::default()),
            Endpoint::Completions => Reader::Chat(openai::chat::Reader::legacy()),
            Endpoint::Responses => Reader::Responses(openai::responses::Reader::default()),
            Endpoint::Messages => Reader::Messages(anthropic::messages::Reader::default()),
            Endpoint::StreamGenerateContent => Reader::Gemini(gemini::generate::Reader::default()),
            endpoint if endpoint.is_media() => {
                Reader::Media(openai::media::Reader { makes: openai::media::Makes::of(endpoint) })
            }
            _ => return None,
        };
        let events = Events { reader, has_begun: false, was_hidden: false };
        Some(Self { splitter: Splitter::default(), events, is_hiding })
    }

    pub(crate) fn take(&mut self, chunk: Bytes, metered: &mut Metered) -> Bytes {
        if self.is_hiding {
            return self.shown(&chunk, metered);
        }
        let Self { splitter, events, .. } = self;
        splitter.feed(&chunk, |piece| {
            if let Piece::Event(event) = piece {
                events.read(event, metered);
            }
        });
        chunk
    }

    /// What of the stream's beginning up to the end of `chunk` is whole, not yet shown and not to be hidden.
    fn shown(&mut self, chunk: &Bytes, metered: &mut Metered) -> Bytes {
        let Self { splitter, events, .. } = self;
        // As long as all pieces are shown they are one slice of the chunk.
        let mut copied = (!splitter.tail().is_empty()).then(Vec::new);
        let mut whole = 0;
        splitter.feed(chunk, |piece| {
            let (bytes, shown) = match piece {
                Piece::Event(event) => (event, events.show(event, metered)),
                Piece::Large(part) => (part, Shown::Whole),
                Piece::LineFeed(lf) => (lf, if events.was_hidden { Shown::Nothing } else { Shown::Whole }),
            };
            match (&mut copied, shown) {
                (None, Shown::Whole) => whole += bytes.len(),
                (copied, shown) => {
                    let copied = copied.get_or_insert_with(|| chunk.get(..whole).unwrap_or_default().to_vec());
                    shown.of(bytes, copied);
                }
            }
        });
        copied.map_or_else(|| chunk.slice(..whole.min(chunk.len())), Bytes::from)
    }

    /// Reads what has come of a last event, which some servers do not end properly, and lets it go.
    pub(crate) fn end(&mut self, metered: &mut Metered) -> Bytes {
        let tail = self.splitter.take_tail();
        let shown = self.events.show(&tail, metered);
        let mut rest = Vec::new();
        if self.is_hiding {
            shown.of(&tail, &mut rest);
            self.splitter.put_tail(rest.clone());
            self.is_hiding = false;
        } else {
            self.splitter.put_tail(tail);
        }
        rest.into()
    }

    pub(crate) fn torn(&self) -> Torn<'_> {
        match self.splitter.tail() {
            _ if self.splitter.is_inside_large() => Torn::Unknown,
            part if self.is_hiding || part.is_empty() => Torn::Nothing,
            part if self.events.has_begun => Torn::Part(part),
            // A byte order mark is no part of the first event.
            part => match part.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(part) {
                b"" => Torn::Nothing,
                part => Torn::Part(part),
            },
        }
    }

    /// What reads this stream, as far as it has read.
    pub(crate) fn reader(&self) -> &Reader {
        &self.events.reader
    }
}

impl Events {
    /// Learns from an event, and says what a client may see that did not ask for usage.
    fn show(&mut self, event: &[u8], metered: &mut Metered) -> Shown {
        let shown = match self.read(event, metered) {
            (_, Reading::Ordinary) => Shown::Whole,
            (_, Reading::UsageAlone) => Shown::Nothing,
            (Some(Cow::Borrowed(data)), Reading::NullUsage(null)) => Self::without(event, data, null),
            (_, Reading::NullUsage(_)) => Shown::Whole,
        };
        self.was_hidden = matches!(shown, Shown::Nothing);
        shown
    }

    fn without(event: &[u8], data: &[u8], null: Range<usize>) -> Shown {
        let range = splice::member(data, "usage", null).zip(range_in(event, data));
        range.map_or(Shown::Whole, |(member, data)| Shown::Without(data.start + member.start..data.start + member.end))
    }

    fn read<'a>(&mut self, event: &'a [u8], metered: &mut Metered) -> (Option<Cow<'a, [u8]>>, Reading) {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let Some(data) = sse::data(event, is_first) else { return (None, Reading::Ordinary) };
        let reading = metered.learn(|metered| self.reader.event(&data, metered));
        (Some(data), reading)
    }
}

impl Reader {
    pub(crate) fn event(&mut self, data: &[u8], metered: &mut Metered) -> Reading {
        match self {
            Self::Chat(reader) => return reader.event(data, metered),
            Self::Responses(reader) => reader.event(data, metered),
            Self::Messages(reader) => reader.event(data, metered),
            Self::Gemini(reader) => reader.event(data, metered),
            Self::Media(reader) => reader.event(data, metered),
        }
        Reading::Ordinary
    }

    /// A tool call is half sent.
    pub(crate) fn is_call_open(&self) -> bool {
        match self {
            Self::Chat(reader) => reader.calls.any(),
            Self::Responses(reader) => reader.calls.any(),
            Self::Messages(reader) => reader.calls.any() || reader.frame.is_tool_open(),
            Self::Gemini(reader) => reader.calls.any(),
            // Half a picture must not look whole either.
            Self::Media(_) => true,
        }
    }

    /// Everything was said but the last word.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Chat(reader) => reader.frame.is_over(),
            // Its last word has the answer in it.
            Self::Responses(_) | Self::Media(_) => false,
            Self::Messages(reader) => reader.frame.is_over,
            Self::Gemini(reader) => reader.frame.is_over(),
        }
    }

    /// An event without effect.
    pub(crate) fn filler(&mut self, ending: &Ending<'_>) -> Event {
        match self {
            Self::Chat(reader) => reader.frame.filler(ending),
            Self::Responses(reader) => reader.frame.filler(ending),
            Self::Messages(_) => anthropic::messages::Frame::filler(),
            Self::Gemini(reader) => reader.frame.filler(ending),
            Self::Media(_) => openai::media::Reader::filler(),
        }
    }

    /// What is left to say of an answer that is over.
    pub(crate) fn last_word(&self) -> Vec<Event> {
        match self {
            Self::Chat(_) => vec![Event::done()],
            Self::Responses(_) | Self::Gemini(_) | Self::Media(_) => Vec::new(),
            Self::Messages(_) => vec![anthropic::messages::Frame::last_word()],
        }
    }

    /// The notice and the ordinary end.
    pub(crate) fn end(&mut self, ending: &Ending<'_>) -> Vec<Event> {
        match self {
            Self::Chat(reader) => reader.frame.end(ending),
            Self::Responses(reader) => reader.frame.end(ending),
            Self::Messages(reader) => reader.frame.end(ending),
            Self::Gemini(reader) => reader.frame.end(ending),
            Self::Media(_) => Vec::new(),
        }
    }
}

impl Shown {
    fn of(&self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Whole => out.extend_from_slice(bytes),
            Self::Nothing => {}
            Self::Without(range) => {
                out.extend_from_slice(bytes.get(..range.start).unwrap_or_default());
                out.extend_from_slice(bytes.get(range.end..).unwrap_or_default());
            }
        }
    }
}
