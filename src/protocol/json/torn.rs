//! How to close a JSON object that was cut anywhere.
//!
//! Where a stream breaks in the middle of an event, its client already holds the first half of a JSON
//! object and nothing can take that back. What can be done is to end the object well and give it a member
//! that says what happened.

/// What ends a torn object, up to but not including its last brace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    pub(crate) bytes: Vec<u8>,
    /// The object has members, so that another one needs a comma before it.
    pub(crate) needs_comma: bool,
}

/// How deep a torn object may be nested; the dialects we know stay far below.
const DEPTH_MAX: usize = 256;

/// Ends `text`, which begins an object, so that members can be added and the last brace set. `None` if it
/// is no beginning of an object, or already a whole one.
pub(crate) fn closing(text: &[u8]) -> Option<Closing> {
    let mut scan = Scan { open: Vec::new(), place: Place::Value };
    for &byte in text {
        scan.step(byte)?;
    }
    scan.close(text)
}

/// The members of a torn object that came whole, without its last brace; `None` if there is none.
pub(crate) fn whole_members(text: &[u8]) -> Option<&[u8]> {
    let mut scan = Scan { open: Vec::new(), place: Place::Value };
    let mut whole = None;
    for (at, &byte) in text.iter().enumerate() {
        scan.step(byte)?;
        // A bare value may go on; one with an end of its own is whole there, and any before a comma.
        match (scan.open.len(), scan.place) {
            (1, Place::After) => whole = text.get(..=at),
            (1, Place::Name) if byte == b',' => whole = text.get(..at),
            _ => {}
        }
    }
    whole
}

struct Scan {
    /// The kinds of what is open, outermost first.
    open: Vec<Kind>,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Object,
    Array,
}

/// Where in the text the scan stands, within the innermost of what is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before a value that must come.
    Value,
    /// Behind `[`: a value or the end.
    ValueOrEnd,
    /// Behind `{`: a name or the end.
    NameOrEnd,
    /// Behind a comma in an object.
    Name,
    Colon,
    /// Behind a value: a comma or the end.
    After,
    /// In `true`, `false`, `null` or a number.
    Bare {
        start: u8,
        length: usize,
    },
    Text {
        is_name: bool,
        escape: Escape,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    No {
        is_after_high: bool,
    },
    /// Behind a backslash.
    Begun {
        is_after_high: bool,
    },
    /// Behind `\u` and some digits.
    Unicode {
        digits: usize,
        unit: u16,
        is_after_high: bool,
    },
}

impl Scan {
    fn step(&mut self, byte: u8) -> Option<()> {
        self.place = match (self.place, byte) {
            (Place::Text { is_name, escape }, _) => Self::step_text(is_name, escape, byte)?,
            (Place::Bare { start, length }, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'+' | b'E') => {
                Place::Bare { start, length: length + 1 }
            }
            (Place::Bare { .. }, _) => {
                self.place = Place::After;
                return self.step(byte);
            }
            (place, b' ' | b'\t' | b'\n' | b'\r') => place,
            (Place::Value | Place::ValueOrEnd, b'{') => self.enter(Kind::Object)?,
            // The whole must be an object.
            (_, _) if self.open.is_empty() => return None,
            (Place::Value | Place::ValueOrEnd, b'[') => self.enter(Kind::Array)?,
            (Place::Value | Place::ValueOrEnd, b'"') => Place::text(false),
            (Place::Value | Place::ValueOrEnd, b't' | b'f' | b'n' | b'-' | b'0'..=b'9') => {
                Place::Bare { start: byte, length: 1 }
            }
            (Place::NameOrEnd | Place::Name, b'"') => Place::text(true),
            (Place::Colon, b':') => Place::Value,
            (Place::After, b',') => match self.open.last()? {
                Kind::Object => Place::Name,
                Kind::Array => Place::Value,
            },
            (Place::NameOrEnd | Place::After, b'}') => self.leave(Kind::Object)?,
            (Place::ValueOrEnd | Place::After, b']') => self.leave(Kind::Array)?,
            _ => return None,
        };
        Some(())
    }

    fn step_text(is_name: bool, escape: Escape, byte: u8) -> Option<Place> {
        let escape = match (escape, byte) {
            (Escape::No { .. }, b'"') => return Some(if is_name { Place::Colon } else { Place::After }),
            (Escape::No { is_after_high }, b'\\') => Escape::Begun { is_after_high },
            (Escape::No { .. }, _) => Escape::No { is_after_high: false },
            (Escape::Begun { is_after_high }, b'u') => Escape::Unicode { digits: 0, unit: 0, is_after_high },
            (Escape::Begun { .. }, _) => Escape::No { is_after_high: false },
            (Escape::Unicode { digits, unit, is_after_high }, _) => {
                let unit = unit << 4 | u16::try_from(char::from(byte).to_digit(16)?).ok()?;
                match digits {
                    3 => Escape::No { is_after_high: is_high(unit) },
                    _ => Escape::Unicode { digits: digits + 1, unit, is_after_high },
                }
            }
        };
        Some(Place::Text { is_name, escape })
    }

    fn enter(&mut self, kind: Kind) -> Option<Place> {
        if self.open.len() == DEPTH_MAX {
            return None;
        }
        self.open.push(kind);
        Some(match kind {
            Kind::Object => Place::NameOrEnd,
            Kind::Array => Place::ValueOrEnd,
        })
    }

    fn leave(&mut self, kind: Kind) -> Option<Place> {
        (self.open.pop()? == kind).then_some(Place::After)
    }

    fn close(&self, text: &[u8]) -> Option<Closing> {
        let (_, inner) = self.open.split_first()?;
        let mut bytes = Vec::new();
        let mut needs_comma = true;
        match self.place {
            Place::Value => bytes.extend_from_slice(b"null"),
            Place::Colon => bytes.extend_from_slice(b":null"),
            // An object inside another still needs a member here; the outermost gets one from the caller.
            Place::Name if inner.is_empty() => needs_comma = false,
            Place::Name => bytes.extend_from_slice(b"\"\":null"),
            Place::NameOrEnd => needs_comma = !inner.is_empty(),
            Place::ValueOrEnd | Place::After => {}
            Place::Bare { start, length } => bytes.extend_from_slice(bare_rest(start, length, text)),
            Place::Text { is_name, escape } => {
                bytes.extend_from_slice(&text_rest(escape, text));
                bytes.extend_from_slice(if is_name { b"\":null" } else { b"\"" });
            }
        }
        bytes.extend(inner.iter().rev().map(|kind| if *kind == Kind::Object { b'}' } else { b']' }));
        Some(Closing { bytes, needs_comma })
    }
}

impl Place {
    fn text(is_name: bool) -> Self {
        Self::Text { is_name, escape: Escape::No { is_after_high: false } }
    }
}

fn is_high(unit: u16) -> bool {
    (0xD800..0xDC00).contains(&unit)
}

/// What completes a word or a number.
fn bare_rest(start: u8, length: usize, text: &[u8]) -> &'static [u8] {
    let word: &[u8] = match start {
        b't' => b"true",
        b'f' => b"false",
        b'n' => b"null",
        _ => return if text.last().is_some_and(u8::is_ascii_digit) { b"" } else { b"0" },
    };
    word.get(length..).unwrap_or_default()
}

/// What completes the character a text was cut in.
fn text_rest(escape: Escape, text: &[u8]) -> Vec<u8> {
    let low_half: &[u8] = b"\\udc00";
    match escape {
        Escape::No { is_after_high: true } => low_half.to_vec(),
        Escape::No { is_after_high: false } => utf8_rest(text).to_vec(),
        Escape::Begun { is_after_high: true } => low_half.get(1..).unwrap_or_default().to_vec(),
        Escape::Begun { is_after_high: false } => b"\\".to_vec(),
        Escape::Unicode { digits, is_after_high: true, .. } => low_half.get(2 + digits..).unwrap_or_default().to_vec(),
        Escape::Unicode { digits, unit, .. } => {
            let mut rest = b"0020".get(digits..).unwrap_or_default().to_vec();
            let missing = 4 * (4 - digits.min(4));
            // Zeros make any beginning a whole; one of D8 to DB makes it half a pair.
            if digits > 1 {
                rest.fill(b'0');
                if is_high(unit << missing) {
                    rest.extend_from_slice(low_half);
                }
            }
            rest
        }
    }
}

/// The bytes that are missing from a last character in UTF-8.
pub(crate) fn utf8_rest(text: &[u8]) -> &'static [u8] {
    match text {
        [.., 0xE0] => b"\xA0\x80",
        [.., 0xF0] => b"\x90\x80\x80",
        [.., 0xC2..=0xDF] => b"\x80",
        [.., 0xE1..=0xEF] => b"\x80\x80",
        [.., 0xF1..=0xF4] => b"\x80\x80\x80",
        [.., 0xE0..=0xEF, 0x80..=0xBF] => b"\x80",
        [.., 0xF0..=0xF4, 0x80..=0xBF] => b"\x80\x80",
        [.., 0xF0..=0xF4, 0x80..=0xBF, 0x80..=0xBF] => b"\x80",
        _ => b"",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const WHOLE: &str = r#" {"a":[{"b":"x\n\u00e9\ud83d\ude00\\é€😀","c":{}},[],[1,-2.5e+3, true ,false,null]],"d\"":"","e":0, "f" : {"g":[ ]} }"#;

    fn mended(torn: &[u8]) -> Option<Value> {
        let Closing { bytes, needs_comma } = closing(torn)?;
        let comma: &[u8] = if needs_comma { b"," } else { b"" };
        let text = [torn, &bytes, comma, br#""error":{"code":"cut"}}"#].concat();
        Some(
            serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text))),
        )
    }

    #[test]
    fn an_object_can_be_closed_after_each_of_its_bytes() {
        let begin = WHOLE.find('{').unwrap() + 1;
        for cut in begin..WHOLE.len() {
            let value = mended(&WHOLE.as_bytes()[..cut]).unwrap();
            assert_eq!(value["error"]["code"], "cut", "at {cut}");
        }
        assert_eq!(closing(WHOLE.as_bytes()), None);
        assert_eq!(closing(b""), None);
    }

    #[test]
    fn what_was_whole_before_the_cut_stays() {
        assert_eq!(mended(br#"{"a":[1,"tw"#).unwrap()["a"], serde_json::json!([1, "tw"]));
        assert_eq!(mended(br#"{"a":tr"#).unwrap()["a"], true);
        assert_eq!(mended("{\"a\":\"€".as_bytes().split_last().unwrap().1).unwrap()["a"], "\u{2080}");
    }

    #[test]
    fn whole_members_are_told_from_a_torn_one() {
        for (torn, whole) in [
            (r#"{"a":1,"b":2"#, Some(r#"{"a":1"#)),
            (r#"{"a":{"b":[1]}"#, Some(r#"{"a":{"b":[1]}"#)),
            (r#"{"a":{"b":[1]},"c":{"d":1}"#, Some(r#"{"a":{"b":[1]},"c":{"d":1}"#)),
            (r#"{"a":{"b":[1]},"c":{"d":1"#, Some(r#"{"a":{"b":[1]}"#)),
            (r#"{"a":"x\",","b":"#, Some(r#"{"a":"x\",""#)),
            (r#"{"a":1"#, None),
            (r#"{"a"x"#, None),
            ("[1,2", None),
        ] {
            assert_eq!(whole_members(torn.as_bytes()), whole.map(str::as_bytes), "{torn}");
        }
    }

    #[test]
    fn what_is_no_object_is_left_alone() {
        for torn in [&b"[DON"[..], b"[1", b"hello", b"{]", b"{\"a\" 1", b"{}x", b"\"a"] {
            assert_eq!(closing(torn), None, "{}", String::from_utf8_lossy(torn));
        }
        assert_eq!(closing("{\"a\":[".repeat(1000).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn any_text_can_be_cut_anywhere(text in "\\PC{0,12}", escapes: bool, cut in 0_usize..200) {
            let quoted = match escapes {
                true => format!("\"{}\"", text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>()),
                false => serde_json::to_string(&text).unwrap(),
            };
            let whole = format!("{{{quoted}:[{quoted},{quoted}],\"x\":{quoted}}}");
            let torn = &whole.as_bytes()[..cut.clamp(1, whole.len() - 1)];
            prop_assert!(mended(torn).is_some());
        }

        #[test]
        fn no_bytes_are_a_panic(torn in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = closing(&torn);
        }
    }
}
