//! Revocation reaches requests that are running: nothing of the provider's answer goes out after it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{World, chat_body, eventually, messages_body};

fn asks() -> [(&'static str, Value); 3] {
    [
        ("/v1/chat/completions", chat_body("gpt-4o-mini", true)),
        ("/v1/responses", json!({"model": "gpt-4o", "stream": true, "input": "Say something."})),
        ("/v1/messages", messages_body("claude-sonnet-5", true)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_stream_ends_when_its_key_is_revoked() {
    let mut world = World::with(|setup| {
        setup.mock.interval = Duration::from_millis(20);
        setup.mock.tokens = 2000;
    })
    .await;
    for (at, (path, body)) in asks().into_iter().enumerate() {
        let name = format!("jane-{at}");
        let key = world.key(&name);
        let streaming = tokio::spawn(world.ask("POST", path).key(&key).json(&body).send());
        eventually(|| world.mock.requests().get(at).cloned().filter(|seen| seen.sent_at.len() > 5)).await;
        world.kt(&["keys", "revoke", &name]).succeeded();
        let acknowledged = Instant::now();
        let answer = tokio::time::timeout(Duration::from_secs(3), streaming).await.unwrap().unwrap();
        assert!(answer.whole, "{path}: the stream ends properly");
        let text = answer.text();
        assert!(text.contains("[keeptrusts: key_revoked: This access key was revoked."), "{path}: {text}");
        let last = ["data: [DONE]", r#""type":"response.completed""#, r#""type":"message_stop""#][at];
        assert!(text.trim_end().lines().last().unwrap().contains(last), "{path}: {text}");
        assert!(!text.contains("event: error"), "{path}: {text}");
        let late = answer.pieces.iter().filter(|(arrived, _)| *arrived > acknowledged + Duration::from_millis(100));
        assert_eq!(late.count(), 0, "{path}: pieces arrived long after the acknowledgement");
        let output = world.events_after(2 * at + 2).await.pop().unwrap();
        assert_eq!((&output["ended"], &output["reason"]), (&json!("revoked"), &json!("key_revoked")), "{output}");
        assert_eq!((&output["verdict"], &output["usage"]["source"]), (&json!("DENY"), &json!("estimated")));
        assert!(output["usage"]["output"].as_u64().unwrap() > 0);
        eventually(|| world.mock.requests().get(at).cloned().filter(|seen| seen.client_gone)).await;
    }
    assert_eq!(world.metric("keeptrusts_streams_cut_total{reason=\"key_revoked\"}"), 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_provider_is_silent_ends_at_once_too() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let ask = world.chat(&key, true).header("x-mock-fault", "stall:3");
    let streaming = tokio::spawn(ask.send());
    eventually(|| world.mock.requests().pop().filter(|seen| seen.sent_at.len() >= 3)).await;
    world.kt(&["keys", "revoke", "jane"]).succeeded();
    let answer = tokio::time::timeout(Duration::from_secs(2), streaming).await.unwrap().unwrap();
    assert!(answer.whole && answer.text().contains("was revoked"), "{}", answer.text());
    assert_eq!(world.events_after(2).await[1]["ended"], "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_its_answer_is_refused_at_once() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let waiting = tokio::spawn(world.chat(&key, false).header("x-mock-fault", "stall").send());
    eventually(|| world.mock.requests().pop()).await;
    world.kt(&["keys", "revoke", "jane"]).succeeded();
    let answer = tokio::time::timeout(Duration::from_secs(2), waiting).await.unwrap().unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (401, "key_revoked"), "{}", answer.text());
    let output = world.events_after(2).await.pop().unwrap();
    assert_eq!((&output["ended"], &output["status"]), (&json!("revoked"), &json!(401)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_gathered_of_a_plain_answer_is_thrown_away() {
    let provider = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = provider.local_addr().unwrap();
    let mut world = World::with(|setup| {
        setup.providers = Some(format!(
            "providers:\n  openai: {{kind: openai, base_url: \"http://{address}\", api_key: {{env: TEST_OPENAI_KEY}}}}\n"
        ));
    })
    .await;
    let key = world.key("jane");
    let mut client = tokio::net::TcpStream::connect(world.gateway.edge).await.unwrap();
    let body = chat_body("gpt-4o-mini", false).to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all([head, body].concat().as_bytes()).await.unwrap();
    let (mut provider, _) = provider.accept().await.unwrap();
    let asked = provider.read(&mut [0; 16 * 1024]).await.unwrap();
    assert!(asked > 0);
    let begins =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"id\": \"let through\"";
    provider.write_all(begins).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.kt(&["keys", "revoke", "jane"]).succeeded();
    let mut heard = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(3), client.read_to_end(&mut heard)).await.expect("it is kept");
    assert!(heard.is_empty(), "{}", heard.escape_ascii());
    assert_eq!(world.events_after(2).await[1]["ended"], "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_one_key_disturbs_no_other() {
    let mut world = World::with(|setup| setup.mock.interval = Duration::from_millis(10)).await;
    let (jane, joe) = (world.key("jane"), world.key("joe"));
    let streaming = tokio::spawn(world.chat(&joe, true).send());
    eventually(|| world.mock.requests().pop().filter(|seen| seen.sent_at.len() > 3)).await;
    world.kt(&["keys", "revoke", "jane"]).succeeded();
    let answer = streaming.await.unwrap();
    assert!(answer.text().ends_with("data: [DONE]\n\n") && !answer.text().contains("revoked"));
    assert_eq!(world.chat(&jane, false).send().await.code(), "key_revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_sent_tool_call_ends_as_an_error_and_so_does_everything_if_the_operator_wants() {
    for (more, body, waits_for) in [
        (
            "",
            json!({"model": "gpt-4o-tools", "stream": true, "messages": [{"role": "user", "content": "x"}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}),
            8,
        ),
        ("streams: {cut: error}", chat_body("gpt-4o-mini", true), 4),
    ] {
        let mut world = World::with(|setup| {
            setup.more = more.into();
            setup.mock.interval = Duration::from_millis(20);
            setup.mock.tokens = 2000;
        })
        .await;
        let key = world.key("jane");
        let streaming = tokio::spawn(world.ask("POST", "/v1/chat/completions").key(&key).json(&body).send());
        eventually(|| world.mock.requests().pop().filter(|seen| seen.sent_at.len() > waits_for)).await;
        world.kt(&["keys", "revoke", "jane"]).succeeded();
        let answer = streaming.await.unwrap();
        let last: Value = serde_json::from_str(answer.events().last().unwrap()).unwrap();
        assert_eq!(last["error"]["code"], "key_revoked", "{}", answer.text());
        assert!(!answer.text().contains("[DONE]") && !answer.text().contains("[keeptrusts:"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_revoked_for_good_is_refused_all_the_same() {
    let mut world = World::start().await;
    let (jane, joe) = (world.key("jane"), world.key("joe"));
    let database = rusqlite::Connection::open(world.data_dir().join("keeptrusts.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = world.kt(&["keys", "revoke", "jane"]);
    assert_eq!(refused.code(), Some(1), "{}", refused.stdout());
    assert!(refused.stderr().contains("Revoke again until it succeeds"), "{}", refused.stderr());
    assert_eq!(world.chat(&jane, false).send().await.code(), "key_revoked");
    assert_eq!(world.chat(&joe, false).send().await.status, 200);
    database.execute_batch("ROLLBACK").unwrap();
    world.kt(&["keys", "revoke", "jane"]).succeeded();
    assert!(world.kt(&["keys", "show", "jane", "--json"]).succeeded().json()["revoked_at"].is_string());
    assert_eq!(world.metric("keeptrusts_revocations"), 1.0);
}
