//! Azure OpenAI as a provider and as an API: deployments in the path, its own header, OpenAI's shapes.

use serde_json::{Value, json};

use crate::harness::{OPENAI_CANARY, World, chat_body};

async fn world(azure: &str) -> World {
    let azure = format!(
        "providers:
  azure-eu: {{kind: azure, base_url: \"{{mock}}\", api_key: {{env: TEST_OPENAI_KEY}}{azure}}}
  openai: {{kind: openai, base_url: \"{{mock}}\", api_key: {{env: TEST_OPENAI_KEY}}}}
models:
  - {{name: \"ours-*\", providers: [azure-eu]}}
  - {{name: fast, serves: gpt-4o-mini, providers: [azure-eu]}}
"
    );
    World::with(|setup| setup.providers = Some(azure)).await
}

fn stream_of(model: &str) -> Value {
    chat_body(model, true)
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_s_paths_become_deployments() {
    let mut world = world(", api_version: 2024-10-21, deployments: {gpt-4o-mini: our-mini}").await;
    let key = world.key("jane");
    let answer = world.ask("POST", "/v1/chat/completions").key(&key).json(&stream_of("fast")).send().await;
    assert_eq!((answer.status, answer.whole), (200, true), "{}", answer.text());
    assert!(
        answer.text().contains("prompt_filter_results") && !answer.text().contains("\"usage\""),
        "{}",
        answer.text()
    );
    let seen = world.mock.requests().pop().unwrap();
    assert_eq!(seen.target, "/openai/deployments/our-mini/chat/completions?api-version=2024-10-21");
    assert_eq!((seen.header("api-key"), seen.header("authorization")), (Some(OPENAI_CANARY), None));
    let output = world.events_after(2).await.pop().unwrap();
    assert_eq!((&output["provider"], &output["dialect"]), (&json!("azure-eu"), &json!("openai")));
    assert_eq!((&output["usage"]["source"], &output["model_served"]), (&json!("provider"), &json!("our-mini")));
    assert!(output["cost_nano_usd"].as_u64().unwrap() > 0, "priced as the model that the alias stands for: {output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_version_the_newer_interface_is_used() {
    let mut world = world(", deployments: {gpt-4o-mini: our-mini}").await;
    let key = world.key("jane");
    world.ask("POST", "/openai/v1/chat/completions").key(&key).json(&chat_body("ours-1", false)).send().await;
    // The provider that is called openai is addressed by its name.
    assert_eq!(world.mock.requests()[0].target, "/v1/chat/completions");
    let ask = world.ask("POST", "/azure-eu/v1/chat/completions").key(&key).json(&chat_body("fast", false));
    assert_eq!(ask.send().await.status, 200);
    let seen = world.mock.requests().pop().unwrap();
    assert_eq!(seen.target, "/openai/v1/chat/completions");
    assert_eq!(serde_json::from_slice::<Value>(&seen.body).unwrap()["model"], "our-mini");
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_s_clients_reach_whoever_serves_the_model() {
    let mut world = world("").await;
    let key = world.key_with("jane", &["--models", "our-*,ours-*,gpt-4o"]);
    let ask = |path: &str, body: &Value| world.ask("POST", path).header("api-key", &key).json(body);
    let version = "?api-version=2025-01-01-preview";
    let sent = chat_body("whatever", false);
    let answer = ask(&format!("/openai/deployments/our-gpt/chat/completions{version}"), &sent).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = world.mock.requests().pop().unwrap();
    assert_eq!(seen.target, format!("/openai/deployments/our-gpt/chat/completions{version}"));
    assert_eq!(seen.body, serde_json::to_vec(&sent).unwrap(), "Azure goes by the path");

    // Addressed to another provider, the path's name is the one that counts, too.
    let path = format!("/openai/openai/deployments/gpt-4o/chat/completions{version}");
    for body in [chat_body("gpt-5", false), json!({"messages": [{"role": "user", "content": "x"}]})] {
        assert_eq!(ask(&path, &body).send().await.status, 200);
        let seen = world.mock.requests().pop().unwrap();
        assert_eq!(seen.target, "/v1/chat/completions");
        assert_eq!(serde_json::from_slice::<Value>(&seen.body).unwrap()["model"], "gpt-4o");
    }
    let refused = ask(&format!("/openai/deployments/gpt-5/chat/completions{version}"), &sent).send().await;
    assert_eq!((refused.status, refused.code()), (403, "model_not_allowed".into()));
}
