//! What Anthropic's dialect looks like, and what its usage says.

use super::*;
use crate::domain::Tokens;

const X_API_KEY: &str = "x-api-key: sk-ant-mock\r\nanthropic-version: 2023-06-01\r\n";

fn messages(fields: &str) -> String {
    let body = format!(r#"{{"max_tokens":1000,"messages":[{{"role":"user","content":"12345678"}}],{fields}}}"#);
    post("/v1/messages?beta=true", X_API_KEY, &body)
}

#[tokio::test]
async fn a_plain_message_has_text_and_usage() {
    let mock = mock().await;
    let reply = ask(&mock, &messages(r#""model":"claude-sonnet-4-5""#)).await;
    let json = reply.json();
    assert!(reply.head.contains("\r\nrequest-id: req_011"));
    assert!(reply.head.contains("\r\nanthropic-ratelimit-input-tokens-remaining: "));
    assert_eq!((&json["type"], &json["role"]), (&Value::from("message"), &Value::from("assistant")));
    assert_eq!(json["content"][0]["text"], mock.text(16));
    assert_eq!(json["stop_reason"], "end_turn");
    assert_eq!((&json["usage"]["input_tokens"], &json["usage"]["output_tokens"]), (&Value::from(2), &Value::from(16)));
}

#[tokio::test]
async fn a_message_streams_the_real_sequence() {
    let mock = mock().await;
    let events = ask(&mock, &messages(r#""model":"claude-sonnet-4-5","stream":true"#)).await.events();
    let mut names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    let expected = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names, expected);
    assert!(events.iter().all(|(name, data)| data["type"] == name.as_str()));
    let text: String = events.iter().filter_map(|(_, data)| data["delta"]["text"].as_str()).collect();
    assert_eq!(text, mock.text(16));
    assert_eq!(events[0].1["message"]["usage"]["output_tokens"], 1);
    let (_, delta) = &events[events.len() - 2];
    assert_eq!(
        (&delta["delta"]["stop_reason"], &delta["usage"]["output_tokens"]),
        (&Value::from("end_turn"), &Value::from(16))
    );
    assert_eq!(mock.totals().tokens, Tokens { input: 2, output: 16, ..Tokens::default() });
}

#[tokio::test]
async fn input_leaves_out_what_the_cache_gave_and_took() {
    let mock = mock().await;
    let text = "x".repeat(400);
    let body = format!(
        r#"{{"model":"claude-cached-cachewrite-reason","stream":true,"max_tokens":9,"system":"{text}","messages":[{{"role":"user","content":"{text}"}}]}}"#
    );
    let events = ask(&mock, &post("/v1/messages", X_API_KEY, &body)).await.events();
    let usage = &events[0].1["message"]["usage"];
    // 200 in all: 96 read, 96 written, of which 48 for longer.
    assert_eq!(usage["input_tokens"], 8);
    assert_eq!(usage["cache_read_input_tokens"], 96);
    assert_eq!(usage["cache_creation_input_tokens"], 96);
    assert_eq!(usage["cache_creation"]["ephemeral_5m_input_tokens"], 48);
    assert_eq!(usage["cache_creation"]["ephemeral_1h_input_tokens"], 48);
    let (_, delta) = &events[events.len() - 2];
    assert_eq!(delta["delta"]["stop_reason"], "max_tokens");
    assert_eq!(delta["usage"]["output_tokens_details"]["thinking_tokens"], 2);
    let expected = Tokens {
        input: 200,
        cache_read: 96,
        cache_write: 96,
        cache_write_long: 48,
        output: 9,
        reasoning: 2,
        ..Tokens::default()
    };
    assert_eq!(mock.totals().tokens, expected);
    assert_eq!(mock.requests()[0].reported, Some(expected));
}

#[tokio::test]
async fn a_tool_use_streams_its_input() {
    let mock = mock().await;
    let tools = r#""model":"claude-tools","tools":[{"name":"find","input_schema":{"type":"object"}}]"#;
    let plain = ask(&mock, &messages(tools)).await.json();
    assert_eq!(
        (&plain["content"][0]["type"], &plain["stop_reason"]),
        (&Value::from("tool_use"), &Value::from("tool_use"))
    );
    let events = ask(&mock, &messages(&format!(r#"{tools},"stream":true"#))).await.events();
    let input: String = events.iter().filter_map(|(_, data)| data["delta"]["partial_json"].as_str()).collect();
    assert_eq!(plain["content"][0]["input"], serde_json::from_str::<Value>(&input).unwrap());
}

#[tokio::test]
async fn counting_is_free() {
    let mock = mock().await;
    let body = r#"{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":"123456789"}]}"#;
    let reply = ask(&mock, &post("/v1/messages/count_tokens?beta=true", X_API_KEY, body)).await;
    assert_eq!(reply.json()["input_tokens"], 3);
    assert_eq!(mock.totals().reported, 0);
}

#[tokio::test]
async fn refusals_look_like_the_providers() {
    let mock = mock().await;
    let unknown = ask(&mock, &messages(r#""model":"unknown""#)).await;
    assert_eq!((unknown.status, &unknown.json()["error"]["type"]), (404, &Value::from("not_found_error")));
    let body = r#"{"model":"claude","max_tokens":1,"messages":"x"}"#;
    let status = async |headers: &str| {
        let reply = ask(&mock, &post("/v1/messages", headers, body)).await;
        (reply.status, reply.json()["error"]["type"].as_str().map(str::to_owned))
    };
    let refused = (401, Some("authentication_error".to_owned()));
    assert_eq!(status("").await, refused);
    assert_eq!(status("x-api-key: \r\n").await, refused);
    assert_eq!(status("x-api-key: kt_ak_1\r\n").await, refused);
    assert_eq!(status("x-api-key: sk-ant\r\nauthorization: Bearer kt_ak_1\r\n").await, refused);
    assert_eq!(status("x-api-key: sk-ant\r\n").await.0, 200);
    assert_eq!(status(KEY).await.0, 200);
    let unlimited = post("/v1/messages", X_API_KEY, r#"{"model":"claude","messages":"x"}"#);
    assert_eq!(ask(&mock, &unlimited).await.status, 400);
}

#[tokio::test]
async fn models_are_listed() {
    let mock = mock().await;
    let list = ask(&mock, &format!("GET /v1/models?limit=1000 HTTP/1.1\r\n{X_API_KEY}\r\n")).await.json();
    assert_eq!((&list["has_more"], &list["data"][0]["type"]), (&Value::from(false), &Value::from("model")));
}
