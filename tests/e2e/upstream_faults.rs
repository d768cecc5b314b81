//! Providers that fail, in every way the mock knows: a documented answer, one OUTPUT event, no hang.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, OPENAI_CANARY, Scripted, World, chat_body, messages_body};

/// One request per dialect and form.
fn asks(stream: bool) -> [(&'static str, Value); 3] {
    [
        ("/v1/chat/completions", chat_body("gpt-4o-mini", stream)),
        ("/v1/responses", json!({"model": "gpt-4o", "stream": stream, "input": "Say something."})),
        ("/v1/messages", messages_body("claude-sonnet-5", stream)),
    ]
}

async fn ask(world: &World, key: &str, path: &str, body: &Value, fault: &str) -> Answer {
    world.ask("POST", path).key(key).header("x-mock-fault", fault).json(body).send().await
}

async fn last_output(world: &World, count: usize) -> Value {
    world.events_after(count).await.into_iter().rfind(|event| event["phase"] == "OUTPUT").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_breaks_off_before_its_answer_is_a_502() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let mut events = 0;
    for fault in ["refuse", "reset", "garbage"] {
        for stream in [false, true] {
            for (path, body) in asks(stream) {
                let answer = ask(&world, &key, path, &body, fault).await;
                assert_eq!((answer.status, answer.whole), (502, true), "{fault} {path}: {}", answer.text());
                assert_eq!(answer.header("x-should-retry"), None, "trying again makes sense");
                assert!(answer.message().contains("provider"), "{}", answer.text());
                events += 2;
                let output = last_output(&world, events).await;
                assert_eq!(
                    (&output["verdict"], &output["ended"]),
                    (&json!("ERROR"), &json!("upstream_failed")),
                    "{output}"
                );
                // It was asked, and may charge for that.
                assert_eq!((&output["status"], &output["usage"]["source"]), (&json!(502), &json!("estimated")));
            }
        }
    }
    assert_eq!(world.mock.totals().requests, events as u64 / 2, "each was sent once and never again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_reached_is_a_502() {
    let unreachable =
        "providers:\n  openai: {kind: openai, base_url: \"http://127.0.0.1:1\", api_key: {env: TEST_OPENAI_KEY}}";
    let mut world = World::with(|setup| setup.providers = Some(unreachable.into())).await;
    let key = world.key("jane");
    let answer = world.chat(&key, true).send().await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_failed"));
    let output = last_output(&world, 2).await;
    assert_eq!((&output["reason"], &output["usage"]["source"]), (&json!("connect"), &json!("none")));
    assert_eq!(world.metric("keeptrusts_upstream_errors_total{kind=\"connect\",provider=\"openai\"}"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_stalls_is_a_504() {
    let more = "timeouts: {first_byte: 500ms, idle: 500ms}";
    let mut world = World::with(|setup| setup.more = more.into()).await;
    let key = world.key("jane");
    let answer = ask(&world, &key, "/v1/chat/completions", &chat_body("gpt-4o-mini", false), "stall").await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"));
    // Within a stream, the silence ends with the dialect's error event.
    for (at, (path, body)) in asks(true).into_iter().enumerate() {
        let answer = ask(&world, &key, path, &body, "stall:3").await;
        assert_eq!((answer.status, answer.whole), (200, true), "{path}");
        assert!(answer.text().contains("did not answer in time"), "{}", answer.text());
        let output = last_output(&world, 4 + 2 * at).await;
        assert_eq!((&output["reason"], &output["ended"]), (&json!("timeout"), &json!("upstream_failed")), "{output}");
        assert_eq!(output["usage"]["source"], "estimated");
    }
    let (log, said) =
        (world.gateway.log(), "failed at openai: Upstream ReadTimedout: the provider said nothing for too long");
    assert!(log.contains(said) && !log.contains("Downstream"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_for_an_answer_and_the_waits_within_it_are_two_deadlines() {
    for (more, fault, least, most) in [
        ("timeouts: {first_byte: 300ms, idle: 20s}", "stall", 300, 1500),
        ("timeouts: {first_byte: 20s, idle: 300ms}", "stall:3", 300, 1500),
    ] {
        let mut world = World::with(|setup| setup.more = more.into()).await;
        let key = world.key("jane");
        // On a connection that was used before, as most are.
        for _ in 0..2 {
            let begun = std::time::Instant::now();
            let body = chat_body("gpt-4o-mini", true);
            let answer = ask(&world, &key, "/v1/chat/completions", &body, fault).await;
            let took = begun.elapsed();
            assert!((Duration::from_millis(least)..Duration::from_millis(most)).contains(&took), "{more}: {took:?}");
            assert!(answer.text().contains("did not answer in time"), "{more}: {}", answer.text());
        }
        let output = last_output(&world, 4).await;
        assert_eq!((&output["reason"], &output["ended"]), (&json!("timeout"), &json!("upstream_failed")), "{output}");
    }
    // A stream that takes longer than either, but is never silent for long, is not cut.
    let more = "timeouts: {first_byte: 300ms, idle: 300ms}";
    let change = |setup: &mut crate::harness::Setup| {
        setup.more = more.into();
        setup.mock.interval = Duration::from_millis(100);
    };
    let mut world = World::with(change).await;
    let key = world.key("jane");
    assert!(world.chat(&key, true).send().await.text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_own_error_is_passed_on_untouched() {
    let mut world = World::start().await;
    let key = world.key("jane");
    for (at, status) in [400, 401, 429, 500, 503].into_iter().enumerate() {
        let answer =
            ask(&world, &key, "/v1/messages", &messages_body("claude-sonnet-5", true), &format!("status:{status}"))
                .await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.sha256(), world.mock.requests().pop().unwrap().answered.unwrap().sha256);
        let output = last_output(&world, 2 + 2 * at).await;
        assert_eq!((&output["status"], &output["usage"]["source"]), (&json!(status), &json!("none")), "{output}");
        assert_eq!(output["verdict"], if status >= 500 { "ERROR" } else { "PASS" });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn html_instead_of_json_is_passed_on_and_costs_nothing_known() {
    let mut world = World::start().await;
    let key = world.key("jane");
    for fault in ["html", "html:502"] {
        let answer = ask(&world, &key, "/v1/chat/completions", &chat_body("gpt-4o-mini", false), fault).await;
        assert!(answer.text().contains("<html"), "{}", answer.text());
    }
    let events = world.events_after(4).await;
    assert!(events.iter().all(|event| event["usage"]["source"] != "provider"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_ends_with_the_dialects_error_event() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let mut events = 0;
    for fault in ["cut:4", "eof:4", "mid-event:4", "reset:4"] {
        for (path, body) in asks(true) {
            let answer = ask(&world, &key, path, &body, fault).await;
            assert_eq!((answer.status, answer.whole), (200, true), "{fault} {path}: {}", answer.text());
            let text = answer.text();
            assert!(text.contains("broke off its answer") && text.ends_with("\n\n"), "{fault} {path}: {text}");
            if path == "/v1/messages" || path == "/v1/responses" {
                assert!(text.contains("event: error\n"), "{fault} {path}: {text}");
            }
            // What a parser hands on is JSON to the last event, torn events included.
            let parsed = answer.events().iter().all(|data| serde_json::from_str::<Value>(data).is_ok());
            assert!(parsed, "{fault} {path}: {text}");
            events += 2;
            let output = last_output(&world, events).await;
            assert_eq!(
                (&output["verdict"], &output["ended"]),
                (&json!("ERROR"), &json!("upstream_failed")),
                "{output}"
            );
            assert_eq!(
                (&output["usage"]["source"], &output["usage"]["complete"]),
                (&json!("estimated"), &json!(false))
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_answer_that_is_cut_is_not_made_to_look_whole() {
    let mut world = World::start().await;
    let key = world.key("jane");
    for (at, fault) in ["cut:1", "length"].into_iter().enumerate() {
        let answer = ask(&world, &key, "/v1/chat/completions", &chat_body("gpt-4o-mini", false), fault).await;
        assert!(!answer.whole, "{fault}");
        let output = last_output(&world, 2 + 2 * at).await;
        assert_eq!(output["ended"], "upstream_failed", "{fault}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_inside_a_stream_is_the_providers_to_tell() {
    let mut world = World::start().await;
    let key = world.key("jane");
    for (path, body) in asks(true) {
        let answer = ask(&world, &key, path, &body, "error-event:3").await;
        assert!(answer.whole);
        assert!(!answer.text().contains("upstream_failed"), "the gateway adds none of its own: {}", answer.text());
    }
    for output in world.events_after(6).await.iter().filter(|event| event["phase"] == "OUTPUT") {
        assert_eq!((&output["ended"], &output["reason"]), (&json!("upstream_failed"), &json!("in_stream_error")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_answer_does_not_spoil_the_next_one() {
    let mut world = World::start().await;
    let key = world.key("jane");
    for fault in ["garbage", "length", "cut:2", "mid-event:2", "reset:2"] {
        ask(&world, &key, "/v1/chat/completions", &chat_body("gpt-4o-mini", true), fault).await;
        let next = tokio::time::timeout(Duration::from_secs(5), world.chat(&key, false).send()).await.unwrap();
        assert_eq!(next.status, 200, "after {fault}: {}", next.text());
        assert_eq!(next.sha256(), world.mock.requests().pop().unwrap().answered.unwrap().sha256);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_http_is_not_quoted_in_the_log() {
    // A provider behind a broken front may echo anything, the credential it was sent among it.
    let echo = Scripted::start(format!("HTTP/9 you sent: {OPENAI_CANARY}, and said: private words\r\n\r\n"));
    let mut world = World::with(|setup| setup.providers = Some(echo.as_openai())).await;
    world.keep_secret("private words");
    let key = world.key("jane");
    let answer = world.chat(&key, false).send().await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_failed"));
    world.events_after(2).await;
    assert!(world.gateway.log().contains("failed at openai: Upstream InvalidHTTPHeader"), "{}", world.gateway.log());
}
