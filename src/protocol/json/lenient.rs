//! Values a stranger wrote: what is not as expected counts as absent, and never fails what stands around it.
//!
//! None of these keeps more than a few bytes of what it reads, whatever its size.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::NanoUsd;
use crate::protocol::estimate;

/// The largest figure believed: more than any model takes or gives, and so little that neither its price nor the
/// sum of many wraps.
const COUNT_MAX: u64 = 1 << 40;

/// A count of something. Negative, fractional, textual and absurdly large ones are absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) Option<u64>);

/// An amount of US dollars; what cannot be one is absent. Providers write it as a JSON number, so it is read as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dollars(pub(crate) Option<NanoUsd>);

/// The largest amount believed, in dollars.
const DOLLARS_MAX: f64 = 1e6;

/// How much text there is, in thousandths of an estimated token; 0 only if there is none. For arrays and objects it
/// is that of all texts inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Length(pub(crate) u64);

/// A short text; anything longer than [`Text::BYTES_MAX`] is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) Option<Box<str>>);

/// Whether there is anything but `null`, `false` or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Present(pub(crate) bool);

/// An object of a known shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object<T>(pub(crate) Option<T>);

/// An array, read element by element into `all` so that its length costs no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Each<G> {
    pub(crate) all: G,
    /// How many elements there were; `None` if it was no array.
    pub(crate) length: Option<u64>,
}

/// What the elements of an array add up to.
pub(crate) trait Gather: Default {
    type Item: for<'de> Deserialize<'de>;

    fn add(&mut self, item: Self::Item);
}

/// Reads a text. `serde_json` refuses a whole text for one number that no `f64` can be (`1e400`); here such a number counts
/// as absent like everything else. `spare` is for that case.
pub(crate) fn read<'a, T: Deserialize<'a>>(text: &'a [u8], spare: &'a mut Vec<u8>) -> serde_json::Result<T> {
    match serde_json::from_slice(text) {
        Err(error) if error.to_string().starts_with("number out of range") => {
            *spare = without_endless_numbers(text);
            serde_json::from_slice(spare)
        }
        read => read,
    }
}

/// The text with `null` in the place of each number that is too large to be one.
fn without_endless_numbers(text: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(&byte) = rest.first() {
        let length = match byte {
            b'"' => text_length(rest),
            b'-' | b'0'..=b'9' => {
                let is_over = |byte: &u8| !matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E');
                rest.iter().position(is_over).unwrap_or(rest.len())
            }
            _ => 1,
        };
        let (token, after) = rest.split_at(length);
        let number = std::str::from_utf8(token).ok().and_then(|token| token.parse::<f64>().ok());
        kept.extend_from_slice(if number.is_some_and(f64::is_infinite) { b"null" } else { token });
        rest = after;
    }
    kept
}

/// How long the JSON string is that a text begins with.
fn text_length(text: &[u8]) -> usize {
    let mut is_escaped = false;
    let end = text.iter().skip(1).position(|&byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |end| end + 2)
}

/// The bytes of a value as they stand, `null` included; for `#[serde(deserialize_with)]`.
pub(crate) fn raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Text {
    /// Long enough for every model name and word a protocol has.
    pub(crate) const BYTES_MAX: usize = 256;

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<T> Default for Object<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Default> Object<T> {
    pub(crate) fn or_default(self) -> T {
        self.0.unwrap_or_default()
    }
}

/// The parts of a visitor that read something else than hoped for, and give the default.
macro_rules! otherwise {
    ($($kind:ident)*) => { $(otherwise!(@ $kind);)* };
    (@ bool) => { fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> { Ok(Self::Value::default()) } };
    (@ number) => {
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> { Ok(Self::Value::default()) }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> { Ok(Self::Value::default()) }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> { Ok(Self::Value::default()) }
    };
    (@ text) => { fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> { Ok(Self::Value::default()) } };
    (@ null) => { fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok(Self::Value::default()) } };
    (@ array) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
            while array.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
    (@ object) => {
        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
    (@ words) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str("any value") }
    };
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Count;
            otherwise!(words bool text null array object);

            fn visit_u64<E>(self, figure: u64) -> Result<Count, E> {
                Ok(Count((figure <= COUNT_MAX).then_some(figure)))
            }

            fn visit_i64<E>(self, figure: i64) -> Result<Count, E> {
                Ok(Count(u64::try_from(figure).ok().filter(|figure| *figure <= COUNT_MAX)))
            }

            // The guard leaves only whole numbers that both types represent exactly.
            fn visit_f64<E>(self, figure: f64) -> Result<Count, E> {
                let is_whole = figure >= 0.0 && figure <= COUNT_MAX as f64 && figure.fract() == 0.0;
                Ok(Count(is_whole.then_some(figure as u64)))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Dollars;
            otherwise!(words bool text null array object);

            fn visit_u64<E>(self, figure: u64) -> Result<Dollars, E> {
                Ok(dollars(figure as f64))
            }

            fn visit_i64<E>(self, figure: i64) -> Result<Dollars, E> {
                Ok(dollars(figure as f64))
            }

            fn visit_f64<E>(self, figure: f64) -> Result<Dollars, E> {
                Ok(dollars(figure))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

fn dollars(figure: f64) -> Dollars {
    let is_believed = (0.0..=DOLLARS_MAX).contains(&figure);
    Dollars(is_believed.then(|| NanoUsd((figure * 1e9).round() as u64)))
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Length;
            otherwise!(words bool number null);

            fn visit_str<E>(self, text: &str) -> Result<Length, E> {
                Ok(Length(estimate::weight(text)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Length, A::Error> {
                let mut sum = Length::default();
                while let Some(Length(length)) = array.next_element()? {
                    sum.0 = sum.0.saturating_add(length);
                }
                Ok(sum)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Length, A::Error> {
                let mut sum = Length::default();
                while let Some((IgnoredAny, Length(length))) = object.next_entry()? {
                    sum.0 = sum.0.saturating_add(length);
                }
                Ok(sum)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Text;
            otherwise!(words bool number null array object);

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text((text.len() <= Text::BYTES_MAX).then(|| text.into())))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = <&RawValue>::deserialize(deserializer)?.get();
        Ok(Self(!matches!(value, "null" | "false")))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Object<T>;
            otherwise!(words bool number text null array);

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(object)).map(|value| Object(Some(value)))
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

impl<'de, G: Gather> Deserialize<'de> for Each<G> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<G>(PhantomData<G>);
        impl<'de, G: Gather> Visitor<'de> for Reader<G> {
            type Value = Each<G>;
            otherwise!(words bool number text null object);

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Each<G>, A::Error> {
                let mut all = G::default();
                let mut length = 0_u64;
                while let Some(item) = array.next_element()? {
                    all.add(item);
                    length = length.saturating_add(1);
                }
                Ok(Each { all, length: Some(length) })
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn read<T: for<'de> Deserialize<'de>>(text: &str) -> T {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn figures_that_cannot_be_are_absent() {
        for text in [
            "-1",
            "1.5",
            "\"7\"",
            "null",
            "true",
            "[7]",
            "{\"a\":7}",
            "9007199254740993",
            "1e300",
            "99999999999999999999",
            "-0.5",
        ] {
            assert_eq!(read::<Count>(text), Count(None), "{text}");
        }
        for (text, figure) in [("0", 0), ("57", 57), ("57.0", 57), ("1099511627776", 1 << 40)] {
            assert_eq!(read::<Count>(text), Count(Some(figure)), "{text}");
        }
    }

    #[test]
    fn lengths_are_those_of_the_unescaped_text() {
        assert_eq!(read::<Length>(r#""a\n\u00e9""#), Length(estimate::weight("a\né")));
        let texts = ["x", "four", "six"].map(estimate::weight);
        assert_eq!(read::<Length>(r#"[{"type":"x","text":"four"},"six",7,null]"#), Length(texts.iter().sum()));
        assert_eq!(read::<Length>("null"), Length(0));
    }

    #[test]
    fn texts_are_bounded() {
        let quoted = |length: usize| format!("\"{}\"", "x".repeat(length));
        assert_eq!(read::<Text>(&quoted(256)).as_str().len(), 256);
        assert_eq!(read::<Text>(&quoted(257)), Text(None));
        assert_eq!(read::<Text>("{\"a\":[1]}"), Text(None));
    }

    #[test]
    fn only_something_is_present() {
        assert_eq!(["null", "false", "{}", "\"x\"", "0"].map(read_present), [false, false, true, true, true]);
    }

    #[test]
    fn dollars_are_read_to_the_nano_dollar() {
        let dollars = |text| read::<Dollars>(text).0.map(|amount| amount.0);
        assert_eq!(
            (dollars("0.00182"), dollars("2"), dollars("1.2e-7")),
            (Some(1_820_000), Some(2_000_000_000), Some(120))
        );
        for text in ["-1", "1e300", "\"1\"", "null", "1000001", "{\"a\":1}"] {
            assert_eq!(dollars(text), None, "{text}");
        }
    }

    fn read_present(text: &str) -> bool {
        serde_json::from_str::<Present>(text).unwrap().0
    }

    #[test]
    fn other_shapes_are_no_objects() {
        for text in ["7", "-7", "7.5", "\"x\"", "null", "true", "[[1],{}]"] {
            assert_eq!(read::<Object<Length>>(text), Object(None), "{text}");
        }
    }
}
