//! A JSON object read member by member: each value is checked to be JSON (RFC 8259), and left as it stands.
//!
//! Strings are most of what a body has, and are passed over by vectors instead of bytes. Nesting costs no stack.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::DeserializeOwned;
use wide::u8x16;

use super::lenient;

/// The members of an object, one after the other, and the check that it is one.
pub(crate) struct Members<'a> {
    text: &'a [u8],
    at: usize,
    /// The containers around the place, up to the value that is passed over; whether each is an object.
    open: Vec<bool>,
    is_first: bool,
}

/// Where the name of a member stands, without its quotes, and where its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// The text is not one JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAnObject;

type Result<T> = std::result::Result<T, NotAnObject>;

impl<'a> Members<'a> {
    pub(crate) fn of(text: &'a [u8]) -> Self {
        Self { text, at: 0, open: Vec::new(), is_first: true }
    }

    /// The next member. `None`: there are no more, and behind the object stands nothing else.
    pub(crate) fn next(&mut self) -> Result<Option<Member>> {
        if self.is_first {
            self.expect(b'{')?;
        }
        let is_first = std::mem::take(&mut self.is_first);
        match self.next_byte()? {
            b'}' => {
                self.at += 1;
                self.skip_white();
                return if self.at == self.text.len() { Ok(None) } else { Err(NotAnObject) };
            }
            b',' if !is_first => self.at += 1,
            _ if is_first => {}
            _ => return Err(NotAnObject),
        }
        let name = self.skip_name()?;
        self.skip_white();
        let start = self.at;
        self.skip_value()?;
        Ok(Some(Member { name, value: start..self.at }))
    }

    /// The name of `member`, unescaped.
    pub(crate) fn name(&self, member: &Member) -> Result<Cow<'a, [u8]>> {
        let name = self.text.get(member.name.clone()).ok_or(NotAnObject)?;
        if !name.contains(&b'\\') {
            return Ok(Cow::Borrowed(name));
        }
        let quoted = self.text.get(member.name.start - 1..=member.name.end).ok_or(NotAnObject)?;
        let name = serde_json::from_slice::<String>(quoted).map_err(|_| NotAnObject)?;
        Ok(Cow::Owned(name.into_bytes()))
    }

    fn skip_white(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    /// The byte at the place, behind white space.
    fn next_byte(&mut self) -> Result<u8> {
        self.skip_white();
        self.text.get(self.at).copied().ok_or(NotAnObject)
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.next_byte()? != byte {
            return Err(NotAnObject);
        }
        self.at += 1;
        Ok(())
    }

    /// Passes a name and the colon behind it.
    fn skip_name(&mut self) -> Result<Range<usize>> {
        self.expect(b'"')?;
        let start = self.at;
        self.skip_string()?;
        let end = self.at - 1;
        self.expect(b':')?;
        Ok(start..end)
    }

    fn skip_value(&mut self) -> Result<()> {
        self.open.clear();
        loop {
            let begun = self.next_byte()?;
            match begun {
                b'"' => {
                    self.at += 1;
                    self.skip_string()?;
                }
                b'{' | b'[' => {
                    self.at += 1;
                    let is_object = begun == b'{';
                    if self.next_byte()? == if is_object { b'}' } else { b']' } {
                        self.at += 1;
                    } else {
                        self.open.push(is_object);
                        if is_object {
                            self.skip_name()?;
                        }
                        continue;
                    }
                }
                b't' => self.skip_word(b"true")?,
                b'f' => self.skip_word(b"false")?,
                b'n' => self.skip_word(b"null")?,
                _ => self.skip_number()?,
            }
            if self.skip_ends()? {
                return Ok(());
            }
        }
    }

    /// Passes what may stand behind a value, up to the next one; says whether there is none.
    fn skip_ends(&mut self) -> Result<bool> {
        while let Some(&is_object) = self.open.last() {
            match (self.next_byte()?, is_object) {
                (b',', true) => {
                    self.at += 1;
                    self.skip_name()?;
                    return Ok(false);
                }
                (b',', false) => {
                    self.at += 1;
                    return Ok(false);
                }
                (b'}', true) | (b']', false) => {
                    self.at += 1;
                    self.open.pop();
                }
                _ => return Err(NotAnObject),
            }
        }
        Ok(true)
    }

    /// Passes the rest of a string whose quote has been passed.
    fn skip_string(&mut self) -> Result<()> {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let length = plain_bytes(rest);
            self.at += length + 1;
            match rest.get(length..).unwrap_or_default() {
                [b'"', ..] => return Ok(()),
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 1,
                [b'\\', b'u', code @ ..] if code.len() >= 4 && code.iter().take(4).all(u8::is_ascii_hexdigit) => {
                    self.at += 5;
                }
                _ => return Err(NotAnObject),
            }
        }
    }

    fn skip_word(&mut self, word: &[u8]) -> Result<()> {
        let found = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        self.at += word.len();
        if found { Ok(()) } else { Err(NotAnObject) }
    }

    fn skip_number(&mut self) -> Result<()> {
        self.skip_one(b"-");
        if !self.skip_one(b"0") {
            self.skip_digits()?;
        }
        if self.skip_one(b".") {
            self.skip_digits()?;
        }
        if self.skip_one(b"eE") {
            self.skip_one(b"+-");
            self.skip_digits()?;
        }
        Ok(())
    }

    fn skip_one(&mut self, of: &[u8]) -> bool {
        let found = self.text.get(self.at).is_some_and(|byte| of.contains(byte));
        self.at += usize::from(found);
        found
    }

    /// Passes at least one digit.
    fn skip_digits(&mut self) -> Result<()> {
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(NotAnObject) }
    }
}

/// How many bytes at the beginning of `text` mean themselves inside of a string (RFC 8259 §7).
fn plain_bytes(text: &[u8]) -> usize {
    // A name or a line of a prompt is a few blocks long: what takes long to begin with, such as a search of wider vectors,
    // takes longer over them.
    let (blocks, rest) = text.as_chunks();
    for (at, block) in blocks.iter().enumerate() {
        let block = u8x16::new(*block);
        let is_control = block.min(u8x16::splat(b' ' - 1)).simd_eq(block);
        let marks = is_control | block.simd_eq(u8x16::splat(b'"')) | block.simd_eq(u8x16::splat(b'\\'));
        let marks = marks.to_bitmask();
        if marks != 0 {
            return at * size_of::<u8x16>() + marks.trailing_zeros() as usize;
        }
    }
    let is_special = |byte: &u8| matches!(byte, b'\0'..b' ' | b'"' | b'\\');
    text.len() - rest.len() + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// The values of the members called `names` of the object `text`; of several that are called the same, the last, as
/// most parsers have it. `None` if it is no object.
pub(crate) fn pick<'a, const N: usize>(text: &'a [u8], names: [&str; N]) -> Option<[Option<&'a [u8]>; N]> {
    let (mut members, mut values) = (Members::of(text), [None; N]);
    while let Some(member) = members.next().ok()? {
        let name = members.name(&member).ok()?;
        let wanted = names.iter().zip(&mut values).find(|(wanted, _)| wanted.as_bytes() == &*name);
        if let Some((_, value)) = wanted {
            *value = text.get(member.value);
        }
    }
    Some(values)
}

/// Reads a value that may not be there, or be something else.
pub(crate) fn read<T: Default + DeserializeOwned>(value: Option<&[u8]>) -> T {
    value.and_then(|value| lenient::read(value, &mut Vec::new()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn skim(text: &[u8]) -> Result<Vec<(String, String)>> {
        let mut members = Members::of(text);
        let mut found = Vec::new();
        let written = |range: Range<usize>| String::from_utf8_lossy(&text[range]).into_owned();
        while let Some(member) = members.next()? {
            let name = String::from_utf8_lossy(&members.name(&member)?).into_owned();
            found.push((name, written(member.value)));
        }
        Ok(found)
    }

    /// Whether it is one object, by the parser that everything else here uses.
    fn is_object(text: &[u8]) -> bool {
        let is_json = std::str::from_utf8(text).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        is_json && text.trim_ascii_start().starts_with(b"{")
    }

    #[test]
    fn members_are_found_as_they_stand() {
        let text = r#" { "a" : 1.5e-7 , "b\u0061\"":[{"x":[]},"}]",{}], "":{"\\":null} ,"é":true,"l":"" } "#.as_bytes();
        let expected =
            [("a", "1.5e-7"), ("ba\"", r#"[{"x":[]},"}]",{}]"#), ("", r#"{"\\":null}"#), ("é", "true"), ("l", r#""""#)];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(skim(text).unwrap(), expected);
        assert_eq!(skim(b"{}"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in [
            "",
            " ",
            "[]",
            "1",
            "{",
            "}",
            "{}}",
            "{} x",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1 \"b\":2}",
            "{a:1}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":+1}",
            "{\"a\":1e}",
            "{\"a\":-}",
            "{\"a\":tru}",
            "{\"a\":nulll}",
            "{\"a\":[1,]}",
            "{\"a\":[,1]}",
            "{\"a\":[1}}",
            "{\"a\":{1:2}}",
            "{\"a\":{\"b\":1]}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12g4\"}",
            "{\"a\":\"\\u12\"}",
            "{\"a\":\"",
            "{\"a\":\"\\",
            "{\"a\n\":1}",
            "\u{feff}{}",
            "{\"a\":1}\u{0}",
        ] {
            assert_eq!(skim(text.as_bytes()), Err(NotAnObject), "{text:?}");
            assert!(!is_object(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn values_are_picked_at_the_top_alone() {
        let seen = |text: &'static str| pick(text.as_bytes(), ["a", "c"]).map(|values| values.map(read::<Option<u8>>));
        assert_eq!(seen(r#"{"c":1,"d":{"c":2},"a":3}"#), Some([Some(3), Some(1)]));
        assert_eq!(seen(r#"{"d":"c","\u0063":7,"a":"x"}"#), Some([None, Some(7)]));
        assert_eq!(seen(r#"{"c":1,"c":2}"#), Some([None, Some(2)]));
        assert_eq!(seen(r#"{"c":1"#), None);
    }

    #[test]
    fn plain_bytes_end_at_the_first_that_is_not() {
        for length in 0..70 {
            let plain = "é€x".repeat(20).into_bytes();
            assert_eq!(plain_bytes(&plain[..length]), length);
            for special in [b'"', b'\\', 0, 31] {
                let text = [&plain[..length], &[special], &plain[..30]].concat();
                assert_eq!(plain_bytes(&text), length);
            }
        }
    }

    /// Pieces of which much is almost JSON.
    fn almost() -> impl Strategy<Value = Vec<u8>> {
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"",
            "\\",
            "\\u00e9",
            "\\ud800",
            "1",
            "-0",
            "0",
            ".5",
            "e3",
            "true",
            "null",
            " ",
            "\n",
            "x",
            "é",
            "\u{1}",
            "\"b\":",
            "{\"a\":1}",
            "[1,2]",
        ];
        let piece = proptest::sample::select(pieces.to_vec());
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("{{\"a\":{}}}", pieces.concat()).into_bytes())
    }

    proptest! {
        #[test]
        fn it_is_as_strict_as_the_parser_of_everything_else(text in almost()) {
            prop_assert_eq!(skim(&text).is_ok(), is_object(&text), "{}", String::from_utf8_lossy(&text));
        }
    }
}
