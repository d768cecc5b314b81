//! A stream of bytes → whole events, as WHATWG's `text/event-stream` divides them: lines end with LF, CR
//! or CRLF, and a blank line ends an event.
//!
//! Bytes are only looked at, never changed, and copied only where an event is spread over several chunks.

use std::borrow::Cow;

use memchr::memchr2;

/// The largest event that is looked into; of a larger one the pieces pass unread.
pub const EVENT_BYTES_MAX: usize = 8 << 20;

/// A tail's allocation that grew beyond this is given back once its event is through.
const TAIL_CAPACITY_KEPT: usize = 64 << 10;

/// Divides a stream that comes in chunks.
#[derive(Debug)]
pub struct Splitter {
    /// What has come of an event that is not yet whole.
    tail: Vec<u8>,
    is_line_empty: bool,
    /// The last byte was a CR that ended a line: an LF right after it belongs to it.
    is_after_cr: bool,
    /// The event is too large; its bytes are let through until it ends.
    is_skipping: bool,
    tail_bytes_max: usize,
}

/// A part of the stream. All pieces together, and the tail that is left, are the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A whole event, up to and including the blank line that ends it.
    Event(&'a [u8]),
    /// Part of an event too large to be looked into.
    Large(&'a [u8]),
    /// The LF of a CRLF whose CR had already ended the event before: goes where that went.
    LineFeed(&'a [u8]),
}

impl Default for Splitter {
    fn default() -> Self {
        Self::with_limit(EVENT_BYTES_MAX)
    }
}

impl Splitter {
    fn with_limit(tail_bytes_max: usize) -> Self {
        Self { tail: Vec::new(), is_line_empty: true, is_after_cr: false, is_skipping: false, tail_bytes_max }
    }

    /// What has come of an event that is not yet whole; nothing while a large one passes.
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Gives the tail away, as if nothing had come of the next event.
    pub(crate) fn take_tail(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.tail)
    }

    /// Sets what [`Splitter::tail`] gives.
    pub(crate) fn put_tail(&mut self, tail: Vec<u8>) {
        self.tail = tail;
    }

    /// Whether the stream stands inside an event too large to be looked into.
    pub fn is_inside_large(&self) -> bool {
        self.is_skipping
    }

    /// Calls `each` for what `chunk` completes.
    pub fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(Piece<'_>)) {
        let mut rest = self.line_feed_first(chunk, &mut each);
        while let Some((head, after)) = self.event_end(rest).and_then(|end| rest.split_at_checked(end)) {
            if self.is_skipping {
                self.is_skipping = false;
                each(Piece::Large(head));
            } else if self.tail.is_empty() {
                each(Piece::Event(head));
            } else {
                self.tail.extend_from_slice(head);
                each(Piece::Event(&self.tail));
                self.clear_tail();
            }
            rest = after;
        }
        if !self.is_skipping && self.tail.len().saturating_add(rest.len()) > self.tail_bytes_max {
            self.is_skipping = true;
            each(Piece::Large(&self.tail));
            self.clear_tail();
        }
        match self.is_skipping {
            true => each(Piece::Large(rest)),
            false => self.tail.extend_from_slice(rest),
        }
    }

    /// Sorts out an LF that belongs to a CR already given away, and returns what follows.
    fn line_feed_first<'a>(&mut self, chunk: &'a [u8], each: &mut impl FnMut(Piece<'_>)) -> &'a [u8] {
        if !self.is_after_cr || !self.tail.is_empty() {
            return chunk;
        }
        let Some((lf, rest)) = chunk.split_at_checked(1).filter(|(first, _)| first == b"\n") else { return chunk };
        self.is_after_cr = false;
        each(if self.is_skipping { Piece::Large(lf) } else { Piece::LineFeed(lf) });
        rest
    }

    /// The offset behind the next blank line; what comes before it has then been seen.
    fn event_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = usize::from(self.is_after_cr && bytes.first() == Some(&b'\n'));
        if !bytes.is_empty() {
            self.is_after_cr = false;
        }
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(length) = memchr2(b'\n', b'\r', rest) else {
                self.is_line_empty &= rest.is_empty();
                return None;
            };
            let is_blank = length == 0 && self.is_line_empty;
            self.is_line_empty = true;
            at += length + 1;
            if rest.get(length) == Some(&b'\r') {
                match bytes.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.is_after_cr = true,
                }
            }
            if is_blank {
                return Some(at);
            }
        }
    }

    fn clear_tail(&mut self) {
        self.tail.clear();
        self.tail.shrink_to(TAIL_CAPACITY_KEPT);
    }
}

/// The data of an event: its `data` lines, joined by LF. `None` if it has none, and is thus no message.
/// A single line is borrowed. `is_first` lets the stream's byte order mark pass.
pub fn data(event: &[u8], is_first: bool) -> Option<Cow<'_, [u8]>> {
    let event = event.strip_prefix(b"\xEF\xBB\xBF").filter(|_| is_first).unwrap_or(event);
    let mut data: Option<Cow<'_, [u8]>> = None;
    for value in lines(event).filter_map(data_value) {
        match &mut data {
            None => data = Some(Cow::Borrowed(value)),
            Some(data) => {
                let joined = data.to_mut();
                joined.push(b'\n');
                joined.extend_from_slice(value);
            }
        }
    }
    data
}

/// The lines of `bytes`, without their ends.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes).filter(|bytes| !bytes.is_empty());
    std::iter::from_fn(move || {
        let bytes = rest.take()?;
        let Some((line, end)) = memchr2(b'\n', b'\r', bytes).and_then(|length| bytes.split_at_checked(length)) else {
            return Some(bytes);
        };
        let after = end.strip_prefix(b"\r\n").or_else(|| end.get(1..)).unwrap_or_default();
        rest = Some(after).filter(|after| !after.is_empty());
        Some(line)
    })
}

/// What a line adds to the data; `None` if it is of another field.
pub(crate) fn data_value(line: &[u8]) -> Option<&[u8]> {
    let after = line.strip_prefix(b"data")?;
    match after.strip_prefix(b":") {
        Some(value) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        None => after.is_empty().then_some(after),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAMS: [&str; 8] = [
        "data: a\n\ndata: b\n\n",
        "\u{feff}data: a\r\n\r\ndata: b\r\n\r\n",
        "data: a\r\rdata: b\r\r",
        "event: x\ndata: a\ndata: b\n\n: comment\n\n\n\ndata\n\n",
        "data: a\r\n\ndata:b\n\r\ndata:c\r\n\r\n\r\ndata: torn\r\n",
        "\n\ndata: a\n\ndata: torn",
        "\r\n\rdata: a\r\n\r\r\n",
        "id: 1\nretry: 5\ndata:  two\n\nnodata: x\n\n",
    ];

    /// The data of every message, and all pieces put together again, when the stream comes in these chunks.
    fn split<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, Vec<u8>) {
        let mut splitter = Splitter::default();
        let (mut messages, mut bytes, mut is_first) = (Vec::new(), Vec::new(), true);
        for chunk in chunks {
            splitter.feed(chunk, |piece| match piece {
                Piece::Event(event) => {
                    bytes.extend_from_slice(event);
                    messages.extend(data(event, is_first).map(|data| String::from_utf8_lossy(&data).into_owned()));
                    is_first = false;
                }
                Piece::Large(part) | Piece::LineFeed(part) => bytes.extend_from_slice(part),
            });
        }
        bytes.extend_from_slice(splitter.tail());
        (messages, bytes)
    }

    #[test]
    fn events_end_with_a_blank_line_of_any_kind() {
        let messages = STREAMS.map(|stream| split([stream.as_bytes()]).0);
        assert_eq!(messages[0], ["a", "b"]);
        assert_eq!(messages[1], ["a", "b"]);
        assert_eq!(messages[2], ["a", "b"]);
        assert_eq!(messages[3], ["a\nb", ""]);
        assert_eq!(messages[4], ["a", "b", "c"]);
        assert_eq!(messages[5], ["a"]);
        assert_eq!(messages[6], ["a"]);
        assert_eq!(messages[7], [" two"]);
    }

    #[test]
    fn a_byte_order_mark_counts_only_at_the_start() {
        assert_eq!(split(["data: a\n\n\u{feff}data: b\n\n".as_bytes()]).0, ["a"]);
    }

    #[test]
    fn every_cut_gives_the_same_events_and_bytes() {
        for stream in STREAMS.map(str::as_bytes) {
            let whole = split([stream]);
            assert_eq!(whole.1, stream);
            for first in 0..=stream.len() {
                for second in first..=stream.len() {
                    assert_eq!(split([&stream[..first], &stream[first..second], &stream[second..]]), whole);
                }
            }
            assert_eq!(split(stream.chunks(1)), whole);
        }
    }

    #[test]
    fn whole_events_inside_a_chunk_are_not_copied() {
        let chunk = b"data: a\n\ndata: b\n\nda";
        let mut splitter = Splitter::default();
        splitter.feed(chunk, |piece| {
            let Piece::Event(event) = piece else { panic!("{piece:?}") };
            assert!(chunk.as_ptr_range().contains(&event.as_ptr()));
            assert!(matches!(data(event, false), Some(Cow::Borrowed(_))));
        });
        assert_eq!(splitter.tail(), b"da");
    }

    #[test]
    fn a_large_event_passes_unread_and_the_next_is_read_again() {
        let stream = b"data: a\n\ndata: 0123456789\ndata: 0123456789\r\n\r\ndata: b\n\n";
        for size in 1..stream.len() {
            let mut splitter = Splitter::with_limit(16);
            let (mut events, mut bytes, mut tail_max) = (Vec::new(), Vec::new(), 0);
            for chunk in stream.chunks(size) {
                splitter.feed(chunk, |piece| match piece {
                    Piece::Event(event) => {
                        events.push(event.to_vec());
                        bytes.extend_from_slice(event);
                    }
                    Piece::Large(part) | Piece::LineFeed(part) => bytes.extend_from_slice(part),
                });
                tail_max = tail_max.max(splitter.tail().len());
            }
            assert_eq!(bytes, stream);
            assert!(tail_max <= 16);
            assert_eq!(events.first().map(Vec::as_slice), Some(&b"data: a\n\n"[..]));
            assert_eq!(events.last().map(Vec::as_slice), Some(&b"data: b\n\n"[..]), "chunks of {size}");
        }
    }

    proptest! {
        #[test]
        fn bytes_are_never_lost(stream in "[\r\n:ad ]{0,64}", cuts in prop::collection::vec(0_usize..64, 0..6)) {
            let stream = stream.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let chunks = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]);
            let (messages, bytes) = split(chunks);
            prop_assert_eq!(&bytes, stream);
            prop_assert_eq!(messages, split([stream]).0);
        }
    }
}
