use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const CHAT: Endpoint = Endpoint::ChatCompletions;

fn chat(body: &str) -> Result<AskHead, AskError> {
    read(CHAT, body.as_bytes())
}

fn edited(body: &str, serves: Option<&str>) -> String {
    let head = chat(body).unwrap();
    let edits = head.edits(serves, head.lacks_usage(CHAT));
    String::from_utf8(splice(&Bytes::from(body.to_string()), &edits).to_vec()).unwrap()
}

#[test]
fn the_head_is_found_wherever_it_stands() {
    let head = chat(
        r#" {"messages":[{"model":"no","stream":true}],"max_tokens":5,"max_completion_tokens":9,"model":"gpt-4o"} "#,
    );
    let head = head.unwrap();
    assert_eq!((head.model.as_str(), head.stream, head.output_tokens_max), ("gpt-4o", false, Some(9)));
    let head = read(Endpoint::Responses, br#"{"stream":true,"max_output_tokens":7,"m\u006fdel":"g\u0070t\n\u00e9"}"#);
    assert_eq!(head, Err(AskError::ModelHasControls));
    let head = chat(r#"{"stream":null,"m\u006fdel":"g\u0070t-\u00e9"}"#).unwrap();
    assert_eq!((head.model.as_str(), head.stream), ("gpt-é", false));
}

#[test]
fn what_makes_an_answer_dearer_is_found() {
    let head = |body: &str| chat(body).map(|head| (head.answers, head.tier)).unwrap();
    assert_eq!(head(r#"{"model":"a"}"#), (1, ServiceTier::Standard));
    assert_eq!(head(r#"{"model":"a","n":2,"best_of":5,"service_tier":"priority"}"#), (5, ServiceTier::Priority));
    assert_eq!(head(r#"{"model":"a","n":0,"speed":"fast","service_tier":"auto"}"#), (1, ServiceTier::Fast));
    assert_eq!(head(r#"{"model":"a","n":"x","speed":1.25,"service_tier":null}"#), (1, ServiceTier::Standard));
    let body = br#"{"serviceTier":"PRIORITY","generationConfig":{"candidateCount":3,"max_output_tokens":7}}"#;
    let head = read_about(Endpoint::GenerateContent, "gemini-3.8-flash", body).unwrap();
    assert_eq!((head.answers, head.tier, head.output_tokens_max), (3, ServiceTier::Priority, Some(7)));
}

#[test]
fn bodies_that_are_no_object_say_why() {
    for (body, error) in [
        (&b""[..], AskError::Empty),
        (b" \r\n", AskError::Empty),
        (b"\xEF\xBB\xBF{\"model\":\"a\"}", AskError::ByteOrderMark),
        (b"{\"model\":\"a\xFF\"}", AskError::NotUtf8 { offset: 11 }),
        (b"{\"model\":\"a\",\"x\":\"\xC3\"}", AskError::NotUtf8 { offset: 18 }),
        (b"[]", AskError::NotAnObject),
        (b"\"secret\"", AskError::NotAnObject),
        (b"<html>", AskError::NotJson { line: 1, column: 1 }),
        (b"{\"model\":\"a\"} x", AskError::NotJson { line: 1, column: 15 }),
        (b"{\"model\":\"a\"}{}", AskError::NotJson { line: 1, column: 14 }),
        (b"{\"model\":\"a\",\n}", AskError::NotJson { line: 2, column: 1 }),
        (b"{\"model\":\"a\",\"x\":[1,2}", AskError::NotJson { line: 1, column: 22 }),
        (b"{\"model\":\"a\",\"x\":nul}", AskError::NotJson { line: 1, column: 21 }),
        (b"{\"model\":\"a\",\"\\ud800\":1}", AskError::NotJson { line: 1, column: 21 }),
    ] {
        assert_eq!(read(CHAT, body), Err(error), "{}", String::from_utf8_lossy(body));
        assert!(!error.to_string().contains("secret"));
    }
}

#[test]
fn a_model_must_be_a_short_plain_text() {
    let long = format!(r#"{{"model":"{}"}}"#, "x".repeat(257));
    let longer = format!(r#"{{"model":"{}"}}"#, "\\u0041".repeat(257));
    let endless = format!(r#"{{"model":"{}"}}"#, "x".repeat(100_000));
    for (body, error) in [
        ("{}", AskError::ModelMissing),
        (r#"{"Model":"a"}"#, AskError::ModelMissing),
        (r#"{"model":7}"#, AskError::ModelNotText),
        (r#"{"model":null}"#, AskError::ModelNotText),
        (r#"{"model":"\ud800"}"#, AskError::ModelNotText),
        (r#"{"model":""}"#, AskError::ModelEmpty),
        (r#"{"model":"a\u0000"}"#, AskError::ModelHasControls),
        (long.as_str(), AskError::ModelTooLong),
        (longer.as_str(), AskError::ModelTooLong),
        (endless.as_str(), AskError::ModelTooLong),
    ] {
        assert_eq!(chat(body), Err(error), "{body:.40}");
    }
    assert!(chat(&format!(r#"{{"model":"{}"}}"#, "x".repeat(256))).is_ok());
}

#[test]
fn a_stream_must_be_true_or_false() {
    for value in ["1", "\"true\"", "[]", "{}"] {
        assert_eq!(chat(&format!(r#"{{"model":"a","stream":{value}}}"#)), Err(AskError::StreamNotBool), "{value}");
    }
}

#[test]
fn what_decides_may_stand_there_only_once() {
    for (body, member) in [
        (r#"{"model":"a","model":"b"}"#, "model"),
        (r#"{"model":"a","mod\u0065l":"a"}"#, "model"),
        (r#"{"model":"a","stream":true,"x":1,"stream":true}"#, "stream"),
        (r#"{"model":"a","messages":[],"messages":[1]}"#, "messages"),
        (r#"{"model":"a","max_tokens":1,"max_tokens":null}"#, "max_tokens"),
        (r#"{"model":"a","stream_options":{"include_usage":true,"include_\u0075sage":false}}"#, "stream_options"),
    ] {
        assert_eq!(chat(body), Err(AskError::Ambiguous { member }), "{body}");
    }
    assert!(chat(r#"{"model":"a","Model":"b","MODEL":7,"x":1,"x":2,"metadata":{"a":1,"a":2}}"#).is_ok());
}

#[test]
fn a_body_is_read_to_its_end_before_a_duplicate_is_named() {
    assert_eq!(chat(r#"{"model":"a","model":"b""#), Err(AskError::NotJson { line: 1, column: 24 }));
}

#[test]
fn nesting_costs_no_stack() {
    let deep = format!(r#"{{"x":{}{},"model":"a"}}"#, "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert_eq!(chat(&deep).map(|head| head.model), Ok("a".to_string()));
    assert!(chat(&"{\"a\":".repeat(1_000_000)).is_err());
}

#[test]
fn a_large_body_with_the_model_last_is_read() {
    let body =
        format!(r#"{{"messages":[{{"role":"user","content":"{}"}}],"model":"last"}}"#, "word \\n".repeat(1_500_000));
    assert_eq!(chat(&body).map(|head| head.model), Ok("last".to_string()));
}

#[test]
fn usage_is_asked_for_only_in_streamed_chats_that_do_not_ask() {
    let body = r#"{"model":"a","stream":true}"#;
    assert!(chat(body).unwrap().lacks_usage(CHAT));
    assert!(!read(Endpoint::Responses, body.as_bytes()).unwrap().lacks_usage(Endpoint::Responses));
    for quiet in [
        r#"{"model":"a"}"#,
        r#"{"model":"a","stream":false,"stream_options":{}}"#,
        r#"{"model":"a","stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"model":"a","stream":true,"stream_options":7}"#,
        r#"{"model":"a","stream":true,"stream_options":{"include_usage":"yes"}}"#,
    ] {
        assert!(!chat(quiet).unwrap().lacks_usage(CHAT), "{quiet}");
        assert_eq!(edited(quiet, None), quiet);
    }
}

#[test]
fn asking_for_usage_changes_nothing_else() {
    for (body, expected) in [
        (
            r#"{"stream": true ,"model":"a"}"#,
            r#"{"stream": true,"stream_options":{"include_usage":true} ,"model":"a"}"#,
        ),
        (r#"{"model":"a","stream":true}"#, r#"{"model":"a","stream":true,"stream_options":{"include_usage":true}}"#),
        (
            r#"{"stream_options":null,"model":"a","stream":true}"#,
            r#"{"stream_options":{"include_usage":true},"model":"a","stream":true}"#,
        ),
        (
            r#"{"stream_options":{ },"model":"a","stream":true}"#,
            r#"{"stream_options":{"include_usage":true },"model":"a","stream":true}"#,
        ),
        (
            r#"{"stream_options":{ "include_obfuscation" : false},"model":"a","stream":true}"#,
            r#"{"stream_options":{"include_usage":true, "include_obfuscation" : false},"model":"a","stream":true}"#,
        ),
        (
            r#"{"stream_options":{"x":[],"include_usage": false },"model":"a","stream":true}"#,
            r#"{"stream_options":{"x":[],"include_usage": true },"model":"a","stream":true}"#,
        ),
        (
            r#"{"stream_options":{"include_\u0075sage":null},"model":"a","stream":true}"#,
            r#"{"stream_options":{"include_\u0075sage":true},"model":"a","stream":true}"#,
        ),
    ] {
        assert_eq!(edited(body, None), expected);
    }
}

#[test]
fn an_alias_is_replaced_where_it_stands() {
    assert_eq!(edited(r#"{"model" : "fast","x":"fast"}"#, Some("a\"b")), r#"{"model" : "a\"b","x":"fast"}"#);
    let both = edited(r#"{"stream":true,"model":"fast"}"#, Some("slow"));
    assert_eq!(both, r#"{"stream":true,"stream_options":{"include_usage":true},"model":"slow"}"#);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_\"\\\\é]{0,6}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn members() -> impl Strategy<Value = Vec<(String, Value)>> {
    let options = prop_oneof![
        Just(json!(null)),
        Just(json!({})),
        Just(json!({"include_usage": true})),
        Just(json!({"include_usage": false, "a": [1]})),
        Just(json!({"b": {"include_usage": true}})),
    ];
    let known = (
        prop::option::of("\\PC{1,20}".prop_map(|model| ("model".to_string(), Value::from(model)))),
        prop::option::of(any::<bool>().prop_map(|stream| ("stream".to_string(), Value::from(stream)))),
        prop::option::of(options.prop_map(|options| ("stream_options".to_string(), options))),
        prop::option::of(any::<u32>().prop_map(|limit| ("max_tokens".to_string(), Value::from(limit)))),
    );
    let others = prop::collection::btree_map("x[a-z\"é]{0,6}", value(), 0..6);
    (known, others).prop_flat_map(|((a, b, c, d), others)| {
        let all: Vec<_> = [a, b, c, d].into_iter().flatten().chain(others).collect();
        Just(all).prop_shuffle()
    })
}

/// One of the ways to write the same object.
fn written(members: &[(String, Value)], is_pretty: bool, escapes: bool) -> String {
    let name = |name: &str| match escapes {
        true => format!("\"{}\"", name.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>()),
        false => serde_json::to_string(name).unwrap(),
    };
    let (open, colon, comma) = if is_pretty { ("\n{\t", " : ", " ,\r\n ") } else { ("{", ":", ",") };
    let members: Vec<_> = members.iter().map(|(key, value)| format!("{}{colon}{value}", name(key))).collect();
    format!("{open}{}}}", members.join(comma))
}

proptest! {
    #[test]
    fn the_head_is_what_a_full_parse_finds(members in members(), is_pretty: bool, escapes: bool, serves in prop::option::of("\\PC{1,20}")) {
        let body = written(&members, is_pretty, escapes);
        let before: Map<String, Value> = serde_json::from_str(&body).unwrap();
        let Some(model) = before.get("model").and_then(Value::as_str) else {
            prop_assert_eq!(chat(&body), Err(AskError::ModelMissing));
            return Ok(());
        };
        let head = chat(&body).unwrap();
        prop_assert_eq!(&head.model, model);
        prop_assert_eq!(head.stream, before.get("stream") == Some(&json!(true)));
        prop_assert_eq!(head.output_tokens_max, before.get("max_tokens").and_then(Value::as_u64));

        let after = edited(&body, serves.as_deref());
        let mut expected = before.clone();
        if let Some(serves) = &serves {
            expected.insert("model".into(), json!(serves));
        }
        if head.stream {
            let options = expected.entry("stream_options").or_insert(Value::Null);
            if options.is_null() {
                *options = json!({});
            }
            options["include_usage"] = json!(true);
        }
        prop_assert_eq!(serde_json::from_str::<Value>(&after).unwrap(), Value::Object(expected));
    }

    #[test]
    fn no_bytes_are_a_panic(body in prop::collection::vec(any::<u8>(), 0..64), cut in 0_usize..200) {
        let _ = read(CHAT, &body);
        let whole = br#"{"stream_options":{"include_usage":false},"mod\u0065l":"a\ud83d\ude00","stream":true,"max_tokens":-1e5}"#;
        let _ = read(CHAT, &whole[..cut.min(whole.len())]);
    }
}
