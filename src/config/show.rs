//! The resolved settings as text.
//!
//! Written like a configuration file, so that it can be compared with one. It is none: where a credential
//! would stand, it says where that came from.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::catalog::ModelRule;
use crate::domain::{Allowance, Bounds, Budget, Limits};
use crate::providers::{Capacity, Provider};

use super::credential::Reference;
use super::quantity::{show_duration, show_size};
use super::tls::TlsSource;
use super::{Config, LOG_LEVELS, PriceSource, Source};

impl Config {
    /// Every setting as it holds, credentials as where they came from.
    pub fn show(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        match &self.source {
            Source::File(path) => writeln!(out, "# from {}", path.display())?,
            Source::Environment => writeln!(out, "# from the environment alone")?,
        }
        writeln!(out, "version: 1")?;
        writeln!(out, "organization: {}", quoted(self.organization.as_str()))?;
        writeln!(out, "gateway: {}", quoted(self.gateway.as_str()))?;
        writeln!(out, "listen:")?;
        write_listener(out, "edge", self.listen.edge, self.tls_sources.edge.as_ref())?;
        write_listener(out, "admin", self.listen.admin, self.tls_sources.admin.as_ref())?;
        write_listener(out, "metrics", self.listen.metrics, self.tls_sources.metrics.as_ref())?;
        writeln!(out, "data_dir: {}", quoted(&self.data_dir.display().to_string()))?;
        self.write_routing(out)?;
        self.write_prices(out)?;
        self.write_access(out)?;
        self.write_limits(out)
    }

    fn write_routing(&self, out: &mut String) -> std::fmt::Result {
        let routing = &self.routing;
        writeln!(out, "providers:{}", if routing.providers.is_empty() { " {}" } else { "" })?;
        for (provider, reference) in routing.providers.iter().zip(&self.references) {
            write_provider(out, provider, reference.as_ref())?;
        }
        writeln!(out, "models:{}", if routing.models.is_empty() { " []" } else { "" })?;
        routing.models.iter().try_for_each(|rule| write_rule(out, rule))
    }

    fn write_prices(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "prices:")?;
        let comment = format!("version {}, {} models", self.prices.version(), self.prices.iter().count());
        match &self.price_source {
            PriceSource::BuiltIn => writeln!(out, "  file: (built in)  # {comment}")?,
            PriceSource::File(path) => writeln!(out, "  file: {}  # {comment}", quoted(&path.display().to_string()))?,
        }
        writeln!(out, "  unknown: {}", self.prices.unknown().label())
    }

    /// A list that is not there allows anything; an empty one would allow nothing.
    fn write_access(&self, out: &mut String) -> std::fmt::Result {
        fn list<T: ToString>(out: &mut String, name: &str, entries: &Option<Vec<T>>) -> std::fmt::Result {
            let Some(entries) = entries else { return Ok(()) };
            let entries: Vec<_> = entries.iter().map(|entry| quoted(&entry.to_string())).collect();
            writeln!(out, "  {name}: [{}]", entries.join(", "))
        }
        let permissions = &self.permissions;
        let access = &self.settings.access;
        let passthrough = if access.provider_key_passthrough { "allow" } else { "off" };
        writeln!(out, "access:")?;
        list(out, "models", &permissions.models)?;
        list(out, "providers", &permissions.providers)?;
        list(out, "endpoints", &permissions.endpoints)?;
        list(out, "networks", &permissions.networks)?;
        writeln!(out, "  provider_key_passthrough: {passthrough}")?;
        writeln!(out, "  failures_per_minute: {}", access.failures_per_minute)
    }

    /// Their names and what they do, as comments; what they look for stands in the file.
    fn write_policies(&self, out: &mut String) -> std::fmt::Result {
        let policies = &self.settings.policies;
        writeln!(out, "policies: []{}", if policies.is_empty() { "" } else { "  # in the file:" })?;
        policies.iter().try_for_each(|policy| {
            let (phase, action) = (policy.phase.label(), policy.action.label());
            writeln!(out, "#   {}: {action}, {phase}; {}", policy.name, policy.summary())
        })
    }

    fn write_limits(&self, out: &mut String) -> std::fmt::Result {
        let timeouts = &self.settings.timeouts;
        writeln!(out, "limits:")?;
        write_limits(out, &self.limits)?;
        writeln!(out, "  body_bytes_max: {}", show_size(self.settings.body_bytes_max))?;
        writeln!(out, "  upstream_connections_kept: {}", self.settings.upstream_connections_kept)?;
        writeln!(out, "  body_rate_min: {}", show_size(self.settings.body_rate_min))?;
        writeln!(out, "  answer_rate_min: {}", show_size(self.settings.answer_rate_min))?;
        writeln!(out, "  requests_max: {}", self.settings.overload.requests_max)?;
        match self.settings.overload.memory_bytes_max {
            Some(bytes) => writeln!(out, "  memory_bytes_max: {}", show_size(bytes))?,
            None => writeln!(out, "  # memory_bytes_max: 80 % of what there is")?,
        }
        let door = &self.settings.door;
        writeln!(out, "  header_bytes_max: {}", show_size(door.head.bytes))?;
        writeln!(out, "  header_fields_max: {}", door.head.fields)?;
        writeln!(out, "  target_bytes_max: {}", show_size(door.head.target_bytes))?;
        writeln!(out, "  connections_max: {}", door.connections_max)?;
        writeln!(out, "  connections_per_address_max: {}", door.connections_per_address_max)?;
        writeln!(out, "  cut_streams: {}", self.settings.cut_streams)?;
        match self.settings.repeats {
            Some(times) => writeln!(out, "  repeats: {times}")?,
            None => writeln!(out, "  repeats: off")?,
        }
        self.write_policies(out)?;
        writeln!(out, "streams:\n  cut: {}", self.settings.cut.label())?;
        writeln!(out, "timeouts:")?;
        writeln!(out, "  header: {}", show_duration(timeouts.header))?;
        writeln!(out, "  body: {}", show_duration(timeouts.body))?;
        writeln!(out, "  connect: {}", show_duration(timeouts.connect))?;
        writeln!(out, "  first_byte: {}", show_duration(timeouts.first_byte))?;
        writeln!(out, "  idle: {}", show_duration(timeouts.idle))?;
        writeln!(out, "  write: {}", show_duration(timeouts.write))?;
        writeln!(out, "  keepalive: {}", show_duration(timeouts.keepalive))?;
        writeln!(out, "  drain: {}", show_duration(timeouts.drain))?;
        self.write_audit(out)?;
        writeln!(out, "metrics:\n  max_keys: {}", self.metrics_keys_max)?;
        let level = LOG_LEVELS.iter().find(|(_, level)| *level == self.log.level).map_or("", |(word, _)| word);
        writeln!(out, "log:\n  format: {}\n  level: {level}", self.log.format.label())
    }
}

fn write_listener(out: &mut String, name: &str, address: SocketAddr, tls: Option<&TlsSource>) -> std::fmt::Result {
    let address = quoted(&address.to_string());
    let Some(TlsSource { cert, key, client_ca }) = tls else { return writeln!(out, "  {name}: {address}") };
    writeln!(out, "  {name}:\n    address: {address}\n    tls:\n      cert: {cert}\n      key: {key}")?;
    client_ca.as_ref().map_or(Ok(()), |client_ca| writeln!(out, "      client_ca: {client_ca}"))
}

impl Config {
    fn write_audit(&self, out: &mut String) -> std::fmt::Result {
        let audit = &self.settings.audit;
        writeln!(out, "audit:\n  queue: {}", self.journal_capacity)?;
        writeln!(out, "  durability: {}\n  on_failure: {}", audit.durability.label(), audit.on_failure.label())?;
        match audit.retention.age {
            Some(age) => writeln!(out, "  retention: {}", show_duration(age))?,
            None => writeln!(out, "  # retention: events are kept for ever")?,
        }
        match audit.retention.bytes_max {
            Some(bytes) => writeln!(out, "  bytes_max: {}", show_size(usize::try_from(bytes).unwrap_or(usize::MAX)))?,
            None => writeln!(out, "  # bytes_max: however many they are")?,
        }
        let Some((webhook, secret)) = self.settings.webhook.as_ref().zip(self.webhook_secret.as_ref()) else {
            return writeln!(out, "  # webhook: events are sent nowhere");
        };
        writeln!(out, "  webhook:\n    url: {}\n    secret: {secret}", quoted(&webhook.url.to_string()))?;
        writeln!(out, "    give_up_after: {}", show_duration(webhook.give_up_after))
    }
}

fn write_provider(out: &mut String, provider: &Provider, reference: Option<&Reference>) -> std::fmt::Result {
    writeln!(out, "  {}:", quoted(&provider.name))?;
    writeln!(out, "    kind: {}", provider.kind.label())?;
    writeln!(out, "    base_url: {}", quoted(&provider.base_url.to_string()))?;
    match reference {
        Some(reference) => writeln!(out, "    api_key: {reference}")?,
        None => writeln!(out, "    api_key: (none)")?,
    }
    if let Some(Capacity { concurrency, queue, queue_time }) = provider.capacity {
        writeln!(
            out,
            "    concurrency: {concurrency}\n    queue: {queue}\n    queue_time: {}",
            show_duration(queue_time)
        )?;
    }
    if let Some(version) = &provider.azure.api_version {
        writeln!(out, "    api_version: {}", quoted(version))?;
    }
    let deployments = &provider.azure.deployments;
    if !deployments.is_empty() {
        writeln!(out, "    deployments:")?;
    }
    deployments
        .iter()
        .try_for_each(|(model, deployment)| writeln!(out, "      {}: {}", quoted(model), quoted(deployment)))
}

fn write_rule(out: &mut String, rule: &ModelRule) -> std::fmt::Result {
    writeln!(out, "  - name: {}", quoted(&rule.name))?;
    if let Some(serves) = &rule.serves {
        writeln!(out, "    serves: {}", quoted(serves))?;
    }
    let providers: Vec<_> = rule.providers.iter().map(|provider| quoted(&provider.name)).collect();
    writeln!(out, "    providers: [{}]", providers.join(", "))
}

/// The organization's limits; what is not limited is not there.
fn write_limits(out: &mut String, limits: &Limits) -> std::fmt::Result {
    write_bounds(out, "  ", &limits.all)?;
    if !limits.models.is_empty() {
        writeln!(out, "  models:")?;
    }
    limits.models.iter().try_for_each(|(model, bounds)| {
        writeln!(out, "    {}:", quoted(&model.to_string()))?;
        if let Some(max) = bounds.body_bytes_max {
            writeln!(out, "      body_bytes_max: {max}")?;
        }
        write_bounds(out, "      ", bounds)
    })
}

fn write_bounds(out: &mut String, indent: &str, bounds: &Bounds) -> std::fmt::Result {
    let counts = [
        ("rpm", bounds.rpm),
        ("burst", bounds.burst),
        ("tpm", bounds.tpm),
        ("input_tpm", bounds.input_tpm),
        ("output_tpm", bounds.output_tpm),
        ("concurrency", bounds.concurrency),
        ("output_tokens_max", bounds.output_tokens_max),
    ];
    for (name, count) in counts {
        if let Some(count) = count {
            writeln!(out, "{indent}{name}: {count}")?;
        }
    }
    if !bounds.budgets.is_empty() {
        writeln!(out, "{indent}budgets:")?;
    }
    bounds.budgets.iter().try_for_each(|Budget { allowance, per, time_zone, hard }| {
        let allowance = match allowance {
            Allowance::Money(amount) => format!("usd: {}", amount.dollars()),
            Allowance::Tokens(count) => format!("tokens: {count}"),
        };
        let (per, zone) = (per.label(), quoted(time_zone.name()));
        writeln!(out, "{indent}  - {{{allowance}, per: {per}, time_zone: {zone}, hard: {hard}}}")
    })
}

/// A text as YAML takes it. What JSON quotes, YAML reads alike.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._/:@+-".contains(c);
    let begins_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    if begins_plain && text.chars().all(plain) && !text.ends_with(':') {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}
