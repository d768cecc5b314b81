//! The tables that users may rely on, as documents: each is compared with the one table in the code.
//!
//! `UPDATE_REFERENCE=1 cargo test --test reference` writes them anew.

#![expect(clippy::unwrap_used, reason = "in tests, what must hold is unwrapped")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use keeptrusts::domain::{Timestamp, Verdict};
use keeptrusts::gateway::Refusal;
use keeptrusts::journal::{
    Credential, EventNumber, EventWriter, KeyIdentity, KeySeries, Metrics, Opening, Record, Reserved,
};
use keeptrusts::policy::detectors;

const BEGIN: &str = "<!-- table -->\n";
const END: &str = "<!-- end -->";

/// Compares what stands between the markers of a document with `table`.
fn compare(document: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(document);
    let text = fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (present, tail) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&path, format!("{head}{BEGIN}{table}{END}{tail}")).unwrap();
        return;
    }
    assert_eq!(present, table, "docs/{document} differs from the code; UPDATE_REFERENCE=1 writes it anew");
}

#[test]
fn every_refusal_is_documented() {
    let mut rows: Vec<(u16, String)> = Refusal::examples()
        .iter()
        .map(|refusal| {
            let row = refusal.row();
            let retry = if row.retry { "yes" } else { "no" };
            let status = row.status.as_u16();
            (status, format!("| {status} | `{}` | {:?} | {retry} |\n", row.code, row.kind))
        })
        .collect();
    rows.sort();
    rows.dedup();
    let rows: String = rows.into_iter().map(|(_, row)| row).collect();
    compare("REFUSALS.md", &format!("| status | code | kind of error | try again |\n|---|---|---|---|\n{rows}"));
}

#[test]
fn every_refusal_says_what_to_do() {
    for refusal in Refusal::examples() {
        let row = refusal.row();
        assert!(row.status.is_client_error() || row.status.is_server_error());
        assert!(row.code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", row.code);
        assert!(!refusal.to_string().contains("kt_ak_0"), "{refusal}");
    }
}

#[test]
fn every_metric_is_documented() {
    let metrics = Metrics::new("test", 1).unwrap();
    let rows: String = metrics
        .rows()
        .iter()
        .map(|row| {
            let labels: Vec<String> = row.labels.iter().map(|label| format!("`{label}`")).collect();
            format!("| `{}` | {} | {} |\n", row.name, labels.join(", "), row.help)
        })
        .collect();
    compare("METRICS.md", &format!("| name | labels | meaning |\n|---|---|---|\n{rows}"));
}

#[test]
fn every_member_of_an_event_is_documented() {
    let opening = Opening {
        request_id: "r".into(),
        started_at: Timestamp::default(),
        time: Timestamp::default(),
        verdict: Verdict::Pass,
        refusal: None,
        key: KeyIdentity { id: "k".into(), name: "k".into(), series: Arc::new(KeySeries::detached("k", "none")) },
        team: None,
        organization: "o".into(),
        credential: Credential::AccessKey,
        fingerprint: None,
        provider: None,
        endpoint: "models",
        dialect: "openai",
        model_requested: None,
        price: None,
        client: "none",
        address: None,
        stream: false,
        request_bytes: 0,
        policies: Vec::new(),
        overhead: None,
        number: EventNumber::default(),
        reserved: Reserved::default(),
    };
    let mut json = Vec::new();
    EventWriter::new("g").write(&Record::Opened(Arc::new(opening)), uuid::Uuid::now_v7(), 1, &mut json);
    let event: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let mut members: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
    // The log's own, which seals a line to the one before.
    members.push("chain");
    // Only in OUTPUT events: of requests by which a budget came to one, and for which other models were asked.
    members.extend(["thresholds", "advisors"]);
    members.sort_unstable();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/EVENTS.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut documented: Vec<&str> = rows.map(|(member, _)| member).collect();
    documented.sort_unstable();
    assert_eq!(documented, members);
}

#[test]
fn alerts_say_where_to_look() {
    let read = |name: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let (alerts, operations) = (read("conf/prometheus/alerts.yml"), read("docs/OPERATIONS.md").to_lowercase());
    assert_eq!(alerts.matches("OPERATIONS.md#").count(), alerts.matches("- alert:").count());
    for link in alerts.split("OPERATIONS.md#").skip(1) {
        let heading = link.split_whitespace().next().unwrap().replace('-', " ");
        assert!(operations.contains(&format!("### {heading}\n")), "docs/OPERATIONS.md has no heading {heading}");
    }
}

#[test]
fn every_detector_is_documented() {
    let code = |text: &&str| format!("`{}`", text.replace('\n', "\\n").replace('|', "\\|"));
    let list = |texts: &[&str]| texts.iter().map(code).collect::<Vec<_>>().join("<br>");
    let rows: String = detectors::all()
        .map(|detector| {
            let (name, meaning) = (detector.name, detector.meaning);
            format!("| `{name}` | {meaning} | {} | {} |\n", list(detector.finds), list(detector.passes))
        })
        .collect();
    compare("POLICIES.md", &format!("| name | meaning | finds | passes |\n|---|---|---|---|\n{rows}"));
}
