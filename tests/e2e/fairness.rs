//! A provider that is asked only so many requests at once is shared fairly by those who wait for it.

use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::harness::{Answer, World, eventually};

/// A provider with one slot that takes `first` for an answer.
async fn one_slot(first: Duration, more: &str) -> World {
    World::with(|setup| {
        setup.mock.first = first;
        let openai = format!("kind: openai, base_url: \"{{mock}}\", api_key: {{env: TEST_OPENAI_KEY}}, {more}");
        setup.providers = Some(format!("providers:\n  openai: {{{openai}}}\n"));
    })
    .await
}

fn is_waiting(world: &World, count: f64) -> Option<()> {
    (world.metric("keeptrusts_provider_queue_length{") == count).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swarm_does_not_starve_a_single_request() {
    // Long enough that what else the machine does hardly shows.
    let mut world = one_slot(Duration::from_millis(120), "concurrency: 1").await;
    let (swarm, single) = (world.key("swarm"), world.key("single"));
    let ask = async || {
        let begun = Instant::now();
        assert_eq!(world.chat(&single, false).send().await.status, 200);
        begun.elapsed()
    };
    let mut alone = Vec::new();
    for _ in 0..5 {
        alone.push(ask().await);
    }
    alone.sort();
    let one = alone[alone.len() / 2];
    let many: Vec<_> = (0..100).map(|at| tokio::spawn(world.chat(&swarm, at % 2 == 0).send())).collect();
    eventually(|| (world.metric("keeptrusts_provider_queue_length{") >= 90.0).then_some(())).await;
    let mut beside = Vec::new();
    for _ in 0..20 {
        beside.push(ask().await);
    }
    assert!(world.metric("keeptrusts_provider_queue_length{") > 50.0, "the swarm was through too early");
    // The rest of it need not be waited for.
    world.rewrite(|text| text.replace("concurrency: 1}", "concurrency: 100}"));
    world.kt(&["config", "reload"]).succeeded();
    assert!(join_all(many).await.into_iter().all(|answer| answer.unwrap().status == 200));
    beside.sort();
    let wait = beside[(beside.len() * 95).div_ceil(100) - 1].saturating_sub(one);
    println!("one answer takes {one:?}; beside a swarm of 100 the p95 wait is {wait:?}");
    assert!(wait <= 2 * one, "one answer takes {one:?}, the p95 wait was {wait:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_has_an_end_and_says_so() {
    let mut world = one_slot(Duration::from_millis(1500), "concurrency: 1, queue: 2, queue_time: 300ms").await;
    let key = world.key("jane");
    let answers: Vec<Answer> = join_all((0..4).map(|_| world.chat(&key, false).send())).await;
    let mut texts = Vec::new();
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
        assert!((1..=60).contains(&answer.header("retry-after").unwrap().parse::<u32>().unwrap()));
        assert_eq!(answer.header("x-should-retry"), None);
        texts.push(answer.message());
    }
    texts.sort();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[0].contains("The provider openai is asked at most 1 requests at once, and 2 wait already."));
    assert!(texts[1..].iter().all(|text| text.contains("this one has waited 0.3 seconds")), "{texts:?}");
    assert_eq!(world.metric("keeptrusts_provider_queue_wait_seconds_count{"), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_go_on_or_leaves_waits_no_longer() {
    let mut world = one_slot(Duration::from_millis(1500), "concurrency: 1").await;
    let keys = ["running", "revoked", "left"].map(|name| world.key(name));
    let asks = keys.clone().map(|key| world.chat(&key, false));
    let [running, revoked, left] = asks;
    let running = tokio::spawn(running.send());
    eventually(|| (world.metric("keeptrusts_requests_active") == 1.0).then_some(())).await;
    let revoked = tokio::spawn(revoked.send());
    let left = tokio::spawn(left.send());
    eventually(|| is_waiting(&world, 2.0)).await;
    left.abort();
    eventually(|| is_waiting(&world, 1.0)).await;
    let begun = Instant::now();
    world.kt(&["keys", "revoke", "revoked"]).succeeded();
    let answer = revoked.await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (401, "key_revoked"));
    assert!(begun.elapsed() < Duration::from_millis(1000), "{:?}", begun.elapsed());
    assert!(is_waiting(&world, 0.0).is_some() && !running.is_finished());
    assert_eq!(running.await.unwrap().status, 200);
    let events = world.events_after(4).await;
    for (name, reason) in [("revoked", "key_revoked"), ("left", "client_closed")] {
        let own: Vec<_> = events.iter().filter(|event| event["key"]["name"] == name).collect();
        assert_eq!((own.len(), own[0]["reason"].as_str()), (1, Some(reason)), "{own:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_widens_the_way_for_those_who_wait() {
    let mut world = one_slot(Duration::from_millis(700), "concurrency: 1").await;
    let key = world.key("jane");
    let asks: Vec<_> = (0..6).map(|_| tokio::spawn(world.chat(&key, false).send())).collect();
    eventually(|| is_waiting(&world, 5.0)).await;
    let begun = Instant::now();
    world.rewrite(|text| text.replace("concurrency: 1}", "concurrency: 10}"));
    world.kt(&["config", "reload"]).succeeded();
    for answer in join_all(asks).await {
        assert_eq!(answer.unwrap().status, 200);
    }
    assert!(begun.elapsed() < Duration::from_millis(3000), "{:?}", begun.elapsed());
    let slots = "keeptrusts_limit_utilization_ratio{limit=\"concurrency\",name=\"openai\"";
    eventually(|| (world.metric(slots) == 0.0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heavier_key_gets_more_turns() {
    let mut world = one_slot(Duration::from_millis(20), "concurrency: 1").await;
    world.kt(&["teams", "create", "--name", "ops", "--weight", "3"]).succeeded();
    let (light, heavy) = (world.key("light"), world.key_with("heavy", &["--team", "ops"]));
    let run = async |key: &str| {
        join_all((0..40).map(|_| async { (world.chat(key, false).send().await, Instant::now()) })).await
    };
    let (light, heavy) = tokio::join!(run(&light), run(&heavy));
    let done = heavy.iter().map(|(_, at)| *at).max().unwrap();
    let before = light.iter().filter(|(_, at)| *at <= done).count();
    assert!((8..=20).contains(&before), "{before} of 40 light ones were through when the heavy ones were");
}
