//! `kt doctor`: whether an installation is as it should be, and what to do where it is not.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::control::admin::v1::config::ConfigInForce;
use crate::control::admin::v1::whoami::WhoAmI;

use super::client::{Client, Gateway};
use super::{Error, output};

mod place; // the data directory, and the process on its machine
mod listeners; // what answers at the edge and among the metrics
mod canary; // whether a made-up key and prompt show up anywhere

#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    gateway: Gateway,
    /// Create a key, misuse it in every way, and search everything the gateway writes for it and for a prompt
    #[arg(long)]
    canary: bool,
    /// The gateway's log file, for --canary to search as well
    #[arg(long, value_name = "FILE", requires = "canary")]
    log: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Probably not meant.
    Warning,
    Failed,
    /// It could not be looked at.
    Skipped,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    detail: String,
}

/// What is found, in order.
#[derive(Debug, Default, Serialize)]
struct Findings {
    checks: Vec<Finding>,
}

/// The listeners of the running gateway that are looked at; `None` where it speaks TLS.
struct Listeners {
    edge: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
}

impl Doctor {
    pub(super) async fn run(self) -> Result<(), Error> {
        let client = self.gateway.client()?;
        let mut findings = Findings::default();
        if let Some(who) = findings.gateway(&client).await {
            let config: ConfigInForce = client.get("/v1/config").await?;
            findings.configuration(&config);
            let listeners =
                Listeners { edge: address(&config.text, "edge"), metrics: address(&config.text, "metrics") };
            listeners::check(&listeners, &mut findings).await;
            // By its URL, a gateway may be on another machine.
            if who.actor == "socket" {
                place::check(&self.gateway.data_dir()?, &mut findings).await;
            }
            if self.canary {
                let data_dir = (who.actor == "socket").then(|| self.gateway.data_dir()).transpose()?;
                let sinks = canary::Sinks { data_dir, log: self.log.clone(), metrics: listeners.metrics };
                canary::check(&client, listeners.edge, &sinks, &mut findings).await?;
            }
        }
        findings.tell(self.json)
    }
}

impl Findings {
    fn add(&mut self, check: &'static str, state: State, detail: impl Into<String>) {
        self.checks.push(Finding { check, state, detail: detail.into() });
    }

    async fn gateway(&mut self, client: &Client) -> Option<WhoAmI> {
        let own = env!("CARGO_PKG_VERSION");
        match client.get::<WhoAmI>("/v1/whoami").await {
            Ok(who) if who.version == own => {
                self.add("gateway", State::Ok, format!("{} runs, version {own}", who.gateway));
                Some(who)
            }
            Ok(who) => {
                let detail =
                    format!("{} runs version {}, and this is kt {own}: start it anew", who.gateway, who.version);
                self.add("gateway", State::Warning, detail);
                Some(who)
            }
            Err(error) => {
                self.add("gateway", State::Failed, Error::from(error).to_string());
                None
            }
        }
    }

    fn configuration(&mut self, config: &ConfigInForce) {
        let before = self.checks.len();
        for fault in &config.faults {
            self.add("configuration", State::Failed, format!("not in force as it is written: {fault}"));
        }
        for warning in config.warnings.iter().chain(&config.restart) {
            self.add("configuration", State::Warning, warning.as_str());
        }
        if self.checks.len() == before {
            self.add("configuration", State::Ok, format!("in force since {}", output::time(config.since, false)));
        }
    }

    fn tell(&self, json: bool) -> Result<(), Error> {
        if json {
            output::json(self)?;
        } else {
            let rows =
                self.checks.iter().map(|found| [found.state.label(), found.check, &found.detail].map(str::to_owned));
            output::table(["STATE", "CHECK", "FOUND"], &rows.collect::<Vec<_>>())?;
        }
        match self.checks.iter().filter(|found| found.state == State::Failed).count() {
            0 => Ok(()),
            1 => Err(Error::Failed("one check failed".into())),
            failed => Err(Error::Failed(format!("{failed} checks failed"))),
        }
    }
}

impl State {
    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// Where a listener without TLS is, by the configuration in force, as `kt config running` shows it.
fn address(config: &str, listener: &str) -> Option<SocketAddr> {
    let section = config.split_once("\nlisten:\n")?.1;
    let lines = section.lines().take_while(|line| line.starts_with(' '));
    let named = lines.filter_map(|line| line.trim_start().strip_prefix(listener)?.strip_prefix(": "));
    named.filter_map(|address| address.trim_matches('"').parse().ok()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_found_and_those_with_tls_are_not() {
        let config = "version: 1\nlisten:\n  edge:\n    address: \"127.0.0.1:1\"\n    tls:\n      cert: c\n  \
                      admin: \"127.0.0.1:2\"\n  metrics: \"127.0.0.1:3\"\nproviders:\n  edge: \"127.0.0.1:4\"\n";
        assert_eq!(address(config, "edge"), None);
        assert_eq!(address(config, "metrics"), Some("127.0.0.1:3".parse().unwrap()));
    }
}
