//! Events as comma-separated values, for spreadsheets: every member in a column of its own but `schema`, which says
//! nothing there, and `chain`, which seals the JSON form and nothing else.

use std::borrow::Cow;

use crate::domain::csv::field;

use super::{Event, EventUsage};

/// What a cell holds.
type Cell = fn(&Event) -> Cow<'_, str>;

/// Columns are added at the end; none is renamed or removed within a version of the event.
const COLUMNS: [(&str, Cell); 44] = [
    ("seq", |event| event.seq.to_string().into()),
    ("time", |event| event.time.to_string().into()),
    ("id", |event| event.id.to_string().into()),
    ("request_id", |event| field(&event.request_id)),
    ("phase", |event| event.phase.label().into()),
    ("verdict", |event| event.verdict.label().into()),
    ("reason", |event| text(&event.reason)),
    ("key_id", |event| field(&event.key.id)),
    ("key", |event| field(&event.key.name)),
    ("team", |event| text(&event.team)),
    ("organization", |event| field(&event.organization)),
    ("credential", |event| event.credential.label().into()),
    ("fingerprint", |event| text(&event.fingerprint)),
    ("gateway", |event| field(&event.gateway)),
    ("provider", |event| text(&event.provider)),
    ("endpoint", |event| field(&event.endpoint)),
    ("dialect", |event| field(&event.dialect)),
    ("model_requested", |event| text(&event.model_requested)),
    ("model_served", |event| text(&event.model_served)),
    ("client", |event| field(&event.client)),
    ("address", |event| text(&event.address)),
    ("stream", |event| event.stream.to_string().into()),
    ("status", |event| figure(event.status)),
    ("started_at", |event| event.started_at.to_string().into()),
    ("first_token_ms", |event| figure(event.first_token_ms)),
    ("duration_ms", |event| figure(event.duration_ms)),
    ("request_bytes", |event| event.request_bytes.to_string().into()),
    ("response_bytes", |event| figure(event.response_bytes)),
    ("input", |event| count(event, |usage| usage.input)),
    ("cache_read", |event| count(event, |usage| usage.cache_read)),
    ("cache_write", |event| count(event, |usage| usage.cache_write)),
    ("cache_write_long", |event| count(event, |usage| usage.cache_write_long)),
    ("output", |event| count(event, |usage| usage.output)),
    ("reasoning", |event| count(event, |usage| usage.reasoning)),
    ("web_searches", |event| count(event, |usage| usage.web_searches)),
    ("tier", |event| event.usage.as_ref().map_or("", |usage| usage.tier.label()).into()),
    ("usage_source", |event| event.usage.as_ref().map_or("", |usage| usage.source.label()).into()),
    ("usage_complete", |event| figure(event.usage.as_ref().map(|usage| usage.complete))),
    ("cost_nano_usd", |event| figure(event.cost_nano_usd)),
    ("price_version", |event| text(&event.price_version)),
    ("ended", |event| event.ended.map_or("", |ended| ended.label()).into()),
    ("policies", policies),
    ("input_seq", |event| figure(event.input_seq)),
    ("thresholds", thresholds),
];

/// The first line: the columns' names.
pub fn header() -> String {
    COLUMNS.map(|(name, _)| name).join(",")
}

/// An event as one line, without its line break.
pub fn line(event: &Event) -> String {
    COLUMNS.map(|(_, cell)| cell(event)).join(",")
}

fn text(text: &Option<String>) -> Cow<'_, str> {
    field(text.as_deref().unwrap_or_default())
}

fn figure<T: ToString>(figure: Option<T>) -> Cow<'static, str> {
    figure.map(|figure| figure.to_string()).unwrap_or_default().into()
}

fn count(event: &Event, count: fn(&EventUsage) -> u64) -> Cow<'_, str> {
    figure(event.usage.as_ref().map(count))
}

/// `secrets:redact:2 project-x:observe:1`
fn policies(event: &Event) -> Cow<'_, str> {
    let policies = event.policies.iter().map(|hit| format!("{}:{}:{}", hit.name, hit.action, hit.matches));
    field(&policies.collect::<Vec<_>>().join(" ")).into_owned().into()
}

/// `team:platform:500usd/month:80`
fn thresholds(event: &Event) -> Cow<'_, str> {
    let reached = event.thresholds.iter();
    let reached = reached.map(|one| format!("{}:{}:{}:{}", one.scope, one.name, one.budget, one.percent));
    field(&reached.collect::<Vec<_>>().join(" ")).into_owned().into()
}
