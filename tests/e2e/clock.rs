//! Somebody sets the clock while the gateway runs. Needs libfaketime (`apt install libfaketime`); without it these tests
//! say so and pass.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{World, eventually};

const HOUR: i64 = 60 * 60;

/// The wall clock of a gateway, as it can be set; the clock that only goes forward is the machine's own.
struct Clock {
    folder: TempDir,
    /// From now to the noon at which tests begin, so that no real midnight disturbs them.
    to_noon: i64,
}

impl Clock {
    /// `None` where libfaketime is not installed.
    fn new() -> Option<Self> {
        if library().is_none() {
            // Not by a macro, whose output is shown only of tests that fail.
            let _ = writeln!(std::io::stderr(), "skipped: libfaketime is not installed (apt install libfaketime)");
            return None;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        let clock = Self { folder: TempDir::new().unwrap(), to_noon: 12 * HOUR - now % (24 * HOUR) };
        clock.set(0);
        Some(clock)
    }

    fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("LD_PRELOAD", library().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", self.file()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    /// Sets it to so many seconds from noon.
    fn set(&self, seconds: i64) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("{:+}\n", self.to_noon + seconds)).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }
}

fn library() -> Option<PathBuf> {
    let folders =
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"];
    folders.map(|folder| Path::new(folder).join("faketime/libfaketime.so.1")).into_iter().find(|path| path.exists())
}

async fn world(clock: &Clock) -> World {
    let mut world = World::with(|setup| setup.environment = clock.environment()).await;
    // What `kt usage` takes for its last days are other days than the gateway's.
    world.is_large = true;
    world
}

/// What is used up of each limit of the key itself.
async fn used(world: &World, key: &str) -> impl Fn(&str) -> u64 {
    let me = world.ask("GET", "/keeptrusts/me").key(key).send().await.json();
    move |name: &str| {
        let limits = me["limits"].as_array().unwrap().iter();
        let limit = limits.clone().find(|limit| limit["scope"] == "key" && limit["limit"] == name).unwrap();
        (limit["max"].as_f64().unwrap() - limit["remaining"].as_f64().unwrap()) as u64
    }
}

async fn status(world: &World, key: &str) -> u16 {
    world.chat(key, false).send().await.status
}

/// Asks, and waits for the request to be settled, which is a moment after its caller has the last byte.
async fn ask(world: &World, key: &str) {
    assert_eq!(status(world, key).await, 200);
    settled(world).await;
}

async fn settled(world: &World) {
    eventually(|| (world.metric("keeptrusts_requests_active") == 0.0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_neither_double_nor_vanish_when_the_clock_is_set() {
    let Some(clock) = Clock::new() else { return };
    let mut world = world(&clock).await;
    let budgets = ["900000tokens/hour", "1000000tokens/day", "2000000tokens/total"];
    let flags = budgets.map(|budget| ["--budget", budget]).concat();
    let key = world.key_with("jane", &flags);
    let [hour, day, total] = budgets;
    ask(&world, &key).await;
    let stamped = world.events_after(2).await[1]["time"].as_str().unwrap().to_owned();
    assert!(stamped.contains("T12:0"), "the clock is not set at all: {stamped}");
    let each = used(&world, &key).await(day);
    assert!(each > 0);
    let expect = async |at: i64, hourly: u64, daily: u64, ever: u64| {
        clock.set(at);
        let used = used(&world, &key).await;
        assert_eq!([used(hour), used(day), used(total)], [hourly, daily, ever].map(|times| times * each), "at {at}");
    };
    // Two hours later, and the next day: other windows, the same total.
    expect(2 * HOUR, 0, 1, 1).await;
    expect(26 * HOUR, 0, 0, 1).await;
    ask(&world, &key).await;
    expect(26 * HOUR, 1, 1, 2).await;
    // Back again: each window has what was spent in it, and goes on.
    expect(0, 1, 1, 2).await;
    ask(&world, &key).await;
    expect(0, 2, 2, 3).await;
    expect(26 * HOUR, 1, 1, 3).await;
    expect(0, 2, 2, 3).await;
    // Back to days there were none of, as when somebody sets the clock back for a new budget: what is spent goes along.
    expect(-30 * HOUR, 2, 2, 3).await;
    ask(&world, &key).await;
    expect(-30 * HOUR, 3, 3, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_stays_spent_when_the_clock_goes_back() {
    let Some(clock) = Clock::new() else { return };
    let mut world = world(&clock).await;
    let key = world.key_with("jane", &["--budget", "1500tokens/day"]);
    let mut body = crate::harness::chat_body("gpt-4o-mini", false);
    body["max_tokens"] = json!(200);
    let ask = async || {
        let answer = world.ask("POST", "/v1/chat/completions").key(&key).json(&body).send().await;
        settled(&world).await;
        answer
    };
    let mut passed = 0;
    while ask().await.status == 200 {
        passed += 1;
        assert!(passed < 1000, "a budget that never ends");
    }
    for hours in [0, -1, -6, -24, -48, -24 * 365] {
        clock.set(hours * HOUR);
        let answer = ask().await;
        assert_eq!((answer.status, answer.code().as_str()), (402, "budget_exceeded"), "{hours} hours");
    }
    clock.set(24 * HOUR);
    assert_eq!(ask().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_go_on_evenly_when_the_clock_is_set() {
    let Some(clock) = Clock::new() else { return };
    let mut world = world(&clock).await;
    let key = world.key_with("jane", &["--rpm", "20", "--burst", "5"]);
    for _ in 0..5 {
        assert_eq!(status(&world, &key).await, 200);
    }
    let mut waits = Vec::new();
    for hours in [0, 5, -5, 100, -100, 0] {
        clock.set(hours * HOUR);
        let answer = world.chat(&key, false).send().await;
        assert_eq!(answer.status, 429, "{hours} hours");
        waits.push(answer.header("retry-after").unwrap().parse::<u64>().unwrap());
    }
    assert!(
        waits.iter().all(|wait| (1..=3).contains(wait)) && waits.is_sorted_by(|one, next| one >= next),
        "{waits:?}"
    );
    // One is refilled in three seconds, whatever the clock says; not one more.
    tokio::time::sleep(Duration::from_millis(3100)).await;
    clock.set(-50 * HOUR);
    let statuses = [status(&world, &key).await, status(&world, &key).await];
    assert_eq!(statuses, [200, 429]);
    let explained: Value =
        world.kt(&["explain", "--key", "jane", "--model", "gpt-4o-mini", "--json"]).succeeded().json();
    assert_eq!(explained["code"], "requests_limited");
}
