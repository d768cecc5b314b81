//! Policies, as callers and auditors see them.

use serde_json::{Value, json};

use crate::harness::{Scripted, World, answer, chat_body};

mod dialects; // answers that stream, in each dialect
mod told; // what an operator is told: kt policy test, kt config check

/// Made up; may appear nowhere but in what a test sends.
const AWS_KEY: &str = "AKIAIOSFODNN7CANARY2";
const ADDRESS: &str = "jane.canary@mail.example";

async fn world(policies: &str) -> World {
    let mut world = World::with(|setup| setup.more = format!("policies:\n{policies}\n")).await;
    world.keep_secret(AWS_KEY);
    world.keep_secret(ADDRESS);
    world
}

fn asks(text: &str, stream: bool) -> Value {
    let mut body = chat_body("gpt-4o-mini", stream);
    body["messages"][0]["content"] = json!(text);
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_request_does_not_reach_the_provider() {
    let mut world = world("  - {name: secrets, phase: input, detect: [aws_key]}").await;
    let key = world.key("jane");
    let body = asks(&format!("What is {AWS_KEY}?"), false);
    let answer = world.ask("POST", "/v1/chat/completions").key(&key).json(&body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-keeptrusts-verdict"), Some("REDACT"));
    assert_eq!(answer.header("x-keeptrusts-policies"), Some("secrets"));
    let seen = world.mock.requests().pop().unwrap();
    assert_eq!(seen.body, serde_json::to_vec(&asks("What is [REDACTED:AWS_KEY]?", false)).unwrap());
    let events = world.events_after(2).await;
    assert_eq!(events[0]["verdict"], "REDACT");
    assert_eq!(events[0]["policies"], json!([{"name": "secrets", "action": "redact", "matches": 1}]));
    assert_eq!((&events[1]["verdict"], &events[1]["policies"]), (&json!("PASS"), &json!([])));
    let series = "keeptrusts_policy_actions_total{action=\"redact\",phase=\"input\",policy=\"secrets\"}";
    assert_eq!(world.metric(series), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_blocks_is_refused_and_not_sent() {
    let policies = "  - {name: watch, phase: input, action: observe, detect: [email]}\n  - {name: project-x, phase: \
                    input, action: block, keywords: [Project X], scope: {keys: [jane]}}";
    let mut world = world(policies).await;
    let (jane, joe) = (world.key("jane"), world.key("joe"));
    let body = asks(&format!("{ADDRESS} knows about project\n x."), false);
    let answer = world.ask("POST", "/v1/chat/completions").key(&jane).json(&body).send().await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "policy_blocked"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.header("x-keeptrusts-verdict"), Some("BLOCK"));
    assert_eq!(answer.header("x-keeptrusts-policies"), Some("watch, project-x"));
    assert!(world.mock.requests().is_empty());
    let events = world.events_after(1).await;
    assert_eq!((&events[0]["verdict"], &events[0]["reason"]), (&json!("BLOCK"), &json!("policy_blocked")));
    assert_eq!(events[0]["policies"][1], json!({"name": "project-x", "action": "block", "matches": 1}));
    // Somebody whom it does not concern.
    let answer = world.ask("POST", "/v1/chat/completions").key(&joe).json(&body).send().await;
    assert_eq!((answer.status, answer.header("x-keeptrusts-verdict")), (200, Some("PASS")));
    assert_eq!(world.mock.requests().pop().unwrap().body, serde_json::to_vec(&body).unwrap());
}

/// The texts of the chunks' deltas, put together.
fn content(events: &[String]) -> String {
    let chunks = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
    chunks.filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect()
}

/// A provider that streams these pieces of text.
fn streams(pieces: &[&str]) -> Scripted {
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let mut body = String::new();
    let mut add = |data: String| body.push_str(&format!("data: {data}\n\n"));
    add(chunk(json!({"role": "assistant", "content": ""}), Value::Null).to_string());
    for piece in pieces {
        add(chunk(json!({"content": piece}), Value::Null).to_string());
    }
    add(chunk(json!({}), json!("stop")).to_string());
    add("[DONE]".to_owned());
    Scripted::start(answer(&["Content-Type: text/event-stream"], body.as_bytes()))
}

async fn scripted_world(policies: &str, provider: &Scripted) -> World {
    let mut world = World::with(|setup| {
        setup.providers = Some(provider.as_openai());
        setup.more = format!("policies:\n{policies}\n");
    })
    .await;
    world.keep_secret(AWS_KEY);
    world.keep_secret(ADDRESS);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_split_over_events_does_not_reach_the_caller() {
    let provider = streams(&["The key is AKI", "AIOSFODNN7", "CANARY2, keep", " it. Write to jane", "."]);
    let mut world = scripted_world("  - {name: secrets, phase: output, detect: [aws_key, email]}", &provider).await;
    let key = world.key("jane");
    let answer = world.chat(&key, true).send().await;
    assert_eq!(content(&answer.events()), "The key is [REDACTED:AWS_KEY], keep it. Write to jane.");
    assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    let events = world.events_after(2).await;
    assert_eq!((&events[0]["verdict"], &events[1]["verdict"]), (&json!("PASS"), &json!("REDACT")));
    assert_eq!(events[1]["policies"], json!([{"name": "secrets", "action": "redact", "matches": 1}]));
    assert_eq!(events[1]["ended"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_a_policy_blocks_ends_as_any_other() {
    let provider = streams(&["All about ", "Proj", "ect X", " is told here."]);
    let mut world =
        scripted_world("  - {name: px, phase: output, action: block, keywords: [Project X]}", &provider).await;
    let key = world.key("jane");
    let answer = world.chat(&key, true).send().await;
    let text = content(&answer.events());
    assert!(text.starts_with("All about \n\n[keeptrusts: policy_blocked: "), "{text}");
    assert!(!text.contains("Proj"), "{text}");
    assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    let events = world.events_after(2).await;
    assert_eq!((&events[1]["verdict"], &events[1]["ended"]), (&json!("BLOCK"), &json!("policy")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_answer_is_redacted_or_replaced() {
    let body = json!({"id": "c", "object": "chat.completion", "model": "gpt-4o-mini", "choices": [{"index": 0,
        "message": {"role": "assistant", "content": format!("It is {AWS_KEY}.")}, "finish_reason": "stop"}]});
    let provider = Scripted::start(answer(&["Content-Type: application/json"], body.to_string().as_bytes()));
    let policies = "  - {name: secrets, phase: output, detect: [aws_key], scope: {keys: [jane]}}\n  - {name: strict, \
                    phase: output, action: block, detect: [aws_key], scope: {keys: [joe]}}";
    let mut world = scripted_world(policies, &provider).await;
    let (jane, joe) = (world.key("jane"), world.key("joe"));
    let redacted = world.chat(&jane, false).send().await.json();
    assert_eq!(redacted["choices"][0]["message"]["content"], "It is [REDACTED:AWS_KEY].");
    let blocked = world.chat(&joe, false).send().await.json();
    let text = blocked["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(text.starts_with("[keeptrusts: policy_blocked: "), "{text}");
    let events = world.events_after(4).await;
    assert_eq!((&events[3]["verdict"], &events[3]["ended"]), (&json!("BLOCK"), &json!("policy")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placeholder_comes_back_as_what_it_stands_for() {
    let provider = streams(&["Dear <EM", "AIL_", "1>, not <EMAIL_2> ", "<"]);
    let mut world =
        scripted_world("  - {name: people, phase: input, detect: [email], reversible: true}", &provider).await;
    let key = world.key("jane");
    let answer = world.ask("POST", "/v1/chat/completions").key(&key).json(&asks(ADDRESS, true)).send().await;
    assert_eq!(content(&answer.events()), format!("Dear {ADDRESS}, not <EMAIL_2> <"));
    assert_eq!(answer.header("x-keeptrusts-verdict"), Some("REDACT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_observed_passes_and_is_counted() {
    let provider = streams(&["Ask ja", "ne.canary@mail", ".example, or call."]);
    let mut world = scripted_world("  - {name: watch, action: observe, detect: [email, aws_key]}", &provider).await;
    let key = world.key("jane");
    let body = asks(&format!("{AWS_KEY} {AWS_KEY}"), true);
    let answer = world.ask("POST", "/v1/chat/completions").key(&key).json(&body).send().await;
    assert_eq!(content(&answer.events()), format!("Ask {ADDRESS}, or call."));
    assert_eq!(answer.header("x-keeptrusts-verdict"), Some("PASS"));
    assert_eq!(answer.header("x-keeptrusts-policies"), Some("watch"));
    let events = world.events_after(2).await;
    assert_eq!((&events[0]["verdict"], &events[1]["verdict"]), (&json!("PASS"), &json!("PASS")));
    assert_eq!(events[0]["policies"], json!([{"name": "watch", "action": "observe", "matches": 2}]));
    assert_eq!(events[1]["policies"], json!([{"name": "watch", "action": "observe", "matches": 1}]));
    let series = |phase: &str| {
        format!("keeptrusts_policy_actions_total{{action=\"observe\",phase=\"{phase}\",policy=\"watch\"}}")
    };
    assert_eq!((world.metric(&series("input")), world.metric(&series("output"))), (2.0, 1.0));
}

/// Callers who bring the provider's own key are held to the same.
#[tokio::test(flavor = "multi_thread")]
async fn policies_hold_for_callers_with_a_providers_own_key() {
    let mut world = World::with(|setup| {
        setup.more =
            "access: {provider_key_passthrough: allow}\npolicies:\n  - {name: secrets, detect: [aws_key]}\n  - \
                      {name: px, action: block, keywords: [Project X]}\n"
                .into();
    })
    .await;
    let own = "sk-proj-callers-own-key-1";
    world.keep_secret(own);
    world.keep_secret(AWS_KEY);
    let ask = |text: &str| world.ask("POST", "/v1/chat/completions").key(own).json(&asks(text, false));
    let answer = ask(&format!("What is {AWS_KEY}?")).send().await;
    assert_eq!((answer.status, answer.header("x-keeptrusts-verdict")), (200, Some("REDACT")), "{}", answer.text());
    let seen = world.mock.requests().pop().unwrap();
    assert_eq!(seen.body, serde_json::to_vec(&asks("What is [REDACTED:AWS_KEY]?", false)).unwrap());
    let refused = ask("about project x").send().await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "policy_blocked"));
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert_eq!(world.mock.requests().len(), 1);
    let events = world.events_after(3).await;
    assert_eq!((&events[0]["credential"], &events[0]["verdict"]), (&json!("provider_key"), &json!("REDACT")));
    assert_eq!((&events[2]["credential"], &events[2]["verdict"]), (&json!("provider_key"), &json!("BLOCK")));
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_change_with_a_reload() {
    let mut world = world("  - {name: secrets, phase: input, detect: [aws_key]}").await;
    let key = world.key("jane");
    let text = format!("{AWS_KEY} of {ADDRESS}");
    let sent = async |world: &World| {
        let answer = world.ask("POST", "/v1/chat/completions").key(&key).json(&asks(&text, false)).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body: Value = serde_json::from_slice(&world.mock.requests().pop().unwrap().body).unwrap();
        body["messages"][0]["content"].as_str().unwrap().to_owned()
    };
    assert_eq!(sent(&world).await, format!("[REDACTED:AWS_KEY] of {ADDRESS}"));
    world.rewrite(|text| text.replace("detect: [aws_key]", "detect: [email], replacement: somebody"));
    world.kt(&["config", "reload"]).succeeded();
    assert_eq!(sent(&world).await, format!("{AWS_KEY} of somebody"));
    // A faulty one changes nothing.
    world.rewrite(|text| text.replace("detect: [email]", "patterns: [{name: x, regex: 'a(.*b)?'}]"));
    let refused = world.kt(&["config", "reload"]);
    assert_ne!(refused.code(), Some(0));
    assert!(refused.stderr().contains("begin its search anew"), "{}", refused.stderr());
    assert_eq!(sent(&world).await, format!("{AWS_KEY} of somebody"));
    world.rewrite(|text| text.split_once("policies:").unwrap().0.to_owned());
    world.kt(&["config", "reload"]).succeeded();
    assert_eq!(sent(&world).await, text);
}
