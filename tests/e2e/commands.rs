//! Commands against a running gateway, as people and scripts use them.

use serde_json::{Value, json};

use crate::harness::{Kt, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_never_again() {
    let mut world = World::start().await;
    let text = world.key("jane");
    assert_eq!(text.len(), 38);
    for args in [
        &["keys", "list"][..],
        &["keys", "list", "--json"],
        &["keys", "show", "jane"],
        &["keys", "show", "jane", "--json"],
    ] {
        let shown = world.kt(args).succeeded().stdout();
        assert!(shown.contains("jane") && shown.contains(&text[..10]) && !shown.contains(&text), "{shown}");
    }
    let made = world.kt(&["keys", "create", "--name", "human"]).succeeded();
    let line = made.stdout();
    let printed = line.split_whitespace().find(|word| word.starts_with("kt_ak_")).unwrap();
    world.keep_secret(printed);
    assert_eq!(world.chat(printed, false).send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_takes_effect_before_the_command_returns() {
    let mut world = World::start().await;
    let key = world.key("jane");
    assert_eq!(world.chat(&key, false).send().await.status, 200);
    let revoked = world.kt(&["keys", "revoke", "jane", "--json"]).succeeded().json();
    assert_eq!(revoked["name"], "jane");
    assert_eq!(world.chat(&key, false).send().await.code(), "key_revoked");
    let again = world.kt(&["keys", "revoke", "jane"]).succeeded();
    assert!(format!("{}{}", again.stdout(), again.stderr()).contains("already"), "{}", again.stdout());
    // Its name is free for another key.
    let second = world.key("jane");
    assert_eq!(world.chat(&second, false).send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_and_refusals_have_their_exit_codes() {
    let mut world = World::start().await;
    world.key("jane");
    for (args, code) in [
        (&["keys", "create"][..], 2),
        (&["keys", "create", "--name", "jane"], 1),
        (&["keys", "create", "--name", "a b"], 1),
        (&["keys", "create", "--name", "x", "--team", "nobody"], 1),
        (&["keys", "create", "--name", "x", "--expires", "yesterday"], 2),
        (&["keys", "show", "nobody"], 1),
        (&["nonsense"], 2),
    ] {
        let run = world.kt(args);
        assert_eq!(run.code(), Some(code), "{args:?}: {}{}", run.stdout(), run.stderr());
        assert!(!run.stderr().is_empty(), "{args:?} says nothing");
    }
    let elsewhere = tempfile::TempDir::new().unwrap();
    let run = crate::harness::Kt::run(&["keys", "list"], elsewhere.path());
    assert_eq!(run.code(), Some(1));
    assert!(run.stderr().contains("kt gateway run"), "{}", run.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_as_lines_and_filtered() {
    let mut world = World::start().await;
    world.kt(&["teams", "create", "--name", "frontend"]).succeeded();
    let jane = world.key_with("jane-vscode", &["--team", "frontend"]);
    let joe = world.key("joe");
    assert_eq!(world.chat(&jane, true).send().await.status, 200);
    assert_eq!(world.ask("POST", "/nowhere").key(&joe).send().await.status, 404);
    world.events_after(3).await;
    let lines = world.kt(&["events", "list"]).succeeded().stdout();
    let lines: Vec<&str> = lines.lines().map(|line| &line["[2024-01-15 10:30:12] ".len()..]).collect();
    assert_eq!(lines[0], "INPUT openai chat/completions key:jane-vscode team:frontend PASS");
    let output = lines.iter().find(|line| line.starts_with("OUTPUT")).unwrap();
    assert!(
        output.starts_with("OUTPUT openai chat/completions key:jane-vscode team:frontend PASS model:gpt-4o-mini"),
        "{output}"
    );
    assert!(
        output.contains(" in:") && output.contains(" out:") && output.contains(" cost:$0.") && output.ends_with("ms")
    );
    let denied = world.kt(&["events", "list", "--verdict", "DENY", "--json"]).succeeded().stdout();
    let denied: Vec<Value> = denied.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(denied.len(), 1);
    assert_eq!((&denied[0]["key"]["name"], &denied[0]["reason"]), (&json!("joe"), &json!("route_unknown")));
    for (flag, value, count) in
        [("--key", "jane-vscode", 2), ("--team", "frontend", 2), ("--provider", "openai", 2), ("--key", "nobody", 0)]
    {
        let listed = world.kt(&["events", "list", "--json", flag, value]).succeeded().stdout();
        assert_eq!(listed.lines().count(), count, "{flag} {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_shows_events_as_they_happen() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let mut world = World::start().await;
    let key = world.key("jane");
    let mut tail =
        crate::harness::command(&["events", "tail"], &world.data_dir()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    // The tail may still be connecting: ask until it shows something.
    let (seen, shown) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(seen.send(line))));
    let mut first = None;
    for _ in 0..100 {
        assert_eq!(world.chat(&key, false).send().await.status, 200);
        first = shown.recv_timeout(std::time::Duration::from_millis(100)).ok();
        if first.is_some() {
            break;
        }
    }
    let _ = tail.kill();
    let _ = tail.wait();
    assert!(first.unwrap().contains("PUT openai chat/completions key:jane PASS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_asks_strangers_on_tcp_for_a_token() {
    let world = World::start().await;
    let answer = crate::harness::get(world.gateway.admin, "/v1/tokens");
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("application/problem+json"), "{answer}");
    let path = world.data_dir().join("first-admin-token");
    let token = std::fs::read_to_string(&path).unwrap();
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!world.gateway.log().contains(token.trim()));
    let run = crate::harness::command(
        &["keys", "list", "--url", &format!("http://{}", world.gateway.admin)],
        &world.data_dir(),
    )
    .env("KEEPTRUSTS_ADMIN_TOKEN", token.trim())
    .output()
    .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_pass_for_what_prometheus_reads() {
    let mut world = World::start().await;
    let key = world.key("jane");
    assert_eq!(world.chat(&key, true).send().await.status, 200);
    world.events_after(2).await;
    let scrape = world.gateway.scrape();
    for name in [
        "requests_total",
        "tokens_total",
        "cost_usd_total",
        "request_duration_seconds_count",
        "time_to_first_token_seconds_count",
        "overhead_seconds_count",
        "usage_records_total",
        "streams_active",
        "requests_active",
        "keys",
        "revocations",
        "journal_queue_depth",
        "journal_queue_capacity",
        "journal_dropped_total",
        "journal_commit_seconds_count",
        "config_reload_success",
        "config_reload_timestamp_seconds",
        "build_info",
    ] {
        assert!(scrape.contains(&format!("\nkeeptrusts_{name}")), "{name} is missing");
    }
    assert!(scrape.contains("\nprocess_resident_memory_bytes "));
    assert!(!scrape.contains("keeptrusts_process_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_an_installation_well_or_says_what_is_not() {
    use std::os::unix::fs::PermissionsExt;

    let world = World::start().await;
    let log = world.data_dir().with_file_name("a.log");
    std::fs::write(&log, world.gateway.log()).unwrap();
    let well = world.kt(&["doctor", "--canary", "--log", log.to_str().unwrap(), "--json"]).succeeded().json();
    let states: Vec<_> =
        well["checks"].as_array().unwrap().iter().map(|check| (&check["check"], &check["state"])).collect();
    for check in ["gateway", "configuration", "edge", "readiness", "data directory", "core dumps", "canary"] {
        assert!(states.contains(&(&json!(check), &json!("ok"))), "{check}: {well}");
    }
    assert_eq!(world.mock.totals().requests, 0, "no provider is asked");
    let keys = world.kt(&["keys", "list", "--json"]).succeeded().stdout();
    assert!(!keys.contains("\"doctor-") || keys.contains("revoked"), "its key stays: {keys}");

    std::fs::set_permissions(world.data_dir(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let open = world.kt(&["doctor"]);
    assert!(open.code() == Some(1) && open.stdout().contains("open to others"), "{}", open.stdout());
    let nobody = tempfile::TempDir::new().unwrap();
    let nowhere = Kt::run(&["doctor"], nobody.path());
    assert!(nowhere.code() == Some(1) && nowhere.stdout().contains("failed"), "{}", nowhere.stdout());
}
