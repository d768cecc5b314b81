//! `kt config`: what the gateway would start with, what it runs with, and how it comes to the one from the other.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::config::{self, Config, Overrides, ProcessEnvironment, Source};
use crate::control::admin::v1::config::ConfigInForce;

use super::client::Gateway;
use super::{Error, output};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check the configuration and report all faults at once
    Check(FileArgs),
    /// Print every setting with its effective value; of secrets, only where they come from
    Show(FileArgs),
    /// Print the configuration that the running gateway uses
    Running(RunningArgs),
    /// Have the running gateway reload its configuration; a faulty one changes nothing
    Reload(RunningArgs),
}

#[derive(Args, Debug)]
pub(super) struct RunningArgs {
    #[command(flatten)]
    gateway: Gateway,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct FileArgs {
    /// The configuration file; without one, the environment is used
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Command {
    pub(super) async fn run(self) -> Result<(), Error> {
        match &self {
            Self::Running(args) => return running(args).await,
            Self::Reload(args) => return reload(args).await,
            Self::Check(args) | Self::Show(args) => self.read(args),
        }
    }

    fn read(&self, args: &FileArgs) -> Result<(), Error> {
        let config = config::load(args.config.as_deref(), Overrides::default(), &ProcessEnvironment);
        let config = config.map_err(|faults| Error::Failed(faults.to_string()))?;
        for warning in &config.warnings {
            output::hint(&format!("warning: {warning}"));
        }
        match self {
            Self::Check(_) => output::line(&format!("ok: {}", summary(&config))),
            _ => output::line(config.show().trim_end()),
        }
    }
}

async fn running(args: &RunningArgs) -> Result<(), Error> {
    let in_force: ConfigInForce = args.gateway.client()?.get("/v1/config").await?;
    tell(&in_force, &in_force.faults);
    if args.json { output::json(&in_force) } else { output::line(in_force.text.trim_end()) }
}

async fn reload(args: &RunningArgs) -> Result<(), Error> {
    let in_force: ConfigInForce = args.gateway.client()?.post("/v1/config/reload", &json!({})).await?;
    tell(&in_force, &[]);
    match args.json {
        true => output::json(&in_force),
        false => output::line(&format!("in force since {}", output::time(in_force.since, false))),
    }
}

/// What is not as it should be, beside the answer.
fn tell(in_force: &ConfigInForce, faults: &[String]) {
    faults.iter().for_each(|fault| output::hint(&format!("not in force: {fault}")));
    in_force.warnings.iter().for_each(|warning| output::hint(&format!("warning: {warning}")));
    in_force.restart.iter().for_each(|change| output::hint(&format!("not yet: {change}")));
}

fn summary(config: &Config) -> String {
    let source = match &config.source {
        Source::File(path) => path.display().to_string(),
        Source::Environment => "the environment alone".into(),
    };
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    format!(
        "{source}: {}, {}, {} (version {})",
        counted(config.routing.providers.len(), "provider"),
        counted(config.routing.models.len(), "model rule"),
        counted(config.prices.iter().count(), "price"),
        config.prices.version(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_what_was_found() {
        let nothing = |_: &str| Some("/nowhere".into()).filter(|_| false);
        let overrides = Overrides { data_dir: Some("/nowhere".into()), ..Overrides::default() };
        let config = config::load(None, overrides, &nothing).unwrap();
        let summary = summary(&config);
        assert!(summary.starts_with("the environment alone: 0 providers, 0 model rules, "), "{summary}");
    }
}
