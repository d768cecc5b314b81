//! What is sent again and again after its answer has ended badly is stopped, and nothing else.

use futures::future::join_all;
use serde_json::json;

use crate::harness::{Answer, World, chat_body, eventually};

/// The default limits of these tests, besides the number of repeats.
fn repeats(allowed: &str) -> String {
    format!("limits: {{concurrency: 100000, budget: {{usd: 1000, per: day}}, repeats: {allowed}}}")
}

async fn again(world: &World, key: &str, fault: &str) -> Answer {
    world.chat(key, true).header("x-mock-fault", fault).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_sends_a_broken_stream_again_and_again_is_stopped() {
    let mut world = World::start().await;
    let (jane, kim) = (world.key("jane"), world.key("kim"));
    assert_eq!(again(&world, &jane, "cut:2").await.status, 200);
    // Its end is noted before it is on record.
    world.events_after(2).await;
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(again(&world, &jane, "cut:2").await.status);
    }
    assert_eq!(statuses, [200; 20]);
    for _ in 0..5 {
        let answer = again(&world, &jane, "cut:2").await;
        assert_eq!((answer.status, answer.code().as_str()), (429, "repeats_limited"), "{}", answer.text());
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert!((1..=10).contains(&answer.header("retry-after").unwrap().parse::<u32>().unwrap()));
        let message = answer.message();
        assert!(message.contains("This same request was sent more than 20 times within ten seconds"), "{message}");
    }
    // Other requests of the key, and the same one of other keys, are nobody's business.
    assert_eq!(world.chat(&jane, false).send().await.status, 200);
    assert_eq!(again(&world, &kim, "cut:2").await.status, 200);
    assert_eq!(world.metric("keeptrusts_refusals_total{code=\"repeats_limited\""), 5.0);
    let events = world.events();
    let refused = events.iter().filter(|event| event["reason"] == "repeats_limited");
    assert!(refused.clone().all(|event| event["phase"] == "INPUT" && event["verdict"] == "DENY"));
    assert_eq!(refused.count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_swarm_of_repeats_costs_has_a_bound() {
    let mut world = World::with(|setup| setup.more = repeats("3")).await;
    let key = world.key("jane");
    assert_eq!(again(&world, &key, "eof:2").await.status, 200);
    world.events_after(2).await;
    let answers = join_all((0..50).map(|_| again(&world, &key, "eof:2"))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 3);
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 47);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_whole_answers_may_be_equal() {
    let mut world = World::with(|setup| setup.more = repeats("3")).await;
    let key = world.key("jane");
    for stream in [true, false] {
        let answers = join_all((0..60).map(|_| world.chat(&key, stream).send())).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
    }
    // A provider that says no has answered.
    for _ in 0..10 {
        assert_eq!(again(&world, &key, "status:500").await.status, 500);
    }
    // One that broke off is suspicious until it has answered in full.
    assert_eq!(again(&world, &key, "cut:2").await.status, 200);
    let is_noted = || world.events().iter().any(|event| event["ended"] == "upstream_failed").then_some(());
    eventually(is_noted).await;
    for _ in 0..30 {
        assert_eq!(again(&world, &key, "none").await.status, 200);
    }
    let mut other = chat_body("gpt-4o-mini", true);
    other["user"] = json!("somebody");
    assert_eq!(world.ask("POST", "/v1/chat/completions").key(&key).json(&other).send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_can_be_switched_off() {
    let mut world = World::with(|setup| setup.more = repeats("1")).await;
    let key = world.key("jane");
    assert_eq!(again(&world, &key, "cut:2").await.status, 200);
    world.events_after(2).await;
    let statuses = [again(&world, &key, "cut:2").await.status, again(&world, &key, "cut:2").await.status];
    assert_eq!(statuses, [200, 429]);
    world.rewrite(|text| text.replace("repeats: 1", "repeats: off"));
    world.kt(&["config", "reload"]).succeeded();
    for _ in 0..30 {
        assert_eq!(again(&world, &key, "cut:2").await.status, 200);
    }
}
