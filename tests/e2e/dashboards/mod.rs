//! What the dashboard, the rules and the alerts ask for is what a gateway shows to which everything has happened: taken
//! apart and held against its exposition, and asked of a real Prometheus where one is installed (`apt install prometheus`).

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use keeptrusts::journal::Metrics;
use serde_json::{Value, json};

use crate::harness::{Scripted, World, chat_body, eventually};

mod prometheus;
mod query;

use prometheus::Prometheus;
use query::{Series, selectors, series};

/// Metrics that nobody is shown, and why.
const UNSHOWN: [(&str, &str); 2] = [
    ("keeptrusts_revocations", "how many are remembered, which is for whoever looks into memory"),
    ("keeptrusts_budget_reserved_ratio", "for whoever asks why a request is told `budget_reserved`"),
];

/// One query, with where it stands.
struct Asked {
    place: String,
    query: String,
    /// The labels that its legend or summary names.
    told: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_finds_its_series_in_a_live_exposition() {
    let (mut world, key) = eventful_world().await;
    // What appears with its first count does not increase, and an alert sleeps over it.
    for zero in ["unpriced_requests_total{provider=\"openai\"} 0", "connections_refused_total{reason=\"all\"} 0"] {
        assert!(world.gateway.scrape().contains(&format!("keeptrusts_{zero}\n")), "{zero}");
    }
    everything_happens(&mut world, &key, 1).await;
    everything_happens(&mut world, &key, 2).await;
    eventually(|| (world.metric("keeptrusts_webhook_events_total{") > 0.0).then_some(())).await;
    let live = series(&world.gateway.scrape());
    let asked: Vec<Asked> = [dashboard(), rules("rules.yml"), rules("alerts.yml")].into_iter().flatten().collect();
    assert!(asked.len() > 70, "{} queries", asked.len());
    assert_eq!(faults(&asked, &live), Vec::<String>::new());
    every_metric_is_asked_for(&asked);
    a_wrong_query_is_found(&asked, &live);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_answers_every_query() {
    let (mut world, key) = eventful_world().await;
    everything_happens(&mut world, &key, 1).await;
    let Some(prometheus) = Prometheus::start(world.gateway.metrics).await else {
        let _ = writeln!(std::io::stderr(), "skipped: prometheus is not installed (apt install prometheus)");
        return;
    };
    until(&prometheus, "count_over_time(keeptrusts_build_info[1m]) >= 2").await;
    // Its counters grow while it looks.
    everything_happens(&mut world, &key, 2).await;
    until(&prometheus, "count_over_time(keeptrusts_webhook_events_total[1m]) >= 2").await;
    until(&prometheus, "keeptrusts:upstream_errors:ratio_rate5m > 0").await;

    let mut faults = Vec::new();
    for asked in dashboard() {
        let found = prometheus.query(&asked.query).await;
        faults.extend(
            found
                .and_then(|found| has_figures(&found, &asked.told))
                .err()
                .map(|why| format!("{}: {why}: {}", asked.place, asked.query)),
        );
    }
    assert_eq!(faults, Vec::<String>::new());
    rules_are_in_health(&prometheus).await;
    alerts_speak(&prometheus).await;
    assert!(prometheus.query("sum(").await.is_err(), "a query that cannot be read is told");
}

/// Every rule was evaluated without an error, and each that is recorded is there to be asked for.
async fn rules_are_in_health(prometheus: &Prometheus) {
    let listed = prometheus.list("rules").await;
    let groups = listed["groups"].as_array().unwrap().iter();
    let listed: Vec<&Value> = groups.flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert_eq!(listed.len(), rules("rules.yml").len() + rules("alerts.yml").len());
    for rule in listed {
        assert_eq!(rule["health"], "ok", "{rule}");
        if rule["type"] == "recording" {
            let name = rule["name"].as_str().unwrap();
            assert_ne!(prometheus.query(name).await.unwrap().len(), 0, "nothing is recorded as {name}");
        }
    }
}

/// What has just gone wrong is what alerts speak of, or are about to, and nothing else is.
async fn alerts_speak(prometheus: &Prometheus) {
    let expected = ["ErrorsBurnFast", "ErrorsBurnSlowly", "ProviderFails", "ConnectionsRefused", "Unpriced"];
    let begun = Instant::now();
    let speaking = loop {
        let listed = prometheus.list("alerts").await;
        let name = |alert: &Value| alert["labels"]["alertname"].as_str().unwrap().replacen("Keeptrusts", "", 1);
        let speaking: BTreeSet<String> = listed["alerts"].as_array().unwrap().iter().map(name).collect();
        if expected.iter().all(|name| speaking.contains(*name)) {
            break speaking;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "only {speaking:?} speak");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    for unexpected in
        ["Absent", "RestartsOften", "JournalFills", "JournalLoses", "ConfigurationFaulty", "KeyWithoutUse"]
    {
        assert!(!speaking.contains(unexpected), "{unexpected} speaks");
    }
}

/// Everything has a finite value, at least once, and the labels that its legend names.
fn has_figures(found: &[Value], told: &[String]) -> Result<(), String> {
    let is_finite = |sample: &&Value| {
        sample["value"][1].as_str().and_then(|value| value.parse::<f64>().ok()).is_some_and(f64::is_finite)
    };
    let sample = found.iter().find(is_finite).ok_or_else(|| format!("no figure in {found:?}"))?;
    match told.iter().find(|label| sample["metric"][label.as_str()].is_null()) {
        Some(label) => Err(format!("the legend names {label}, and there is only {}", sample["metric"])),
        None => Ok(()),
    }
}

/// What is wrong with queries, by what a gateway shows and what rules record.
fn faults(asked: &[Asked], live: &[Series]) -> Vec<String> {
    let recorded = asked.iter().filter(|asked| asked.place.starts_with("keeptrusts:")).map(|rule| {
        let kept = selectors(&rule.query).unwrap_or_default().into_iter().flat_map(|selector| selector.kept);
        Series { name: rule.place.clone(), labels: kept.map(|label| (label, "some".to_owned())).collect() }
    });
    let there: Vec<Series> = live.iter().cloned().chain(recorded).collect();
    let fault = |asked: &Asked| match selectors(&asked.query) {
        Err(why) => Some(why),
        Ok(found) if found.is_empty() => Some("asks for nothing".into()),
        Ok(found) => found.iter().find_map(|selector| selector.fault(&there)).or_else(|| {
            let is_there = |label: &&String| found.iter().any(|selector| selector.tells(label, &there));
            let label = asked.told.iter().find(|label| !is_there(label))?;
            Some(format!("its legend or summary names {label}, which no series has"))
        }),
    };
    asked.iter().filter_map(|asked| Some(format!("{}: {}: {}", asked.place, fault(asked)?, asked.query))).collect()
}

fn every_metric_is_asked_for(asked: &[Asked]) {
    let queries: String = asked.iter().map(|asked| format!("{} ", asked.query)).collect();
    let metrics = Metrics::new("test", 1).unwrap();
    for row in metrics.rows() {
        let shown = queries.contains(row.name.as_str());
        let excused = UNSHOWN.iter().any(|(name, _)| *name == row.name);
        assert_ne!(shown, excused, "{} is in no query, or is listed as unshown all the same", row.name);
    }
}

/// Each query, broken in each way that a renamed metric or label would break it, is found.
fn a_wrong_query_is_found(asked: &[Asked], live: &[Series]) {
    let mut broken = 0;
    for asked in asked.iter().filter(|asked| !asked.place.starts_with("keeptrusts:")) {
        for selector in selectors(&asked.query).unwrap() {
            let labels = selector.kept.iter().filter(|label| !["job", "instance"].contains(&label.as_str()));
            for word in labels.chain([&selector.metric]) {
                let query = rename(&asked.query, word);
                let wrong = Asked { place: asked.place.clone(), query, told: Vec::new() };
                assert_eq!(faults(&[wrong], live).len(), 1, "{word} may be renamed unnoticed in {}", asked.query);
                broken += 1;
            }
        }
    }
    assert!(broken > 100, "{broken}");
}

/// A query with another word in the place of one.
fn rename(query: &str, word: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut renamed = String::new();
    let mut rest = query;
    while let Some(at) = rest.find(word) {
        let whole = !rest[..at].ends_with(is_word) && !rest[at + word.len()..].starts_with(is_word);
        renamed.push_str(&rest[..at + word.len()]);
        renamed.push_str(if whole { "_renamed" } else { "" });
        rest = &rest[at + word.len()..];
    }
    renamed + rest
}

/// The queries of all panels, annotations and variables, as Grafana would send them.
fn dashboard() -> Vec<Asked> {
    let dashboard: Value = serde_json::from_str(&read("grafana/keeptrusts.json")).unwrap();
    let mut asked = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{panel}");
            asked.push((panel["title"].clone(), target["expr"].clone(), labels(target["legendFormat"].as_str())));
        }
    }
    let lists = [("annotations", "expr"), ("templating", "query")];
    for (list, member) in lists {
        let entries = dashboard[list]["list"].as_array().unwrap().iter().filter(|entry| entry["type"] != "datasource");
        asked.extend(entries.map(|entry| (entry["name"].clone(), entry[member].clone(), Vec::new())));
    }
    let written = |(place, query, told): (Value, Value, _)| {
        let query = query.as_str().unwrap().replace("$__rate_interval", "20s").replace("$team", ".*");
        assert!(!query.contains('$'), "an unknown variable in {query}");
        let query = match query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')) {
            Some(rest) => {
                rest.split_once(", ").map(|(metric, label)| format!("count by ({label}) ({metric})")).unwrap()
            }
            None => query,
        };
        Asked { place: place.as_str().unwrap().to_owned(), query, told }
    };
    asked.into_iter().map(written).collect()
}

/// The expressions of a file of rules or alerts, each with its name.
fn rules(file: &str) -> Vec<Asked> {
    let text = read(&format!("prometheus/{file}"));
    let mut rules: Vec<Asked> = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        let name = ["      - record: ", "      - alert: "].iter().find_map(|start| line.strip_prefix(start));
        if let Some(name) = name {
            rules.push(Asked { place: name.to_owned(), query: String::new(), told: Vec::new() });
        }
        let Some(rule) = rules.last_mut() else { continue };
        rule.told.extend(labels(line.contains("summary:").then_some(line)));
        if let Some(query) = line.strip_prefix("        expr: ") {
            is_inside = query == "|";
            rule.query.push_str(query.trim_matches('|'));
        } else if is_inside && line.starts_with("          ") {
            rule.query.push_str(line);
        } else {
            is_inside = false;
        }
    }
    assert_eq!(rules.len(), text.matches("expr:").count());
    rules
}

/// The labels that a legend or a summary names.
fn labels(text: Option<&str>) -> Vec<String> {
    let names = text.unwrap_or_default().split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
    let names = names.map(|name| name.trim().trim_start_matches("$labels.").to_owned());
    names.filter(|name| !name.starts_with('$')).collect()
}

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(file)).unwrap()
}

/// A gateway that meets with everything, and the key of who asks.
async fn eventful_world() -> (World, String) {
    let mut world = World::with(|setup| {
        setup.mock.first = Duration::from_millis(40);
        let openai = "kind: openai, base_url: \"{mock}\", api_key: {env: TEST_OPENAI_KEY}, concurrency: 1";
        setup.providers = Some(format!("providers:\n  openai: {{{openai}}}\n"));
        setup.environment = vec![("TEST_WEBHOOK_SECRET", "whsec_Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5".into())];
        setup.more = "access: {failures_per_minute: 3}
limits: {rpm: 1000000, connections_per_address_max: 12, budget: {usd: 1000, per: month}}
policies: [{name: people, phase: input, detect: [email]}]
audit:
  webhook: {url: \"http://127.0.0.1:1/\", secret: {env: TEST_WEBHOOK_SECRET}}
"
        .into();
    })
    .await;
    world.kt(&["teams", "create", "--name", "frontend"]).succeeded();
    let key = world.key_with("jane", &["--team", "frontend", "--budget", "20tokens/day:soft"]);
    (world, key)
}

/// Whatever a gateway counts happens once at least.
async fn everything_happens(world: &mut World, key: &str, round: u32) {
    if round > 1 {
        // From now on somebody takes the events.
        let taken = Scripted::start("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        world.rewrite(|text| text.replace("127.0.0.1:1/", &format!("{}/", taken.address)));
        world.kt(&["config", "reload"]).succeeded();
    }
    for stream in [false, true] {
        assert_eq!(world.chat(key, stream).send().await.status, 200);
    }
    let (one, other) = tokio::join!(world.chat(key, false).send(), world.chat(key, false).send());
    assert_eq!((one.status, other.status), (200, 200));
    let mut body = chat_body("llama-9", false);
    body["messages"][0]["content"] = json!("Write to jane.canary@mail.example.");
    assert_eq!(world.ask("POST", "/v1/chat/completions").key(key).json(&body).send().await.status, 200);
    for (fault, status) in [("status:500", 500), ("refuse", 502)] {
        assert_eq!(world.chat(key, false).header("x-mock-fault", fault).send().await.status, status);
    }
    for _ in 0..5 {
        let status = world.chat("kt_ak_nobody", false).send().await.status;
        assert!([401, 429].contains(&status), "{status}");
    }
    connections_are_refused(world, round - 1).await;
    a_stream_is_cut(world, &format!("joe-{round}")).await;
}

async fn connections_are_refused(world: &World, so_far: u32) {
    let many: Vec<TcpStream> = (0..13).map(|_| TcpStream::connect(world.gateway.edge).unwrap()).collect();
    let refused = || world.metric("keeptrusts_connections_refused_total{reason=\"address\"}");
    eventually(|| (refused() > so_far.into()).then_some(())).await;
    drop(many);
    eventually(|| (world.metric("keeptrusts_connections_active") == 0.0).then_some(())).await;
}

async fn a_stream_is_cut(world: &mut World, name: &str) {
    let key = world.key(name);
    let so_far = world.mock.requests().len();
    let streaming = tokio::spawn(world.chat(&key, true).header("x-mock-fault", "stall:3").send());
    eventually(|| world.mock.requests().get(so_far).filter(|seen| seen.sent_at.len() >= 3).map(|_| ())).await;
    world.kt(&["keys", "revoke", name]).succeeded();
    assert!(streaming.await.unwrap().text().contains("was revoked"));
}

/// Waits until a query finds something.
async fn until(prometheus: &Prometheus, query: &str) {
    let begun = Instant::now();
    while prometheus.query(query).await.unwrap().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{query} finds nothing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
