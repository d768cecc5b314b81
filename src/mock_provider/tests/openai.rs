//! What OpenAI's dialect looks like, and what its usage says.

use sha2::{Digest, Sha256};

use super::super::Totals;
use super::*;
use crate::domain::Tokens;

fn responses(fields: &str) -> String {
    post("/v1/responses", KEY, &format!(r#"{{"input":"12345678",{fields}}}"#))
}

#[tokio::test]
async fn a_plain_completion_has_text_and_usage() {
    let mock = mock().await;
    let reply = ask(&mock, &chat(r#""model":"gpt-4o""#)).await;
    let json = reply.json();
    assert_eq!((reply.status, reply.end), (200, End::Whole));
    assert!(reply.head.contains("\r\nx-request-id: req_") && reply.head.contains("\r\nopenai-processing-ms: "));
    assert!(json["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!((&json["object"], &json["model"]), (&Value::from("chat.completion"), &Value::from("gpt-4o")));
    assert_eq!(json["choices"][0]["message"]["content"], mock.text(16));
    assert_eq!(json["choices"][0]["finish_reason"], "stop");
    assert_eq!(json["usage"]["prompt_tokens"], 2);
    assert_eq!(json["usage"]["completion_tokens"], 16);
    assert_eq!(json["usage"]["total_tokens"], 18);
}

#[tokio::test]
async fn a_stream_says_usage_only_when_asked() {
    let mock = mock().await;
    let without = ask(&mock, &chat(r#""model":"gpt-4o","stream":true"#)).await;
    assert!(without.head.contains("content-type: text/event-stream; charset=utf-8\r\n"));
    assert!(without.events().iter().all(|(_, chunk)| chunk.get("usage").is_none()));
    assert_eq!(mock.totals().reported, 0);

    let with = ask(&mock, &chat(r#""model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}"#)).await;
    let events = with.events();
    let chunks: Vec<&Value> = events.iter().map(|(_, data)| data).collect();
    let [first, deltas @ .., finish, usage, done] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(deltas.len(), 16);
    let text: String = deltas.iter().map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap()).collect();
    assert_eq!(text, mock.text(16));
    assert!(deltas.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(usage["choices"], Value::Array(vec![]));
    assert_eq!(usage["usage"]["total_tokens"], 18);
    assert_eq!(done.as_str(), Some("[DONE]"));
    let tokens = Tokens { input: 2, output: 16, ..Tokens::default() };
    assert_eq!(mock.totals(), Totals { connections: 2, requests: 2, finished: 2, reported: 1, tokens });
}

#[tokio::test]
async fn a_smaller_maximum_ends_the_answer() {
    let mock = mock().await;
    let reply = ask(&mock, &chat(r#""model":"gpt-4o","max_completion_tokens":3"#)).await.json();
    assert_eq!(reply["choices"][0]["finish_reason"], "length");
    assert_eq!(reply["usage"]["completion_tokens"], 3);
    assert_eq!(reply["choices"][0]["message"]["content"], mock.text(3));
}

#[tokio::test]
async fn the_parts_of_usage_follow_the_models_name() {
    let mock = mock().await;
    let text = "x".repeat(400);
    let body =
        format!(r#"{{"model":"gpt-cached-cachewrite-reason","messages":[{{"role":"user","content":"{text}"}}]}}"#);
    let reply = ask(&mock, &post("/v1/chat/completions", KEY, &body)).await.json();
    assert_eq!(reply["usage"]["prompt_tokens"], 100);
    assert_eq!(reply["usage"]["prompt_tokens_details"]["cached_tokens"], 48);
    assert_eq!(reply["usage"]["prompt_tokens_details"]["cache_write_tokens"], 48);
    assert_eq!(reply["usage"]["completion_tokens_details"]["reasoning_tokens"], 4);
    assert_eq!(reply["choices"][0]["message"]["content"], mock.text(12));
    assert_eq!(mock.totals().tokens.cache_write_long, 0);
}

#[tokio::test]
async fn a_tool_call_streams_its_arguments() {
    let mock = mock().await;
    let tools = r#""model":"gpt-4o-tools","tools":[{"type":"function","function":{"name":"look_up"}}]"#;
    let plain = ask(&mock, &chat(tools)).await.json();
    let call = &plain["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["function"]["name"], "look_up");
    let streamed = ask(&mock, &chat(&format!(r#"{tools},"stream":true"#))).await.events();
    let calls = streamed.iter().filter_map(|(_, chunk)| chunk["choices"][0]["delta"]["tool_calls"][0].as_object());
    let arguments: String = calls.map(|call| call["function"]["arguments"].as_str().unwrap()).collect();
    assert_eq!(call["function"]["arguments"], arguments);
    assert!(serde_json::from_str::<Value>(&arguments).unwrap()["text"].is_string());
    assert!(streamed.iter().any(|(_, chunk)| chunk["choices"][0]["finish_reason"] == "tool_calls"));
}

#[tokio::test]
async fn a_response_streams_the_real_sequence() {
    let mock = mock().await;
    let events = ask(&mock, &responses(r#""model":"gpt-4o","stream":true"#)).await.events();
    let mut names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(names, expected);
    for (number, (name, data)) in events.iter().enumerate() {
        assert_eq!((&data["type"], &data["sequence_number"]), (&Value::from(name.as_str()), &Value::from(number)));
    }
    let deltas = events.iter().filter_map(|(_, data)| data["delta"].as_str());
    assert_eq!(deltas.collect::<String>(), mock.text(16));
    let response = &events.last().unwrap().1["response"];
    assert_eq!(response["output"][0]["content"][0]["text"], mock.text(16));
    assert_eq!(response["usage"]["total_tokens"], 18);
}

#[tokio::test]
async fn a_response_can_be_plain_incomplete_or_a_call() {
    let mock = mock().await;
    let plain = ask(&mock, &responses(r#""model":"gpt-cached""#)).await.json();
    assert_eq!((&plain["object"], &plain["status"]), (&Value::from("response"), &Value::from("completed")));
    assert_eq!(plain["usage"]["input_tokens"], 2);

    let short = ask(&mock, &responses(r#""model":"gpt-4o","max_output_tokens":2,"stream":true"#)).await.events();
    let (name, last) = short.last().unwrap();
    assert_eq!(name, "response.incomplete");
    assert_eq!(last["response"]["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(last["response"]["usage"]["output_tokens"], 2);

    let tools = r#""model":"gpt-4o-tools","stream":true,"tools":[{"type":"function","name":"find"}]"#;
    let events = ask(&mock, &responses(tools)).await.events();
    let item = &events.last().unwrap().1["response"]["output"][0];
    assert_eq!((&item["type"], &item["name"]), (&Value::from("function_call"), &Value::from("find")));
    let deltas = events.iter().filter(|(name, _)| name == "response.function_call_arguments.delta");
    let arguments: String = deltas.map(|(_, data)| data["delta"].as_str().unwrap()).collect();
    assert_eq!(item["arguments"], arguments);
}

#[tokio::test]
async fn embeddings_are_the_same_in_both_encodings() {
    use base64::Engine as _;
    let mock = mock().await;
    let request = |more: &str| {
        let body = format!(r#"{{"model":"text-embedding-3-small","input":["12345678","1"],"dimensions":64{more}}}"#);
        post("/v1/embeddings", KEY, &body)
    };
    let floats = ask(&mock, &request("")).await.json();
    let base64 = ask(&mock, &request(r#","encoding_format":"base64""#)).await.json();
    assert_eq!(floats["usage"]["prompt_tokens"], 3);
    assert_eq!(floats["data"].as_array().unwrap().len(), 2);
    let encoded = base64["data"][1]["embedding"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    let decoded: Vec<f64> =
        bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()).into()).collect();
    assert_eq!(floats["data"][1]["embedding"], Value::from(decoded));
}

#[tokio::test]
async fn models_are_listed() {
    let mock = mock().await;
    let list = ask(&mock, &format!("GET /v1/models HTTP/1.1\r\nhost: mock\r\n{KEY}\r\n")).await.json();
    assert_eq!((&list["object"], &list["data"][0]["object"]), (&Value::from("list"), &Value::from("model")));
}

#[tokio::test]
async fn refusals_look_like_the_providers() {
    let mock = mock().await;
    let unknown = ask(&mock, &chat(r#""model":"unknown-1""#)).await;
    assert_eq!((unknown.status, &unknown.json()["error"]["code"]), (404, &Value::from("model_not_found")));
    let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"x"}]}"#;
    for credential in
        ["", "authorization: Bearer \r\n", "authorization: Basic abc\r\n", "authorization: Bearer kt_ak_x\r\n"]
    {
        let reply = ask(&mock, &post("/v1/chat/completions", credential, body)).await;
        assert_eq!(
            (reply.status, &reply.json()["error"]["code"]),
            (401, &Value::from("invalid_api_key")),
            "{credential}"
        );
    }
    assert_eq!(ask(&mock, &post("/v1/chat/completions", KEY, "{")).await.status, 400);
    assert_eq!(ask(&mock, &post("/v1/chat/completions", KEY, "{}")).await.status, 400);
    assert_eq!(ask(&mock, &post("/v1/nowhere", KEY, "{}")).await.status, 404);
    assert_eq!(mock.totals().tokens, Tokens::default());
}

#[tokio::test]
async fn an_expected_credential_is_checked_exactly() {
    let settings = Settings { expect_credential: Some("sk-right".into()), ..Settings::default() };
    let mock = MockProvider::start(settings).await.unwrap();
    let body = r#"{"model":"gpt-4o","messages":"x"}"#;
    let status = async |key: &str| {
        let header = format!("authorization: Bearer {key}\r\n");
        ask(&mock, &post("/v1/chat/completions", &header, body)).await.status
    };
    assert_eq!((status("sk-right").await, status("sk-wrong").await), (200, 401));
}

#[tokio::test]
async fn the_books_hold_what_arrived_and_what_was_sent() {
    let mock = mock().await;
    let request =
        chat(r#""model":"gpt-4o","stream":true"#).replace("host: mock", "Host: mock\r\nX-Twice: 1\r\nX-Twice: 2");
    let reply = ask(&mock, &request).await;
    let seen = mock.requests().pop().unwrap();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/v1/chat/completions"));
    let twice: Vec<_> = seen.headers.iter().filter(|(name, _)| name == "X-Twice").map(|(_, value)| value).collect();
    assert_eq!(twice, ["1", "2"]);
    assert_eq!(seen.header("AUTHORIZATION"), Some("Bearer sk-mock"));
    assert!(request.as_bytes().ends_with(&seen.body) && !seen.body.is_empty());
    let answered = seen.answered.unwrap();
    assert_eq!(answered.length, reply.body.len() as u64);
    assert_eq!(answered.sha256[..], Sha256::digest(&reply.body)[..]);
    assert_eq!(seen.sent_at.len(), reply.events().len());
    assert!(seen.finished && !seen.client_gone && seen.status == Some(200) && seen.reported.is_none());
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    let mock = mock().await;
    mock.set_pace(Duration::ZERO, Duration::from_secs(60));
    let mut client = Client::connect(&mock).await;
    client.send(&chat(r#""model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}"#)).await;
    assert_eq!(client.more().await, None);
    drop(client);
    let seen = seen_when(&mock, |seen| seen.client_gone).await;
    assert!(!seen.finished && seen.reported.is_none());
    assert_eq!(seen.sent_at.len(), 1);
    assert_eq!(mock.totals().finished, 0);
}

#[tokio::test]
async fn answers_keep_the_pace() {
    let mock = mock().await;
    mock.set_tokens(2);
    mock.set_pace(Duration::from_millis(50), Duration::from_millis(20));
    let begun = std::time::Instant::now();
    let reply = ask(&mock, &chat(r#""model":"gpt-4o","stream":true"#)).await;
    assert_eq!(reply.events().len(), 5);
    assert!(begun.elapsed() >= Duration::from_millis(50 + 4 * 20));
    let seen = mock.requests().pop().unwrap();
    assert!(seen.sent_at[0] - seen.arrived_at >= Duration::from_millis(50));
    assert!(seen.sent_at[4] - seen.arrived_at >= Duration::from_millis(50 + 4 * 20));
}
