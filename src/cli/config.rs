//! `kt config`: what the gateway would start with.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::config::{self, Config, Overrides, ProcessEnvironment, Source};

use super::{Error, output};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Read the configuration and report all faults at once
    Check(FileArgs),
    /// Print every setting as it holds, secrets as where they came from
    Show(FileArgs),
}

#[derive(Args, Debug)]
pub(super) struct FileArgs {
    /// The configuration file; without one, the environment decides
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Command {
    pub(super) fn run(self) -> Result<(), Error> {
        let (Self::Check(args) | Self::Show(args)) = &self;
        let config = config::load(args.config.as_deref(), Overrides::default(), &ProcessEnvironment);
        let config = config.map_err(|faults| Error::Failed(faults.to_string()))?;
        for warning in &config.warnings {
            output::hint(&format!("warning: {warning}"));
        }
        match self {
            Self::Check(_) => output::line(&format!("ok: {}", summary(&config))),
            Self::Show(_) => output::line(config.show().trim_end()),
        }
    }
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
