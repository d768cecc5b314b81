//! Every way to be refused: the documented status and code, in the caller's dialect, one event where a key was
//! authentic, nothing sent to a provider.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use keeptrusts::domain::{KeyKind, KeyText};
use serde_json::json;

use crate::harness::{Answer, World, chat_body, messages_body};

/// What every refusal in OpenAI's dialect has.
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error["request_id"].as_str(), answer.header("x-request-id"));
    assert_ne!(error["type"], "server_error", "clients would try again at any status");
    if status < 500 {
        assert_eq!(answer.header("x-should-retry"), Some("false"));
    }
    assert!(answer.message().len() > 30, "too short to say what to do: {}", answer.message());
}

fn mistyped(key: &str) -> String {
    let (head, last) = key.split_at(key.len() - 1);
    format!("{head}{}", if last == "a" { "b" } else { "a" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_no_key_is_refused_with_what_is_wrong() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let gateway_key = world.key_with("edge-2", &["--type", "gateway"]);
    let cases = [
        (String::new(), "key_missing", "No access key"),
        (key[..30].to_owned(), "key_malformed", "30 characters instead of 38"),
        (mistyped(&key), "key_malformed", "mistyped"),
        (format!("\"{key}\""), "key_malformed", "quotes"),
        (format!("'{key}'"), "key_malformed", "quotes"),
        (format!(" {key}"), "", ""),
        ("kt_ak_0123456789abcdefghijklmnop000000".to_owned(), "key_malformed", "mistyped"),
        ("hunter2".to_owned(), "key_malformed", "kt_ak_"),
        (gateway_key, "key_wrong_kind", "gateway key"),
    ];
    for (text, code, says) in &cases {
        let ask = world.ask("POST", "/v1/chat/completions").json(&chat_body("gpt-4o-mini", false));
        let answer = ask.header("x-api-key", text).send().await;
        if code.is_empty() {
            // Space around a header's value is no part of it (RFC 9110 §5.5).
            assert_eq!(answer.status, 200);
            continue;
        }
        assert_refused(&answer, 401, code);
        assert!(answer.message().contains(says), "{}", answer.message());
        assert!(!answer.text().contains("kt_ak_0"), "a refusal echoes the credential");
    }
    let padded = world.ask("POST", "/v1/chat/completions").header("authorization", &format!("Bearer \"{key} \""));
    assert_refused(&padded.json(&chat_body("gpt-4o-mini", false)).send().await, 401, "key_malformed");
    let unauthenticated = world.ask("POST", "/v1/chat/completions").json(&chat_body("gpt-4o-mini", false)).send().await;
    assert_refused(&unauthenticated, 401, "key_missing");
    assert_eq!(world.events_after(2).await.len(), 2, "only the accepted request has events");
    assert_eq!(world.metric("keeptrusts_refusals_total{code=\"key_missing\",key=\"none\",team=\"none\"}"), 2.0);
    assert_eq!(world.mock.totals().requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_told_from_a_damaged_one() {
    let mut here = World::start().await;
    let mut elsewhere = World::start().await;
    let foreign = elsewhere.key("jane");
    here.keep_secret(&foreign);
    assert_refused(&here.chat(&foreign, false).send().await, 401, "key_unknown");
    assert!(here.events().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_and_an_expired_key_are_refused_and_attributed() {
    let mut world = World::start().await;
    let key = world.key("jane");
    assert_eq!(world.chat(&key, false).send().await.status, 200);
    world.kt(&["keys", "revoke", "jane", "--reason", "left"]).succeeded();
    assert_refused(&world.chat(&key, false).send().await, 401, "key_revoked");
    let brief = world.key_with("brief", &["--expires", "1s"]);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_refused(&world.chat(&brief, false).send().await, 401, "key_expired");
    let events = world.events_after(4).await;
    let refused: Vec<_> = events[2..].iter().map(|event| (&event["key"]["name"], &event["reason"])).collect();
    assert_eq!(refused, [(&json!("jane"), &json!("key_revoked")), (&json!("brief"), &json!("key_expired"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_different_keys_are_a_contradiction() {
    let mut world = World::start().await;
    let (one, other) = (world.key("one"), world.key("two"));
    let answer = world.chat(&one, false).header("x-api-key", &other).send().await;
    assert_refused(&answer, 400, "conflicting_credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_key_is_not_passed_through() {
    let world = World::start().await;
    let answer = world.chat("sk-proj-callers-own", false).send().await;
    assert_refused(&answer, 403, "passthrough_disabled");
    let answer = world.ask("POST", "/v1/messages").header("x-api-key", "sk-ant-callers-own").send().await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.json()["error"]["type"], "permission_error");
    assert_eq!(world.mock.totals().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_judged_is_refused() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let cases: [(&[u8], &str); 11] = [
        (b"", "request_malformed"),
        (b"{", "request_malformed"),
        (b"[]", "request_malformed"),
        (b"not json", "request_malformed"),
        (b"{} trailing", "request_malformed"),
        (b"{\"messages\":[]}", "request_malformed"),
        (b"{\"model\":7}", "request_malformed"),
        (b"{\"model\":\"\"}", "request_malformed"),
        (b"{\"model\":\"gpt-4o\",\"stream\":\"yes\"}", "request_malformed"),
        (b"{\"model\":\"gpt-4o-mini\",\"model\":\"gpt-4o\"}", "request_ambiguous"),
        (b"{\"model\":\"gpt-4o-mini\",\"mod\\u0065l\":\"gpt-4o\"}", "request_ambiguous"),
    ];
    for (body, code) in cases {
        let answer = world.ask("POST", "/v1/chat/completions").key(&key).body(body).send().await;
        assert_refused(&answer, 400, code);
    }
    let compressed = world.ask("POST", "/v1/chat/completions").key(&key).header("content-encoding", "gzip");
    assert_refused(&compressed.body(&b"\x1f\x8b"[..]).send().await, 400, "request_malformed");
    assert_eq!(world.events_after(12).await.len(), 12);
    assert_eq!(world.mock.totals().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_or_method_that_does_not_exist_is_refused() {
    let mut world = World::start().await;
    let key = world.key("jane");
    for path in ["/", "/v1", "/v1/chat/completions/", "/v2/chat/completions", "/unknown/v1/messages", "/v1//messages"] {
        let answer = world.ask("POST", path).key(&key).json(&chat_body("gpt-4o-mini", false)).send().await;
        assert_refused(&answer, 404, "route_unknown");
        let stranger = world.ask("POST", path).json(&chat_body("gpt-4o-mini", false)).send().await;
        assert_eq!(stranger.status, 401, "strangers learn nothing about paths");
    }
    let answer = world.ask("GET", "/v1/chat/completions").key(&key).send().await;
    assert_refused(&answer, 405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("POST"));
    let events = world.events_after(7).await;
    assert!(events.iter().all(|event| event["verdict"] == "DENY"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_in_the_wrong_dialect_is_refused_with_the_right_one() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let answer =
        world.ask("POST", "/v1/chat/completions").key(&key).json(&chat_body("claude-sonnet-5", false)).send().await;
    assert_refused(&answer, 404, "model_unknown");
    assert!(answer.message().contains("Anthropic"), "{}", answer.message());
    let messages = world.ask("POST", "/v1/messages").key(&key).json(&messages_body("fast", false)).send().await;
    assert_eq!(messages.status, 404);
    let error = messages.json();
    assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("not_found_error")));
    assert_eq!(error["request_id"].as_str(), messages.header("x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_the_provider_does_not_know_is_the_providers_answer() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let answer =
        world.ask("POST", "/v1/chat/completions").key(&key).json(&chat_body("unknown-model", false)).send().await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.code(), "model_not_found", "{}", answer.text());
    let output = world.events_after(2).await.pop().unwrap();
    assert_eq!((&output["status"], &output["usage"]["source"]), (&json!(404), &json!("none")));
    assert_eq!(output["ended"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_provider_there_is_nothing_to_route_to() {
    let mut world = World::with(|setup| {
        setup.providers = Some("providers:\n  local: {kind: openai_compatible, base_url: \"{mock}\"}".into());
    })
    .await;
    let key = world.key("jane");
    let answer =
        world.ask("POST", "/v1/messages").key(&key).json(&messages_body("claude-sonnet-5", false)).send().await;
    assert_eq!(answer.status, 503);
    assert_eq!(world.events_after(1).await[0]["reason"], "no_provider");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_answered_426_whoever_asks() {
    let mut world = World::start().await;
    let key = world.key("jane");
    for (key, events) in [(Some(&key), 1), (None, 1)] {
        let ask = world.ask("GET", "/v1/responses").header("connection", "Upgrade").header("upgrade", "websocket");
        let ask = ask.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let answer = key.map_or(ask.clone(), |key| ask.key(key)).send().await;
        assert_refused(&answer, 426, "websocket_unsupported");
        assert_eq!(world.events_after(events).await.len(), events);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_body_than_announced_is_judged_as_a_request_of_its_own() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let body = serde_json::to_vec(&chat_body("gpt-4o-mini", false)).unwrap();
    let smuggled = "GET /v1/models HTTP/1.1\r\nHost: kt\r\n\r\n";
    let mut stream = TcpStream::connect(world.gateway.edge).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    stream.write_all(&[body.as_slice(), smuggled.as_bytes()].concat()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    // RFC 9112 §9.3.2: what follows a request is the next one. It has no credential of its own, and is given none.
    let statuses: Vec<&str> = answer.matches("HTTP/1.1 ").collect();
    assert_eq!(statuses.len(), 2, "{answer}");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("HTTP/1.1 401"), "{answer}");
    assert_eq!(world.mock.totals().requests, 1);
}

/// How often the threads have run that the databases are used from: each connection has one, and runs each statement there
/// (`control/store/sqlite/worker.rs`). A thread that waits has given up its place once more than before.
fn runs_of_the_store(world: &World) -> Vec<(String, u64)> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", world.gateway.pid())).unwrap();
    let mut runs = Vec::new();
    for task in tasks {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let name = field("Name:").unwrap_or_default();
        if ["store-keys", "usage-write", "usage-read"].contains(&name) {
            runs.push((name.to_owned(), field("voluntary_ctxt_switches:").unwrap().parse().unwrap()));
        }
    }
    runs.sort();
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_nobody_issued_cause_no_statement_no_event_and_no_flood() {
    const KEYS: usize = 20_000;
    let mut world = World::start().await;
    let idle = runs_of_the_store(&world);
    assert_eq!(idle.len(), 3, "{idle:?}");
    world.key("jane");
    // What has been asked of them shows.
    crate::harness::eventually(|| (runs_of_the_store(&world)[0] > idle[0]).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (before, lines) = (runs_of_the_store(&world), world.gateway.log().lines().count());

    let mut number = 0u64;
    let mut stranger = || {
        let fill = |pool: &mut [u8]| {
            number += 1;
            // Any digits do, as long as no two keys have the same.
            pool.iter_mut().zip(format!("{number:064}").bytes()).for_each(|(byte, digit)| *byte = digit);
            pool.rotate_right(20);
            Ok::<_, std::convert::Infallible>(())
        };
        KeyText::mint(KeyKind::Access, fill).unwrap().expose().to_owned()
    };
    let mut stream = TcpStream::connect(world.gateway.edge).unwrap();
    for _ in 0..KEYS / 20 {
        let ask = |key: String| format!("GET /v1/models HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\n\r\n");
        let asked: String = (0..20).map(|_| ask(stranger())).collect();
        stream.write_all(asked.as_bytes()).unwrap();
        let (mut heard, mut room) = (String::new(), [0; 16 * 1024]);
        while heard.matches("HTTP/1.1 4").count() < 20 || !heard.ends_with('}') {
            let length = stream.read(&mut room).unwrap();
            assert!(length > 0, "{heard}");
            heard += std::str::from_utf8(&room[..length]).unwrap();
        }
    }
    assert_eq!(runs_of_the_store(&world), before);
    let refused = |code: &str| world.metric(&format!("keeptrusts_refusals_total{{code=\"{code}\""));
    assert_eq!(refused("key_unknown") + refused("too_many_failures"), KEYS as f64, "{}", world.gateway.scrape());
    // The first beyond what an address may fail is named, once.
    let log = world.gateway.log();
    assert_eq!(log.lines().count(), lines + 1, "{log}");
    assert_eq!(world.events().len(), 0);
}
