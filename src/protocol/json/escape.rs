//! The content of JSON strings as the text it stands for, with the way back to the bytes.
//!
//! Text is looked at unescaped and changed where it stands: a place in the text is mapped to the place in the
//! bytes, so that everything around a change keeps the spelling it had.

use std::borrow::Cow;
use std::fmt::Write;

/// What half a surrogate pair stands for; it has no character of its own.
const HALF: char = '\u{FFFD}';

/// A string's content, unescaped.
#[derive(Debug)]
pub(crate) struct Unescaped<'a> {
    pub(crate) text: Cow<'a, str>,
    /// Behind each escape: where that is in the text, and where in the bytes.
    jumps: Vec<(usize, usize)>,
    /// How much of the content was read: all of it, but for an escape whose rest has not come yet.
    pub(crate) read: usize,
}

impl<'a> Unescaped<'a> {
    /// Reads `raw`, the bytes between the quotes. Unless it `is_whole`, an escape that it ends within is left for
    /// later. What is no escape JSON knows stands for itself.
    pub(crate) fn of(raw: &'a str, is_whole: bool) -> Self {
        let Some(first) = memchr::memchr(b'\\', raw.as_bytes()) else {
            return Self { text: Cow::Borrowed(raw), jumps: Vec::new(), read: raw.len() };
        };
        let mut text = String::with_capacity(raw.len());
        let mut jumps = Vec::new();
        let (mut at, mut next) = (0, Some(first));
        while let Some(escape) = next {
            text.push_str(raw.get(at..escape).unwrap_or_default());
            at = escape;
            match escaped(raw.get(escape..).unwrap_or_default()) {
                Escape::Char(char, length) => {
                    text.push(char);
                    at += length;
                    jumps.push((text.len(), at));
                }
                Escape::Unfinished if !is_whole => return Self { text: text.into(), jumps, read: escape },
                Escape::Unfinished | Escape::None => {
                    text.push('\\');
                    at += 1;
                }
            }
            next = memchr::memchr(b'\\', raw.as_bytes().get(at..).unwrap_or_default()).map(|ahead| at + ahead);
        }
        text.push_str(raw.get(at..).unwrap_or_default());
        Self { text: text.into(), jumps, read: raw.len() }
    }

    /// The same, without what it was read from.
    pub(crate) fn into_owned(self) -> Unescaped<'static> {
        Unescaped { text: Cow::Owned(self.text.into_owned()), jumps: self.jumps, read: self.read }
    }

    /// Where the character that begins at `place` in the text begins in the bytes.
    pub(crate) fn raw(&self, place: usize) -> usize {
        let behind = self.jumps.partition_point(|(text, _)| *text <= place);
        let (text, raw) = behind.checked_sub(1).and_then(|at| self.jumps.get(at)).copied().unwrap_or_default();
        raw + (place - text)
    }

    /// Where in the text the byte at `place` has its effect; the opposite of [`Unescaped::raw`].
    pub(crate) fn text_place(&self, place: usize) -> usize {
        let behind = self.jumps.partition_point(|(_, raw)| *raw <= place);
        let (text, raw) = behind.checked_sub(1).and_then(|at| self.jumps.get(at)).copied().unwrap_or_default();
        let limit = self.jumps.get(behind).map_or(self.text.len(), |(text, _)| *text);
        self.text.floor_char_boundary((text + (place - raw)).min(limit))
    }
}

/// What stands at a backslash.
enum Escape {
    /// A character, and the bytes that spell it.
    Char(char, usize),
    /// More has to come before this means anything.
    Unfinished,
    None,
}

fn escaped(raw: &str) -> Escape {
    let char = match raw.as_bytes().get(1) {
        None => return Escape::Unfinished,
        Some(b'u') => return code_unit(raw),
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(_) => return Escape::None,
    };
    Escape::Char(char, 2)
}

/// `\u0041`, or a surrogate pair.
fn code_unit(raw: &str) -> Escape {
    let Some(unit) = hex(raw) else { return unfinished(raw) };
    match unit {
        0xD800..=0xDBFF => {
            let rest = raw.get(6..).unwrap_or_default();
            match hex(rest) {
                Some(low @ 0xDC00..=0xDFFF) => {
                    let code = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                    Escape::Char(char::from_u32(code).unwrap_or(HALF), 12)
                }
                Some(_) => Escape::Char(HALF, 6),
                None => match unfinished(rest) {
                    Escape::Unfinished => Escape::Unfinished,
                    _ => Escape::Char(HALF, 6),
                },
            }
        }
        unit => Escape::Char(char::from_u32(unit).unwrap_or(HALF), 6),
    }
}

fn hex(raw: &str) -> Option<u32> {
    let digits = raw.strip_prefix("\\u")?.get(..4)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

/// Whether `raw` is the beginning of `\u0041`.
fn unfinished(raw: &str) -> Escape {
    let digits = raw.as_bytes().get(2..).unwrap_or_default();
    let begins = "\\u".starts_with(raw.get(..2).unwrap_or(raw)) && raw.len() < 6;
    match begins && digits.iter().all(u8::is_ascii_hexdigit) {
        true => Escape::Unfinished,
        false => Escape::None,
    }
}

/// Writes `text` as the content of a JSON string.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a String cannot fail.
            char if char.is_control() => _ = write!(out, "\\u{:04x}", u32::from(char)),
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_escape_is_read_and_found_again() {
        let raw = r#"a\"\\\/\b\f\n\r\t\u0041\ud83d\ude00z"#;
        let read = Unescaped::of(raw, true);
        assert_eq!(read.text, "a\"\\/\u{8}\u{c}\n\r\tA😀z");
        assert_eq!(read.raw(read.text.find('A').unwrap()), raw.find("\\u0041").unwrap());
        assert_eq!(read.raw(read.text.find('😀').unwrap()), raw.find("\\ud83d").unwrap());
        assert_eq!(read.raw(read.text.find('z').unwrap()), raw.len() - 1);
        assert_eq!(read.raw(read.text.len()), raw.len());
    }

    #[test]
    fn half_an_escape_waits_for_its_rest() {
        for half in ["\\", "\\u", "\\u0", "\\u004", "\\ud83d", "\\ud83d\\", "\\ud83d\\ude0"] {
            let raw = format!("ab{half}");
            let read = Unescaped::of(&raw, false);
            assert_eq!((&*read.text, read.read), ("ab", 2), "{half}");
            assert_eq!(Unescaped::of(&raw, true).read, raw.len());
        }
        assert_eq!(Unescaped::of("\\ud83dx", false).text, "\u{FFFD}x");
        assert_eq!(Unescaped::of("\\x\\u00g1", false).text, "\\x\\u00g1");
    }

    proptest! {
        #[test]
        fn what_is_escaped_reads_the_same(text in "\\PC{0,40}[\"\\\\\n\u{1}]{0,4}") {
            let raw = escape(&text);
            let read = Unescaped::of(&raw, false);
            prop_assert_eq!(&*read.text, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&format!("\"{raw}\"")).unwrap(), text);
            for (place, _) in read.text.char_indices() {
                prop_assert_eq!(read.text_place(read.raw(place)), place);
            }
        }

        #[test]
        fn no_content_makes_it_panic(raw in "[\\\\u0-9a-fD\"é😀n]{0,30}", is_whole: bool) {
            let read = Unescaped::of(&raw, is_whole);
            for (place, _) in read.text.char_indices() {
                let raw_place = read.raw(place);
                prop_assert!(raw.is_char_boundary(raw_place));
                read.text_place(raw_place);
            }
        }
    }
}
