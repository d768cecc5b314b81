//! The head of a body, held against serde_json's reading of the whole.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::protocol::Endpoint;
use crate::protocol::ask;
use crate::protocol::json::torn;

/// Endpoints whose bodies differ in what is read of them; the rest are read like one of these.
const ENDPOINTS: [Endpoint; 6] = [
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Responses,
    Endpoint::Messages,
    Endpoint::Embeddings,
    Endpoint::ImageGenerations,
];
const ELSE: &str = "another-model";

/// What is read of a body is what any parser reads in it, and an edit changes nothing but what it says.
pub fn ask(bytes: &[u8]) {
    let Some((&endpoint, body)) = bytes.split_first() else { return };
    let endpoint = ENDPOINTS[usize::from(endpoint) % ENDPOINTS.len()];
    let _ = ask::read_about(Endpoint::GenerateContent, "gemini-3.8-flash", body);
    let Ok(head) = ask::read(endpoint, body) else { return };
    let Some(value) = parsed(body) else { return };
    match &value["model"] {
        Value::String(model) => assert_eq!(head.model, *model),
        Value::Null => assert_eq!(Some(&*head.model), endpoint.default_model()),
        odd => panic!("the model is {odd}"),
    }
    assert_eq!(head.stream, value["stream"] == true);
    let edits = head.edits(Some(ELSE), head.lacks_usage(endpoint));
    let edited = ask::splice(&Bytes::copy_from_slice(body), &edits);
    let edited = parsed(&edited).unwrap_or_else(|| panic!("edited, it is no JSON any more"));
    let mut expected = value;
    if expected.as_object().is_some_and(|members| !members.is_empty()) {
        expected["model"] = ELSE.into();
    }
    if head.lacks_usage(endpoint) {
        if !expected["stream_options"].is_object() {
            expected["stream_options"] = json!({});
        }
        expected["stream_options"]["include_usage"] = true.into();
    }
    assert_eq!(edited, expected);
}

/// A document that is torn anywhere is closed into one that is whole.
pub fn torn_json(bytes: &[u8]) {
    let Some((&at, text)) = bytes.split_first() else { return };
    let closed = |text: &[u8]| {
        let closing = torn::closing(text)?;
        let comma = if closing.needs_comma { "," } else { "" };
        Some([text, &closing.bytes, comma.as_bytes(), br#""told":true}"#].concat())
    };
    if let Some(whole) = closed(text) {
        // What was closed may have been no JSON before; of what was, nothing is lost.
        let _ = parsed(&whole);
    }
    if !parsed(text).is_some_and(|value| value.is_object()) {
        return;
    }
    let brace = text.iter().position(|&byte| byte == b'{').unwrap();
    let text = text[brace..].trim_ascii_end();
    let end = 1 + usize::from(at) * text.len() / 256;
    if end >= text.len() {
        return;
    }
    let whole = closed(&text[..end]).unwrap_or_else(|| panic!("torn at {end}, it cannot be closed"));
    let value: Value = serde_json::from_slice(&whole).unwrap_or_else(|error| {
        panic!("torn at {end} and closed, it is no JSON: {error}: {}", String::from_utf8_lossy(&whole))
    });
    assert_eq!(value["told"], true);
}

/// What serde_json reads; `None` where it has limits that we have not: nesting, and numbers beyond a double.
fn parsed(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}
