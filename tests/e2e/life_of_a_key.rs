//! Keys as they live: scoped, changed, rotated without a break, expired, suspended with their team.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::{Answer, World, chat_body, eventually, messages_body};

/// A world whose streams last about two seconds.
async fn slow_world() -> World {
    slow_world_of(100).await
}

async fn slow_world_of(tokens: u32) -> World {
    World::with(|setup| {
        setup.mock.interval = Duration::from_millis(20);
        setup.mock.tokens = tokens;
    })
    .await
}

/// A stream of this key that has begun to arrive.
async fn running_stream(world: &World, key: &str) -> JoinHandle<Answer> {
    let before = world.mock.requests().len();
    let streaming = tokio::spawn(world.chat(key, true).send());
    eventually(|| world.mock.requests().get(before).cloned().filter(|seen| seen.sent_at.len() > 3)).await;
    streaming
}

fn assert_complete(answer: &Answer) {
    assert!(answer.text().ends_with("data: [DONE]\n\n") && !answer.text().contains("keeptrusts:"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scoped_key_may_use_what_it_names_and_is_told_what_it_may_not() {
    let mut world = World::start().await;
    let scope = ["--models", "gpt-4o*,fast", "--endpoints", "chat/completions,models", "--ips", "127.0.0.0/8"];
    let key = world.key_with("jane", &scope);
    assert_eq!(world.chat(&key, false).send().await.status, 200);
    let other = world.ask("POST", "/v1/chat/completions").key(&key).json(&chat_body("o3", false)).send().await;
    assert_eq!((other.status, other.code().as_str()), (403, "model_not_allowed"));
    assert!(other.message().contains("the key's models"), "{}", other.message());
    let messages =
        world.ask("POST", "/v1/messages").key(&key).json(&messages_body("claude-sonnet-5", false)).send().await;
    assert_eq!((messages.status, messages.json()["error"]["type"].as_str()), (403, Some("permission_error")));
    let listed = world.ask("GET", "/v1/models").key(&key).send().await.json();
    let ids: Vec<&str> = listed["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"fast") && ids.iter().all(|id| id.starts_with("gpt-4o") || *id == "fast"), "{ids:?}");
    let me = world.ask("GET", "/keeptrusts/me").key(&key).send().await.json();
    assert_eq!(me["permissions"]["key"]["models"], json!(["gpt-4o*", "fast"]));
    // Nothing of what was refused reached a provider, and each refusal is on record.
    assert_eq!(world.mock.totals().requests, 1);
    let reasons: Vec<Value> = world.events_after(4).await.iter().map(|event| event["reason"].clone()).collect();
    assert!(reasons.contains(&json!("model_not_allowed")) && reasons.contains(&json!("endpoint_not_allowed")));
    for (model, allowed) in [("gpt-4o-mini", true), ("o3", false)] {
        let explained = world.kt(&["explain", "--key", "jane", "--model", model, "--address", "127.0.0.1", "--json"]);
        assert_eq!(explained.json()["allowed"], allowed, "{model}: {}", explained.stdout());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tightest_of_key_team_and_organization_wins() {
    let mut world = World::with(|setup| setup.more = "access: {models: [\"gpt-*\", fast]}".into()).await;
    world.kt(&["teams", "create", "--name", "frontend"]).succeeded();
    world.kt(&["teams", "update", "frontend", "--models", "gpt-4o*,o3"]).succeeded();
    let key = world.key_with("jane", &["--team", "frontend"]);
    for (model, scope) in
        [("gpt-4o-mini", None), ("gpt-5", Some("the team's models")), ("o3", Some("the organization's models"))]
    {
        let answer = world.ask("POST", "/v1/chat/completions").key(&key).json(&chat_body(model, false)).send().await;
        match scope {
            None => assert_eq!(answer.status, 200, "{model}"),
            Some(scope) => {
                assert_eq!(answer.code(), "model_not_allowed", "{model}");
                assert!(answer.message().contains(scope), "{}", answer.message());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_breaks_nothing_until_its_overlap_ends() {
    let mut world = slow_world_of(250).await;
    let old = world.key("jane");
    let on_old = running_stream(&world, &old).await;
    let rotated = world.kt(&["keys", "rotate", "jane", "--overlap", "3s", "--json"]).succeeded().json();
    let new = rotated["key"].as_str().unwrap().to_owned();
    world.keep_secret(&new);
    assert_eq!(world.chat(&old, false).send().await.status, 200, "both texts work");
    assert_eq!(world.chat(&new, false).send().await.status, 200);
    let listed = world.kt(&["keys", "list", "--state", "rotated", "--json"]).succeeded().json();
    assert_eq!(listed[0]["name"], "jane");
    let shown = world.kt(&["keys", "show", "jane", "--json"]).succeeded().json();
    let is_used = |text: &Value| text["last_address"] == "127.0.0.1" && text["last_used_at"].is_string();
    assert!(shown["secrets"].as_array().unwrap().iter().all(is_used), "{shown}");
    let on_new = running_stream(&world, &new).await;
    let ended = on_old.await.unwrap();
    assert!(ended.text().contains("[keeptrusts: key_expired:"), "{}", ended.text());
    assert_complete(&on_new.await.unwrap());
    assert_eq!(world.chat(&old, false).send().await.code(), "key_expired");
    assert_eq!(world.chat(&new, false).send().await.status, 200);
    let shown = world.kt(&["keys", "show", "jane"]).succeeded().stdout();
    assert!(shown.contains(&old[..10]) && shown.contains(&new[..10]) && !shown.contains(&new), "{shown}");
    let none: Vec<Value> =
        world.events_after(2).await.into_iter().filter(|event| event["key"]["name"] != "jane").collect();
    assert!(none.is_empty(), "both texts are one key: {none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_without_overlap_ends_the_old_text_at_once() {
    let mut world = slow_world().await;
    let old = world.key("jane");
    let on_old = running_stream(&world, &old).await;
    let rotated = world.kt(&["keys", "rotate", "jane", "--overlap", "0s"]).succeeded();
    let new = rotated.stdout().trim().to_owned();
    world.keep_secret(&new);
    assert!(rotated.stderr().contains("the old secret no longer works"), "{}", rotated.stderr());
    assert_eq!(world.chat(&old, false).send().await.code(), "key_expired");
    assert_eq!(world.chat(&new, false).send().await.status, 200);
    assert!(on_old.await.unwrap().text().contains("was rotated"));
}

#[tokio::test(flavor = "multi_thread")]
async fn changing_a_key_disturbs_no_running_request() {
    let mut world = slow_world().await;
    let key = world.key("jane");
    let streaming = running_stream(&world, &key).await;
    world.kt(&["keys", "update", "jane", "--models", "gpt-5*", "--name", "jane-2", "--expires", "1d"]).succeeded();
    assert_eq!(world.chat(&key, false).send().await.code(), "model_not_allowed");
    assert_complete(&streaming.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_team_stops_at_once_and_can_go_on() {
    let mut world = slow_world().await;
    world.kt(&["teams", "create", "--name", "frontend"]).succeeded();
    let (key, other) = (world.key_with("jane", &["--team", "frontend"]), world.key("joe"));
    let (streaming, undisturbed) = (running_stream(&world, &key).await, running_stream(&world, &other).await);
    world.kt(&["teams", "suspend", "frontend"]).succeeded();
    let cut = streaming.await.unwrap();
    assert!(cut.text().contains("[keeptrusts: team_suspended:"), "{}", cut.text());
    let refused = world.chat(&key, false).send().await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "team_suspended"));
    world.kt(&["teams", "resume", "frontend"]).succeeded();
    assert_eq!(world.chat(&key, false).send().await.status, 200);
    assert_complete(&undisturbed.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_expires_while_it_streams_ends_its_stream() {
    let mut world = slow_world_of(500).await;
    let key = world.key_with("brief", &["--expires", "3s"]);
    let streaming = running_stream(&world, &key).await;
    let answer = streaming.await.unwrap();
    assert!(answer.text().contains("[keeptrusts: key_expired:"), "{}", answer.text());
    assert_eq!(world.events_after(2).await[1]["reason"], "key_expired");
}
