//! What policies find in a text that comes in pieces, held against what they find in the whole; and what they leave of
//! a body.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use serde_json::Value;

use crate::policy::{
    Action, Active, Form, Guard, PatternSpec, Policy, Spec, Tally, Text, detectors, inspect, try_text,
};
use crate::protocol::Endpoint;
use crate::protocol::ask::{Edit, splice};
use crate::protocol::json::escape::{Unescaped, escape};
use crate::protocol::sse::{Piece, Splitter};
use crate::protocol::texts::{Body, texts};

use super::pieces::pieces;

/// Every detector there is, and expressions and keywords such as operators write.
static ACTIVE: LazyLock<Active> = LazyLock::new(|| {
    let spec = |name: &str| Spec::new(name, Action::Redact);
    let own = |name: &str, regex: &str| PatternSpec { name: name.into(), regex: regex.into(), replacement: None };
    let detectors = Spec { detect: detectors::all().collect(), ..spec("detectors") };
    let own = Spec {
        patterns: vec![own("ticket", r"\bACME-\d{3,6}\b"), own("ü", "ü+ber"), own("long", "begin[^<>]*end")],
        keywords: vec!["Project X".into(), "Ärger".into()],
        ..spec("own")
    };
    Active::new([detectors, own].map(|spec| Arc::new(Policy::compile(spec).unwrap())).into(), None)
});

/// A text in pieces is redacted as the whole is, however it is spelled.
pub fn matcher(bytes: &[u8]) {
    let [form, seed, text @ ..] = bytes else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let is_spelled = form & 2 != 0 && serde_json::from_str::<String>(&format!("\"{text}\"")).is_ok();
    let raw = if is_spelled { text.to_owned() } else { escape(text) };
    let form = if form & 1 == 0 { Form::Plain } else { Form::Json };
    let at_once = redacted(form, &raw, 0);
    assert_eq!(at_once, redacted(form, &raw, *seed), "{raw}");
    let shown: String =
        serde_json::from_str(&format!("\"{}\"", at_once.0)).unwrap_or_else(|error| panic!("{error}: {}", at_once.0));
    if form == Form::Plain {
        let whole = try_text(&ACTIVE, &Unescaped::of(&raw, true).text);
        assert_eq!((shown, ACTIVE.hits(&at_once.1)), (whole.0, whole.1.hits));
    }
}

/// What is left of a text that comes in these pieces, and what was found.
fn redacted(form: Form, raw: &str, seed: u8) -> (String, Tally) {
    let (mut text, mut tally, mut out) = (Text::new(form), Tally::default(), String::new());
    let mut at = 0;
    let mut begun = 0;
    for piece in pieces(raw.as_bytes(), seed) {
        at += piece.len();
        if raw.is_char_boundary(at) {
            text.push(&ACTIVE, &raw[begun..at], &mut tally, &mut out).unwrap();
            begun = at;
        }
    }
    text.end(&ACTIVE, &mut tally, &mut out).unwrap();
    (out, tally)
}

/// An answer of any endpoint passes its guard event by event, and what comes out are events again.
pub fn guard(bytes: &[u8]) {
    let Some((&endpoint, answer)) = bytes.split_first() else { return };
    let endpoint = Endpoint::ALL[usize::from(endpoint) % Endpoint::ALL.len()];
    let mut guard = Guard::new(ACTIVE.clone(), endpoint);
    let (mut splitter, mut out, mut events) = (Splitter::default(), Vec::new(), 0);
    splitter.feed(answer, |piece| {
        if let Piece::Event(event) = piece {
            events += 1;
            guard.event(event, &mut out);
        }
    });
    guard.finish(&mut out);
    // A replacement is longer than what it stands for, and every text may end with an event of its own.
    assert!(out.len() <= (answer.len() + 1024) * 64, "{} bytes became {}", answer.len(), out.len());
    let (mut again, mut left) = (Splitter::default(), 0);
    again.feed(&out, |_| left += 1);
    assert!(guard.is_blocked() || left >= events || again.tail().len() < out.len(), "{events} events became {left}");
}

/// Redaction edits texts and nothing else, in their order, and what was JSON is JSON.
pub fn json_splice(bytes: &[u8]) {
    let Some((body, json)) = bytes.split_first() else { return };
    let body = if body % 2 == 0 { Body::Request } else { Body::Answer };
    let json = Bytes::copy_from_slice(json);
    let found: Vec<Range<usize>> = texts(&json, body).into_iter().map(|text| text.range).collect();
    let edits = inspect(&ACTIVE, &json, body).edits;
    let mut behind = 0;
    for Edit { range, .. } in &edits {
        assert!(behind <= range.start && range.start < range.end, "{edits:?}");
        assert!(found.iter().any(|text| text.start <= range.start && range.end <= text.end), "{edits:?} {found:?}");
        behind = range.end;
    }
    let edited = splice(&json, &edits);
    let Ok(before) = serde_json::from_slice::<Value>(&json) else { return };
    let after: Value =
        serde_json::from_slice(&edited).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&edited)));
    assert_eq!(shape(&before), shape(&after));
}

/// A document without what its strings say.
fn shape(value: &Value) -> Value {
    match value {
        Value::String(_) => Value::String(String::new()),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
        other => other.clone(),
    }
}
