//! How many tokens a request makes, from the texts in it.
//!
//! Pictures, sound and files are no text, whatever their size: each counts as a fixed number. Tools count as the JSON
//! that they are written in.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::text::{tokens, weight};

/// What frames a message, in thousandths of a token: its role and its end.
const MESSAGE: u64 = 4_000;
/// A picture, a sound, a file: what a picture of medium size costs with the three large vendors.
const MEDIUM: u64 = 1_000_000;
/// The shortest text that can be the content of a file.
const MEDIUM_BYTES_MIN: usize = 512;

/// The members of a request that the model is given.
const TEXTS: [&str; 12] = [
    "messages",
    "input",
    "instructions",
    "system",
    "contents",
    "content",
    "systemInstruction",
    "system_instruction",
    "prompt",
    "suffix",
    "requests",
    "generateContentRequest",
];
/// Those that it is given as they are written.
const SCHEMAS: [&str; 3] = ["tools", "functions", "response_format"];
/// Members inside of texts that the model is not given.
const LABELS: [&str; 9] =
    ["type", "role", "id", "tool_call_id", "tool_use_id", "call_id", "cache_control", "signature", "thoughtSignature"];

/// The tokens of the request with this body; of one that cannot be read, a token for four bytes.
pub(crate) fn input(body: &[u8]) -> u64 {
    let read = serde_json::from_slice::<Request>(body);
    read.map_or_else(|_| (body.len() as u64).div_ceil(4), |Request(weight)| tokens(weight))
}

/// What a request weighs.
struct Request(u64);

/// What a value among its texts weighs.
struct Part(u64);

impl<'de> Deserialize<'de> for Request {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RequestReader)
    }
}

struct RequestReader;

impl<'de> Visitor<'de> for RequestReader {
    type Value = Request;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Request, A::Error> {
        let mut sum = 0_u64;
        while let Some(kind) = object.next_key_seed(KindOf)? {
            sum = sum.saturating_add(match kind {
                Kind::Text => object.next_value::<Part>()?.0,
                Kind::Schema => weight(object.next_value::<&RawValue>()?.get()),
                _ => object.next_value::<IgnoredAny>().map(|_| 0)?,
            });
        }
        Ok(Request(sum))
    }
}

/// What a member is, by its name.
enum Kind {
    Text,
    Schema,
    Role,
    Label,
    Other,
}

struct KindOf;

impl<'de> DeserializeSeed<'de> for KindOf {
    type Value = Kind;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KindOf {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Kind, E> {
        Ok(match name {
            "role" => Kind::Role,
            name if TEXTS.contains(&name) => Kind::Text,
            name if SCHEMAS.contains(&name) => Kind::Schema,
            name if LABELS.contains(&name) => Kind::Label,
            _ => Kind::Other,
        })
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartReader)
    }
}

struct PartReader;

impl<'de> Visitor<'de> for PartReader {
    type Value = Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Part, E> {
        Ok(Part(if is_medium(text) { MEDIUM } else { weight(text) }))
    }

    /// A token's id, or a figure among a tool's arguments.
    fn visit_u64<E>(self, _: u64) -> Result<Part, E> {
        Ok(Part(1000))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Part, E> {
        Ok(Part(1000))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Part, E> {
        Ok(Part(1000))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Part, E> {
        Ok(Part(0))
    }

    fn visit_unit<E>(self) -> Result<Part, E> {
        Ok(Part(0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Part, A::Error> {
        let mut sum = 0_u64;
        while let Some(Part(weight)) = array.next_element()? {
            sum = sum.saturating_add(weight);
        }
        Ok(Part(sum))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Part, A::Error> {
        let mut sum = 0_u64;
        while let Some(kind) = object.next_key_seed(KindOf)? {
            sum = sum.saturating_add(match kind {
                Kind::Role => object.next_value::<IgnoredAny>().map(|_| MESSAGE)?,
                Kind::Label => object.next_value::<IgnoredAny>().map(|_| 0)?,
                Kind::Text | Kind::Schema | Kind::Other => object.next_value::<Part>()?.0,
            });
        }
        Ok(Part(sum))
    }
}

/// Whether a text is the content of a file: an address that holds it, or nothing but base64.
fn is_medium(text: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
    text.starts_with("data:") && text.contains(";base64,")
        || text.len() >= MEDIUM_BYTES_MIN && text.bytes().all(is_base64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(request: &serde_json::Value) -> u64 {
        input(request.to_string().as_bytes())
    }

    #[test]
    fn every_dialect_s_texts_are_counted_and_nothing_else() {
        let text = "Why is the sky blue, and why not green?";
        let alone = tokens(weight(text) + MESSAGE);
        for request in [
            json!({"model": "m", "temperature": 0.5, "messages": [{"role": "user", "content": text}]}),
            json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}),
            json!({"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}]}),
            json!({"contents": [{"role": "user", "parts": [{"text": text}]}], "safetySettings": [{"category": "x"}]}),
        ] {
            assert_eq!(of(&request), alone, "{request}");
        }
        assert_eq!(of(&json!({"prompt": text, "metadata": {"user": text}})), tokens(weight(text)));
        assert_eq!(of(&json!({"input": [[1, 2, 3], [4]]})), 4);
    }

    #[test]
    fn files_are_no_text() {
        let data = "iVBORw0KGgo".repeat(10_000);
        let url = format!("data:image/png;base64,{data}");
        for part in [
            json!({"type": "image_url", "image_url": {"url": url}}),
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}),
            json!({"inlineData": {"mimeType": "image/png", "data": data}}),
        ] {
            let found = of(&json!({"messages": [{"role": "user", "content": [part]}]}));
            assert!((1_000..1_030).contains(&found), "{found}: {part}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_counted_by_its_size() {
        assert_eq!((input(b"no JSON"), input(b"")), (2, 0));
    }
}
