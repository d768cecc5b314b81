//! An answer as one array whose elements are events: what Gemini streams where server-sent events were not asked for.
//!
//! The array is looked at as it passes, element by element; its bytes are never changed.

use bytes::Bytes;

use crate::protocol::error::Torn;
use crate::protocol::sse::EVENT_BYTES_MAX;
use crate::protocol::{Endpoint, gemini};

use super::Metered;
use super::stream::Reader;

#[derive(Debug)]
pub(crate) struct Array {
    reader: Reader,
    place: Place,
    /// What has come of an element that is not yet whole.
    tail: Vec<u8>,
}

/// Where in the answer the scan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the bracket that opens the array.
    Before,
    /// Behind the bracket or a comma.
    Awaiting,
    /// In an element, so many brackets deep.
    Inside { depth: u32, text: Text },
    /// Behind an element.
    After,
    /// Behind the bracket that closes the array.
    Closed,
    /// In no array, or in an element too large to be remembered: the rest passes unread.
    Lost,
}

/// Whether the scan stands in a text, whose brackets mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    /// Behind a backslash.
    Escape,
}

impl Array {
    /// `None` if answers of `endpoint` are no arrays of events.
    pub(crate) fn new(endpoint: Endpoint) -> Option<Self> {
        let reader = Reader::Gemini(gemini::generate::Reader::default());
        let array = Self { reader, place: Place::Before, tail: Vec::new() };
        (endpoint == Endpoint::StreamGenerateContent).then_some(array)
    }

    pub(crate) fn take(&mut self, chunk: Bytes, metered: &mut Metered) -> Bytes {
        let mut begun = 0;
        for (at, &byte) in chunk.iter().enumerate() {
            let was_inside = self.is_inside();
            self.place = self.place.step(byte);
            match (was_inside, self.is_inside()) {
                (false, true) => begun = at,
                (true, false) => {
                    self.tail.extend_from_slice(chunk.get(begun..=at).unwrap_or_default());
                    self.read(metered);
                }
                _ => {}
            }
        }
        if self.is_inside() {
            self.tail.extend_from_slice(chunk.get(begun..).unwrap_or_default());
            if self.tail.len() > EVENT_BYTES_MAX {
                self.tail = Vec::new();
                self.place = Place::Lost;
            }
        }
        metered.complete = self.place == Place::Closed;
        chunk
    }

    /// Reads the element that has become whole.
    fn read(&mut self, metered: &mut Metered) {
        let element = std::mem::take(&mut self.tail);
        metered.learn(|metered| self.reader.event(&element, metered));
    }

    fn is_inside(&self) -> bool {
        matches!(self.place, Place::Inside { .. })
    }

    pub(crate) fn torn(&self) -> Torn<'_> {
        let lead = match self.place {
            Place::Before => "[",
            Place::Awaiting | Place::Inside { .. } => "",
            Place::After => ",",
            Place::Closed | Place::Lost => return Torn::Closed,
        };
        Torn::Array { part: &self.tail, lead }
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }
}

impl Place {
    fn step(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Inside { depth, text: Text::Outside }, _) => match byte {
                b'{' | b'[' => Self::Inside { depth: depth.saturating_add(1), text: Text::Outside },
                b'}' | b']' if depth == 1 => Self::After,
                b'}' | b']' => Self::Inside { depth: depth.saturating_sub(1), text: Text::Outside },
                b'"' => Self::Inside { depth, text: Text::Inside },
                _ => self,
            },
            (Self::Inside { depth, text: Text::Inside }, b'\\') => Self::Inside { depth, text: Text::Escape },
            (Self::Inside { depth, text: Text::Inside }, b'"') => Self::Inside { depth, text: Text::Outside },
            (Self::Inside { text: Text::Inside, .. }, _) => self,
            (Self::Inside { depth, text: Text::Escape }, _) => Self::Inside { depth, text: Text::Inside },
            (_, b' ' | b'\t' | b'\n' | b'\r') => self,
            (Self::Before, b'[') => Self::Awaiting,
            (Self::Awaiting, b'{') => Self::Inside { depth: 1, text: Text::Outside },
            (Self::After, b',') => Self::Awaiting,
            (Self::Awaiting | Self::After, b']') => Self::Closed,
            (Self::Closed, _) => self,
            _ => Self::Lost,
        }
    }
}
