//! Two hundred clients at once, and processes that die: what is admitted is what the limits say, and nothing stays held.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Answer, Gateway, World, chat_body, eventually};

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// A limit of the key itself, by its name.
async fn standing(world: &World, key: &str, name: &str) -> Value {
    let me = world.ask("GET", "/keeptrusts/me").key(key).send().await.json();
    let limits = me["limits"].as_array().unwrap().iter();
    limits.clone().find(|limit| limit["scope"] == "key" && limit["limit"] == name).unwrap().clone()
}

/// Waits for the requests to be settled, which is a moment after their callers have the last byte.
async fn settled(world: &World) {
    eventually(|| (world.metric("keeptrusts_requests_active") == 0.0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_at_once_exactly_the_limit_passes() {
    let mut world = World::with(|setup| setup.mock.first = Duration::from_millis(1500)).await;
    // A rate so slow that nothing is refilled meanwhile.
    let rate = world.key_with("rate", &["--rpm", "1", "--burst", "50"]);
    let slots = world.key_with("slots", &["--concurrency", "50"]);
    let answers = join_all((0..200).map(|_| world.chat(&rate, false).send())).await;
    assert_eq!((count(&answers, 200), count(&answers, 429)), (50, 150));
    let answers = join_all((0..200).map(|at| world.chat(&slots, at % 2 == 0).send())).await;
    assert_eq!((count(&answers, 200), count(&answers, 429)), (50, 150));
    settled(&world).await;
    assert_eq!(standing(&world, &slots, "concurrency").await["remaining"], json!(50.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_max_tokens_a_budget_is_exceeded_by_no_more_than_its_bound() {
    const AT_ONCE: usize = 20;
    let mut world = World::with(|setup| {
        setup.mock.tokens = 3000;
        // As many as may run all run before the first has an end to learn from.
        setup.mock.first = Duration::from_millis(700);
    })
    .await;
    let flags = ["--concurrency", &AT_ONCE.to_string(), "--budget", "30000tokens/day"];
    let key = world.key_with("jane", &flags);
    // The key's answers have been short so far.
    let mut short = chat_body("gpt-4o-mini", false);
    short["max_tokens"] = json!(10);
    assert_eq!(world.ask("POST", "/v1/chat/completions").key(&key).json(&short).send().await.status, 200);
    let client = async || {
        loop {
            let answer = world.chat(&key, false).send().await;
            match answer.status {
                200 | 402 => return answer,
                429 => tokio::time::sleep(Duration::from_millis(30)).await,
                other => panic!("{other} {}", answer.text()),
            }
        }
    };
    let answers = join_all((0..200).map(|_| client())).await;
    settled(&world).await;
    let of_one = answers.iter().find(|answer| answer.status == 200).unwrap().json();
    let used = of_one["usage"]["total_tokens"].as_u64().unwrap();
    let body = chat_body("gpt-4o-mini", false).to_string().len() as u64;
    let reserved = body + 1024 + 10;
    let budget = standing(&world, &key, "30000tokens/day").await;
    let spent = world.metric("keeptrusts_tokens_total{") as u64;
    let bound = 30_000 + AT_ONCE as u64 * (used - reserved);
    println!("{} of 200 passed: {spent} tokens of 30000, at most {bound}", count(&answers, 200));
    assert!((30_000..=bound).contains(&spent), "{spent} tokens, {} passed", count(&answers, 200));
    assert_eq!((&budget["remaining"], &budget["reserved"]), (&json!(0.0), &json!(0.0)));
    // Those that came again make more events than are listed at once.
    world.is_large = true;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_threshold_is_told_by_one_event_whoever_comes_at_once() {
    let mut world = World::with(|setup| setup.mock.tokens = 20).await;
    world.kt(&["teams", "create", "--name", "frontend", "--budget", "gpt-*=500tokens/day:soft"]).succeeded();
    let key = world.key_with("jane", &["--team", "frontend", "--budget", "1000000tokens/day"]);
    let answers = join_all((0..60).map(|_| world.chat(&key, false).send())).await;
    assert_eq!(count(&answers, 200), 60, "a soft budget refuses nothing");
    let events = world.events_after(120).await;
    let told: Vec<&Value> = events.iter().filter_map(|event| event["thresholds"].as_array()).flatten().collect();
    let mut percents: Vec<u64> = told.iter().map(|threshold| threshold["percent"].as_u64().unwrap()).collect();
    percents.sort_unstable();
    assert_eq!(percents, [50, 80, 100], "{told:?}");
    for threshold in told {
        assert_eq!((&threshold["scope"], &threshold["name"]), (&json!("team"), &json!("frontend")));
        assert_eq!((&threshold["budget"], &threshold["model"]), (&json!("500tokens/day:soft"), &json!("gpt-*")));
    }
    let counted = "keeptrusts_budget_thresholds_total{budget=\"500tokens/day:soft\",name=\"frontend\",scope=\"team\"";
    assert_eq!(world.metric(counted), 3.0);
    assert_eq!(
        world.gateway.log().matches("% of the budget 500tokens/day:soft for models gpt-* of the team").count(),
        3
    );
    let tail = world.kt(&["events", "list", "--limit", "200"]).succeeded().stdout();
    assert_eq!(tail.matches(" budget:80%:team:frontend:500tokens/day:soft ").count(), 1, "{tail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_no_slot_taken_and_forgets_nothing_spent() {
    let mut world = World::with(|setup| {
        setup.mock.tokens = 100_000;
        setup.mock.interval = Duration::from_millis(2);
        let openai = "kind: openai, base_url: \"{mock}\", api_key: {env: TEST_OPENAI_KEY}, concurrency: 3";
        setup.providers = Some(format!("providers:\n  openai: {{{openai}}}\n"));
    })
    .await;
    let key = world.key_with("jane", &["--concurrency", "3", "--budget", "50usd/month"]);
    let mut body = chat_body("gpt-4o-mini", false);
    body["max_tokens"] = json!(10);
    let short = |world: &World| world.ask("POST", "/v1/chat/completions").key(&key).json(&body);
    assert_eq!(short(&world).send().await.status, 200);
    world.events_after(2).await;
    for _ in 0..3 {
        let running: Vec<_> = (0..3).map(|_| tokio::spawn(world.chat(&key, true).send())).collect();
        eventually(|| (world.metric("keeptrusts_streams_active") == 3.0).then_some(())).await;
        assert_eq!(world.chat(&key, true).send().await.code(), "concurrency_limited");
        assert!(standing(&world, &key, "50usd/month").await["reserved"].as_f64().unwrap() > 0.0);
        world.gateway.signal("KILL");
        world.gateway.wait(Duration::from_secs(10));
        running.iter().for_each(tokio::task::JoinHandle::abort);
        world.gateway = Gateway::start(&world.config(), &world.data_dir()).await;
        assert_eq!(standing(&world, &key, "concurrency").await["remaining"], json!(3.0));
        let answers = join_all((0..3).map(|_| short(&world).send())).await;
        assert_eq!(count(&answers, 200), 3);
        settled(&world).await;
        let budget = standing(&world, &key, "50usd/month").await;
        let events = world.events();
        let told: u64 = events.iter().filter_map(|event| event["cost_nano_usd"].as_u64()).sum();
        let spent = 50e9 - budget["remaining"].as_f64().unwrap() * 1e9;
        assert_eq!((spent.round() as u64, &budget["reserved"]), (told, &json!(0.0)), "what the events say is spent");
        assert!(told > 0);
    }
    // The metrics began anew, and would be compared with all events.
    world.is_large = true;
}
