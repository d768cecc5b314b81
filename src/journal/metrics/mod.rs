//! The table of metrics. A metric that is not here does not exist; `docs/METRICS.md` is compared with it.
//!
//! Label values are bounded: `key` by [`Metrics::key_series`], `model` by the price table, the rest by closed
//! sets and by what the operator configured.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::domain::{Timestamp, UsageSource};

use super::limit_gauges::{LimitGauges, LimitReading};

mod series; // what a record counts, by handles that hang on its key
mod table; // making metrics and their documentation in one

use table::{NanoUsdAsUsd, Table};

pub use series::KeySeries;
pub use table::Row;

/// How the names of all metrics begin.
const PREFIX: &str = "keeptrusts";
/// The label value for "no such thing": a refusal nobody can be charged with, a request without a provider.
const NONE: &str = "none";
/// The label value for "not told apart": keys beyond the maximum, models without a price.
const OTHER: &str = "other";

/// Seconds; 10 ms doubled up to about eleven minutes, longer than any client waits.
const DURATION_BUCKETS: [f64; 17] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36];
/// Seconds; from the cost of a bare pass to what a person would notice.
const OVERHEAD_BUCKETS: [f64; 12] =
    [0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1];
/// Seconds; a group commit takes milliseconds on a healthy disk.
const COMMIT_BUCKETS: [f64; 10] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 1.0, 10.0];
/// Seconds; it waits for no disk and no network.
const APPLY_BUCKETS: [f64; 10] = [0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.01, 0.1, 1.0];

/// The kinds of `tokens_total`. They overlap as [`crate::domain::Tokens`] says: do not sum over them.
const TOKEN_KINDS: [&str; 5] = ["input", "cache_read", "cache_write", "output", "reasoning"];

/// Every metric this process exports.
pub struct Metrics {
    registry: Registry,
    rows: Vec<Row>,
    keys_max: Arc<AtomicUsize>,
    keys_named: AtomicUsize,
    /// What keys beyond the maximum are counted as, by team: one for all of a team.
    others: Mutex<HashMap<Arc<str>, Arc<KeySeries>>>,
    requests: IntCounterVec,
    tokens: IntCounterVec,
    cost: IntCounterVec,
    unpriced: IntCounterVec,
    refusals: IntCounterVec,
    usage_records: IntCounterVec,
    upstream_errors: IntCounterVec,
    streams_cut: IntCounterVec,
    limits: LimitGauges,
    budget_thresholds: IntCounterVec,
    policy_actions: IntCounterVec,
    duration: HistogramVec,
    first_token: HistogramVec,
    overhead: Histogram,
    queue_length: IntGaugeVec,
    queue_wait: HistogramVec,
    connections_refused: IntCounterVec,
    connections: IntGauge,
    requests_active: IntGauge,
    streams_active: IntGauge,
    keys: IntGauge,
    revocations: IntGauge,
    journal_depth: IntGauge,
    journal_capacity: IntGauge,
    journal_dropped: IntCounter,
    journal_commit: Histogram,
    events_removed: IntCounter,
    webhook_attempts: IntCounterVec,
    webhook_events: IntCounterVec,
    webhook_behind: IntGauge,
    revocation_apply: Histogram,
    reload_success: IntGauge,
    reload_time: Gauge,
}

/// A request that waits for its provider.
pub struct Queued {
    length: IntGauge,
    wait: Histogram,
    since: Instant,
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.length.dec();
        self.wait.observe(self.since.elapsed().as_secs_f64());
    }
}

impl Metrics {
    /// `keys_max` bounds the values of the `key` label; further keys are counted as `other`.
    pub fn new(version: &str, keys_max: usize) -> prometheus::Result<Self> {
        let known = Arc::new(AtomicUsize::new(keys_max));
        let registry = Registry::new_custom(Some(PREFIX.into()), None)?;
        let table = Table { registry: &registry, rows: Default::default() };
        let cost = IntCounterVec::new(
            Opts::new("cost_usd_total", "What requests cost, in US dollars."),
            &["key", "team", "provider", "model"],
        )?;
        let metrics = Self {
            keys_max: known.clone(),
            keys_named: AtomicUsize::new(0),
            others: Mutex::default(),
            requests: table.counters(
                "requests_total",
                "Requests that presented an authentic key, by the status their caller got (499: the caller left first).",
                &["key", "team", "provider", "model", "status"],
            )?,
            tokens: table.counters(
                "tokens_total",
                "Tokens by kind; cache_read and cache_write are parts of input, reasoning is a part of output.",
                &["key", "team", "provider", "model", "kind"],
            )?,
            cost: cost.clone(),
            unpriced: table.counters(
                "unpriced_requests_total",
                "Requests that used tokens of a model that has no price, and therefore count no cost.",
                &["provider"],
            )?,
            refusals: table.counters(
                "refusals_total",
                "Requests refused, by code; key is none where no key could be attributed.",
                &["key", "team", "code"],
            )?,
            usage_records: table.counters(
                "usage_records_total",
                "Finished requests by where their usage figures came from.",
                &["source"],
            )?,
            upstream_errors: table.counters(
                "upstream_errors_total",
                "Requests that failed at their provider, by kind of failure.",
                &["provider", "kind"],
            )?,
            streams_cut: table.counters(
                "streams_cut_total",
                "Running answers that the gateway ended, by the code of the reason.",
                &["reason"],
            )?,
            budget_thresholds: table.counters(
                "budget_thresholds_total",
                "Windows of budgets in which 50, 80 or 100 percent were spent.",
                &["scope", "name", "budget", "threshold"],
            )?,
            policy_actions: table.counters(
                "policy_actions_total",
                "What policies found in requests (phase input) and answers (output), by what became of it.",
                &["policy", "action", "phase"],
            )?,
            duration: table.histograms(
                "request_duration_seconds",
                "From the request's arrival to its end.",
                &DURATION_BUCKETS,
                &["provider", "stream"],
            )?,
            first_token: table.histograms(
                "time_to_first_token_seconds",
                "From the request's arrival to the first bytes of the answer's body.",
                &DURATION_BUCKETS,
                &["provider", "stream"],
            )?,
            overhead: table.histogram(
                "overhead_seconds",
                "Time the gateway itself added before the upstream was asked.",
                &OVERHEAD_BUCKETS,
            )?,
            queue_length: table.gauges(
                "provider_queue_length",
                "Requests that wait for a provider which is asked only so many at once.",
                &["provider"],
            )?,
            queue_wait: table.histograms(
                "provider_queue_wait_seconds",
                "How long requests waited for their turn at a provider, of those that had to.",
                &DURATION_BUCKETS,
                &["provider"],
            )?,
            connections_refused: table.counters(
                "connections_refused_total",
                "Clients' connections refused because there were too many, in all or from one address.",
                &["reason"],
            )?,
            connections: table.gauge("connections_active", "Clients' connections to the edge.")?,
            requests_active: table.gauge("requests_active", "Requests admitted and not yet ended.")?,
            streams_active: table.gauge("streams_active", "Admitted requests that asked for a stream.")?,
            keys: table.gauge("keys", "Live access keys.")?,
            revocations: table.gauge("revocations", "Revoked keys that are still remembered.")?,
            journal_depth: table
                .gauge("journal_queue_depth", "Records waiting to be made durable, and places held for running requests.")?,
            journal_capacity: table.gauge("journal_queue_capacity", "Records the journal can hold.")?,
            journal_dropped: table
                .counter("journal_dropped_total", "Records that could not be made durable and were given up.")?,
            events_removed: table
                .counter("events_removed_total", "Events that `audit.retention` or `audit.bytes_max` removed from the log.")?,
            webhook_attempts: table.counters(
                "webhook_attempts_total",
                "Attempts to deliver events to the webhook, by what the receiver did: taken, refused, unreachable.",
                &["outcome"],
            )?,
            webhook_events: table.counters(
                "webhook_events_total",
                "Events the webhook is done with: delivered; given_up after `give_up_after`; removed by retention before.",
                &["outcome"],
            )?,
            webhook_behind: table.gauge("webhook_events_behind", "Recorded events the webhook has not been told yet.")?,
            journal_commit: table.histogram(
                "journal_commit_seconds",
                "Time one group of records took to become durable.",
                &COMMIT_BUCKETS,
            )?,
            revocation_apply: table.histogram(
                "revocation_apply_seconds",
                "From the moment a revocation, suspension or rotation was durable to the moment it held everywhere.",
                &APPLY_BUCKETS,
            )?,
            reload_success: table.gauge("config_reload_success", "Whether the last configuration read was taken over.")?,
            reload_time: table.float_gauge(
                "config_reload_timestamp_seconds",
                "When a configuration was last taken over, in seconds since 1970.",
            )?,
            limits: LimitGauges::new(known)?,
            rows: Vec::new(),
            registry: registry.clone(),
        };
        table.register(NanoUsdAsUsd(cost))?;
        table.register(metrics.limits.clone())?;
        table
            .gauges("build_info", "The running version; the value is always 1.", &["version"])?
            .with_label_values(&[version])
            .set(1);
        for source in UsageSource::ALL {
            metrics.usage_records.with_label_values(&[source.label()]);
        }
        // From zero on, so that the first one is an increase.
        for reason in ["all", "address"] {
            metrics.connections_refused.with_label_values(&[reason]);
        }
        Ok(Self { rows: table.rows.take(), ..metrics })
    }

    /// Lets the metrics of limits be made of what `read` tells whenever they are asked for.
    pub fn watch_limits(&self, read: impl Fn(usize) -> Vec<LimitReading> + Send + Sync + 'static) {
        self.limits.read.store(Some(Arc::new(Box::new(read))));
    }

    /// Every metric of this table, in its order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The label values of a key. The first `keys_max` keys are told apart; teams always are.
    pub fn key_series(&self, key: &str, team: Option<&str>) -> Arc<KeySeries> {
        let team = team.unwrap_or(NONE);
        if self.keys_named.fetch_add(1, Ordering::Relaxed) < self.keys_max.load(Ordering::Relaxed) {
            return Arc::new(KeySeries::detached(key, team));
        }
        let mut others = self.others.lock();
        if let Some(known) = others.get(team) {
            return known.clone();
        }
        let series = Arc::new(KeySeries::detached(OTHER, team));
        others.insert(series.team.clone(), series.clone());
        series
    }

    /// Changes how many keys are told apart, for keys that are named from now on.
    pub fn tell_apart(&self, keys_max: usize) {
        self.keys_max.store(keys_max, Ordering::Relaxed);
    }

    /// Counts a refusal that no key can be charged with.
    pub fn stranger_refused(&self, code: &'static str) {
        self.refusals.with_label_values(&[NONE, NONE, code]).inc();
    }

    /// Requests may go to this provider. What an alert looks for begins at zero: an increase from nothing is none.
    pub fn meet_provider(&self, provider: &str) {
        self.unpriced.with_label_values(&[provider]);
    }

    /// How many connections clients have to the edge.
    pub fn connections(&self, count: usize) {
        self.connections.set(count as i64);
    }

    /// Counts a request among those that wait for `provider`, until what this returns is dropped.
    pub fn queued(&self, provider: &str) -> Queued {
        let length = self.queue_length.with_label_values(&[provider]);
        length.inc();
        Queued { length, wait: self.queue_wait.with_label_values(&[provider]), since: Instant::now() }
    }

    /// Counts a connection beyond a cap.
    pub fn connection_refused(&self, reason: &'static str) {
        self.connections_refused.with_label_values(&[reason]).inc();
    }

    /// A share of a budget, in percent, was spent for the first time in its window.
    pub fn budget_threshold_passed(&self, scope: &str, name: &str, budget: &str, threshold: u8) {
        self.budget_thresholds.with_label_values(&[scope, name, budget, &threshold.to_string()]).inc();
    }

    /// How many keys are live, and how many revoked ones are remembered.
    pub fn keys_known(&self, live: usize, revoked: usize) {
        self.keys.set(live as i64);
        self.revocations.set(revoked as i64);
    }

    /// How long one group of records took to become durable.
    pub fn journal_committed(&self, took: Duration) {
        self.journal_commit.observe(took.as_secs_f64());
    }

    /// How long something that takes away took from being durable to holding for every request.
    pub fn revocation_applied(&self, took: Duration) {
        self.revocation_apply.observe(took.as_secs_f64());
    }

    /// Events that the log's retention removed.
    pub fn events_removed(&self, events: u64) {
        self.events_removed.inc_by(events);
    }

    /// An attempt to deliver events.
    pub fn webhook_attempted(&self, outcome: &'static str) {
        self.webhook_attempts.with_label_values(&[outcome]).inc();
    }

    /// Events that were delivered or never will be.
    pub fn webhook_ended(&self, outcome: &'static str, events: u64) {
        self.webhook_events.with_label_values(&[outcome]).inc_by(events);
    }

    /// How many recorded events have not been delivered.
    pub fn webhook_behind(&self, events: i64) {
        self.webhook_behind.set(events);
    }

    /// Records that were given up.
    pub fn journal_dropped(&self, records: usize) {
        self.journal_dropped.inc_by(records as u64);
    }

    /// Whether the configuration that was read last was taken over, and when.
    pub fn config_read(&self, taken_over: bool, now: Timestamp) {
        self.reload_success.set(i64::from(taken_over));
        if taken_over {
            self.reload_time.set(now.as_micros() as f64 / 1e6);
        }
    }

    pub(in crate::journal) fn journal_capacity(&self, capacity: usize) {
        self.journal_capacity.set(capacity as i64);
    }

    pub(in crate::journal) fn journal_depth(&self, depth: usize) {
        self.journal_depth.set(depth as i64);
    }

    /// Requests admitted and not yet ended.
    pub fn requests_active(&self) -> i64 {
        self.requests_active.get()
    }

    /// The Prometheus text exposition of everything.
    pub(in crate::journal) fn expose(&self) -> String {
        let mut families = self.registry.gather();
        families.extend(ProcessCollector::for_self().collect());
        let mut text = Vec::new();
        // Encoding fails only for families without metrics, which `gather` leaves out.
        let _ = TextEncoder::new().encode(&families, &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}
