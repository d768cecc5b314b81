use serde_json::{Value, json};

use crate::protocol::whatwg::{Message, parsed};

use super::*;

const FACTS: ErrorFacts<'static> = ErrorFacts {
    kind: ErrorKind::Api,
    status: 502,
    code: "upstream_failed",
    message: "the provider went away: \"x\"\nask again",
    request_id: "req_1",
};

const CHAT: &str = concat!(
    ": hello\n\n",
    r#"data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"H\u00e9\n\ud83d\ude00 \"€😀"},"finish_reason":null}],"n":-1.5e3}"#,
    "\n\n",
    r#"data: {"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":true}}"#,
    "\n\ndata: [DONE]\n\n",
);
const RESPONSES: &str = concat!(
    "event: response.output_text.delta\r\n",
    r#"data: {"type":"response.output_text.delta","sequence_number":3,"delta":"h\\i","logprobs":[]}"#,
    "\r\n\r\n",
);
const GEMINI: &str = concat!(
    r#"data: {"candidates":[{"content":{"parts":[{"text":"h\u00e9 é"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":3}}"#,
    "\r\n\r\n",
);
const MESSAGES: &str = concat!(
    "event: content_block_delta\n",
    r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#,
    "\n\ndata: {\"type\":\ndata:\"ping\"}\nevent: ping\n\n",
);

/// What has come of an event that is not whole when `stream` is cut at `cut`.
fn torn(stream: &str, cut: usize) -> Vec<u8> {
    let mut splitter = super::super::sse::Splitter::default();
    splitter.feed(&stream.as_bytes()[..cut], |_| {});
    splitter.tail().to_vec()
}

fn assert_ends_in_error(endpoint: Endpoint, stream: &str, name: &str) {
    let whole = parsed(stream.as_bytes());
    for cut in 0..=stream.len() {
        let part = torn(stream, cut);
        let torn = if part.is_empty() { Torn::Nothing } else { Torn::Part(&part) };
        let sent = [&stream.as_bytes()[..cut], &stream_event(endpoint, torn, &FACTS)].concat();
        let messages = parsed(&sent);
        let (last, mut before) = messages.split_last().unwrap();
        if endpoint == Endpoint::StreamGenerateContent {
            assert!(last.data.starts_with("{\"error\":"), "at {cut}: {}", last.data);
            // What was torn has become an event without effect.
            before = &before[..parsed(&stream.as_bytes()[..cut]).len()];
        }
        // By their data: an event whose name follows its data, as nobody sends it, can lose the name.
        let told = |messages: &[Message]| messages.iter().map(|message| message.data.clone()).collect::<Vec<_>>();
        assert_eq!(told(before), told(&whole[..before.len()]), "at {cut}");
        if last.data == "[DONE]" {
            assert!(stream[..cut].contains('['));
            continue;
        }
        // Strict UTF-8 too: no client may stumble over half a character.
        assert!(std::str::from_utf8(&sent).is_ok(), "at {cut}");
        assert_eq!(last.name, name, "at {cut}");
        let data: Value = serde_json::from_str(&last.data).unwrap_or_else(|e| panic!("at {cut}: {e}: {}", last.data));
        assert_eq!(data["error"]["message"], FACTS.message, "at {cut}");
        if name == "error" {
            assert_eq!(data["type"], "error", "at {cut}");
        }
    }
}

#[test]
fn a_stream_cut_anywhere_ends_in_the_error_and_nothing_broken() {
    assert_ends_in_error(Endpoint::ChatCompletions, CHAT, "message");
    assert_ends_in_error(Endpoint::ChatCompletions, &CHAT.replace('\n', "\r\n"), "message");
    assert_ends_in_error(Endpoint::ChatCompletions, &CHAT.replace('\n', "\r"), "message");
    assert_ends_in_error(Endpoint::Responses, RESPONSES, "error");
    assert_ends_in_error(Endpoint::Messages, MESSAGES, "error");
    assert_ends_in_error(Endpoint::StreamGenerateContent, GEMINI, "message");
    assert_ends_in_error(Endpoint::Messages, &MESSAGES.replace('\n', "\r"), "error");
}

#[test]
fn an_event_too_large_to_be_remembered_is_at_least_ended() {
    let sent = [b"data: {\"a".to_vec(), stream_event(Endpoint::Messages, Torn::Unknown, &FACTS)].concat();
    let messages = parsed(&sent);
    assert_eq!(messages.last().unwrap().name, "error");
    assert_eq!(messages.len(), 2);
}

#[test]
fn openai_s_error_has_its_members_in_order() {
    let expected = r#"{"error":{"message":"no \"x\"","type":"billing_error","param":null,"code":"budget_exceeded","request_id":"r"}}"#;
    let facts =
        ErrorFacts { kind: ErrorKind::Billing, code: "budget_exceeded", message: "no \"x\"", request_id: "r", ..FACTS };
    assert_eq!(String::from_utf8(body(Dialect::OpenAi, &facts)).unwrap(), expected);
}

#[test]
fn anthropic_s_error_has_its_members_in_order() {
    let expected = r#"{"type":"error","error":{"type":"not_found_error","message":"no"},"request_id":"r"}"#;
    let facts =
        ErrorFacts { kind: ErrorKind::NotFound, code: "model_unknown", message: "no", request_id: "r", ..FACTS };
    assert_eq!(String::from_utf8(body(Dialect::Anthropic, &facts)).unwrap(), expected);
}

#[test]
fn gemini_s_error_is_the_same_everywhere() {
    let facts = ErrorFacts { kind: ErrorKind::NotFound, status: 404, code: "model_unknown", message: "no", ..FACTS };
    let told: Value = serde_json::from_slice(&body(Dialect::Gemini, &facts)).unwrap();
    let detail = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "model_unknown",
        "domain": "keeptrusts", "metadata": {"request_id": "req_1"}});
    let error = json!({"code": 404, "message": "no", "status": "NOT_FOUND", "details": [detail]});
    assert_eq!(told, json!({"error": error}));
    let event = stream_event(Endpoint::StreamGenerateContent, Torn::Nothing, &facts);
    assert_eq!(parsed(&event)[0].data.as_bytes(), body(Dialect::Gemini, &facts));
    let element = |part, lead| stream_event(Endpoint::StreamGenerateContent, Torn::Array { part, lead }, &facts);
    for (sent, part, lead) in
        [("", "", "["), ("[", "", ""), ("[{}", "", ","), ("[{}, {\"candidates\":[{", "{\"candidates\":[{", "")]
    {
        let sent = [sent.as_bytes(), &element(part.as_bytes(), lead)].concat();
        let told: Value = serde_json::from_slice(&sent).unwrap();
        assert_eq!(told.as_array().unwrap().last().unwrap()["error"], error, "{told}");
    }
}

#[test]
fn in_stream_errors_look_as_each_dialect_expects() {
    let chat = stream_event(Endpoint::ChatCompletions, Torn::Nothing, &FACTS);
    assert!(chat.starts_with(b"data: {\"error\":{") && chat.ends_with(b"}}\n\n"));
    let responses = parsed(&stream_event(Endpoint::Responses, Torn::Nothing, &FACTS)).remove(0);
    let data: Value = serde_json::from_str(&responses.data).unwrap();
    assert_eq!((responses.name.as_str(), &data["type"], &data["code"]), ("error", &json!("error"), &json!(FACTS.code)));
    let messages = stream_event(Endpoint::Messages, Torn::Nothing, &FACTS);
    assert!(messages.starts_with(b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\""));
}

#[test]
fn a_refusal_is_never_a_server_error() {
    use ErrorKind::*;
    for kind in [Authentication, Permission, Billing, InvalidRequest, NotFound, RateLimit, Overloaded] {
        let body = body(Dialect::OpenAi, &ErrorFacts { kind, ..FACTS });
        assert!(!String::from_utf8(body).unwrap().contains("server_error"), "{kind:?}");
    }
}
