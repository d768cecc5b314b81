//! An answer as one array whose elements are events → its elements: what Gemini streams where server-sent events were
//! not asked for.
//!
//! Bytes are only looked at, never changed, and copied only where an element is spread over several chunks.

use super::error::Torn;
use super::sse::EVENT_BYTES_MAX;

/// Divides an array that comes in chunks.
#[derive(Debug)]
pub struct Elements {
    place: Place,
    /// What has come of an element that is not yet whole.
    tail: Vec<u8>,
}

/// A part of the answer. All parts together, and the tail that is left, are the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A whole element.
    Element(&'a [u8]),
    /// What stands around the elements, but for the array's end.
    Between(&'a [u8]),
    /// The bracket that closes the array.
    End(&'a [u8]),
    /// What cannot be divided: no array, or an element too large to be remembered.
    Lost(&'a [u8]),
}

/// Where in the answer the answer stands.
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

/// Whether the answer stands in a text, whose brackets mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    /// Behind a backslash.
    Escape,
}

impl Default for Elements {
    fn default() -> Self {
        Self { place: Place::Before, tail: Vec::new() }
    }
}

impl Elements {
    /// Calls `each` for what `chunk` completes.
    pub fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(Part<'_>)) {
        let mut begun = 0;
        for (at, &byte) in chunk.iter().enumerate() {
            let before = self.place;
            self.place = before.step(byte);
            if before == self.place {
                continue;
            }
            match (before, self.place) {
                (Place::Inside { .. }, Place::After) => {
                    let rest = chunk.get(begun..=at).unwrap_or_default();
                    each(Part::Element(if self.tail.is_empty() { rest } else { self.with_tail(rest) }));
                    self.tail = Vec::new();
                    begun = at + 1;
                }
                (Place::Inside { .. }, _) => {}
                (_, Place::Inside { .. } | Place::Lost | Place::Closed) => {
                    between(chunk.get(begun..at).unwrap_or_default(), &mut each);
                    begun = at;
                    if self.place == Place::Closed {
                        each(Part::End(chunk.get(at..=at).unwrap_or_default()));
                        begun = at + 1;
                    }
                }
                _ => {}
            }
        }
        let rest = chunk.get(begun..).unwrap_or_default();
        match self.place {
            Place::Inside { .. } if self.tail.len() + rest.len() > EVENT_BYTES_MAX => {
                each(Part::Lost(self.with_tail(rest)));
                (self.tail, self.place) = (Vec::new(), Place::Lost);
            }
            Place::Inside { .. } => self.tail.extend_from_slice(rest),
            Place::Lost if !rest.is_empty() => each(Part::Lost(rest)),
            _ => between(rest, &mut each),
        }
    }

    fn with_tail(&mut self, rest: &[u8]) -> &[u8] {
        self.tail.extend_from_slice(rest);
        &self.tail
    }

    /// Whether the array has ended.
    pub fn is_closed(&self) -> bool {
        self.place == Place::Closed
    }

    /// What of an unfinished element has come, and what has to stand before the next.
    pub fn torn(&self) -> Torn<'_> {
        let lead = match self.place {
            Place::Before => "[",
            Place::Awaiting | Place::Inside { .. } => "",
            Place::After => ",",
            Place::Closed | Place::Lost => return Torn::Closed,
        };
        Torn::Array { part: &self.tail, lead }
    }
}

fn between(bytes: &[u8], each: &mut impl FnMut(Part<'_>)) {
    if !bytes.is_empty() {
        each(Part::Between(bytes));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(chunks: &[&[u8]]) -> Vec<(char, String)> {
        let (mut elements, mut parts) = (Elements::default(), Vec::<(char, String)>::new());
        for chunk in chunks {
            elements.feed(chunk, |part| {
                let (kind, bytes) = match part {
                    Part::Element(bytes) => ('e', bytes),
                    Part::Between(bytes) => ('-', bytes),
                    Part::End(bytes) => (']', bytes),
                    Part::Lost(bytes) => ('!', bytes),
                };
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                match parts.last_mut().filter(|(last, _)| *last == kind && kind != 'e') {
                    Some((_, last)) => last.push_str(&text),
                    None => parts.push((kind, text)),
                }
            });
        }
        parts
    }

    #[test]
    fn an_array_falls_into_its_elements() {
        let array = r#"[{"a":"}]\""} ,
{"b":[1,{}]}] "#;
        let expected =
            [('-', "["), ('e', r#"{"a":"}]\""}"#), ('-', " ,\n"), ('e', r#"{"b":[1,{}]}"#), (']', "]"), ('-', " ")];
        let expected = expected.map(|(kind, text)| (kind, text.to_owned()));
        assert_eq!(parts(&[array.as_bytes()]), expected);
        let bytes: Vec<_> = array.as_bytes().chunks(1).collect();
        assert_eq!(parts(&bytes), expected);
    }

    #[test]
    fn what_is_no_array_is_lost() {
        assert_eq!(parts(&[b"{\"error\":", b"{}}"]), [('!', "{\"error\":{}}".to_owned())]);
        assert_eq!(parts(&[b"[{}", b"x", b"{}]"]).last(), Some(&('!', "x{}]".to_owned())));
    }

    proptest! {
        #[test]
        fn nothing_is_added_and_nothing_lost(text in "[\\[\\]{},\"a\\\\ ]{0,40}", cut in 0_usize..40) {
            let bytes = text.as_bytes();
            let (one, two) = bytes.split_at(cut.min(bytes.len()));
            let (mut elements, mut seen) = (Elements::default(), Vec::new());
            for chunk in [one, two] {
                elements.feed(chunk, |part| match part {
                    Part::Element(part) | Part::Between(part) | Part::End(part) | Part::Lost(part) => {
                        seen.extend_from_slice(part);
                    }
                });
            }
            seen.extend_from_slice(&elements.tail);
            prop_assert_eq!(seen, bytes);
        }
    }
}
