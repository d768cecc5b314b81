//! Limits hold to the last request, whoever sets them, and say so.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Answer, Gateway, World, chat_body};

fn statuses(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

fn limit<'a>(limits: &'a Value, scope: &str, name: &str) -> &'a Value {
    let found = limits.as_array().unwrap().iter().find(|limit| limit["scope"] == scope && limit["limit"] == name);
    found.unwrap_or_else(|| panic!("no {name} of the {scope} in {limits}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_as_many_requests_pass_as_a_minute_allows() {
    let mut world = World::start().await;
    let key = world.key_with("jane", &["--rpm", "20"]);
    let answers = join_all((0..60).map(|_| world.chat(&key, false).send())).await;
    assert_eq!((statuses(&answers, 200), statuses(&answers, 429)), (20, 40));
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(refused.code(), "requests_limited");
    assert!(refused.message().contains("this key's limit of 20 requests a minute"), "{}", refused.message());
    assert_eq!(refused.header("x-should-retry"), None);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&wait), "{wait}");
    assert_eq!(refused.header("x-ratelimit-limit-requests"), Some("20"));
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), Some("0"));
    let passed = answers.iter().find(|answer| answer.status == 200).unwrap();
    assert_eq!(passed.header("x-ratelimit-limit-requests"), Some("20"));
    assert!(passed.header("x-ratelimit-reset-requests").is_some() && passed.header("retry-after").is_none());
    assert_eq!(world.metric("keeptrusts_refusals_total{code=\"requests_limited\""), 40.0);
    let wait = Duration::from_secs(wait);
    tokio::time::sleep(wait).await;
    assert_eq!(world.chat(&key, false).send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_requests_run_than_may_at_the_same_time() {
    let mut world = World::with(|setup| setup.mock.first = Duration::from_millis(700)).await;
    let key = world.key_with("jane", &["--concurrency", "7"]);
    for _ in 0..2 {
        let answers = join_all((0..30).map(|at| world.chat(&key, at % 2 == 0).send())).await;
        assert_eq!((statuses(&answers, 200), statuses(&answers, 429)), (7, 23));
        let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
        assert_eq!((refused.code().as_str(), refused.header("retry-after")), ("concurrency_limited", Some("1")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_come_back_whatever_ends_the_request() {
    let mut world = World::with(|setup| setup.mock.interval = Duration::from_millis(20)).await;
    let key = world.key_with("jane", &["--concurrency", "1", "--budget", "100usd/month"]);
    for fault in
        ["status:500", "html", "refuse", "reset", "reset:2", "cut:2", "eof:3", "mid-event:1", "length", "garbage"]
    {
        let ask = |fault: &str| world.chat(&key, true).header("x-mock-fault", fault);
        ask(fault).send().await;
        let answer = tokio::time::timeout(Duration::from_secs(5), async {
            loop {
                let answer = ask("none").send_until(|body| body.len() > 300).await;
                if answer.status == 200 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        answer.await.unwrap_or_else(|_| panic!("after {fault} the slot stayed taken"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_held_at_the_estimate_and_settled_at_what_was_used() {
    let mut world = World::with(|setup| setup.mock.tokens = 40).await;
    let key = world.key_with("jane", &["--tpm", "6000", "--output-tpm", "5000"]);
    let mut body = chat_body("gpt-4o-mini", false);
    body["max_tokens"] = json!(4000);
    let ask = |body: &Value| world.ask("POST", "/v1/chat/completions").key(&key).json(body);
    // Each is held at more than half of the limit, so that the second passes only because the first gave back.
    for _ in 0..3 {
        let answer = ask(&body).send().await;
        assert_eq!(
            (answer.status, answer.header("x-ratelimit-limit-tokens")),
            (200, Some("5000")),
            "{}",
            answer.text()
        );
    }
    let me = world.ask("GET", "/keeptrusts/me").key(&key).send().await.json();
    let left = limit(&me["limits"], "key", "output_tpm")["remaining"].as_f64().unwrap();
    assert!((4880.0..5000.0).contains(&left), "{left}");
    body["messages"][0]["content"] = "word ".repeat(6000).into();
    let answer = ask(&body).send().await;
    assert_eq!((answer.status, answer.code().as_str()), (429, "tokens_limited"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert!(answer.message().contains("This request alone may use"), "{}", answer.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tightest_of_key_team_and_organization_is_named() {
    let limits = "limits: {rpm: 5, models: {\"gpt-4o\": {rpm: 1}}}";
    let mut world = World::with(|setup| setup.more = limits.into()).await;
    world.kt(&["teams", "create", "--name", "frontend", "--rpm", "3"]).succeeded();
    let jane = world.key_with("jane", &["--team", "frontend", "--rpm", "2", "--rpm", "o3*=1"]);
    let kim = world.key_with("kim", &["--team", "frontend"]);
    let max = world.key("max");
    let ask = async |key: &str, model: &str| {
        world.ask("POST", "/v1/chat/completions").key(key).json(&chat_body(model, false)).send().await
    };
    assert_eq!((ask(&jane, "gpt-4o-mini").await.status, ask(&jane, "gpt-4o-mini").await.status), (200, 200));
    let refused = ask(&jane, "gpt-4o-mini").await;
    assert!(refused.message().contains("this key's limit of 2 requests"), "{}", refused.message());
    assert_eq!(ask(&kim, "gpt-4o-mini").await.status, 200);
    let refused = ask(&kim, "gpt-4o-mini").await;
    assert!(refused.message().contains("the team frontend's limit of 3 requests"), "{}", refused.message());
    assert_eq!(ask(&max, "gpt-4o").await.status, 200);
    let refused = ask(&max, "gpt-4o").await;
    let message = refused.message();
    assert!(message.contains("the organization's limit of 1 requests a minute for models gpt-4o"), "{message}");
    assert_eq!(ask(&max, "gpt-4o-mini").await.status, 200);
    let refused = ask(&max, "gpt-4o-mini").await;
    assert!(refused.message().contains("the organization's limit of 5 requests a minute."), "{}", refused.message());
    // Wider now; what was used stays used.
    world.kt(&["keys", "update", "jane", "--rpm", "none"]).succeeded();
    world.kt(&["teams", "update", "frontend", "--rpm", "1000"]).succeeded();
    assert!(ask(&jane, "gpt-4o-mini").await.message().contains("the organization's limit of 5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_the_same_figures() {
    let mut world = World::start().await;
    let flags =
        ["--rpm", "1", "--concurrency", "4", "--budget", "9usd/month", "--budget", "gpt-*=100000tokens/day:soft"];
    let key = world.key_with("jane", &flags);
    assert_eq!(world.chat(&key, false).send().await.status, 200);
    let cost = world.events_after(2).await[1]["cost_nano_usd"].as_u64().unwrap();
    let me = world.ask("GET", "/keeptrusts/me").key(&key).send().await.json();
    let explained = world.kt(&["explain", "--key", "jane", "--model", "gpt-4o-mini", "--json"]).succeeded().json();
    assert_eq!((explained["allowed"].clone(), explained["code"].clone()), (json!(false), json!("requests_limited")));
    let left = (9_000_000_000 - cost) as f64 / 1e9;
    for limits in [&me["limits"], &explained["limits"]] {
        let budget = limit(limits, "key", "9usd/month");
        assert_eq!((budget["remaining"].as_f64(), budget["reserved"].as_f64()), (Some(left), Some(0.0)), "{budget}");
        assert!(budget["resets_at"].as_str().unwrap().ends_with("-01T00:00:00.000Z"), "{budget}");
        assert_eq!(limit(limits, "key", "rpm")["remaining"], json!(0.0));
        assert_eq!(limit(limits, "key", "100000tokens/day:soft")["model"], "gpt-*");
    }
    let series =
        |metric: &str, limit: &str| format!("keeptrusts_{metric}{{limit=\"{limit}\",name=\"jane\",scope=\"key\"}}");
    assert_eq!(world.metric(&series("budget_remaining_usd", "9usd/month")), left);
    assert!(world.metric(&series("limit_utilization_ratio", "rpm")) >= 0.99);
    assert_eq!(world.metric(&series("limit_utilization_ratio", "concurrency")), 0.0);
    let shown = world.kt(&["keys", "show", "jane"]).succeeded().stdout();
    for fact in ["rpm       1\n", "budget    9usd/month\n", "budget    gpt-*=100000tokens/day:soft\n"] {
        assert!(shown.contains(fact), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_goes_on_after_a_start() {
    let mut world = World::start().await;
    world.kt(&["teams", "create", "--name", "frontend", "--budget", "5usd/week"]).succeeded();
    let flags = ["--team", "frontend", "--budget", "9usd/month", "--budget", "fas*=100000tokens/total"];
    let key = world.key_with("jane", &flags);
    for model in ["gpt-4o-mini", "fast"] {
        let answer = world.ask("POST", "/v1/chat/completions").key(&key).json(&chat_body(model, false)).send().await;
        assert_eq!(answer.status, 200);
    }
    let left = async |world: &World| {
        let me = world.ask("GET", "/keeptrusts/me").key(&key).send().await.json();
        let limits = [("key", "9usd/month"), ("team", "5usd/week"), ("organization", "1000000usd/month")];
        limits.map(|(scope, name)| limit(&me["limits"], scope, name)["remaining"].as_f64().unwrap())
    };
    let events = world.events_after(4).await;
    let cost: u64 = events.iter().filter_map(|event| event["cost_nano_usd"].as_u64()).sum();
    let expected = [9_000_000_000, 5_000_000_000, 1_000_000_000_000_000].map(|all: u64| (all - cost) as f64 / 1e9);
    assert_eq!(left(&world).await, expected);
    world.gateway.stop();
    world.gateway = Gateway::start(&world.config(), &world.data_dir()).await;
    assert_eq!(left(&world).await, expected);
    // The metrics began anew, and would be compared with all events.
    world.is_large = true;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_for_fifty_pays_for_no_more() {
    let mut world = World::with(|setup| setup.mock.first = Duration::from_millis(5)).await;
    let mut body = chat_body("gpt-4o-mini", true);
    body["max_tokens"] = json!(20);
    let measure = world.key("measure");
    let ask = |key: &str| world.ask("POST", "/v1/chat/completions").key(key).json(&body);
    assert_eq!(ask(&measure).send().await.status, 200);
    let each = world.events_after(2).await[1]["cost_nano_usd"].as_u64().unwrap();
    let budget = 50 * each;
    let text = format!("0.{budget:09}usd/day");
    let key = world.kt(&["keys", "create", "--name", "jane", "--budget", &text]).succeeded().stdout().trim().to_owned();
    // Whoever is told that it is only reserved comes again, as clients do.
    let client = async || {
        loop {
            let answer = ask(&key).send().await;
            match (answer.status, answer.status != 200 && answer.code() == "budget_reserved") {
                (200, _) => return true,
                (429, true) => tokio::time::sleep(Duration::from_millis(30)).await,
                (402, _) => return false,
                _ => panic!("{} {}", answer.status, answer.text()),
            }
        }
    };
    let passed = join_all((0..200).map(|_| client())).await.into_iter().filter(|passed| *passed).count();
    let shown = world.ask("GET", "/keeptrusts/me").key(&key).send().await.json();
    let left = (shown["limits"][0]["remaining"].as_f64().unwrap() * 1e9).round() as u64;
    assert_eq!(budget - left, passed as u64 * each, "{passed} passed");
    assert!((1..=50).contains(&passed), "{passed} passed");
    assert_eq!(shown["limits"][0]["reserved"], json!(0.0));
    // Those that came again make more events than are listed at once.
    world.is_large = true;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_it_has_used_up_a_budget() {
    let mut world = World::with(|setup| {
        setup.mock.tokens = 20_000;
        setup.mock.interval = Duration::from_micros(200);
    })
    .await;
    // Room for what is reserved at first, and for a little more: 4096 output tokens are unknown, 1024 input ones added.
    let key = world.key_with("jane", &["--budget", "6000tokens/day"]);
    let answer = world.chat(&key, true).send().await;
    assert_eq!((answer.status, answer.whole), (200, true));
    let text = answer.text();
    assert!(text.contains("[keeptrusts: budget_exceeded: ") && text.trim_end().ends_with("data: [DONE]"), "{text}");
    let event = world.events_after(2).await.remove(1);
    assert_eq!(
        (event["ended"].as_str(), event["reason"].as_str()),
        (Some("budget"), Some("budget_exceeded")),
        "{event}"
    );
    let spent = event["usage"]["output"].as_u64().unwrap() + event["usage"]["input"].as_u64().unwrap();
    assert!((5500..=6200).contains(&spent), "{event}");
    let refused = world.chat(&key, true).send().await;
    assert_eq!((refused.status, refused.code().as_str()), (402, "budget_exceeded"));
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert!(refused.message().contains("It begins anew at"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_answers_can_be_limited_by_size() {
    let mut world = World::start().await;
    let key = world.key_with("jane", &["--body-bytes-max", "1000", "--output-tokens-max", "gpt-4o*=100"]);
    let ask = |body: &Value| world.ask("POST", "/v1/chat/completions").key(&key).json(body);
    let mut body = chat_body("gpt-4o-mini", false);
    body["max_tokens"] = json!(101);
    let answer = ask(&body).send().await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "output_too_large"));
    assert!(answer.message().contains("this key's limit is 100"), "{}", answer.message());
    body["max_tokens"] = json!(100);
    assert_eq!(ask(&body).send().await.status, 200);
    body["padding"] = "x".repeat(1000).into();
    let answer = ask(&body).send().await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    assert!(answer.message().contains("this key's limit of 1000 bytes"), "{}", answer.message());
}
