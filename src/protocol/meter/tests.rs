use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::protocol::estimate;

use super::*;

/// A recorded answer from `tests/vectors`, and what it comes to.
pub(super) struct Vector {
    path: PathBuf,
    pub(super) name: String,
    pub(super) endpoint: Endpoint,
    pub(super) form: AnswerForm,
    pub(super) bytes: Vec<u8>,
    expected: Value,
    /// What the answer costs, and of which model where it does not say; for `config/prices/vectors.rs`.
    price: Map<String, Value>,
    /// What a client gets that did not ask for usage.
    pub(super) hidden: Option<Vec<u8>>,
}

pub(super) fn vectors() -> Vec<Vector> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let files = |dir: PathBuf| std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = files(root).flat_map(files).collect();
    paths.sort();
    let expected = paths.iter().filter(|path| path.to_string_lossy().ends_with(".expected.json"));
    let vectors: Vec<_> = expected.map(|path| vector(path)).collect();
    assert!(vectors.len() > 80);
    vectors
}

fn vector(expected: &Path) -> Vector {
    let path = expected.to_owned();
    let beside = |ending: &str| PathBuf::from(expected.to_string_lossy().replace(".expected.json", ending));
    let name = expected.file_name().unwrap().to_string_lossy().replace(".expected.json", "");
    let mut expected: Value = serde_json::from_slice(&std::fs::read(expected).unwrap()).unwrap();
    let members = expected.as_object_mut().unwrap();
    let price =
        ["model_requested", "cost_nano_usd"].into_iter().filter_map(|name| members.remove_entry(name)).collect();
    let endpoint = Endpoint::ALL.into_iter().find(|endpoint| expected["endpoint"] == endpoint.label()).unwrap();
    let forms = [(".sse", AnswerForm::Stream), (".array", AnswerForm::Array), (".json", AnswerForm::Plain)];
    let read = |(ending, form)| Some((form, std::fs::read(beside(ending)).ok()?));
    let (form, bytes) = forms.into_iter().find_map(read).unwrap();
    Vector { path, name, endpoint, form, bytes, expected, price, hidden: std::fs::read(beside(".hidden.sse")).ok() }
}

impl Vector {
    /// What a meter learns and forwards when the answer comes in these chunks.
    fn metered<'a>(&self, hides_usage: bool, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Value, Vec<u8>) {
        let mut meter = Meter::new(self.endpoint, self.form, hides_usage);
        let mut forwarded = Vec::new();
        for chunk in chunks {
            let chunk = Bytes::copy_from_slice(chunk);
            let given = meter.take(chunk.clone());
            if !hides_usage {
                assert_eq!((given.as_ptr(), given.len()), (chunk.as_ptr(), chunk.len()));
            }
            forwarded.extend_from_slice(&given);
        }
        let rest = meter.end();
        assert!(hides_usage || rest.is_empty());
        forwarded.extend_from_slice(&rest);
        (told(self.endpoint, meter.usage()), forwarded)
    }

    fn check<'a>(&self, chunks: impl IntoIterator<Item = &'a [u8]> + Clone) {
        let (learned, forwarded) = self.metered(false, chunks.clone());
        assert_eq!(learned, self.expected, "{}", self.name);
        assert!(forwarded == self.bytes, "{}", self.name);
        if let Some(hidden) = &self.hidden {
            let (learned, forwarded) = self.metered(true, chunks);
            assert_eq!(learned, self.expected, "{}", self.name);
            assert_eq!(String::from_utf8_lossy(&forwarded), String::from_utf8_lossy(hidden), "{}", self.name);
        }
    }
}

fn told(endpoint: Endpoint, metered: &Metered) -> Value {
    let mut told = json!({
        "endpoint": endpoint.label(),
        "tokens": metered.tokens,
        "is_final": metered.is_final,
        "complete": metered.complete,
        "model_served": metered.model_served,
        "text_weight": metered.text_weight,
        "has_error": metered.has_error,
        "is_tool_call_open": metered.is_tool_call_open,
    });
    // What is rare is told only where it is.
    if !metered.tier.is_standard() {
        told["tier"] = json!(metered.tier);
    }
    if metered.web_searches > 0 {
        told["web_searches"] = json!(metered.web_searches);
    }
    if let Some(charged) = metered.charged {
        told["charged_nano_usd"] = json!(charged.0);
    }
    if !metered.advisors.is_empty() {
        told["advisors"] = json!(metered.advisors);
    }
    told
}

#[test]
fn every_recorded_answer_is_metered_and_forwarded_right() {
    for vector in vectors() {
        if std::env::var_os("UPDATE_VECTORS").is_some() {
            let (mut learned, _) = vector.metered(false, [vector.bytes.as_slice()]);
            learned.as_object_mut().unwrap().extend(vector.price.clone());
            std::fs::write(&vector.path, serde_json::to_string_pretty(&learned).unwrap() + "\n").unwrap();
            continue;
        }
        vector.check([vector.bytes.as_slice()]);
    }
}

#[test]
fn every_cut_into_two_gives_the_same() {
    for vector in vectors() {
        for cut in 0..=vector.bytes.len() {
            let (first, second) = vector.bytes.split_at(cut);
            vector.check([first, second]);
        }
        vector.check(vector.bytes.chunks(1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_cuts_into_many_give_the_same(cuts in prop::collection::vec(0.0..1.0_f64, 0..40)) {
        for vector in vectors() {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| (cut * vector.bytes.len() as f64) as usize).collect();
            cuts.extend([0, vector.bytes.len()]);
            cuts.sort_unstable();
            vector.check(cuts.windows(2).map(|cut| &vector.bytes[cut[0]..cut[1]]));
        }
    }

    #[test]
    fn no_bytes_are_a_panic_or_lost(chunks in prop::collection::vec("(data: |event: x|[\r\n]{1,3}|[{}\\[\\]:,]|\"usage\"|\"choices\"|null|1){0,12}", 0..8)) {
        for endpoint in Endpoint::ALL {
            let mut meter = Meter::new(endpoint, AnswerForm::Stream, false);
            for chunk in &chunks {
                let chunk = Bytes::from(chunk.clone());
                prop_assert_eq!(meter.take(chunk.clone()), chunk);
            }
            prop_assert!(meter.end().is_empty());
        }
    }
}

#[test]
fn an_event_is_shown_as_soon_as_it_is_whole() {
    let mut meter = Meter::new(Endpoint::ChatCompletions, AnswerForm::Stream, true);
    let mut show = |chunk: &'static [u8]| meter.take(Bytes::from_static(chunk));
    assert_eq!(show(b"data: {\"a\":1}\n\nda"), "data: {\"a\":1}\n\n");
    assert_eq!(show(b"ta: {\"b\":1}\n"), "");
    assert_eq!(show(b"\n"), "data: {\"b\":1}\n\n");
    assert_eq!(show(b"data: {\"choices\":[],\"usage\":{}}\r\n\r"), "");
    assert_eq!(show(b"\ndata: x\r\r"), "data: x\r\r");
    assert_eq!(show(b"\n: comment\n\n"), "\n: comment\n\n");
}

#[test]
fn whole_events_that_stay_are_not_copied_when_hiding() {
    let chunk = Bytes::from_static(b"data: {\"a\":1}\n\ndata: {\"b\":2}\n\ndata");
    let shown = Meter::new(Endpoint::ChatCompletions, AnswerForm::Stream, true).take(chunk.clone());
    assert_eq!((shown.as_ptr(), shown.len()), (chunk.as_ptr(), chunk.len() - 4));
}

#[test]
fn what_is_torn_is_what_the_client_has() {
    let torn = |hides_usage, bytes: &'static [u8]| {
        let mut meter = Meter::new(Endpoint::ChatCompletions, AnswerForm::Stream, hides_usage);
        meter.take(Bytes::from_static(bytes));
        meter
    };
    assert_eq!(torn(false, b"data: a\n\ndata: b").torn(), Torn::Part(b"data: b"));
    assert_eq!(torn(false, b"data: a\n\n").torn(), Torn::Nothing);
    let mut hiding = torn(true, b"data: a\n\ndata: b");
    assert_eq!(hiding.torn(), Torn::Nothing);
    assert_eq!(hiding.end(), "data: b");
    assert_eq!(hiding.torn(), Torn::Part(b"data: b"));
    let mut large = torn(false, b"");
    large.take(Bytes::from(vec![b'x'; crate::protocol::sse::EVENT_BYTES_MAX + 1]));
    assert_eq!(large.torn(), Torn::Unknown);
}

#[test]
fn an_event_too_large_to_be_read_is_still_forwarded() {
    let huge = Bytes::from([b"data: ", vec![b'x'; 9 << 20].as_slice()].concat());
    let mut meter = Meter::new(Endpoint::ChatCompletions, AnswerForm::Stream, true);
    assert_eq!(meter.take(huge.clone()), huge);
    assert_eq!(meter.take(Bytes::from_static(b"more\n\ndata: [DONE]\n\n")), "more\n\ndata: [DONE]\n\n");
    assert!(meter.finished());
}

#[test]
fn a_document_too_large_to_be_read_is_forwarded_without_figures() {
    let mut meter = Meter::new(Endpoint::ChatCompletions, AnswerForm::Plain, false);
    let chunk = Bytes::from(vec![b' '; 1 << 20]);
    for _ in 0..33 {
        assert_eq!(meter.take(chunk.clone()).len(), chunk.len());
    }
    meter.end();
    assert_eq!((meter.usage().tokens, meter.finished()), (None, false));
}

#[test]
fn many_small_chunks_are_one_document() {
    let text = format!(r#"{{"usage":{{"prompt_tokens":2,"completion_tokens":1}},"x":"{}"}}"#, "y".repeat(10_000));
    let mut meter = Meter::new(Endpoint::ChatCompletions, AnswerForm::Plain, false);
    for byte in text.as_bytes().chunks(1) {
        meter.take(Bytes::copy_from_slice(byte));
    }
    meter.end();
    assert_eq!(meter.usage().tokens.map(|tokens| tokens.input), Some(2));
}

#[test]
fn a_plain_answer_cut_short_is_estimated_from_its_text() {
    let text = "hello there, this answer was not to be told to its end";
    let mut meter = Meter::new(Endpoint::Messages, AnswerForm::Plain, false);
    meter.take(Bytes::from(format!("{{\"model\":\"m\",\"content\":[{{\"type\":\"text\",\"text\":\"{text}")));
    let usage = estimate::usage(Endpoint::Messages, &meter.booked(), || 10);
    assert_eq!((usage.tokens.input, usage.complete), (10, false));
    assert_eq!(usage.tokens.output, estimate::weight(text).div_ceil(1000));
    assert_eq!(meter.booked().model_served.as_deref(), Some("m"));
}

#[test]
fn figures_that_came_whole_stand_when_a_plain_answer_breaks_off() {
    let mut final_ones = 0;
    for vector in vectors().iter().filter(|vector| vector.form == AnswerForm::Plain) {
        let meter = || Meter::new(vector.endpoint, vector.form, false);
        let mut whole = meter();
        whole.take(Bytes::copy_from_slice(&vector.bytes));
        whole.end();
        let Some(tokens) = whole.usage().tokens else { continue };
        let end = vector.bytes.trim_ascii_end().len();
        for cut in 1..end {
            let mut torn = meter();
            torn.take(Bytes::copy_from_slice(&vector.bytes[..cut]));
            let booked = torn.booked();
            assert!(!booked.complete, "{} at {cut}", vector.name);
            if booked.is_final {
                assert_eq!(booked.tokens, Some(tokens), "{} at {cut}", vector.name);
            }
            // Only the last brace is missing.
            assert!(booked.is_final || cut != end - 1, "{}", vector.name);
            final_ones += u64::from(cut == end - 1);
        }
    }
    assert!(final_ones > 10, "{final_ones}");
}

#[test]
fn a_number_that_is_none_spoils_nothing_around_it() {
    let usage = br#"{"promptTokenCount":7,"candidatesTokenCount":3,"totalTokenCount":-1e400}"#;
    let text =
        r#"{"candidates":[{"content":{"parts":[{"text":"1e400 \" 1e999"}]},"finishReason":"STOP"}],"usageMetadata":"#;
    let answer = [text.as_bytes(), usage, b"}"].concat();
    for (form, bytes) in
        [(AnswerForm::Plain, answer.clone()), (AnswerForm::Stream, [b"data: ", answer.as_slice(), b"\n\n"].concat())]
    {
        let mut meter = Meter::new(Endpoint::StreamGenerateContent, form, false);
        meter.take(bytes.into());
        meter.end();
        let metered = meter.usage();
        let tokens = Tokens { input: 7, output: 3, ..Tokens::default() };
        assert_eq!((metered.tokens, metered.complete, metered.is_final), (Some(tokens), true, true), "{form:?}");
        assert_eq!(metered.text_weight, estimate::weight("1e400 \" 1e999"));
    }
}

#[test]
fn a_model_s_name_is_bounded() {
    let mut meter = Meter::new(Endpoint::ChatCompletions, AnswerForm::Stream, false);
    meter.take(format!("data: {{\"model\":\"{}\"}}\n\n", "m".repeat(257)).into());
    assert_eq!(meter.usage().model_served, None);
    meter.take(Bytes::from_static(b"data: {\"model\":\"\"}\n\ndata: {\"model\":\"m\"}\n\n"));
    assert_eq!(meter.usage().model_served.as_deref(), Some("m"));
}
