use std::sync::Arc;

use proptest::prelude::*;

use crate::policy::detectors::{self, How};
use crate::policy::{PatternSpec, Policy, Spec};

use super::*;

fn policy(action: Action, change: impl FnOnce(&mut Spec)) -> Policy {
    let mut spec = Spec::new("test", action);
    change(&mut spec);
    Policy::compile(spec).unwrap()
}

pub(in crate::policy) fn everything() -> Active {
    let own = |name: &str, regex: &str| PatternSpec { name: name.into(), regex: regex.into(), replacement: None };
    let all = policy(Action::Redact, |spec| spec.detect = detectors::all().collect());
    let patterns = policy(Action::Redact, |spec| {
        spec.patterns = vec![own("ticket", r"\bACME-\d{3,6}\b"), own("ü", "ü+ber"), own("long", "begin[^<>]*end")];
        spec.keywords = vec!["Project X".into(), "Ärger".into()];
    });
    Active::new(vec![Arc::new(all), Arc::new(patterns)], None)
}

/// What is left of `raw` when it comes in pieces that end at these places.
fn streamed(form: Form, active: &Active, raw: &str, cuts: &[usize]) -> (String, Tally) {
    let (mut text, mut tally, mut out) = (Text::new(form), Tally::default(), String::new());
    let mut start = 0;
    for &cut in cuts {
        let cut = raw.floor_char_boundary(cut.clamp(start, raw.len()));
        text.push(active, &raw[start..cut], &mut tally, &mut out).unwrap();
        start = cut;
    }
    text.push(active, &raw[start..], &mut tally, &mut out).unwrap();
    text.end(active, &mut tally, &mut out).unwrap();
    (out, tally)
}

pub(in crate::policy) fn whole(form: Form, active: &Active, raw: &str) -> (String, Tally) {
    let (mut tally, mut out) = (Tally::default(), String::new());
    let mut notes = Notes { tally: &mut tally, placeholders: None };
    Text::whole(form, active, raw, &mut notes, |part| part.write(&mut out)).unwrap();
    (out, tally)
}

#[test]
fn a_match_is_found_at_every_split_point() {
    let active = everything();
    for detector in detectors::all() {
        for example in detector.finds {
            let found = example.find('«').unwrap() + '«'.len_utf8()..example.find('»').unwrap();
            let secret = &example[found];
            for (form, raw) in [
                (Form::Plain, escape(&example.replace(['«', '»'], ""))),
                (Form::Json, escape(&format!("{{\"a\":\"{}\"}}", escape(&example.replace(['«', '»'], ""))))),
            ] {
                let expected = whole(form, &active, &raw);
                assert!(!expected.0.contains(&escape(secret)), "{}: {}", detector.name, expected.0);
                for first in 0..=raw.len() {
                    assert_eq!(streamed(form, &active, &raw, &[first]), expected, "{raw} cut at {first}");
                }
                let all: Vec<_> = (0..raw.len()).collect();
                assert_eq!(streamed(form, &active, &raw, &all), expected, "{raw} byte by byte");
            }
        }
    }
}

#[test]
fn what_cannot_match_flows_at_once() {
    let active = everything();
    let (mut text, mut tally, mut out) = (Text::new(Form::Plain), Tally::default(), String::new());
    let mut push = |piece: &str| {
        out.clear();
        text.push(&active, piece, &mut tally, &mut out).unwrap();
        out.clone()
    };
    assert_eq!(push("Hello, "), "Hello, ");
    // The last word could be the beginning of an address.
    assert_eq!(push("write to jane"), "write to ");
    assert_eq!(push("@"), "");
    assert_eq!(push("example"), "");
    assert_eq!(push(" or not. "), "jane@example or not. ");
    assert_eq!(push("- "), "- ");
    assert_eq!(push("jane@example.org, ok "), "[REDACTED:EMAIL], ok ");
}

#[test]
fn spelling_hides_nothing_and_is_kept() {
    let active = everything();
    let redacted = |form, raw: &str| whole(form, &active, raw).0;
    assert_eq!(redacted(Form::Plain, r"\u00fc x \u0041KIAIOSFODNN7EXAMPLE\n"), r"\u00fc x [REDACTED:AWS_KEY]\n");
    let arguments = r#"{\"k\":\"\\u0041KIAIOSFODNN7EXAMPLE\\n\",\"n\":4111111111111111,\"m\":1}"#;
    let expected = r#"{\"k\":\"[REDACTED:AWS_KEY]\\n\",\"n\":\"[REDACTED:PAYMENT_CARD]\",\"m\":1}"#;
    assert_eq!(redacted(Form::Json, arguments), expected);
    // An expression with an open end stays within its string.
    let own = policy(Action::Redact, |spec| {
        spec.patterns =
            vec![PatternSpec { name: "x".into(), regex: "secret.*".into(), replacement: Some("\"".into()) }];
    });
    let own = Active::new(vec![Arc::new(own)], None);
    assert_eq!(whole(Form::Json, &own, r#"{\"a\":\"secret 1\",\"b\":2}"#).0, r#"{\"a\":\"\\\"\",\"b\":2}"#);
}

#[test]
fn overlapping_matches_leave_nothing_of_either() {
    let one = policy(Action::Redact, |spec| {
        spec.patterns = vec![
            PatternSpec { name: "a".into(), regex: "abc".into(), replacement: Some("1".into()) },
            PatternSpec { name: "b".into(), regex: "bcde".into(), replacement: Some("2".into()) },
        ];
    });
    let active = Active::new(vec![Arc::new(one)], None);
    assert_eq!(whole(Form::Plain, &active, "xabcdex").0, "x12x");
    for cut in 0..7 {
        assert_eq!(streamed(Form::Plain, &active, "xabcdex", &[cut]).0, "x12x", "{cut}");
    }
}

#[test]
fn the_first_block_ends_it_and_an_observer_only_counts() {
    let observe = policy(Action::Observe, |spec| spec.detect = vec![detectors::named("email").unwrap()]);
    let block = policy(Action::Block, |spec| spec.keywords = vec!["Project X".into()]);
    let active = Active::new(vec![Arc::new(observe), Arc::new(block)], None);
    let (mut text, mut tally, mut out) = (Text::new(Form::Plain), Tally::default(), String::new());
    text.push(&active, "a@b.example, about pro", &mut tally, &mut out).unwrap();
    assert_eq!(out, "a@b.example, about ");
    assert_eq!(text.push(&active, "ject\\nX now", &mut tally, &mut out), Err(Blocked));
    assert_eq!(out, "a@b.example, about ");
    let hits: Vec<_> = active.hits(&tally).iter().map(|hit| (hit.action, hit.matches)).collect();
    assert_eq!(hits, [(Action::Observe, 1), (Action::Block, 1)]);
}

/// Texts with secrets in them, whole and broken, between words, digits and signs.
pub(in crate::policy) fn texts() -> impl Strategy<Value = String> {
    let examples: Vec<String> = detectors::all()
        .flat_map(|detector| detector.finds.iter().chain(detector.passes))
        .map(|text| text.replace(['«', '»'], ""))
        .collect();
    let own = ["ACME-1234", "project  x", "ÄRGER", "üüüber", "begin a b c end", "über"].map(String::from);
    let planted = prop::sample::select([examples, own.to_vec()].concat());
    let broken = (planted.clone(), 0_usize..40)
        .prop_map(|(text, length)| text[..text.floor_char_boundary(length.min(text.len()))].to_owned());
    let noise = "[a-zA-Z0-9 .@:<>_+-]{0,6}|[\"\\\\\n{}é😀,]{0,3}";
    prop::collection::vec(prop_oneof![2 => planted, 1 => broken, 3 => noise.prop_map(String::from)], 0..8)
        .prop_map(|parts| parts.concat())
}

/// `text` as the content of a JSON string, with some characters spelled out.
pub(in crate::policy) fn spelled(text: &str, mask: u64) -> String {
    let mut units = [0; 2];
    text.chars()
        .enumerate()
        .map(|(at, char)| {
            if mask.rotate_right(at as u32) & 1 == 1 {
                char.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
            } else {
                escape(&char.to_string())
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 20_000 }))]

    #[test]
    fn a_stream_is_redacted_as_the_whole_is(
        text in texts(), mask: u64, twice: u64, cuts in prop::collection::vec(0_usize..300, 0..12), is_json: bool,
    ) {
        thread_local! { static ACTIVE: Active = everything(); }
        let (form, raw) = match is_json {
            true => (Form::Json, spelled(&format!("{{\"k\":\"{}\",\"n\":12}}", spelled(&text, twice)), mask)),
            false => (Form::Plain, spelled(&text, mask)),
        };
        let mut cuts = cuts;
        cuts.sort_unstable();
        ACTIVE.with(|active| {
            let expected = whole(form, active, &raw);
            prop_assert_eq!(streamed(form, active, &raw, &cuts), expected);
            Ok(())
        })?;
    }
}

#[test]
fn every_expression_of_our_own_compiles() {
    for detector in detectors::all() {
        if let How::Expression(text) = detector.how {
            crate::policy::patterns::built_in(text).unwrap();
        }
    }
}
