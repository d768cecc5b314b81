//! Streams: event by event, nothing held back, nothing added that the client did not ask for.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, World, chat_body, eventually, messages_body};

fn with_usage(mut body: Value) -> Value {
    body["stream_options"] = json!({"include_usage": true});
    body
}

async fn same_stream_directly(world: &World, path: &str, body: &Value) -> Answer {
    world.direct("POST", path).json(body).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_asked_for_usage_passes_byte_for_byte() {
    let mut world = World::start().await;
    let key = world.key("jane");
    for (path, body) in [
        ("/v1/chat/completions", with_usage(chat_body("gpt-4o-mini", true))),
        ("/v1/responses", json!({"model": "gpt-4o", "stream": true, "input": "Say something."})),
        ("/v1/messages", messages_body("claude-sonnet-5-cached-cachewrite", true)),
    ] {
        let answer = world.ask("POST", path).key(&key).json(&body).send().await;
        assert_eq!((answer.status, answer.whole), (200, true), "{path}");
        let seen = world.mock.requests().pop().unwrap();
        assert_eq!(answer.sha256(), seen.answered.unwrap().sha256, "{path}");
        assert_eq!(seen.body, serde_json::to_vec(&body).unwrap(), "{path}");
    }
    let events = world.events_after(6).await;
    let totals = world.mock.totals();
    let sum = |member: &str| events.iter().filter_map(|event| event["usage"][member].as_u64()).sum::<u64>();
    assert_eq!((sum("input"), sum("output")), (totals.tokens.input, totals.tokens.output));
    assert_eq!(sum("cache_write_long"), totals.tokens.cache_write_long);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_that_the_client_did_not_ask_for_is_metered_and_taken_out_again() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let body = chat_body("gpt-4o-mini", true);
    let answer = world.ask("POST", "/v1/chat/completions").key(&key).json(&body).send().await;
    let asked: Value = serde_json::from_slice(&world.mock.requests().pop().unwrap().body).unwrap();
    assert_eq!(asked["stream_options"]["include_usage"], true);
    let chunks: Vec<Value> = answer
        .events()
        .iter()
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert!(chunks.iter().all(|chunk| chunk["choices"].as_array().is_some_and(|choices| !choices.is_empty())));
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none_or(Value::is_null)), "{}", answer.text());
    assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    let text = |answer: &Answer| -> String {
        let events = answer.events();
        let chunks = events.iter().filter_map(|data| serde_json::from_str::<Value>(data).ok());
        chunks.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
    };
    let direct = same_stream_directly(&world, "/v1/chat/completions", &body).await;
    assert_eq!(text(&answer), text(&direct));
    let output = world.events_after(2).await.pop().unwrap();
    assert_eq!(output["usage"]["source"], "provider");
    assert!(output["usage"]["output"].as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_waits_for_a_later_one() {
    let mut world = World::with(|setup| setup.mock.interval = Duration::from_millis(20)).await;
    let key = world.key("jane");
    for body in [chat_body("gpt-4o-mini", true), with_usage(chat_body("gpt-4o-mini", true))] {
        // An event that is held back is late every time; one that met a busy machine is not.
        let mut late = Vec::new();
        for _attempt in 0..5 {
            let answer = world.ask("POST", "/v1/chat/completions").key(&key).json(&body).send().await;
            late = late_events(&answer, &world.mock.requests().pop().unwrap().sent_at);
            if late.is_empty() {
                break;
            }
        }
        assert!(late.is_empty(), "events {late:?} arrived after the provider had sent the next one");
    }
}

/// The events that were not in the client's hands when the provider sent the one after them.
fn late_events(answer: &Answer, sent_at: &[Instant]) -> Vec<usize> {
    let arrived = arrivals(answer);
    let pairs = arrived.iter().zip(sent_at.iter().skip(1)).take(arrived.len() - 2).enumerate();
    pairs.filter(|(_, (arrived, sent_next))| arrived >= sent_next).map(|(event, _)| event).collect()
}

/// When each event was complete in the client's hands.
fn arrivals(answer: &Answer) -> Vec<Instant> {
    let mut text = String::new();
    let mut arrived = Vec::new();
    for (at, piece) in &answer.pieces {
        text.push_str(&String::from_utf8_lossy(piece));
        arrived.resize(text.matches("\n\n").count(), *at);
    }
    arrived
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_is_charged_what_it_saw() {
    let mut world = World::with(|setup| {
        setup.mock.interval = Duration::from_millis(20);
        setup.mock.tokens = 500;
    })
    .await;
    let key = world.key("jane");
    let three = |body: &[u8]| String::from_utf8_lossy(body).matches("\n\n").count() >= 5;
    world.chat(&key, true).send_until(three).await;
    let output = world.events_after(2).await.pop().unwrap();
    assert_eq!((&output["ended"], &output["usage"]["source"]), (&json!("client_closed"), &json!("estimated")));
    assert_eq!(output["usage"]["complete"], false);
    let (input, made) = (output["usage"]["input"].as_u64().unwrap(), output["usage"]["output"].as_u64().unwrap());
    assert!(input > 0 && made > 0 && made < 100, "{output}");
    assert!(output["cost_nano_usd"].as_u64().unwrap() > 0);
    eventually(|| world.mock.requests().pop().filter(|seen| seen.client_gone)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_after_the_last_word_is_no_hanging_up() {
    let mut world = World::start().await;
    let key = world.key("jane");
    for (path, body, last) in [
        ("/v1/chat/completions", with_usage(chat_body("gpt-4o-mini", true)), "data: [DONE]\n\n"),
        ("/v1/messages", messages_body("claude-sonnet-5", true), "event: message_stop"),
        ("/v1/responses", json!({"model": "gpt-4o", "stream": true, "input": "x"}), "event: response.completed"),
    ] {
        let ended = move |body: &[u8]| {
            let text = String::from_utf8_lossy(body);
            text.find(last).is_some_and(|at| text[at..].contains("\n\n"))
        };
        world.ask("POST", path).key(&key).json(&body).send_until(ended).await;
    }
    for output in world.events_after(6).await.iter().filter(|event| event["phase"] == "OUTPUT") {
        assert_eq!(
            (&output["ended"], &output["usage"]["source"]),
            (&json!("complete"), &json!("provider")),
            "{output}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_cut_anywhere_by_the_network_arrive_whole() {
    let mut world = World::with(|setup| setup.mock.fault = Some("split".parse().unwrap())).await;
    let key = world.key("jane");
    for (path, body) in [
        ("/v1/chat/completions", chat_body("gpt-4o-mini", true)),
        ("/v1/chat/completions", with_usage(chat_body("gpt-4o-mini", true))),
        ("/v1/messages", messages_body("claude-sonnet-5", true)),
    ] {
        let answer = world.ask("POST", path).key(&key).json(&body).send().await;
        assert!(answer.whole && !answer.events().is_empty());
    }
    for output in world.events_after(6).await.iter().filter(|event| event["phase"] == "OUTPUT") {
        assert_eq!(output["usage"]["source"], "provider", "{output}");
    }
}
