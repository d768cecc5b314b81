//! `kt gateway run`: the proxy with its embedded control plane; `kt gateway upgrade`: another takes over.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use log::{info, warn};
use serde_json::json;
use tokio::time::sleep;

use crate::app::{App, Load, VERSION, heir, is_launcher, launch};
use crate::config::{self, Config, Overrides, ProcessEnvironment};
use crate::control::admin::v1::whoami::WhoAmI;
use crate::control::{Heir, UpgradeBegun};
use crate::telemetry::start_log;

use super::client::{self, CallError};
use super::{Error, block_on, output};

/// How long a process that is ready may take to have taken over: it loads every key.
const TAKE_OVER_PATIENCE: Duration = Duration::from_secs(60);
const TAKE_OVER_LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(super) struct Gateway {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or SIGINT
    Run(Run),
    /// Replace the running process with the installed program, without interrupting requests
    ///
    /// Requests that are running end in the old process. Nothing changes until the new process has read its configuration
    /// and is ready; if that fails, this command says why.
    Upgrade(Upgrade),
}

#[derive(Debug, Args)]
struct Upgrade {
    #[command(flatten)]
    gateway: client::Gateway,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Run {
    /// The configuration file; without one, the environment is used (OPENAI_API_KEY, ANTHROPIC_API_KEY, …)
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
        match self.command {
            Command::Run(run) => run.run(),
            Command::Upgrade(upgrade) => block_on(upgrade.run()),
        }
    }
}

impl Run {
    fn run(self) -> Result<(), Error> {
        let overrides = Overrides {
            edge: self.listen,
            admin: self.admin_listen,
            metrics: self.metrics_listen,
            data_dir: self.data_dir.clone(),
        };
        let unreachable = |error| Error::Failed(format!("cannot reach the process to take over from: {error}"));
        let heir = heir().map_err(unreachable)?;
        let heir = match heir {
            Some(heir) if is_launcher() => return launch(heir).map_err(unreachable),
            heir => heir,
        };
        // Until it has handed over, the other process goes on, and says what is wrong with this one.
        let refusal = heir.as_ref().and_then(|heir| heir.try_clone().ok());
        let app = self.start(overrides, heir).inspect_err(|error| {
            refusal.into_iter().for_each(|refusal| refusal.refuse(&error.to_string()));
        })?;
        app.run().map_err(|error| Error::Failed(error.to_string()))
    }

    fn start(self, overrides: Overrides, heir: Option<Heir>) -> Result<App, Error> {
        let load: Load = Box::new(move || config::load(self.config.as_deref(), overrides.clone(), &ProcessEnvironment));
        let config = load().map_err(|faults| Error::Failed(faults.to_string()))?;
        start_log(config.log.format, config.log.level);
        announce(&config);
        App::start(config, load, heir).map_err(|error| Error::Failed(error.to_string()))
    }
}

impl Upgrade {
    async fn run(self) -> Result<(), Error> {
        let client = self.gateway.client()?;
        let begun: UpgradeBegun = client.post("/v1/upgrade", &json!({})).await?;
        let UpgradeBegun { from, to } = &begun;
        let asked = Instant::now();
        loop {
            match client.get::<WhoAmI>("/v1/whoami").await {
                Ok(present) if present.pid == to.pid => break,
                Err(error @ CallError::Refused { .. }) => return Err(error.into()),
                _ if asked.elapsed() > TAKE_OVER_PATIENCE => {
                    return Err(Error::Failed(format!(
                        "process {} was ready and does not answer: the gateway's log says why",
                        to.pid
                    )));
                }
                _ => sleep(TAKE_OVER_LOOK).await,
            }
        }
        match self.json {
            true => output::json(&begun),
            false => output::line(&format!(
                "process {} ({}) has taken over from {} ({}), which ends with its last request",
                to.pid, to.version, from.pid, from.version
            )),
        }
    }
}

fn announce(config: &Config) {
    info!("kt {VERSION}, data in {}", config.data_dir.display());
    for warning in &config.warnings {
        warn!("{warning}");
    }
}
