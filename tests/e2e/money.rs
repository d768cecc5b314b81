//! What a request is charged with when its provider, or its client, does not play along.

use std::io::Write;
use std::time::Duration;

use flate2::write::GzEncoder;
use serde_json::json;

use crate::harness::{Scripted, World, answer, chat_body, eventually};

const CHUNK: &str = r#"data: {"id":"x","object":"chat.completion.chunk","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}"#;
const USAGE: &str = r#"data: {"id":"x","object":"chat.completion.chunk","model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":500,"total_tokens":1500}}"#;

fn stream() -> String {
    format!("{CHUNK}\n\n{USAGE}\n\ndata: [DONE]\n\n")
}

fn document(usage: &str) -> String {
    format!(
        r#"{{"id":"x","object":"chat.completion","model":"gpt-4o-mini","choices":[{{"index":0,"message":{{"role":"assistant","content":"hello there"}},"finish_reason":"stop"}}]{usage}}}"#
    )
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

async fn world_of(answer: Vec<u8>) -> World {
    let provider = Scripted::start(answer);
    World::with(|setup| setup.providers = Some(provider.as_openai())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_compresses_unasked_is_metered_and_understood() {
    let usage = r#","usage":{"prompt_tokens":1000,"completion_tokens":500,"total_tokens":1500}"#;
    for (stream_wanted, text, shown) in
        [(false, document(usage), document(usage)), (true, stream(), format!("{CHUNK}\n\ndata: [DONE]\n\n"))]
    {
        let kind = if stream_wanted { "text/event-stream" } else { "application/json" };
        let lines = [&*format!("Content-Type: {kind}"), "Content-Encoding: gzip"];
        let mut world = world_of(answer(&lines, &gzip(&text))).await;
        let key = world.key("jane");
        let got = world.chat(&key, stream_wanted).send().await;
        assert_eq!((got.status, got.whole, got.header("content-encoding")), (200, true, None));
        assert_eq!(got.text(), shown);
        let output = world.events_after(2).await.pop().unwrap();
        assert_eq!(
            (&output["usage"]["input"], &output["usage"]["output"], &output["usage"]["source"], &output["ended"]),
            (&json!(1000), &json!(500), &json!("provider"), &json!("complete"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_read_passes_untouched() {
    let lines = ["Content-Type: text/event-stream", "Content-Encoding: zstd"];
    let mut world = world_of(answer(&lines, b"\x28\xb5\x2f\xfdnonsense")).await;
    let key = world.key("jane");
    let got = world.chat(&key, true).send().await;
    assert_eq!(
        (got.body().as_slice(), got.header("content-encoding")),
        (&b"\x28\xb5\x2f\xfdnonsense"[..], Some("zstd"))
    );
    let output = world.events_after(2).await.pop().unwrap();
    assert_eq!((&output["usage"]["source"], &output["ended"]), (&json!("estimated"), &json!("complete")));
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_that_cannot_be_are_not_charged() {
    for figure in ["18446744073709551615", "9007199254740992", "-5", "1e300", "\"7\"", "null"] {
        let usage = format!(r#","usage":{{"prompt_tokens":{figure},"completion_tokens":{figure}}}"#);
        let mut world = world_of(answer(&["Content-Type: application/json"], document(&usage).as_bytes())).await;
        let key = world.key("jane");
        let got = world.chat(&key, false).send().await;
        assert_eq!(got.text(), document(&usage));
        let output = world.events_after(2).await.pop().unwrap();
        assert_eq!(output["usage"]["source"], "estimated", "{figure}");
        assert!(output["cost_nano_usd"].as_u64().unwrap() < 1_000_000, "{figure}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_before_the_answer_pays_for_the_question() {
    let mut world = World::with(|setup| setup.mock.first = Duration::from_secs(5)).await;
    let key = world.key("jane");
    let body = chat_body("gpt-4o-mini", true).to_string();
    let mut line = std::net::TcpStream::connect(world.gateway.edge).unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\n";
    write!(line, "{head}Authorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    eventually(|| (!world.mock.requests().is_empty()).then_some(())).await;
    drop(line);
    let output = world.events_after(2).await.pop().unwrap();
    assert_eq!((&output["ended"], &output["status"]), (&json!("client_closed"), &json!(499)));
    assert_eq!((&output["usage"]["source"], &output["usage"]["output"]), (&json!("estimated"), &json!(0)));
    // Two words and a full stop, and what frames a message.
    assert_eq!(output["usage"]["input"], 8);
    assert!(output["cost_nano_usd"].as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_nobody_asked_for_is_a_broken_answer() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let mut world = world_of(switching.into()).await;
    let key = world.key("jane");
    let got = world.chat(&key, false).send().await;
    assert_eq!((got.status, got.code().as_str()), (502, "upstream_failed"));
}
