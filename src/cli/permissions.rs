//! `--models`, `--providers`, `--endpoints` and `--ips`: what a key or a team may use.

use clap::Args;

use crate::domain::{Network, Pattern, Permissions, PermissionsChange};

use super::output;

const HEADING: &str = "What may be used (unrestricted where not named)";

/// Lists of what may be used.
#[derive(Debug, Default, Args)]
pub(super) struct Allowed {
    /// Models by the name clients ask for; * stands for any characters, ? for one
    #[arg(long, value_name = "PATTERN,…", value_delimiter = ',', value_parser = pattern, help_heading = HEADING)]
    models: Option<Vec<Pattern>>,
    /// Providers by their configured name
    #[arg(long, value_name = "PATTERN,…", value_delimiter = ',', value_parser = pattern, help_heading = HEADING)]
    providers: Option<Vec<Pattern>>,
    /// Endpoints by their name in events, such as chat/completions or messages
    #[arg(long, value_name = "PATTERN,…", value_delimiter = ',', value_parser = pattern, help_heading = HEADING)]
    endpoints: Option<Vec<Pattern>>,
    /// Addresses and networks callers connect from, such as 10.0.0.0/8
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',', value_parser = network, help_heading = HEADING)]
    ips: Option<Vec<Network>>,
}

/// A restriction that can be lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum List {
    Models,
    Providers,
    Endpoints,
    Ips,
}

impl Allowed {
    pub(super) fn permissions(self) -> Permissions {
        let Self { models, providers, endpoints, ips } = self;
        Permissions { models, providers, endpoints, networks: ips }
    }

    /// What is to change; `None` if nothing is. Lists among `lifted` are not restricted any more.
    pub(super) fn change(self, lifted: &[List]) -> Option<PermissionsChange> {
        let lift = |list| lifted.contains(&list);
        let Self { models, providers, endpoints, ips } = self;
        let change = PermissionsChange {
            models: models.map(Some).or(lift(List::Models).then_some(None)),
            providers: providers.map(Some).or(lift(List::Providers).then_some(None)),
            endpoints: endpoints.map(Some).or(lift(List::Endpoints).then_some(None)),
            networks: ips.map(Some).or(lift(List::Ips).then_some(None)),
        };
        (!change.is_nothing()).then_some(change)
    }
}

/// The restrictions as facts to show, each under its option's name.
pub(super) fn facts(permissions: &Permissions) -> Vec<(&'static str, String)> {
    fn line<T: ToString>(name: &'static str, list: &Option<Vec<T>>) -> Option<(&'static str, String)> {
        let list = list.as_ref()?.iter().map(T::to_string).collect::<Vec<_>>();
        Some((name, if list.is_empty() { "(none at all)".into() } else { list.join(", ") }))
    }
    let Permissions { models, providers, endpoints, networks } = permissions;
    let lines =
        [line("models", models), line("providers", providers), line("endpoints", endpoints), line("ips", networks)];
    lines.into_iter().flatten().collect()
}

/// Tells the person at the terminal what was done, but probably not meant.
pub(super) fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| output::hint(&format!("warning: {warning}")));
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| error.to_string())
}

fn network(text: &str) -> Result<Network, String> {
    Network::parse(text).map_err(|error| error.to_string())
}
