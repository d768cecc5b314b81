//! Starting and stopping: what is wrong is told at once, and stopping loses nothing.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Kt, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_gateway_ends_within_a_second() {
    let mut world = World::start().await;
    let key = world.key("jane");
    assert_eq!(world.chat(&key, false).send().await.status, 200);
    world.gateway.terminate();
    let (took, well) = world.gateway.wait(Duration::from_secs(5));
    assert!(well && took < Duration::from_secs(1), "{took:?}\n{}", world.gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn running_streams_are_drained() {
    let mut world = World::with(|setup| setup.mock.interval = Duration::from_millis(50)).await;
    let key = world.key("jane");
    let streaming = tokio::spawn(world.chat(&key, true).send());
    eventually(|| world.mock.requests().pop().filter(|seen| seen.sent_at.len() > 2)).await;
    world.gateway.terminate();
    let answer = streaming.await.unwrap();
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    let (_, well) = world.gateway.wait(Duration::from_secs(5));
    assert!(well, "{}", world.gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_outlives_the_drain_is_cut_and_recorded() {
    let mut world = World::with(|setup| {
        setup.mock.interval = Duration::from_millis(50);
        setup.mock.tokens = 1000;
        setup.more = "timeouts: {drain: 300ms}".into();
    })
    .await;
    let key = world.key("jane");
    let streaming = tokio::spawn(world.chat(&key, true).send());
    eventually(|| world.mock.requests().pop().filter(|seen| seen.sent_at.len() > 4)).await;
    world.gateway.terminate();
    let (took, well) = world.gateway.wait(Duration::from_secs(5));
    assert!(well && took < Duration::from_secs(3), "{took:?}\n{}", world.gateway.log());
    assert!(!streaming.await.unwrap().whole);
    // The next process finds the record of what the last one cut.
    let restarted = crate::harness::Gateway::start(&world.config(), &world.data_dir()).await;
    world.gateway = restarted;
    let output = world.events_after(2).await.pop().unwrap();
    assert_eq!((&output["ended"], &output["usage"]["source"]), (&json!("shutdown"), &json!("estimated")));
    assert!(output["cost_nano_usd"].as_u64().unwrap() > 0);
    world.gateway.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_events_survive_a_restart() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let gone = world.key("gone");
    world.kt(&["keys", "revoke", "gone"]).succeeded();
    assert_eq!(world.chat(&key, false).send().await.status, 200);
    world.events_after(2).await;
    world.gateway.stop();
    world.gateway = crate::harness::Gateway::start(&world.config(), &world.data_dir()).await;
    assert_eq!(world.events().len(), 2);
    assert_eq!(world.chat(&key, false).send().await.status, 200);
    assert_eq!(world.chat(&gone, false).send().await.code(), "key_revoked");
    // The metrics of a new process start at nothing, so the books are closed by hand here.
    assert_eq!(world.events_after(5).await.len(), 5);
    world.gateway.stop();
}

#[test]
fn every_fault_of_the_configuration_is_told_at_once() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("kt.yaml");
    let text = "version: 1
lisen: {edge: \"127.0.0.1:0\"}
providers:
  openai: {kind: openai, base_url: \"https://10.0.0.1\", api_key: {env: NOT_SET_ANYWHERE}}
  other: {kind: opnai}
";
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    for command in [["gateway", "run", "--config", config], ["config", "check", "--config", config]] {
        let run = Kt::run(&command, &folder.path().join("data"));
        assert_eq!(run.code(), Some(1), "{command:?}");
        let report = run.stderr();
        for fault in ["lisen", "did you mean listen", "host name", "NOT_SET_ANYWHERE", "did you mean openai"] {
            assert!(report.contains(fault), "{fault} is missing from:\n{report}");
        }
        assert!(report.contains("kt.yaml:2:"), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_told() {
    let world = World::start().await;
    let folder = TempDir::new().unwrap();
    let edge = world.gateway.edge.to_string();
    let run = Kt::run(
        &["gateway", "run", "--listen", &edge, "--admin-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"],
        folder.path(),
    );
    assert_eq!(run.code(), Some(1));
    assert!(run.stderr().contains(&edge), "{}", run.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_on_the_metrics_listener() {
    let world = World::start().await;
    for path in ["/livez", "/readyz"] {
        let answer = crate::harness::get(world.gateway.metrics, path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
}
