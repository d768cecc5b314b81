//! Who gets in, and what they find out about themselves: pass-through, heated addresses, `/keeptrusts/me`.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Answer, OPENAI_CANARY, World, chat_body, eventually, messages_body};

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_own_key_is_passed_through_where_that_is_allowed() {
    let mut world = World::with(|setup| setup.more = "access: {provider_key_passthrough: allow}".into()).await;
    let own = "sk-proj-callers-own-key-1";
    world.keep_secret(own);
    let answer = world.chat(own, false).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = world.mock.requests().pop().unwrap();
    assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {own}")));
    let events = world.events_after(2).await;
    let input = &events[0];
    assert_eq!((&input["credential"], &input["key"]["name"]), (&json!("provider_key"), &json!("passthrough")));
    let fingerprint = input["fingerprint"].as_str().unwrap();
    assert_eq!(fingerprint.len(), 12);
    assert_eq!(input["key"]["id"], json!(format!("pk_{fingerprint}")));
    // Another key has another fingerprint, the same key the same one.
    world.chat("sk-proj-callers-own-key-2", false).send().await;
    world.chat(own, false).send().await;
    let events = world.events_after(6).await;
    assert_ne!(events[2]["fingerprint"], events[0]["fingerprint"]);
    assert_eq!(events[4]["fingerprint"], events[0]["fingerprint"]);
    let nobody = world.ask("POST", "/v1/chat/completions").json(&chat_body("gpt-4o-mini", false)).send().await;
    assert_eq!(nobody.code(), "key_missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_key_beside_a_providers_key_attributes_and_the_providers_key_pays() {
    let mut world = World::with(|setup| setup.more = "access: {provider_key_passthrough: allow}".into()).await;
    let key = world.key("jane");
    // Claude Code with a subscription: its own token as bearer, the access key beside it.
    let ask = world.ask("POST", "/v1/messages").header("authorization", "Bearer sk-ant-oat-subscription");
    let answer = ask.header("x-api-key", &key).json(&messages_body("claude-sonnet-5", false)).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = world.mock.requests().pop().unwrap();
    assert_eq!(seen.header("authorization"), Some("Bearer sk-ant-oat-subscription"));
    assert_eq!(seen.header("x-api-key"), None);
    let input = &world.events_after(2).await[0];
    assert_eq!((&input["credential"], &input["key"]["name"]), (&json!("access_key"), &json!("jane")));
    assert!(input["fingerprint"].is_string());
    // Without a key of its own beside it, the caller gets the configured one.
    assert_eq!(world.chat(&key, false).send().await.status, 200);
    let seen = world.mock.requests().pop().unwrap();
    assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {OPENAI_CANARY}")));
    // And a revoked access key is not saved by a provider's key.
    world.kt(&["keys", "revoke", "jane"]).succeeded();
    let ask = world.ask("POST", "/v1/messages").header("authorization", "Bearer sk-ant-oat-subscription");
    let answer = ask.header("x-api-key", &key).json(&messages_body("claude-sonnet-5", false)).send().await;
    assert_eq!(answer.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_fails_too_often_is_told_to_wait_and_a_valid_key_is_not_concerned() {
    let mut world = World::with(|setup| setup.more = "access: {failures_per_minute: 5}".into()).await;
    let key = world.key("jane");
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(world.chat("hunter2", false).send().await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
    let answer = world.chat("hunter2", false).send().await;
    assert_eq!((answer.code().as_str(), answer.header("retry-after")), ("too_many_failures", Some("60")));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(world.chat(&key, false).send().await.status, 200);
    assert_eq!(world.metric("keeptrusts_refusals_total{code=\"too_many_failures\",key=\"none\",team=\"none\"}"), 4.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_told_what_it_is_and_may_use() {
    let mut world = World::start().await;
    world.kt(&["teams", "create", "--name", "frontend"]).succeeded();
    let key = world.key_with("jane", &["--team", "frontend"]);
    let me = world.ask("GET", "/keeptrusts/me").key(&key).send().await;
    assert_eq!(me.status, 200);
    let me = me.json();
    assert_eq!(
        (&me["key"]["name"], &me["team"], &me["organization"]),
        (&json!("jane"), &json!("frontend"), &json!("acme"))
    );
    assert_eq!(me["permissions"], json!({"key": {}, "team": {}, "organization": {}}));
    assert_eq!(me["providers"][0], json!({"name": "openai", "api": "openai"}));
    assert_eq!(world.ask("GET", "/keeptrusts/me").send().await.code(), "key_missing");
    assert_eq!(world.ask("POST", "/keeptrusts/me").key(&key).send().await.code(), "method_not_allowed");
    assert_eq!(world.mock.totals().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_recorded_is_not_taken() {
    let mut world = World::with(|setup| setup.more = "audit: {queue: 16}".into()).await;
    let key = world.key("jane");
    // Every running request holds the place of its OUTPUT event. One after the other, because each also needs one
    // for its INPUT event until that is durable.
    let mut running = Vec::new();
    while world.metric("keeptrusts_journal_queue_depth") < 15.0 {
        running.push(tokio::spawn(world.chat(&key, true).header("x-mock-fault", "stall").send()));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(running.len() < 100);
    }
    let refused = eventually_refused(&world, &key).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "audit_unavailable"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(world.metric("keeptrusts_refusals_total{code=\"audit_unavailable\"") >= 1.0);
    running.iter().for_each(tokio::task::JoinHandle::abort);
    eventually(|| (world.metric("keeptrusts_requests_active") == 0.0).then_some(())).await;
    assert_eq!(world.chat(&key, false).send().await.status, 200);
}

/// The first answer that is no 200: the last place may have been free for one more request.
async fn eventually_refused(world: &World, key: &str) -> Answer {
    for _ in 0..20 {
        let answer = world.chat(key, false).send().await;
        if answer.status != 200 {
            return answer;
        }
    }
    panic!("no request was refused");
}
