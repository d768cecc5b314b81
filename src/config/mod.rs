//! What the operator wrote (file, environment, command line) → resolved settings.
//!
//! Reading is strict: an unknown or doubled setting, a wrong type, a value out of range or a reference that
//! leads nowhere is a fault. All faults are reported at once, each with file, line, the setting's path and
//! what to do; the value of a secret is in none of them.
//!
//! A configuration goes from low to high: `yaml` (a tree with lines) → `file` (as written, each setting
//! checked on its own) → `resolve` (defaults, environment, command line, references) → [`Config`].
//!
//! The rooms own their `Settings`; this one builds them, so it may import any room and no room imports it.
//! It does not create the data directory, open a listener or ask a provider anything.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use log::LevelFilter;

use crate::catalog::{Routing, Settings};
use crate::domain::{Limits, Name, Permissions, PriceTable};
use crate::listen::Identity;
use crate::telemetry::LogFormat;

mod resolve; // from what was written to what holds: defaults, environment, references
mod file; // the configuration as it is written
pub mod prices; // the price table as a file
mod webhook; // where events are sent
mod tls; // a listener's address, and where its certificate is
mod policies; // what may be said, compiled and tried
mod credential; // where a credential is, and fetching it from there
mod limits; // how much the whole organization may use
mod show; // the resolved settings as text, for `kt config show`
mod reader; // sections of typed settings, with nothing left over
mod yaml; // YAML as a tree in which everything knows its line
mod quantity; // durations, sizes, addresses, one of a few words
mod files; // files and paths that a configuration names
mod environment; // environment variables and the machine's name
mod findings; // faults and warnings, and where they stand

pub use environment::{Environment, ProcessEnvironment};
pub use findings::{Faults, Finding};

use credential::Reference;
use file::Written;
use findings::Report;
use tls::TlsSource;

/// What `kt demo` uses.
const DEMO: &str = include_str!("../../conf/demo.yaml");
/// Where `conf/demo.yaml` expects the mock provider.
const DEMO_PROVIDER: &str = "127.0.0.1:41010";

/// Everything the operator decided, or left to its default.
#[derive(Debug)]
pub struct Config {
    pub organization: Name,
    /// The name of this gateway in events.
    pub gateway: Name,
    pub listen: Listen,
    /// Who each listener is to those who connect; none where connections are not encrypted.
    pub identities: Listeners<Option<Arc<Identity>>>,
    /// May not exist yet.
    pub data_dir: PathBuf,
    /// The pepper, where systemd loads it (`LoadCredential=pepper:…`); else it is in the data directory.
    pub pepper: Option<PathBuf>,
    pub routing: Routing,
    pub prices: PriceTable,
    /// What the whole organization may use.
    pub permissions: Permissions,
    /// How much the organization may use.
    pub limits: Limits,
    /// Limits and deadlines of the request path.
    pub settings: Settings,
    /// How many keys metrics tell apart.
    pub metrics_keys_max: usize,
    /// How many records may wait to be made durable.
    pub journal_capacity: usize,
    pub log: Log,
    /// To be logged at the start: nothing wrong, but probably not meant.
    pub warnings: Vec<Finding>,
    pub source: Source,
    /// Where the credential of each provider came from, in the order of the providers.
    references: Vec<Option<Reference>>,
    /// Where the webhook's secret came from.
    webhook_secret: Option<Reference>,
    price_source: PriceSource,
    tls_sources: Listeners<Option<TlsSource>>,
}

/// Something of each of the three listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listeners<T> {
    pub edge: T,
    pub admin: T,
    pub metrics: T,
}

/// The addresses of the three listeners. Port 0 lets the system choose.
pub type Listen = Listeners<SocketAddr>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    pub level: LevelFilter,
}

/// Where a configuration came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    /// There was no file.
    Environment,
}

/// Settings given on the command line: they decide over all others.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub edge: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    pub metrics: Option<SocketAddr>,
    pub data_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PriceSource {
    BuiltIn,
    File(PathBuf),
}

/// Loads the configuration from `file`, or from the environment alone.
pub fn load(file: Option<&Path>, overrides: Overrides, environment: &dyn Environment) -> Result<Config, Faults> {
    let Some(file) = file else {
        let report = Report::new("environment");
        let written = resolve::from_environment(environment, &report);
        return finish(written, overrides, environment, Source::Environment, report);
    };
    let report = Report::new(&file.display().to_string());
    match files::read_text(file, files::YAML_BYTES_MAX) {
        Ok(text) => load_text(&text, file, overrides, environment, report),
        Err(error) => {
            report.fault(&report.place(0, ""), format!("failed to read: {error}"));
            finish(Written::default(), overrides, environment, Source::File(file.into()), report)
        }
    }
}

/// The configuration of `kt demo`, for a mock provider at `provider`.
pub fn demo(provider: SocketAddr, overrides: Overrides, environment: &dyn Environment) -> Result<Config, Faults> {
    let text = DEMO.replace(DEMO_PROVIDER, &provider.to_string());
    let file = Path::new("conf/demo.yaml");
    load_text(&text, file, overrides, environment, Report::new(&file.display().to_string()))
}

/// Reads a duration as the configuration has them, such as `20ms`: up to an hour.
pub fn duration(text: &str) -> Result<Duration, String> {
    quantity::duration(Duration::ZERO..=Duration::from_secs(3600))(text)
}

/// The data directory that holds when nobody says otherwise on the command line or in a file.
pub fn usual_data_dir(environment: &dyn Environment) -> Option<PathBuf> {
    resolve::usual_data_dir(environment)
}

/// Loads `text` as if it stood in a file.
#[cfg(any(test, fuzzing))]
pub(crate) fn load_written(text: &str, environment: &dyn Environment) -> Result<Config, Faults> {
    load_text(text, Path::new("kt.yaml"), Overrides::default(), environment, Report::new("kt.yaml"))
}

fn load_text(
    text: &str,
    file: &Path,
    overrides: Overrides,
    environment: &dyn Environment,
    report: Report,
) -> Result<Config, Faults> {
    let directory = file.parent().unwrap_or(Path::new(""));
    let written = match yaml::parse(text, &report) {
        Some(root) => Written::read(&root, directory, &report),
        None => Written::default(),
    };
    finish(written, overrides, environment, Source::File(file.into()), report)
}

fn finish(
    written: Written,
    overrides: Overrides,
    environment: &dyn Environment,
    source: Source,
    report: Report,
) -> Result<Config, Faults> {
    let config = resolve::resolve(written, overrides, environment, source, &report);
    Ok(Config { warnings: report.close()?, ..config })
}

/// The words for the levels, from few messages to many.
const LOG_LEVELS: [(&str, LevelFilter); 4] = [
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
];

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LevelFilter::Info }
    }
}

#[cfg(test)]
mod tests;
