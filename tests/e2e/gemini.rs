//! The Gemini API: the model in the path, streams with and without server-sent events, answers in its own shape.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, GEMINI_CANARY, World, contents_body, eventually};

fn embed() -> Value {
    json!({"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "Some text."}]}})
}

fn assert_same_body(through: &Answer, world: &World) {
    let answered = world.mock.requests().pop().unwrap().answered.unwrap();
    assert_eq!((through.sha256(), through.body().len() as u64), (answered.sha256, answered.length));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_passes_untouched_and_is_metered() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let flash = "/v1beta/models/gemini-3.8-flash-cached-reason";
    let cases = [
        (format!("{flash}:generateContent"), contents_body(), true),
        (format!("{flash}:streamGenerateContent?alt=sse"), contents_body(), true),
        (format!("{flash}:streamGenerateContent"), contents_body(), true),
        ("/v1/models/gemini-3.8-flash-tools:generateContent".into(), with_tools(contents_body()), true),
        ("/v1/models/gemini-3.8-flash-tools:streamGenerateContent?alt=sse".into(), with_tools(contents_body()), true),
        ("/v1beta/models/gemini-3.8-flash:countTokens".into(), contents_body(), false),
        ("/v1beta/models/gemini-embedding-001:embedContent".into(), embed(), true),
        (
            "/v1beta/models/gemini-embedding-001:batchEmbedContents".into(),
            json!({"requests": [embed(), embed()]}),
            true,
        ),
        ("/gemini/v1beta/models/gemini-3.8-flash:generateContent".into(), contents_body(), true),
    ];
    for (path, body, _) in &cases {
        let answer = world.ask("POST", path).header("x-goog-api-key", &key).json(body).send().await;
        assert_eq!((answer.status, answer.whole), (200, true), "{path}: {}", answer.text());
        assert_same_body(&answer, &world);
        let seen = world.mock.requests().pop().unwrap();
        assert_eq!(seen.target, path.trim_start_matches("/gemini"));
        assert_eq!(seen.header("x-goog-api-key"), Some(GEMINI_CANARY));
        assert_eq!((seen.header("authorization"), &seen.body[..]), (None, &*serde_json::to_vec(body).unwrap()));
    }
    let events = world.events_after(2 * cases.len()).await;
    let outputs: Vec<_> = events.iter().filter(|event| event["phase"] == "OUTPUT").collect();
    for (output, (path, _, is_metered)) in outputs.iter().zip(&cases) {
        assert_eq!(output["usage"]["source"], if *is_metered { "provider" } else { "none" }, "{output}");
        assert_eq!((&output["dialect"], &output["ended"]), (&json!("gemini"), &json!("complete")));
        assert_eq!(
            (output["stream"].as_bool(), &output["provider"]),
            (Some(path.contains("stream")), &json!("gemini"))
        );
        assert!(path.contains(&format!(":{}", output["endpoint"].as_str().unwrap())), "{output}");
    }
    let sum = |member: &str| outputs.iter().filter_map(|event| event["usage"][member].as_u64()).sum::<u64>();
    let tokens = world.mock.totals().tokens;
    let summed = ["input", "cache_read", "output", "reasoning"].map(sum);
    assert_eq!(summed, [tokens.input, tokens.cache_read, tokens.output, tokens.reasoning]);
}

fn with_tools(mut body: Value) -> Value {
    body["tools"] = json!([{"functionDeclarations": [{"name": "look_up"}]}]);
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_in_the_path_is_judged_and_an_alias_replaced_there() {
    let mut world = World::start().await;
    let key = world.key_with("jane", &["--models", "quick"]);
    let body = json!({"requests": [{"model": "models/quick", "content": {"parts": [{"text": "a"}]}}]});
    let ask = world.ask("POST", "/models/quick:batchEmbedContents").key(&key).json(&body);
    assert_eq!(ask.send().await.status, 200);
    let seen = world.mock.requests().pop().unwrap();
    assert_eq!(seen.target, "/v1beta/models/gemini-3.8-flash:batchEmbedContents");
    assert_eq!(serde_json::from_slice::<Value>(&seen.body).unwrap()["requests"][0]["model"], "models/gemini-3.8-flash");

    let ask = world.ask("POST", "/v1beta/models/gemini-2.5-pro:generateContent").key(&key).json(&contents_body());
    let refused = ask.send().await;
    let error = &refused.json()["error"];
    assert_eq!((refused.status, &error["code"], &error["status"]), (403, &json!(403), &json!("PERMISSION_DENIED")));
    assert_eq!(error["details"][0]["reason"], "model_not_allowed");
    assert_eq!(refused.header("x-should-retry"), Some("false"));

    let other = json!({"model": "models/gemini-2.5-pro", "content": {"parts": [{"text": "a"}]}});
    let refused = world.ask("POST", "/v1beta/models/quick:embedContent").key(&key).json(&other).send().await;
    assert_eq!((refused.status, &refused.json()["error"]["details"][0]["reason"]), (400, &json!("request_ambiguous")));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_lists_have_gemini_s_shape() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let path = "/v1beta/models/gemini-3.8-flash:generateContent";
    let status = |answer: &Answer| answer.json()["error"]["status"].clone();
    let missing = world.ask("POST", path).json(&contents_body()).send().await;
    assert_eq!((missing.status, status(&missing)), (401, json!("UNAUTHENTICATED")));
    let unknown = world.ask("POST", "/v1beta/files").key(&key).send().await;
    assert_eq!((unknown.status, status(&unknown)), (404, json!("NOT_FOUND")));
    let wrong = world.ask("GET", path).key(&key).send().await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    for query in ["key=AIzaSomebodys", "a=1&%6Bey=x", "access_token=x"] {
        let leaking = world.ask("POST", &format!("{path}?{query}")).key(&key).json(&contents_body()).send().await;
        assert_eq!((leaking.status, status(&leaking)), (400, json!("INVALID_ARGUMENT")), "{query}");
    }
    for path in ["/v1beta/models", "/v1/models"] {
        let listed = world.ask("GET", path).header("x-goog-api-key", &key).send().await.json();
        let names: Vec<_> = listed["models"].as_array().unwrap().iter().map(|model| model["name"].clone()).collect();
        assert!(
            names.contains(&json!("models/quick")) && names.contains(&json!("models/gemini-3.8-flash")),
            "{listed}"
        );
        assert!(!names.contains(&json!("models/gpt-4o")), "{listed}");
    }
    let one = world.ask("GET", "/v1beta/models/quick").key(&key).send().await.json();
    assert_eq!(one["displayName"], "quick");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_stream_ends_with_a_notice_in_either_form() {
    let mut world = World::with(|setup| {
        setup.mock.interval = Duration::from_millis(20);
        setup.mock.tokens = 2000;
    })
    .await;
    for (at, query) in ["?alt=sse", ""].into_iter().enumerate() {
        let name = format!("jane-{at}");
        let key = world.key(&name);
        let path = format!("/v1beta/models/gemini-3.8-flash:streamGenerateContent{query}");
        let streaming = tokio::spawn(world.ask("POST", &path).key(&key).json(&contents_body()).send());
        eventually(|| world.mock.requests().get(at).cloned().filter(|seen| seen.sent_at.len() > 5)).await;
        world.kt(&["keys", "revoke", &name]).succeeded();
        let answer = tokio::time::timeout(Duration::from_secs(3), streaming).await.unwrap().unwrap();
        assert!(answer.whole, "{}", answer.text());
        let chunks: Vec<Value> = match query {
            "" => serde_json::from_slice(&answer.body()).unwrap(),
            _ => events(&answer),
        };
        let last = &chunks.last().unwrap()["candidates"][0];
        let text = last["content"]["parts"][0]["text"].as_str().unwrap();
        assert!(text.contains("[keeptrusts: key_revoked:") && last["finishReason"] == "STOP", "{last}");
        assert!(!answer.text().lines().any(|line| line.starts_with(':') || line.starts_with("event")));
        let output = world.events_after(2 * at + 2).await.pop().unwrap();
        assert_eq!((&output["ended"], &output["usage"]["source"]), (&json!("revoked"), &json!("estimated")));
        assert!(output["usage"]["output"].as_u64().unwrap() >= 4, "never below what was reported: {output}");
    }
}

fn events(answer: &Answer) -> Vec<Value> {
    let text = answer.text().replace("\r\n", "\n");
    let data = text.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_midway_ends_the_stream_with_its_error() {
    let mut world = World::start().await;
    let key = world.key("jane");
    for query in ["?alt=sse", ""] {
        for fault in ["cut:3", "mid-event:3", "eof:3", "reset:3"] {
            let path = format!("/v1beta/models/gemini-3.8-flash:streamGenerateContent{query}");
            let ask = world.ask("POST", &path).key(&key).header("x-mock-fault", fault).json(&contents_body());
            let answer = ask.send().await;
            let chunks = match query {
                "" => serde_json::from_slice(&answer.body()).unwrap(),
                _ => events(&answer),
            };
            let error = &chunks.last().unwrap()["error"];
            assert_eq!((&error["code"], &error["status"]), (&json!(502), &json!("INTERNAL")), "{fault} {query}");
        }
    }
    let events = world.events_after(16).await;
    for output in events.iter().filter(|event| event["phase"] == "OUTPUT") {
        assert_eq!((&output["ended"], &output["usage"]["source"]), (&json!("upstream_failed"), &json!("estimated")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_after_the_last_chunk_is_no_hanging_up() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let path = "/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse";
    let ended = |body: &[u8]| {
        let text = String::from_utf8_lossy(body);
        text.find("\"finishReason\"").is_some_and(|at| text[at..].contains("\r\n\r\n"))
    };
    world.ask("POST", path).key(&key).json(&contents_body()).send_until(ended).await;
    let output = world.events_after(2).await.pop().unwrap();
    assert_eq!((&output["ended"], &output["usage"]["source"]), (&json!("complete"), &json!("provider")), "{output}");
}
