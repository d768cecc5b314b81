//! Closing the books of a world: what every test checks for free.
//!
//! Every admitted request has one INPUT and one OUTPUT event, every refused one an INPUT event alone; nothing
//! is still running or held; the sums of the events are the metrics; and no secret is in any sink.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Kt, World};

/// Every event so far, oldest first.
pub fn events(data_dir: &Path) -> Vec<Value> {
    let listed = Kt::run(&["events", "list", "--json", "--limit", "1000000"], data_dir).succeeded();
    listed.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The sum of all series that begin with `series`.
pub fn metric(exposition: &str, series: &str) -> f64 {
    let lines = exposition.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.strip_prefix(series)).map(value).sum()
}

fn value(rest: &str) -> f64 {
    rest.rsplit(' ').next().unwrap().parse().unwrap()
}

pub fn close(world: &World) {
    let begun = Instant::now();
    let events = loop {
        let scrape = world.gateway.scrape();
        let quiet = ["keeptrusts_requests_active", "keeptrusts_streams_active", "keeptrusts_journal_queue_depth"];
        if quiet.iter().all(|gauge| metric(&scrape, gauge) == 0.0) {
            break events(&world.data_dir());
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "requests or places are still held:\n{scrape}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let scrape = world.gateway.scrape();
    every_request_is_recorded_once(&events);
    // What a process counted ends with it; the log and the sums go on.
    if !world.gateway.was_upgraded() {
        events_and_metrics_agree(&events, &scrape);
    }
    nobody_is_handed_over_to(&world.data_dir());
    let verified = Kt::run(&["events", "verify"], &world.data_dir());
    assert!(verified.code() == Some(0), "{}{}", verified.stdout(), verified.stderr());
    usage_is_the_sum_of_events(&events, &world.data_dir());
    nothing_is_held(&scrape);
    for secret in &world.secrets {
        assert!(!scrape.contains(secret.as_str()), "the metrics show the secret that begins with {}", &secret[..10]);
    }
}

/// No process is left whose records wait for the next.
fn nobody_is_handed_over_to(data_dir: &Path) {
    let names = std::fs::read_dir(data_dir).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with("handover-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn every_request_is_recorded_once(events: &[Value]) {
    let mut requests: HashMap<(&str, &str), (u32, u32, bool)> = HashMap::new();
    for event in events {
        let key = (event["request_id"].as_str().unwrap(), event["started_at"].as_str().unwrap());
        let (inputs, outputs, admitted) = requests.entry(key).or_default();
        if event["phase"] == "INPUT" {
            *inputs += 1;
            *admitted = event["verdict"] == "PASS" || event["verdict"] == "REDACT";
        } else {
            *outputs += 1;
            assert!(event["ended"].is_string() && event["usage"].is_object(), "{event}");
        }
    }
    for (request, (inputs, outputs, admitted)) in requests {
        assert_eq!((inputs, outputs), (1, u32::from(admitted)), "INPUT and OUTPUT events of {request:?}");
    }
}

fn events_and_metrics_agree(events: &[Value], scrape: &str) {
    let outputs = || events.iter().filter(|event| event["phase"] == "OUTPUT");
    let sum = |member: &str| outputs().map(|event| event["usage"][member].as_u64().unwrap()).sum::<u64>() as f64;
    for kind in ["input", "output", "cache_read", "cache_write", "reasoning"] {
        let counted: f64 = scrape
            .lines()
            .filter(|line| line.starts_with("keeptrusts_tokens_total{") && line.contains(&format!("kind=\"{kind}\"")))
            .map(value)
            .sum();
        assert_eq!(counted, sum(kind), "tokens of kind {kind} in metrics and events");
    }
    let cost: u64 = outputs().filter_map(|event| event["cost_nano_usd"].as_u64()).sum();
    let counted = metric(scrape, "keeptrusts_cost_usd_total{");
    assert!((counted * 1e9 - cost as f64).abs() < 0.5, "cost in metrics {counted} and events {cost} nano-USD");
    let requests = metric(scrape, "keeptrusts_requests_total{");
    assert_eq!(requests, ended(events) as f64, "requests in metrics and events");
}

/// What `kt usage` says is what the events say, to the token and the nano-USD, in all and for each key.
fn usage_is_the_sum_of_events(events: &[Value], data_dir: &Path) {
    let report = Kt::run(&["usage", "--json", "--by", "key", "--since", "3650d"], data_dir).succeeded().json();
    let mut rows = vec![(None, report["total"].clone())];
    rows.extend(report["rows"].as_array().unwrap().iter().map(|row| (row["key"]["id"].as_str(), row.clone())));
    for (key, told) in rows {
        let own = || events.iter().filter(|event| key.is_none_or(|key| event["key"]["id"] == key));
        let outputs = || own().filter(|event| event["phase"] == "OUTPUT");
        for kind in ["input", "output", "cache_read", "cache_write", "cache_write_long", "reasoning"] {
            let sum: u64 = outputs().map(|event| event["usage"][kind].as_u64().unwrap()).sum();
            assert_eq!(told[kind], sum, "tokens of kind {kind} in usage and events of {key:?}");
        }
        let cost: u64 = outputs().filter_map(|event| event["cost_nano_usd"].as_u64()).sum();
        assert_eq!(told["cost_nano_usd"], cost, "cost in usage and events of {key:?}");
        let refused = own().filter(|event| event["phase"] == "INPUT" && !event["status"].is_null()).count();
        assert_eq!((&told["requests"], &told["refused"]), (&outputs().count().into(), &refused.into()), "{key:?}");
    }
}

/// No slot of a concurrency limit is taken, a provider's included, nothing of a budget reserved, of whomever, and nobody
/// waits.
fn nothing_is_held(scrape: &str) {
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let slots = line.starts_with("keeptrusts_limit_utilization_ratio{") && line.contains("limit=\"concurrency");
        let held = ["keeptrusts_budget_reserved_ratio{", "keeptrusts_provider_queue_length{"];
        if slots || held.iter().any(|series| line.starts_with(series)) {
            assert_eq!(value(line), 0.0, "still held: {line}");
        }
    }
}

/// How many requests have come to their end, by refusal or otherwise.
fn ended(events: &[Value]) -> usize {
    events
        .iter()
        .filter(|event| event["phase"] == "OUTPUT" || !["PASS", "REDACT"].map(Into::into).contains(&event["verdict"]))
        .count()
}

/// No secret in the log, the metrics, or any file the gateway keeps.
pub fn no_secret_in_sinks(world: &World, folder: &Path) {
    let mut sinks = vec![("the log".to_owned(), world.gateway.log().into_bytes())];
    collect(&folder.join("data"), &mut sinks);
    for (sink, content) in sinks {
        for secret in &world.secrets {
            let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{sink} shows the secret that begins with {}", &secret[..10]);
        }
    }
}

fn collect(folder: &Path, sinks: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, sinks);
        } else if path.is_file() {
            sinks.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}
