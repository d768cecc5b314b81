//! Another process takes over while requests run: none is lost, none is cut, none waits, and all are accounted for.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Answer, Ask, Gateway, World, chat_body, eventually, is_alive};

/// How often the gateway is replaced.
const UPGRADES: usize = 20;
/// The longest that a request may wait for its answer to begin, whatever happens to the gateway. A build for tests, on a machine
/// that runs other tests, takes up to two seconds.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// A world whose streams outlast an upgrade, also of a build for tests on a machine that runs other tests.
async fn world() -> World {
    world_of(200).await
}

/// Fifty tokens of a stream take a second.
async fn world_of(tokens: u32) -> World {
    World::with(|setup| {
        setup.mock.interval = Duration::from_millis(20);
        setup.mock.tokens = tokens;
    })
    .await
}

fn is_whole_stream(answer: &Answer) -> bool {
    answer.status == 200 && answer.whole && answer.text().ends_with("data: [DONE]\n\n")
}

/// Waits until a process that has handed over has ended.
async fn gone(pid: u32) {
    eventually(|| (!is_alive(pid)).then_some(())).await;
}

fn kill(pid: u32) {
    signal(pid, "KILL");
}

fn signal(pid: u32, signal: &str) {
    assert!(std::process::Command::new("kill").args(["-s", signal, &pid.to_string()]).status().unwrap().success());
}

/// Waits until the provider has been asked `count` times and has begun to answer each.
async fn streaming(world: &World, count: usize) {
    eventually(|| {
        let requests = world.mock.requests();
        (requests.len() >= count && requests.iter().all(|seen| seen.sent_at.len() >= 3)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_upgrades_under_load_fail_cut_and_hold_up_nothing() {
    let mut world = world_of(75).await;
    let key = world.key("jane");
    let stop = Arc::new(AtomicBool::new(false));
    let edge = world.gateway.edge;
    let clients: Vec<_> = (0..10)
        .map(|client| {
            let is_stream = client % 2 == 0;
            let ask = Ask::new(edge, "POST", "/v1/chat/completions").key(&key);
            let (stop, ask) = (stop.clone(), ask.json(&chat_body("gpt-4o-mini", is_stream)));
            tokio::spawn(async move {
                let (mut answered, mut longest) = (0, Duration::ZERO);
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let answer = ask.clone().send().await;
                    assert!(answer.status == 200 && answer.whole, "{}: {}", answer.status, answer.text());
                    assert_eq!(answer.text().ends_with("data: [DONE]\n\n"), is_stream, "{}", answer.text());
                    longest = longest.max(answer.pieces[0].0 - begun);
                    answered += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                (answered, longest)
            })
        })
        .collect();
    let mut outlived = 0;
    for _ in 0..UPGRADES {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (old, _) = world.upgrade();
        outlived += usize::from(is_alive(old));
        gone(old).await;
    }
    stop.store(true, Ordering::Relaxed);
    let (mut answered, mut longest) = (0, Duration::ZERO);
    for client in clients {
        let (own, wait) = client.await.unwrap();
        (answered, longest) = (answered + own, longest.max(wait));
    }
    println!("{answered} requests during {UPGRADES} upgrades; the longest wait was {longest:?}");
    println!("after {outlived} of them streams went on in the old process");
    assert!(outlived >= UPGRADES / 2, "streams outlive upgrades: {outlived}");
    assert!(longest < WAIT_MAX, "a request waited for {longest:?}");
    let events = world.events_after(2 * answered).await;
    let mut by_request = std::collections::HashMap::<_, Vec<_>>::new();
    for event in &events {
        by_request.entry(event["request_id"].as_str().unwrap()).or_default().push(event);
    }
    by_request.retain(|_, events| events.len() != 2);
    assert!(by_request.is_empty(), "{by_request:#?}");
    assert_eq!(events.len(), 2 * answered, "every request has its two events, whichever process served it");
    let ends: Vec<_> = events.iter().filter(|event| event["phase"] == "OUTPUT").collect();
    assert!(ends.iter().all(|end| end["ended"] == "complete" && end["usage"]["source"] == "provider"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_revoked_in_the_new_process_cuts_its_stream_in_the_old_one() {
    let mut world = world().await;
    let (jane, joe) = (world.key("jane"), world.key("joe"));
    let [cut, kept] = [&jane, &joe].map(|key| tokio::spawn(world.chat(key, true).send()));
    streaming(&world, 2).await;
    let (old, _) = world.upgrade();
    assert!(is_alive(old));
    tokio::task::block_in_place(|| world.kt(&["keys", "revoke", "jane"]).succeeded());
    let acknowledged = Instant::now();
    let (cut, kept) = (cut.await.unwrap(), kept.await.unwrap());
    assert!(cut.whole && cut.text().contains("was revoked"), "{}", cut.text());
    let late = cut.pieces.iter().filter(|(arrived, _)| *arrived > acknowledged + Duration::from_millis(100)).count();
    assert_eq!(late, 0, "pieces arrived after the acknowledgement");
    assert!(is_whole_stream(&kept), "{}", kept.text());
    let events = world.events_after(4).await;
    let end = |name: &str| events.iter().find(|event| event["phase"] == "OUTPUT" && event["key"]["name"] == name);
    assert_eq!(
        (&end("jane").unwrap()["ended"], &end("joe").unwrap()["ended"]),
        (&serde_json::json!("revoked"), &serde_json::json!("complete"))
    );
    gone(old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_streams_of_the_old_process_hold_is_counted_in_the_new_one() {
    let mut world = world().await;
    let key = world.key_with("jane", &["--concurrency", "2", "--budget", "6000tokens/day"]);
    // It holds more than five thousand tokens of the budget.
    let stream = tokio::spawn(world.chat(&key, true).send());
    streaming(&world, 1).await;
    let (old, _) = world.upgrade();
    assert!(is_alive(old));
    assert!(world.metric("keeptrusts_requests_active") == 1.0);
    let refused = world.chat(&key, false).send().await;
    assert_eq!((refused.status, &*refused.code()), (429, "budget_reserved"), "{}", refused.text());
    let stream = stream.await.unwrap();
    assert!(is_whole_stream(&stream), "{}", stream.text());
    world.events_after(3).await;
    let passed = world.chat(&key, false).send().await;
    assert_eq!(passed.status, 200, "what was held is given back: {}", passed.text());
    gone(old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_cannot_take_over_changes_nothing() {
    let mut world = world().await;
    let key = world.key("jane");
    let stream = tokio::spawn(world.chat(&key, true).send());
    streaming(&world, 1).await;
    let before = world.gateway.pid();
    let written = std::fs::read_to_string(world.config()).unwrap();
    world.rewrite(|text| format!("{text}\nlisen: {{}}\n"));
    let refused = tokio::task::block_in_place(|| world.kt(&["gateway", "upgrade"]));
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr().contains("lisen"), "{}", refused.stderr());
    assert!(world.chat(&key, false).send().await.status == 200 && world.gateway.pid() == before);
    assert!(is_whole_stream(&stream.await.unwrap()));
    std::fs::write(world.config(), written).unwrap();
    let (old, _) = world.upgrade();
    gone(old).await;
    assert_eq!(world.chat(&key, false).send().await.status, 200);
}

/// Says that it is ready to take over, and then hangs, whoever asks it to end.
const HANGS: &str = r#"#!/bin/sh
exec 3<&0
sh -c 'trap "" TERM
    echo "{\"ready\":{\"protocol\":1,\"pid\":$$,\"version\":\"hangs\",\"data_dir\":\"$KEEPTRUSTS_DATA_DIR\"}}" >&3
    exec sleep 600' &
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_program_that_hangs_is_ended_by_a_second_signal() {
    let (mut world, stream, heir) = hanging(Duration::from_millis(20)).await;
    world.gateway.terminate();
    eventually(|| world.gateway.log().contains("stopping, as soon as process").then_some(())).await;
    assert!(world.gateway.is_running() && is_alive(heir) && !stream.is_finished(), "the first asks, and is not obeyed");
    world.gateway.terminate();
    ended_for_want_of(heir, &mut world, stream, Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes five minutes"]
async fn a_new_program_that_hangs_is_ended_when_it_has_not_served_for_five_minutes() {
    // Slow enough that it stays within what it holds of limits: nobody would grant it more.
    let (mut world, stream, heir) = hanging(Duration::from_secs(1)).await;
    let begun = Instant::now();
    ended_for_want_of(heir, &mut world, stream, Duration::from_secs(320)).await;
    println!("it ended after {:?}", begun.elapsed());
    assert!(begun.elapsed() > Duration::from_secs(295));
}

/// A world with a stream of 2 000 tokens, one each `interval`, in which a program has taken over that hangs, and that process.
async fn hanging(interval: Duration) -> (World, tokio::task::JoinHandle<String>, u32) {
    let mut world = World::with(|setup| (setup.mock.interval, setup.mock.tokens) = (interval, 2000)).await;
    world.gateway.stop();
    let program = world.config().with_file_name("kt");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kt"), &program).unwrap();
    world.gateway = Gateway::start_as(&program, &world.config(), &world.data_dir()).await;
    let key = world.key("jane");
    // Other clients here do not wait for minutes.
    let mut asked = Slow::begin(&world, &key, &chat_body("gpt-4o-mini", true).to_string()).await;
    let stream = tokio::spawn(async move { asked.end().await });
    streaming(&world, 1).await;
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, HANGS).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    world.gateway.signal("USR2");
    let heir = eventually(|| {
        let log = world.gateway.log();
        let (before, _) = log.split_once(" is ready, and takes over")?;
        before.rsplit(' ').next()?.parse().ok()
    });
    let heir = heir.await;
    (world, stream, heir)
}

/// Sees that the old process has given up its successor and ended with an error, and that nothing is lost.
async fn ended_for_want_of(heir: u32, world: &mut World, stream: tokio::task::JoinHandle<String>, patience: Duration) {
    let gateway = &mut world.gateway;
    let (_, well) = tokio::task::block_in_place(|| gateway.wait(patience));
    assert!(!well, "the service manager has to start it again");
    assert!(gateway.log().contains(&format!("process {heir} did not come to serve")), "{}", gateway.log());
    gone(heir).await;
    // The mock provider's text has the word in it.
    assert!(!stream.await.unwrap().contains("\ndata: [DONE]\n"), "nobody could revoke its key any more");
    restarted(world).await;
    let end = &world.events_after(2).await[1];
    assert_eq!(end["ended"], "shutdown", "{end}");
    assert!(end["usage"]["output"].as_u64().unwrap() > 0, "{end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_upgrade_waits_for_the_streams_of_the_first() {
    let mut world = world().await;
    let key = world.key("jane");
    let stream = tokio::spawn(world.chat(&key, true).send());
    streaming(&world, 1).await;
    let (old, _) = world.upgrade();
    let refused = tokio::task::block_in_place(|| world.kt(&["gateway", "upgrade"]));
    assert!(refused.stderr().contains("still serves requests it had begun, until 20"), "{}", refused.stderr());
    assert!(is_whole_stream(&stream.await.unwrap()));
    gone(old).await;
    eventually(|| {
        world.gateway.log().contains(&format!("process {old}, which had handed over, has ended")).then_some(())
    })
    .await;
    let (old, _) = world.upgrade();
    gone(old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_the_new_process_waits_for_the_old_ones_streams() {
    let mut world = world().await;
    let key = world.key("jane");
    let stream = tokio::spawn(world.chat(&key, true).send());
    streaming(&world, 1).await;
    let (old, _) = world.upgrade();
    let gateway = &mut world.gateway;
    tokio::task::block_in_place(|| gateway.stop());
    assert!(!is_alive(old), "it ends first");
    assert!(is_whole_stream(&stream.await.unwrap()), "it was not cut");
    restarted(&mut world).await;
    assert_eq!(world.events_after(2).await[1]["ended"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_old_process_leaves_crashed_requests_and_nothing_held() {
    let mut world = world().await;
    let key = world.key_with("jane", &["--concurrency", "1"]);
    let stream = tokio::spawn(world.chat(&key, true).send());
    streaming(&world, 1).await;
    let (old, _) = world.upgrade();
    assert_eq!(world.chat(&key, false).send().await.status, 429, "its place is held");
    kill(old);
    assert!(!stream.await.unwrap().whole);
    let events = world.events_after(3).await;
    let end = events.iter().find(|event| event["phase"] == "OUTPUT").unwrap();
    assert_eq!(
        (&end["ended"], &end["reason"]),
        (&serde_json::json!("crashed"), &serde_json::json!("crashed")),
        "{end}"
    );
    assert_eq!(world.chat(&key, false).send().await.status, 200, "its place is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_new_process_ends_the_old_ones_streams_with_their_usage() {
    let mut world = world().await;
    let key = world.key("jane");
    let stream = tokio::spawn(world.chat(&key, true).send());
    streaming(&world, 1).await;
    let (old, new) = world.upgrade();
    kill(new);
    assert!(!stream.await.unwrap().text().ends_with("data: [DONE]\n\n"), "nobody could revoke its key any more");
    gone(old).await;
    restarted(&mut world).await;
    let end = &world.events_after(2).await[1];
    assert_eq!(
        (&end["ended"], &end["usage"]["source"]),
        (&serde_json::json!("shutdown"), &serde_json::json!("estimated")),
        "{end}"
    );
    assert!(end["usage"]["output"].as_u64().unwrap() > 0 && end["cost_nano_usd"].as_u64().unwrap() > 0, "{end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_has_the_sockets_and_nothing_else_of_the_old_one() {
    let mut world = world().await;
    let key = world.key("jane");
    let stream = tokio::spawn(world.chat(&key, true).send());
    streaming(&world, 1).await;
    let (old, new) = world.upgrade();
    let open = |pid: u32| -> Vec<PathBuf> {
        let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        folder.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok()).collect()
    };
    let is_socket = |path: &&PathBuf| path.to_string_lossy().starts_with("socket:");
    let (old_open, new_open) = (open(old), open(new));
    let shared: Vec<_> = new_open.iter().filter(is_socket).filter(|path| old_open.contains(path)).collect();
    assert!(shared.is_empty(), "the old process listens no more, and nothing else is shared: {shared:?}");
    assert!(is_whole_stream(&stream.await.unwrap()));
    gone(old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_in_the_middle_of_upgrades_are_answered_and_no_change_is_lost() {
    let mut world = world().await;
    world.key("jane");
    let stop = Arc::new(AtomicBool::new(false));
    let keep_asking = |command: fn(usize) -> Vec<String>| {
        let (data_dir, stop) = (world.data_dir(), stop.clone());
        tokio::task::spawn_blocking(move || {
            let mut answered = 0;
            while !stop.load(Ordering::Relaxed) {
                let asked = command(answered);
                let asked: Vec<_> = asked.iter().map(String::as_str).collect();
                let done = crate::harness::command(&asked, &data_dir).output().unwrap();
                assert!(done.status.success(), "{asked:?}: {}", String::from_utf8_lossy(&done.stderr));
                answered += 1;
            }
            answered
        })
    };
    let questions = keep_asking(|_| ["keys", "list"].map(String::from).into());
    let changes = keep_asking(|number| ["keys", "create", "--name", &format!("key-{number}")].map(String::from).into());
    for _ in 0..8 {
        let (old, _) = world.upgrade();
        gone(old).await;
    }
    stop.store(true, Ordering::Relaxed);
    let (questions, changes) = (questions.await.unwrap(), changes.await.unwrap());
    println!("{questions} questions and {changes} changes");
    assert!(questions > 5 && changes > 5);
    let listed = world.kt(&["keys", "list", "--json"]).succeeded().stdout();
    assert_eq!(listed.matches("\"key-").count(), changes, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_process_that_hangs_is_killed_before_a_revocation_is_acknowledged() {
    // Its stream is killed with it.
    let mut world = world_of(2000).await;
    let key = world.key("jane");
    let stream = tokio::spawn(world.chat(&key, true).send());
    streaming(&world, 1).await;
    let (old, _) = world.upgrade();
    signal(old, "STOP");
    let begun = Instant::now();
    tokio::task::block_in_place(|| world.kt(&["keys", "revoke", "jane"]).succeeded());
    assert!(begun.elapsed() < Duration::from_secs(5) && !is_alive(old), "{:?}", begun.elapsed());
    assert!(!stream.await.unwrap().whole);
    assert_eq!(world.events_after(2).await[1]["ended"], "crashed");
    assert!(world.gateway.log().contains(&format!("process {old} does not do as it is told, and is killed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_of_a_limited_key_is_admitted_by_the_new_process() {
    let mut world = world().await;
    let key = world.key_with("jane", &["--concurrency", "1"]);
    let body = chat_body("gpt-4o-mini", false).to_string();
    let (mut slow, mut late) = (Slow::begin(&world, &key, &body).await, Slow::begin(&world, &key, &body).await);
    let (old, _) = world.upgrade();
    assert!(is_alive(old), "its requests are still arriving");
    let stream = tokio::spawn(world.chat(&key, true).send());
    streaming(&world, 1).await;
    let refused = slow.end().await;
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("concurrency"), "{refused}");
    assert!(is_whole_stream(&stream.await.unwrap()));
    world.events_after(3).await;
    let passed = late.end().await;
    assert!(passed.starts_with("HTTP/1.1 200"), "what the new process's stream held is free: {passed}");
    gone(old).await;
    let events = world.events_after(5).await;
    assert_eq!(events.iter().filter(|event| event["ended"] == "complete").count(), 2, "{events:?}");
    assert_eq!(world.chat(&key, false).send().await.status, 200, "and so is what the late one held");
}

/// A request whose body comes in two pieces.
struct Slow {
    stream: tokio::net::TcpStream,
    rest: String,
}

impl Slow {
    async fn begin(world: &World, key: &str, body: &str) -> Self {
        let (first, rest) = body.split_at(10);
        let mut stream = tokio::net::TcpStream::connect(world.gateway.edge).await.unwrap();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: kt\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{first}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        Self { stream, rest: rest.to_owned() }
    }

    /// Sends the rest and returns the answer, as far as it came.
    async fn end(&mut self) -> String {
        self.stream.write_all(self.rest.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = self.stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }
}

/// Starts the gateway once more, after its last process has ended.
async fn restarted(world: &mut World) {
    world.gateway = Gateway::start(&world.config(), &world.data_dir()).await;
    // Another process counted what was before.
    world.gateway.has_successor(world.gateway.pid());
}
