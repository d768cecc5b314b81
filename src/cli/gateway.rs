//! `kt gateway run`: the proxy with its embedded control plane.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use log::{info, warn};

use crate::app::{App, Load, VERSION};
use crate::config::{self, Config, Overrides, ProcessEnvironment};
use crate::telemetry::start_log;

use super::Error;

#[derive(Debug, Args)]
pub(super) struct Gateway {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or SIGINT
    Run(Run),
}

#[derive(Debug, Args)]
struct Run {
    /// The configuration file; without one, the environment decides (OPENAI_API_KEY, ANTHROPIC_API_KEY, …)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where clients connect [default: 127.0.0.1:41002]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where the admin API listens [default: 127.0.0.1:41003]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// Where /metrics, /livez and /readyz are [default: 127.0.0.1:41004]
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// Where keys, events and the pepper are kept [default: $STATE_DIRECTORY or ~/.local/share/keeptrusts]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Gateway {
    pub(super) fn run(self) -> Result<(), Error> {
        let Command::Run(run) = self.command;
        run.run()
    }
}

impl Run {
    fn run(self) -> Result<(), Error> {
        let overrides = Overrides {
            edge: self.listen,
            admin: self.admin_listen,
            metrics: self.metrics_listen,
            data_dir: self.data_dir,
        };
        let load: Load = Box::new(move || config::load(self.config.as_deref(), overrides.clone(), &ProcessEnvironment));
        let config = load().map_err(|faults| Error::Failed(faults.to_string()))?;
        start_log(config.log.format, config.log.level);
        announce(&config);
        let app = App::start(config, load).map_err(|error| Error::Failed(error.to_string()))?;
        app.wait_for_signal().map_err(|error| Error::Failed(format!("cannot wait for signals: {error}")))?;
        info!("stopping: waiting for running requests; a second signal ends them");
        app.stop(App::second_signal());
        Ok(())
    }
}

fn announce(config: &Config) {
    info!("kt {VERSION}, data in {}", config.data_dir.display());
    for warning in &config.warnings {
        warn!("{warning}");
    }
}
