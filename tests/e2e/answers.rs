//! Each endpoint, plain: the answer arrives untouched, the provider is asked properly, the books say what it was.

use serde_json::json;

use crate::harness::{ANTHROPIC_CANARY, Answer, Ask, OPENAI_CANARY, World, chat_body, messages_body};

/// The answer through the gateway is the answer of the provider, to the byte.
fn assert_same_body(through: &Answer, world: &World) {
    let seen = world.mock.requests();
    let answered = seen.last().unwrap().answered.unwrap();
    assert_eq!((through.sha256(), through.body().len() as u64), (answered.sha256, answered.length));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_completion_is_forwarded_metered_and_attributed() {
    let mut world = World::start().await;
    world.kt(&["teams", "create", "--name", "frontend"]).succeeded();
    let key = world.key_with("jane-vscode", &["--team", "frontend"]);
    let body = chat_body("gpt-4o-mini-cached-reason", false);
    let answer = world.ask("POST", "/v1/chat/completions").key(&key).json(&body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_same_body(&answer, &world);
    assert_eq!(answer.header("x-keeptrusts-verdict"), Some("PASS"));
    assert!(answer.header("server-timing").unwrap().starts_with("kt;dur="));

    let seen = world.mock.requests().pop().unwrap();
    assert_eq!(seen.body, serde_json::to_vec(&body).unwrap(), "the provider gets the caller's bytes");
    assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {OPENAI_CANARY}")));
    assert_eq!(seen.header("host"), Some(&*world.mock.address().to_string()));

    let events = world.events_after(2).await;
    let (input, output) = (&events[0], &events[1]);
    assert_eq!((&input["phase"], &input["verdict"]), (&json!("INPUT"), &json!("PASS")));
    assert_eq!((&input["key"]["name"], &input["team"]), (&json!("jane-vscode"), &json!("frontend")));
    assert_eq!((&output["status"], &output["ended"]), (&json!(200), &json!("complete")));
    let reported = seen.reported.unwrap();
    let usage = &output["usage"];
    assert_eq!(usage["input"], json!(reported.input));
    assert_eq!(usage["cache_read"], json!(reported.cache_read));
    assert_eq!((&usage["output"], &usage["reasoning"]), (&json!(reported.output), &json!(reported.reasoning)));
    assert_eq!((&usage["source"], &usage["complete"]), (&json!("provider"), &json!(true)));
    assert_eq!(Some(input["request_id"].as_str().unwrap()), answer.header("x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_answers_as_the_provider_does() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let cases = [
        ("/v1/chat/completions", chat_body("gpt-4o-mini", false)),
        ("/v1/responses", json!({"model": "gpt-4o", "input": "Say something."})),
        ("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": ["a", "b"]})),
        ("/v1/messages?beta=true", messages_body("claude-sonnet-5", false)),
        (
            "/v1/messages/count_tokens",
            json!({"model": "claude-sonnet-5", "messages": [{"role": "user", "content": "x"}]}),
        ),
        ("/openai/v1/chat/completions", chat_body("gpt-4o-mini", false)),
    ];
    for (path, body) in &cases {
        let ask = world.ask("POST", path).key(&key).header("anthropic-version", "2023-06-01").json(body);
        let answer = ask.send().await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_same_body(&answer, &world);
        let seen = world.mock.requests().pop().unwrap();
        assert_eq!(seen.target, path.trim_start_matches("/openai"), "the path without the provider's name");
        assert_eq!(seen.body, serde_json::to_vec(body).unwrap());
    }
    let events = world.events_after(2 * cases.len()).await;
    let totals = world.mock.totals();
    let sum = |member: &str| events.iter().filter_map(|event| event["usage"][member].as_u64()).sum::<u64>();
    assert_eq!((sum("input"), sum("output")), (totals.tokens.input, totals.tokens.output));
    let outputs: Vec<_> = events.iter().filter(|event| event["phase"] == "OUTPUT").collect();
    for output in &outputs {
        let free = output["endpoint"] == "messages/count_tokens";
        assert_eq!(output["usage"]["source"], if free { "none" } else { "provider" }, "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_and_written_tokens_of_anthropic_are_told_apart_and_priced() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let body = messages_body("claude-sonnet-5-cached-cachewrite", false);
    let answer = world.ask("POST", "/v1/messages").header("x-api-key", &key).json(&body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = world.mock.requests().pop().unwrap();
    assert_eq!(seen.header("x-api-key"), Some(ANTHROPIC_CANARY));
    assert_eq!(seen.header("authorization"), None);
    let reported = seen.reported.unwrap();
    let usage = world.events_after(2).await[1]["usage"].clone();
    for (member, count) in [
        ("input", reported.input),
        ("cache_read", reported.cache_read),
        ("cache_write", reported.cache_write),
        ("cache_write_long", reported.cache_write_long),
        ("output", reported.output),
    ] {
        assert_eq!(usage[member], json!(count), "{member}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cost_is_tokens_times_the_price_table() {
    let mut world = World::start().await;
    let key = world.key("jane");
    assert_eq!(world.chat(&key, false).send().await.status, 200);
    let output = world.events_after(2).await.pop().unwrap();
    // gpt-4o-mini: $0.15 in and $0.60 out per million tokens, so 150 and 600 nano-USD a token.
    let usage = |member: &str| output["usage"][member].as_u64().unwrap();
    let expected = usage("input") * 150 + usage("output") * 600;
    assert_eq!(output["cost_nano_usd"], json!(expected));
    let series = "keeptrusts_cost_usd_total{key=\"jane\",model=\"gpt-4o-mini\",provider=\"openai\",team=\"none\"}";
    assert!((world.metric(series) * 1e9 - expected as f64).abs() < 0.5);
    let requests = "keeptrusts_requests_total{key=\"jane\",model=\"gpt-4o-mini\",provider=\"openai\",status=\"200\",team=\"none\"}";
    assert_eq!(world.metric(requests), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_renamed_for_the_provider_and_nothing_else_changes() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let body = br#"{ "messages":[{"role":"user","content":"fast"}],  "model" : "fast" , "n":1.0}"#;
    let answer = world.ask("POST", "/v1/chat/completions").key(&key).body(&body[..]).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = world.mock.requests().pop().unwrap();
    let expected = String::from_utf8_lossy(body).replace("\"model\" : \"fast\"", "\"model\" : \"gpt-4o-mini\"");
    assert_eq!(String::from_utf8_lossy(&seen.body), expected);
    let output = world.events_after(2).await.pop().unwrap();
    assert_eq!(output["model_requested"], "fast");
    assert!(output["cost_nano_usd"].as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_header_a_client_may_use_is_accepted_and_none_is_passed_on() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let bearer = format!("Bearer {key}");
    for headers in [
        vec![("authorization", bearer.as_str())],
        vec![("x-api-key", key.as_str())],
        vec![("api-key", key.as_str())],
        vec![("x-goog-api-key", key.as_str())],
        vec![("authorization", bearer.as_str()), ("x-api-key", key.as_str())],
        vec![("authorization", "Bearer sk-ant-of-the-caller"), ("x-api-key", key.as_str())],
    ] {
        let ask = world.ask("POST", "/v1/chat/completions").json(&chat_body("gpt-4o-mini", false));
        let ask = headers.iter().fold(ask, |ask: Ask, (name, value)| ask.header(name, value));
        let answer = ask.header("connection", "close, authorization").send().await;
        assert_eq!(answer.status, 200, "{headers:?}: {}", answer.text());
        let seen = world.mock.requests().pop().unwrap();
        let expected = format!("Bearer {OPENAI_CANARY}");
        let credentials: Vec<_> =
            seen.headers.iter().filter(|(_, value)| value.contains("kt_") || value.contains("sk-")).collect();
        assert_eq!(credentials.len(), 1, "{credentials:?}");
        assert_eq!(credentials[0].1, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_in_the_dialect_that_asks() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let openai = world.ask("GET", "/v1/models").key(&key).send().await.json();
    let ids = |list: &serde_json::Value| -> Vec<String> {
        list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(openai["object"], "list");
    assert!(ids(&openai).contains(&"fast".into()) && ids(&openai).contains(&"gpt-4o-mini".into()));
    assert!(!ids(&openai).iter().any(|id| id.starts_with("claude") || id.starts_with("gemini")), "{openai}");
    let anthropic = world.ask("GET", "/v1/models?limit=1000").key(&key).header("anthropic-version", "2023-06-01");
    let anthropic = anthropic.send().await.json();
    assert_eq!(anthropic["has_more"], false);
    assert!(ids(&anthropic).iter().all(|id| id.starts_with("claude")), "{anthropic}");
    let events = world.events_after(4).await;
    assert!(events.iter().all(|event| event["endpoint"] == "models"), "{events:?}");
    assert_eq!(world.mock.totals().requests, 0, "the gateway answers by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_key_is_answered_without_one() {
    let world = World::start().await;
    for (method, path) in [("HEAD", "/api/hello"), ("GET", "/api/hello"), ("GET", "/healthz")] {
        assert_eq!(world.ask(method, path).send().await.status, 200, "{method} {path}");
    }
    assert!(world.events().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_request_id_is_kept_and_the_providers_is_still_told() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let answer = world.chat(&key, false).header("x-request-id", "trace-42").send().await;
    assert_eq!(answer.header("x-request-id"), Some("trace-42"));
    assert!(answer.header("x-upstream-request-id").is_some(), "{:?}", answer.headers);
    let odd = world.chat(&key, false).header("x-request-id", "a b\"c").send().await;
    assert_ne!(odd.header("x-request-id"), Some("a b\"c"));
}
