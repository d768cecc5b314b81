use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::policy::{Action, Policy, Spec, detectors};

use super::*;

fn active(action: Action, change: impl FnOnce(&mut Spec)) -> Active {
    let mut spec = Spec::new("test", action);
    change(&mut spec);
    Active::new(vec![Arc::new(Policy::compile(spec).unwrap())], None)
}

fn all() -> Active {
    active(Action::Redact, |spec| spec.detect = detectors::all().collect())
}

fn event(piece: &str) -> String {
    let choice = json!({"index": 0, "delta": {"content": piece}, "finish_reason": null});
    format!("data: {}\n\n", json!({"id": "c", "object": "chat.completion.chunk", "choices": [choice]}))
}

fn content(event: &[u8]) -> String {
    let data = sse::data(event, false).unwrap();
    let value: Value = serde_json::from_slice(&data).unwrap();
    value["choices"][0]["delta"]["content"].as_str().unwrap().to_owned()
}

/// Prose as models stream it, piece by piece.
const PIECES: [&str; 18] = [
    "The",
    " handler",
    " reads",
    " 4096",
    " bytes",
    " at",
    " a",
    " time",
    ",",
    " and",
    " retries",
    " 3",
    " times",
    " (see",
    " RFC",
    " 9110",
    ").\n\n",
    "- `fn main()`",
];

#[test]
fn no_event_is_held_that_has_no_open_beginning() {
    let mut guard = Guard::new(all(), Endpoint::ChatCompletions);
    for piece in PIECES.iter().cycle().take(1000).filter(|piece| !piece.bytes().any(|byte| byte.is_ascii_digit())) {
        // Behind a blank nothing goes on that began with a word.
        let (event, mut out) = (event(&format!("{} ", piece.trim())), Vec::new());
        guard.event(event.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), event);
    }
}

#[test]
fn no_event_waits_and_no_more_than_a_word_of_prose() {
    let mut guard = Guard::new(all(), Endpoint::ChatCompletions);
    let (mut sent, mut shown) = (String::new(), String::new());
    for piece in PIECES.iter().cycle().take(1000) {
        let mut out = Vec::new();
        guard.event(event(piece).as_bytes(), &mut out);
        // Its event goes out at once, if with less text.
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 2);
        sent.push_str(piece);
        shown.push_str(&content(&out));
        let held = sent.strip_prefix(shown.as_str()).unwrap();
        assert!(
            !held.contains([' ', '\n', ',', ')']) || held.starts_with(|first: char| first.is_ascii_digit()),
            "{held:?}"
        );
        assert!(held.len() <= 8, "{held:?}");
    }
}

/// `cargo test --release --lib -- --ignored --nocapture what_an_event_waits_for`
#[test]
#[ignore = "measures"]
fn what_an_event_waits_for() {
    let mut guard = Guard::new(all(), Endpoint::ChatCompletions);
    let events: Vec<_> = PIECES.iter().map(|piece| event(piece)).collect();
    let mut out = Vec::new();
    let mut took: Vec<Duration> = Vec::new();
    for event in events.iter().cycle().take(200_000) {
        out.clear();
        let begun = Instant::now();
        guard.event(event.as_bytes(), &mut out);
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    let at = |share: usize| took[took.len() * share / 1000];
    println!("an event with every detector: p50 {:?}, p99 {:?}, p99.9 {:?}", at(500), at(990), at(999));
    assert!(at(990) < Duration::from_micros(20), "{:?}", at(990));
}

#[test]
fn an_array_is_looked_at_across_its_elements() {
    let element = |text: &str, finish: Option<&str>| {
        let content = json!({"role": "model", "parts": [{"text": text}]});
        json!({"candidates": [{"index": 0, "content": content, "finishReason": finish}]}).to_string()
    };
    let mut guard = Guard::new(all(), Endpoint::StreamGenerateContent);
    let mut out = b"[".to_vec();
    guard.element(element("id AKIA", None).as_bytes(), &mut out);
    out.push(b',');
    guard.element(element("IOSFODNN7EXAMPLE, of jane", None).as_bytes(), &mut out);
    guard.finish_array(&mut out);
    out.push(b']');
    let array: Vec<Value> = serde_json::from_slice(&out).unwrap();
    let text = |value: &Value| value["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap().to_owned();
    assert_eq!(array.iter().map(text).collect::<Vec<_>>(), ["id ", "[REDACTED:AWS_KEY], of ", "jane"]);
}

#[test]
fn text_before_a_call_of_geminis_comes_before_it() {
    let part = |part: Value| json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}}]});
    let mut guard = Guard::new(all(), Endpoint::StreamGenerateContent);
    let mut out = b"[".to_vec();
    guard.element(part(json!({"text": "ask jane"})).to_string().as_bytes(), &mut out);
    out.push(b',');
    let call = json!({"functionCall": {"name": "f", "args": {"id": "AKIAIOSFODNN7EXAMPLE"}}});
    guard.element(part(call).to_string().as_bytes(), &mut out);
    out.push(b']');
    let array: Vec<Value> = serde_json::from_slice(&out).unwrap();
    let parts: Vec<_> = array.iter().map(|value| &value["candidates"][0]["content"]["parts"][0]).collect();
    assert_eq!((&parts[0]["text"], &parts[1]["text"]), (&json!("ask "), &json!("jane")));
    assert_eq!(parts[2]["functionCall"]["args"]["id"], "[REDACTED:AWS_KEY]");
}
