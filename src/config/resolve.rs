//! From what was written to what holds: defaults, environment, command line, references.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::catalog::{ModelRule, Routing, Settings, unmatched};
use crate::domain::{Name, PriceTable, Secret};
use crate::listen::Identity;
use crate::providers::{Azure, BaseUrl, Kind, Provider};

use super::credential::Reference;
use super::environment::{Environment, non_empty};
use super::file::{Written, WrittenModel, WrittenProvider, base_url};
use super::findings::{Place, Placed, Report};
use super::reader::{nearest, shown};
use super::tls::{TlsSource, WrittenListener};
use super::webhook::resolve_webhook;
use super::{Config, Listen, Listeners, Overrides, PriceSource, Source, files, prices, tls};

const EDGE_PORT: u16 = 41002;
const ADMIN_PORT: u16 = 41003;
const METRICS_PORT: u16 = 41004;

/// What an operator without a file means, by the provider keys that the environment holds.
pub(super) fn from_environment(environment: &dyn Environment, report: &Report) -> Written {
    let vendors = [
        (Kind::OpenAi, "OPENAI_API_KEY", "OPENAI_BASE_URL"),
        (Kind::Anthropic, "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
        (Kind::Gemini, "GEMINI_API_KEY", "GEMINI_BASE_URL"),
    ];
    let held = vendors.into_iter().filter(|(_, key, _)| non_empty(environment, key).is_some());
    let providers = held.map(|(kind, key, url)| vendor_from_environment(kind, key, url, environment, report)).collect();
    Written { providers, ..Written::default() }
}

fn vendor_from_environment(
    kind: Kind,
    key: &str,
    url: &str,
    environment: &dyn Environment,
    report: &Report,
) -> WrittenProvider {
    let place = report.place(0, key);
    let written_url = non_empty(environment, url).map(|text| Placed { value: text, place: report.place(0, url) });
    let has_base_url = written_url.is_some();
    let base_url = written_url.and_then(|Placed { value, place }| {
        let parsed = value.to_str().ok_or_else(|| "not UTF-8".to_owned()).and_then(base_url);
        parsed.map_err(|fault| report.fault(&place, fault)).ok().map(|value| Placed { value, place })
    });
    WrittenProvider {
        name: Placed { value: kind.label().into(), place: place.clone() },
        kind: Some(Placed { value: kind, place: place.clone() }),
        base_url,
        has_base_url,
        api_key: Some(Placed { value: Reference::Environment(key.into()), place }),
        has_api_key: true,
        azure: Azure::default(),
        capacity: None,
    }
}

/// Resolves everything. Where something is wrong, the report has a fault and the result something harmless.
pub(super) fn resolve(
    mut written: Written,
    overrides: Overrides,
    environment: &dyn Environment,
    source: Source,
    report: &Report,
) -> Config {
    let organization = written.organization.as_ref().map(|name| name.value.clone());
    let gateway = written.gateway.as_ref().map(|name| name.value.clone());
    let (providers, references) = providers(&written.providers, environment, report);
    let models = models(&written.models, &written.providers, &providers, report);
    let (prices, price_source) = price_table(written.prices.as_ref(), report);
    let prices = prices.with_unknown(written.prices_unknown);
    let routing = Routing { providers, models };
    let (identities, tls_sources) = identities(&written, environment, report);
    let (webhook, webhook_secret) = resolve_webhook(written.webhook.take(), environment, report).unzip();
    for sentence in unmatched(&written.permissions, &routing, &prices) {
        report.warn(&report.place(0, "access"), sentence);
    }
    Config {
        organization: organization.unwrap_or_else(|| own_name("default")),
        gateway: gateway.unwrap_or_else(|| gateway_name(environment)),
        listen: listen(&written, &overrides, report),
        identities,
        tls_sources,
        data_dir: data_dir(&written, overrides, environment, report),
        pepper: loaded_pepper(environment),
        routing,
        prices,
        permissions: written.permissions,
        limits: written.limits,
        settings: Settings { webhook, ..written.settings },
        metrics_keys_max: written.counts.metrics_keys_max,
        journal_capacity: written.counts.journal_capacity,
        log: written.log,
        warnings: Vec::new(),
        source,
        references,
        webhook_secret,
        price_source,
    }
}

/// The machine's name, if it can be a gateway's.
fn gateway_name(environment: &dyn Environment) -> Name {
    let host = environment.host_name();
    let parsed = host.as_deref().and_then(|host| Name::parse(host.lines().next()?.trim()).ok());
    parsed.unwrap_or_else(|| own_name("gateway"))
}

#[expect(clippy::expect_used, reason = "only called with texts of this file that are names")]
fn own_name(text: &'static str) -> Name {
    Name::parse(text).expect("a text of this file is a name")
}

fn listen(written: &Written, overrides: &Overrides, report: &Report) -> Listen {
    let edge = listener("edge", EDGE_PORT, overrides.edge, written.edge.address.as_ref(), report);
    let admin = listener("admin", ADMIN_PORT, overrides.admin, written.admin.address.as_ref(), report);
    let metrics = listener("metrics", METRICS_PORT, overrides.metrics, written.metrics.address.as_ref(), report);
    for (first, second) in [(&edge, &admin), (&edge, &metrics), (&admin, &metrics)] {
        if collide(first.value, second.value) {
            let text = format!("{} is taken by {}; give each its own port", second.value, first.place.setting);
            report.fault(&second.place, text);
        }
    }
    for (listener, written, what) in
        [(&admin, &written.admin, "the admin API"), (&metrics, &written.metrics, "the metrics")]
    {
        if !listener.value.ip().is_loopback() && written.tls.is_none() {
            let text =
                format!("{what} can be reached from other machines at {}, unencrypted; give it tls", listener.value);
            report.warn(&listener.place, text);
        }
    }
    Listen { edge: edge.value, admin: admin.value, metrics: metrics.value }
}

fn identities(
    written: &Written,
    environment: &dyn Environment,
    report: &Report,
) -> (Listeners<Option<Arc<Identity>>>, Listeners<Option<TlsSource>>) {
    let identity = |listener: &WrittenListener, protocols: &[&str]| {
        tls::identity(listener.tls.as_ref(), protocols, environment, report).unzip()
    };
    let (edge, edge_source) = identity(&written.edge, &["h2", "http/1.1"]);
    let (admin, admin_source) = identity(&written.admin, &["http/1.1"]);
    let (metrics, metrics_source) = identity(&written.metrics, &["http/1.1"]);
    let sources = Listeners { edge: edge_source, admin: admin_source, metrics: metrics_source };
    (Listeners { edge, admin, metrics }, sources)
}

fn listener(
    name: &str,
    port: u16,
    given: Option<SocketAddr>,
    written: Option<&Placed<SocketAddr>>,
    report: &Report,
) -> Placed<SocketAddr> {
    let place = report.place(0, &format!("listen.{name}"));
    match (given, written) {
        (Some(address), _) => Placed { value: address, place: Place::command_line(place.setting) },
        (None, Some(written)) => written.clone(),
        (None, None) => Placed { value: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), place },
    }
}

fn collide(first: SocketAddr, second: SocketAddr) -> bool {
    let overlap = first.ip() == second.ip() || first.ip().is_unspecified() || second.ip().is_unspecified();
    first.port() != 0 && first.port() == second.port() && overlap
}

/// The command line decides over `KEEPTRUSTS_DATA_DIR`, that over the file, and all over the usual places.
fn data_dir(written: &Written, overrides: Overrides, environment: &dyn Environment, report: &Report) -> PathBuf {
    let in_file = || written.data_dir.as_ref().map(|directory| directory.value.clone());
    let given = overrides.data_dir.or_else(|| variable(environment, "KEEPTRUSTS_DATA_DIR")).or_else(in_file);
    given.or_else(|| usual_data_dir(environment)).unwrap_or_else(|| {
        let hint = "nowhere to keep data: set data_dir, --data-dir or KEEPTRUSTS_DATA_DIR (HOME is not set either)";
        report.fault(&report.place(0, "data_dir"), hint);
        PathBuf::new()
    })
}

/// `KEEPTRUSTS_DATA_DIR`, else the directory a service manager gave, else the user's own.
pub(super) fn usual_data_dir(environment: &dyn Environment) -> Option<PathBuf> {
    let state = || non_empty(environment, "STATE_DIRECTORY").and_then(first_directory);
    // The XDG specification has relative paths ignored.
    let xdg = || variable(environment, "XDG_DATA_HOME").filter(|path| path.is_absolute());
    let home = || variable(environment, "HOME").map(|path| path.join(".local/share/keeptrusts"));
    let asked = variable(environment, "KEEPTRUSTS_DATA_DIR");
    asked.or_else(state).or_else(|| xdg().map(|path| path.join("keeptrusts"))).or_else(home)
}

fn variable(environment: &dyn Environment, name: &str) -> Option<PathBuf> {
    non_empty(environment, name).map(PathBuf::from)
}

/// A credential of systemd's that is called `pepper`.
fn loaded_pepper(environment: &dyn Environment) -> Option<PathBuf> {
    let path = variable(environment, "CREDENTIALS_DIRECTORY")?.join("pepper");
    path.is_file().then_some(path)
}

/// systemd separates several state directories by colons.
fn first_directory(list: OsString) -> Option<PathBuf> {
    let first = list.as_bytes().split(|&byte| byte == b':').next()?;
    Some(PathBuf::from(OsStr::from_bytes(first)))
}

/// The providers that are complete, and where the credential of each is.
fn providers(
    written: &[WrittenProvider],
    environment: &dyn Environment,
    report: &Report,
) -> (Vec<Arc<Provider>>, Vec<Option<Reference>>) {
    if written.is_empty() {
        let text = "no provider is configured, so every request will be refused with no_provider; set OPENAI_API_KEY, \
                    ANTHROPIC_API_KEY or GEMINI_API_KEY and start without a file, or add an entry under providers";
        report.warn(&report.place(0, "providers"), text);
    }
    let resolved = written.iter().filter_map(|written| {
        let provider = provider(written, environment, report)?;
        Some((Arc::new(provider), written.api_key.as_ref().map(|api_key| api_key.value.clone())))
    });
    resolved.unzip()
}

fn provider(written: &WrittenProvider, environment: &dyn Environment, report: &Report) -> Option<Provider> {
    // Both are looked at before either ends the matter, so that the faults of both are reported.
    let credential = credential(written, environment, report);
    let base_url = provider_url(written, report);
    if let Some(Placed { value: url, place }) = &base_url
        && !url.tls()
        && !is_local(url.host())
    {
        report.warn(place, "http to another machine: prompts and the provider's key can be read on the way; use https");
    }
    Some(Provider {
        name: written.name.value.as_str().into(),
        kind: written.kind.as_ref()?.value,
        base_url: base_url?.value,
        credential: credential?,
        azure: written.azure.clone(),
        capacity: written.capacity,
    })
}

/// `None` if it is faulty, `Some(None)` if the provider needs none.
fn credential(written: &WrittenProvider, environment: &dyn Environment, report: &Report) -> Option<Option<Secret>> {
    let Some(Placed { value: reference, place }) = &written.api_key else {
        let needed = written.kind.as_ref().is_some_and(|kind| kind.value != Kind::OpenAiCompatible);
        if needed && !written.has_api_key {
            let setting = format!("{}.api_key", written.name.place.setting);
            let place = written.name.place.at(setting);
            report.fault(&place, "missing; write where the key is: {env: NAME}, {file: PATH} or {credential: NAME}");
        }
        return Some(None);
    };
    match reference.resolve(environment) {
        Ok((secret, warning)) => {
            if let Some(warning) = warning {
                report.warn(place, warning);
            }
            Some(Some(secret))
        }
        Err(fault) => {
            report.fault(place, fault);
            None
        }
    }
}

fn provider_url(written: &WrittenProvider, report: &Report) -> Option<Placed<BaseUrl>> {
    if written.has_base_url {
        return written.base_url.clone();
    }
    let place = written.name.place.at(format!("{}.base_url", written.name.place.setting));
    let Some(vendor) = written.kind.as_ref()?.value.base_url() else {
        let like = match written.kind.as_ref()?.value {
            Kind::Azure => "https://our-name.openai.azure.com",
            _ => "http://127.0.0.1:8000",
        };
        report.fault(&place, format!("missing; where the server is, like {like}"));
        return None;
    };
    Some(Placed { value: BaseUrl::parse(vendor).ok()?, place })
}

pub(super) fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn models(
    written: &[WrittenModel],
    known: &[WrittenProvider],
    providers: &[Arc<Provider>],
    report: &Report,
) -> Vec<ModelRule> {
    let mut rules: Vec<ModelRule> = Vec::with_capacity(written.len());
    for model in written {
        let served_by = served_by(&model.providers, known, providers, report);
        let Some(name) = &model.name else { continue };
        if let Some(earlier) = rules.iter().find(|earlier| covers(earlier, &name.value)) {
            let text = format!(
                "never reached: the earlier {:?} takes all that this matches; write this one first",
                earlier.name
            );
            report.warn(&name.place, text);
        }
        let serves = model.serves.as_ref().map(|serves| serves.value.as_str());
        rules.push(ModelRule::new(&name.value, serves, served_by));
    }
    rules
}

fn served_by(
    named: &[Placed<String>],
    known: &[WrittenProvider],
    providers: &[Arc<Provider>],
    report: &Report,
) -> Vec<Arc<Provider>> {
    let names = || known.iter().map(|provider| provider.name.value.as_str());
    let mut found: Vec<Arc<Provider>> = Vec::with_capacity(named.len());
    for Placed { value: name, place } in named {
        if !names().any(|known| known == name) {
            let text = match nearest(name, names()) {
                Some(near) => format!("no such provider; did you mean {near}?"),
                None => format!("no such provider: {}; add it under providers", shown(name)),
            };
            report.fault(place, text);
        }
        if found.iter().any(|provider| *provider.name == **name) {
            report.fault(place, "named twice in the same list");
        }
        found.extend(providers.iter().find(|provider| *provider.name == **name).cloned());
    }
    found
}

/// Whether `earlier` certainly matches everything that the pattern `later` does. Matching the pattern itself
/// proves it, because only a `*` can take its `*`; but a `?` would take one, too, so it proves nothing there.
fn covers(earlier: &ModelRule, later: &str) -> bool {
    let provable = !(earlier.name.contains('?') && later.contains('*'));
    provable && earlier.matches.matches(later)
}

fn price_table(written: Option<&Placed<PathBuf>>, report: &Report) -> (PriceTable, PriceSource) {
    let Some(Placed { value: path, place }) = written else {
        return (prices::built_in(report), PriceSource::BuiltIn);
    };
    let table = match files::read_text(path, files::YAML_BYTES_MAX) {
        Ok(text) => {
            let prices_report = Report::new(&path.display().to_string());
            let table = prices::read(&text, &prices_report);
            report.absorb(prices_report);
            table
        }
        Err(error) => {
            report.fault(place, format!("failed to read {}: {error}", path.display()));
            PriceTable::default()
        }
    };
    (table, PriceSource::File(path.clone()))
}
