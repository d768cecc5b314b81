//! Keys from the command line: listed, shown, changed, explained, checked. What becomes of their requests: `life_of_a_key`.

use std::process::Stdio;

use serde_json::json;

use crate::harness::{World, command};

#[tokio::test(flavor = "multi_thread")]
async fn last_uses_survive_a_restart() {
    let mut world = World::start().await;
    let key = world.key("jane");
    world.key("idle");
    assert_eq!(world.chat(&key, false).send().await.status, 200);
    world.events_after(2).await;
    world.gateway.stop();
    world.gateway = crate::harness::Gateway::start(&world.config(), &world.data_dir()).await;
    let shown = world.kt(&["keys", "show", "jane", "--json"]).succeeded().json();
    assert!(shown["secrets"][0]["last_used_at"].is_string(), "{shown}");
    assert!(world.kt(&["keys", "show", "jane"]).succeeded().stdout().contains("127.0.0.1"));
    // What is younger than the span had no chance to be used.
    assert_eq!(world.kt(&["keys", "list", "--unused-since", "1h", "--json"]).succeeded().json(), json!([]));
    world.gateway.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_teams_are_changed_suspended_and_explained() {
    let mut world = World::start().await;
    world.kt(&["teams", "create", "--name", "front", "--models", "gpt-*,fast"]).succeeded();
    let key = world.key_with("jane", &["--team", "front", "--ips", "127.0.0.0/8", "--expires", "90d"]);
    let explained = |args: &[&str]| {
        let args = [&["explain", "--key", "jane", "--json"], args].concat();
        world.kt(&args).succeeded().json()
    };
    let allowed = explained(&["--model", "gpt-4o-mini", "--address", "127.0.0.1"]);
    assert_eq!((&allowed["allowed"], &allowed["provider"]), (&json!(true), &json!("openai")));
    let refused = explained(&["--model", "gpt-4o-mini", "--address", "192.0.2.1"]);
    assert_eq!((&refused["code"], &refused["scope"]), (&json!("address_not_allowed"), &json!("key")));
    let refused = explained(&["--model", "o3", "--address", "127.0.0.1"]);
    assert_eq!((&refused["code"], &refused["scope"]), (&json!("model_not_allowed"), &json!("team")));
    let told = world.kt(&["explain", "--key", "jane", "--model", "o3", "--address", "127.0.0.1"]).succeeded().stdout();
    assert!(told.contains("the team's models do not include o3") && told.contains("team front: models gpt-*, fast"));

    world.kt(&["keys", "update", "jane", "--lift", "ips", "--no-expiry", "--no-team"]).succeeded();
    let shown = world.kt(&["keys", "show", "jane", "--json"]).succeeded().json();
    assert_eq!((&shown["permissions"], &shown["expires_at"], &shown["team"]), (&json!({}), &json!(null), &json!(null)));
    world.kt(&["keys", "update", "jane", "--team", "front"]).succeeded();
    world.kt(&["teams", "suspend", "front"]).succeeded();
    assert_eq!(world.chat(&key, false).send().await.code(), "team_suspended");
    world.kt(&["teams", "resume", "front"]).succeeded();
    assert_eq!(world.chat(&key, false).send().await.status, 200);
    let typo = world.kt(&["teams", "update", "front", "--models", "gtp-*"]).succeeded();
    assert!(typo.stderr().contains("warning: models: \"gtp-*\" matches no"), "{}", typo.stderr());
    assert_eq!(world.kt(&["teams", "delete", "front"]).code(), Some(1));
    world.kt(&["keys", "revoke", "--team", "front", "--reason", "team left"]).succeeded();
    assert_eq!(world.chat(&key, false).send().await.code(), "key_revoked");
    world.kt(&["teams", "delete", "front"]).succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_of_keys_is_told() {
    let mut world = World::start().await;
    world.key("jane");
    for (args, code) in [
        (&["keys", "update", "jane"][..], 2),
        (&["keys", "create", "--name", "x", "--ips", "10.0.0.1/8"], 2),
        (&["keys", "create", "--name", "x", "--models", "a b"], 2),
        (&["keys", "create", "--name", "x", "--expires", "2020-01-01"], 1),
        (&["keys", "rotate", "jane", "--overlap", "-1h"], 2),
        (&["keys", "rotate", "jane", "--overlap", "91d"], 1),
        (&["keys", "list", "--state", "dead"], 2),
        (&["keys", "list", "--team", "nobody"], 1),
        (&["keys", "revoke"], 2),
        (&["teams", "update", "front"], 2),
        (&["admin-tokens", "create", "--name", "x", "--role", "root"], 2),
        (&["admin-tokens", "revoke", "first"], 1),
    ] {
        let run = world.kt(args);
        assert_eq!(run.code(), Some(code), "{args:?}: {}{}", run.stdout(), run.stderr());
        assert!(!run.stderr().is_empty(), "{args:?} says nothing");
    }
    world.kt(&["keys", "revoke", "jane"]).succeeded();
    let rotated = world.kt(&["keys", "rotate", "jane"]);
    assert!(rotated.code() == Some(1) && rotated.stderr().contains("token_revoked"), "{}", rotated.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_checked_without_a_gateway_and_never_from_the_command_line() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let check = |text: &str| {
        use std::io::Write;
        let nowhere = tempfile::TempDir::new().unwrap();
        let mut child = command(&["keys", "check"], nowhere.path());
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!said.contains(&key), "{said}");
        (output.status.code(), said)
    };
    for text in [key.clone(), format!("{key}\n"), format!("{key}\r\n")] {
        let (code, said) = check(&text);
        assert!(code == Some(0) && said.contains("access"), "{said}");
    }
    for (text, why) in [(&key[..20], "cut off"), ("sk-foreign", "not a Keeptrusts key"), ("", "not a Keeptrusts key")] {
        let (code, said) = check(text);
        assert!(code == Some(1) && said.contains(why), "{said}");
    }
    assert_eq!(world.kt(&["keys", "check", &key]).code(), Some(2), "a secret is not taken from the command line");
}
