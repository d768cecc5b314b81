//! An answer as one array whose elements are events.
//!
//! The array is looked at as it passes, element by element; its bytes are never changed.

use bytes::Bytes;

use crate::protocol::elements::{Elements, Part};
use crate::protocol::error::Torn;
use crate::protocol::{Endpoint, gemini};

use super::Metered;
use super::stream::Reader;

#[derive(Debug)]
pub(crate) struct Array {
    reader: Reader,
    elements: Elements,
}

impl Array {
    /// `None` if answers of `endpoint` are no arrays of events.
    pub(crate) fn new(endpoint: Endpoint) -> Option<Self> {
        let reader = Reader::Gemini(gemini::generate::Reader::default());
        let array = Self { reader, elements: Elements::default() };
        (endpoint == Endpoint::StreamGenerateContent).then_some(array)
    }

    pub(crate) fn take(&mut self, chunk: Bytes, metered: &mut Metered) -> Bytes {
        let Self { reader, elements } = self;
        elements.feed(&chunk, |part| {
            if let Part::Element(element) = part {
                metered.learn(|metered| reader.event(element, metered));
            }
        });
        metered.complete = self.elements.is_closed();
        chunk
    }

    pub(crate) fn torn(&self) -> Torn<'_> {
        self.elements.torn()
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }
}
