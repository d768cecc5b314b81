//! The configuration as it is written: every setting checked on its own, nothing resolved yet.
//!
//! What only one place can say (limits, deadlines) is read into its room's `Settings` at once. What also
//! depends on the environment, the command line, other settings or other files keeps its place, so that
//! `resolve` can still say where a fault is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::catalog::{Access, Audit, CutForm, Doorway, Durability, OnFailure, Overload, Retention, Settings, Timeouts};
use crate::domain::{Limits, Name, Network, Pattern, PermissionError, Permissions, Unknown};
use crate::protocol::framing::HeadLimits;
use crate::providers::{Azure, BaseUrl, Capacity, Kind};

use super::credential::{Reference, reference};
use super::findings::{Placed, Report};
use super::limits::limits;
use super::policies::policies;
use super::quantity::{choice, count, duration, size};
use super::reader::{Section, read};
use super::tls::{WrittenListener, listener};
use super::webhook::{WrittenWebhook, webhook};
use super::yaml::Node;
use super::{Log, files};
use crate::telemetry::LogFormat;

/// First segments of paths that are not a provider's.
const PROVIDER_NAMES_TAKEN: [&str; 6] = ["api", "healthz", "keeptrusts", "models", "v1", "v1beta"];
const MODEL_CHARS_MAX: usize = 256;
/// The least that the event log may be held to.
const EVENTS_BYTES_MIN: usize = 1024 * 1024;

/// What was written, by the operator or on behalf of one who wrote nothing.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) organization: Option<Placed<Name>>,
    pub(super) gateway: Option<Placed<Name>>,
    pub(super) edge: WrittenListener,
    pub(super) admin: WrittenListener,
    pub(super) metrics: WrittenListener,
    pub(super) data_dir: Option<Placed<PathBuf>>,
    pub(super) providers: Vec<WrittenProvider>,
    pub(super) models: Vec<WrittenModel>,
    pub(super) prices: Option<Placed<PathBuf>>,
    pub(super) prices_unknown: Unknown,
    pub(super) permissions: Permissions,
    pub(super) limits: Limits,
    pub(super) settings: Settings,
    pub(super) counts: Counts,
    pub(super) webhook: Option<WrittenWebhook>,
    pub(super) log: Log,
}

#[derive(Debug)]
pub(super) struct WrittenProvider {
    pub(super) name: Placed<String>,
    pub(super) kind: Option<Placed<Kind>>,
    pub(super) base_url: Option<Placed<BaseUrl>>,
    /// A base URL was written, right or wrong.
    pub(super) has_base_url: bool,
    pub(super) api_key: Option<Placed<Reference>>,
    pub(super) has_api_key: bool,
    pub(super) azure: Azure,
    pub(super) capacity: Option<Capacity>,
}

#[derive(Debug)]
pub(super) struct WrittenModel {
    pub(super) name: Option<Placed<String>>,
    pub(super) serves: Option<Placed<String>>,
    pub(super) providers: Vec<Placed<String>>,
}

/// Sizes of what belongs to no one request.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) metrics_keys_max: usize,
    pub(super) journal_capacity: usize,
}

impl Default for Counts {
    fn default() -> Self {
        Self { metrics_keys_max: 2000, journal_capacity: 65_536 }
    }
}

impl Written {
    /// Reads a file's settings; relative paths in it begin at `directory`.
    pub(super) fn read(root: &Node, directory: &Path, report: &Report) -> Self {
        read(report, root, |file| {
            file.required("version", "begin with `version: 1`", version);
            let [edge, admin, metrics] = file
                .section("listen", |listen| ["edge", "admin", "metrics"].map(|name| listener(listen, name, directory)));
            let path = |text: &str| files::path_from(directory, text);
            let (limits, path_limits) = file.section("limits", |section| (limits(section), path_limits(section)));
            let (audit, queue, webhook) =
                file.section("audit", |section| (audit(section), queue(section), webhook(section, directory)));
            let (prices, prices_unknown) = file.section("prices", |prices| {
                let words = Unknown::ALL.map(|unknown| (unknown.label(), unknown));
                let unknown = prices.optional("unknown", choice(&words)).map(|unknown| unknown.value);
                (prices.optional("file", path), unknown.unwrap_or_default())
            });
            let (permissions, access) = file.section("access", |section| (permissions(section), access(section)));
            Self {
                organization: file.optional("organization", name),
                gateway: file.optional("gateway", name),
                edge,
                admin,
                metrics,
                data_dir: file.optional("data_dir", path),
                providers: file.entries("providers", |name, section| provider(name, section, directory)),
                models: file.items("models", model),
                prices,
                prices_unknown,
                permissions,
                limits,
                settings: settings(file, access, audit, path_limits),
                counts: counts(file, queue),
                webhook,
                log: file.section("log", log_settings),
            }
        })
    }
}

fn version(text: &str) -> Result<(), String> {
    match text {
        "1" => Ok(()),
        _ => Err("this program reads version 1 only".into()),
    }
}

fn name(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|error| error.to_string())
}

fn provider(name: Placed<&str>, section: &Section<'_>, directory: &Path) -> WrittenProvider {
    if let Err(fault) = provider_name(name.value) {
        section.report().fault(&name.place, fault);
    }
    let kinds = Kind::ALL.map(|kind| (kind.label(), kind));
    let expected = format!("one of {}", Kind::ALL.map(Kind::label).join(", "));
    WrittenProvider {
        name: Placed { value: name.value.to_owned(), place: name.place },
        kind: section.required("kind", &expected, choice(&kinds)),
        base_url: section.optional("base_url", base_url),
        has_base_url: section.has("base_url"),
        api_key: reference(section, directory),
        has_api_key: section.has("api_key"),
        azure: azure(section),
        capacity: capacity(section),
    }
}

/// How many requests a provider is asked at once.
fn capacity(section: &Section<'_>) -> Option<Capacity> {
    let concurrency = section.optional("concurrency", count(1..=100_000));
    let queue = section.optional("queue", count(0..=100_000));
    let queue_time = section.optional("queue_time", duration(Duration::from_millis(100)..=Duration::from_secs(3600)));
    if !section.has("concurrency") && (section.has("queue") || section.has("queue_time")) {
        section
            .report()
            .fault(section.place(), "queue and queue_time say how to wait for concurrency: write that as well");
    }
    Some(Capacity {
        concurrency: concurrency?.value,
        queue: queue.map_or(Capacity::QUEUE, |count| count.value),
        queue_time: queue_time.map_or(Capacity::QUEUE_TIME, |time| time.value),
    })
}

/// What only a provider of the kind `azure` is told.
fn azure(section: &Section<'_>) -> Azure {
    let api_version = section.optional("api_version", api_version);
    let deployments = section.section("deployments", |section| section.own_texts(model_name));
    let is_azure = section.text("kind") == Some(Kind::Azure.label());
    if !is_azure && (api_version.is_some() || !deployments.is_empty()) {
        section.report().fault(section.place(), "api_version and deployments are for the kind azure alone");
    }
    let deployments = deployments.into_iter().map(|(model, deployment)| (model, deployment.value.into()));
    Azure { api_version: api_version.map(|version| version.value), deployments: deployments.collect() }
}

fn api_version(text: &str) -> Result<String, String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match is_plain && (1..=32).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => Err("a version like 2024-10-21 or 2025-01-01-preview".into()),
    }
}

/// A provider's name is also a segment of paths: `/local/v1/chat/completions`.
fn provider_name(text: &str) -> Result<(), String> {
    name(text)?;
    if !text.is_ascii() {
        return Err("a provider's name is part of URLs; use ASCII letters and digits".into());
    }
    if PROVIDER_NAMES_TAKEN.contains(&text) {
        return Err("a provider cannot have this name, because paths that begin with it mean something else".into());
    }
    Ok(())
}

pub(super) fn base_url(text: &str) -> Result<BaseUrl, String> {
    BaseUrl::parse(text).map_err(|error| error.to_string())
}

fn model(section: &Section<'_>) -> WrittenModel {
    WrittenModel {
        name: section.required("name", "the model's name as clients write it; * stands for any characters", model_name),
        serves: section.optional("serves", |text| match text.contains(['*', '?']) {
            true => Err("the name of one model, without * and ?".into()),
            false => model_name(text),
        }),
        providers: section.required_texts("providers", "name at least one: providers: [NAME]"),
    }
}

fn model_name(text: &str) -> Result<String, String> {
    let odd = |c: char| c.is_whitespace() || c.is_control();
    if text.is_empty() || text.chars().count() > MODEL_CHARS_MAX || text.contains(odd) {
        return Err(format!("a model's name has 1 to {MODEL_CHARS_MAX} characters and no spaces"));
    }
    Ok(text.to_owned())
}

/// What the whole organization may use.
fn permissions(section: &Section<'_>) -> Permissions {
    Permissions {
        models: allowed(section, "models", Pattern::parse),
        providers: allowed(section, "providers", Pattern::parse),
        endpoints: allowed(section, "endpoints", Pattern::parse),
        networks: allowed(section, "networks", Network::parse),
    }
}

/// A list of what is allowed; none if it is not written, and then anything is.
fn allowed<T>(
    section: &Section<'_>,
    name: &'static str,
    parse: impl Fn(&str) -> Result<T, PermissionError>,
) -> Option<Vec<T>> {
    let written = section.texts(name, |text| parse(text).map_err(|error| error.to_string()))?;
    if written.len() > Permissions::ENTRIES_MAX {
        let place = section.place().at(format!("{}.{name}", section.place().setting));
        section.report().fault(&place, format!("at most {} entries; use patterns", Permissions::ENTRIES_MAX));
    }
    Some(written.into_iter().map(|entry| entry.value).collect())
}

/// Limits of the gateway itself, which stand beside the organization's.
fn path_limits(section: &Section<'_>) -> Settings {
    let default = Settings::default();
    let body_bytes_max = section.optional("body_bytes_max", size(1024..=1024 * 1024 * 1024));
    let rate = |name| section.optional(name, size(1..=1024 * 1024 * 1024)).map(|size| size.value);
    let kept = section.optional("upstream_connections_kept", count(1..=65_536));
    let repeats = section.optional("repeats", repeats);
    let cut_streams = section.optional("cut_streams", choice(&[("true", true), ("false", false)]));
    Settings {
        cut_streams: cut_streams.map_or(default.cut_streams, |word| word.value),
        repeats: repeats.map_or(default.repeats, |times| times.value),
        body_bytes_max: body_bytes_max.map_or(default.body_bytes_max, |size| size.value),
        upstream_connections_kept: kept.map_or(default.upstream_connections_kept, |count| count.value),
        body_rate_min: rate("body_rate_min").unwrap_or(default.body_rate_min),
        answer_rate_min: rate("answer_rate_min").unwrap_or(default.answer_rate_min),
        door: doorway(section),
        overload: overload(section),
        ..default
    }
}

fn repeats(text: &str) -> Result<Option<u32>, String> {
    match text {
        "off" => Ok(None),
        text => count(1..=10_000)(text).map(|times| u32::try_from(times).ok()).map_err(|error| error + ", or off"),
    }
}

fn settings(file: &Section<'_>, access: Access, audit: Audit, path_limits: Settings) -> Settings {
    Settings {
        access,
        cut: file.section("streams", cut_form),
        audit,
        timeouts: file.section("timeouts", timeouts),
        policies: policies(file),
        ..path_limits
    }
}

fn doorway(section: &Section<'_>) -> Doorway {
    let default = Doorway::default();
    let connections = |name, default| {
        let written = section.optional(name, count(1..=1_000_000));
        written.map_or(default, |count| count.value)
    };
    let bytes = |name, range, default| section.optional(name, size(range)).map_or(default, |size| size.value);
    // Pingora takes up to 256 header fields.
    let fields = section.optional("header_fields_max", count(16..=256));
    Doorway {
        head: HeadLimits {
            bytes: bytes("header_bytes_max", 1024..=256 * 1024, default.head.bytes),
            fields: fields.map_or(default.head.fields, |count| count.value),
            target_bytes: bytes("target_bytes_max", 256..=64 * 1024, default.head.target_bytes),
        },
        connections_max: connections("connections_max", default.connections_max),
        connections_per_address_max: connections("connections_per_address_max", default.connections_per_address_max),
    }
}

fn overload(section: &Section<'_>) -> Overload {
    const GIB: usize = 1024 * 1024 * 1024;
    let default = Settings::default().overload;
    let requests = section.optional("requests_max", count(1..=1_000_000));
    let memory = section.optional("memory_bytes_max", size(64 * 1024 * 1024..=1024 * GIB));
    Overload {
        requests_max: requests.map_or(default.requests_max, |count| count.value),
        memory_bytes_max: memory.map(|size| size.value),
    }
}

fn access(section: &Section<'_>) -> Access {
    let default = Access::default();
    let passthrough = section.optional("provider_key_passthrough", choice(&[("off", false), ("allow", true)]));
    let failures = section.optional("failures_per_minute", count(1..=100_000));
    Access {
        provider_key_passthrough: passthrough.map_or(default.provider_key_passthrough, |word| word.value),
        failures_per_minute: failures.map_or(default.failures_per_minute, |count| count.value as u32),
    }
}

fn queue(section: &Section<'_>) -> Option<usize> {
    section.optional("queue", count(16..=1_048_576)).map(|count| count.value)
}

fn audit(section: &Section<'_>) -> Audit {
    let durability = section.optional("durability", choice(&Durability::ALL.map(|kind| (kind.label(), kind))));
    let on_failure = section.optional("on_failure", choice(&OnFailure::ALL.map(|kind| (kind.label(), kind))));
    let age =
        section.optional("retention", duration(Duration::from_secs(60)..=Duration::from_secs(10 * 366 * 24 * 3600)));
    let bytes_max = section.optional("bytes_max", size(EVENTS_BYTES_MIN..=usize::MAX >> 1));
    Audit {
        durability: durability.map_or_else(Durability::default, |durability| durability.value),
        on_failure: on_failure.map_or_else(OnFailure::default, |on_failure| on_failure.value),
        retention: Retention {
            age: age.map(|age| age.value),
            bytes_max: bytes_max.map(|bytes_max| bytes_max.value as u64),
        },
    }
}

fn cut_form(section: &Section<'_>) -> CutForm {
    let form = section.optional("cut", choice(&CutForm::ALL.map(|form| (form.label(), form))));
    form.map_or_else(CutForm::default, |form| form.value)
}

fn timeouts(section: &Section<'_>) -> Timeouts {
    const MIN: Duration = Duration::from_millis(100);
    const MINUTE: u64 = 60;
    let default = Timeouts::default();
    let read = |name, default, seconds_max| {
        let written = section.optional(name, duration(MIN..=Duration::from_secs(seconds_max)));
        written.map_or(default, |duration| duration.value)
    };
    Timeouts {
        header: read("header", default.header, 5 * MINUTE),
        body: read("body", default.body, 60 * MINUTE),
        connect: read("connect", default.connect, 5 * MINUTE),
        first_byte: read("first_byte", default.first_byte, 60 * MINUTE),
        idle: read("idle", default.idle, 60 * MINUTE),
        write: read("write", default.write, 60 * MINUTE),
        keepalive: read("keepalive", default.keepalive, 60 * MINUTE),
        drain: read("drain", default.drain, 24 * 60 * MINUTE),
    }
}

fn counts(file: &Section<'_>, queue: Option<usize>) -> Counts {
    let default = Counts::default();
    let keys = file.section("metrics", |metrics| metrics.optional("max_keys", count(1..=100_000)));
    Counts {
        metrics_keys_max: keys.map_or(default.metrics_keys_max, |count| count.value),
        journal_capacity: queue.unwrap_or(default.journal_capacity),
    }
}

fn log_settings(section: &Section<'_>) -> Log {
    let default = Log::default();
    let format = section.optional("format", choice(&LogFormat::ALL.map(|format| (format.label(), format))));
    let level = section.optional("level", choice(&super::LOG_LEVELS));
    Log {
        format: format.map_or(default.format, |format| format.value),
        level: level.map_or(default.level, |level| level.value),
    }
}
