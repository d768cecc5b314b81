//! Reading the configuration again while the process runs: what takes effect, and what needs a start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use log::{error, info, warn};
use tokio::signal::unix::Signal;

use crate::config::{Config, Faults, Listen, Listeners};
use crate::control::{Again, Configured, Reading, Reloader};
use crate::domain::Name;
use crate::journal::Metrics;
use crate::listen::CurrentIdentity;
use crate::telemetry::{Health, start_log};

/// What `/readyz` calls a configuration that could not be put in force.
const NOTE: &str = "configuration";

/// Loads the configuration that the process was started with, as it is written now.
pub type Load = Box<dyn Fn() -> Result<Config, Faults> + Send + Sync>;

/// What cannot change while the process runs, as it was asked for at its start; and what the listeners look at.
pub(super) struct Fixed {
    asked: Listen,
    /// With the ports that the system chose.
    listen: Listen,
    data_dir: PathBuf,
    gateway: Name,
    upstream_connections_kept: usize,
    journal_capacity: usize,
    identities: Listeners<Arc<CurrentIdentity>>,
}

impl Fixed {
    pub(super) fn new(config: &Config, listen: Listen, identities: Listeners<Arc<CurrentIdentity>>) -> Self {
        Self {
            identities,
            asked: config.listen,
            listen,
            data_dir: config.data_dir.clone(),
            gateway: config.gateway.clone(),
            upstream_connections_kept: config.settings.upstream_connections_kept,
            journal_capacity: config.journal_capacity,
        }
    }

    /// What `config` says, where that can take effect now. The listeners have their identities from it when this returns.
    pub(super) fn reading(&self, mut config: Config) -> Reading {
        self.identities.edge.replace(config.identities.edge.take());
        self.identities.admin.replace(config.identities.admin.take());
        self.identities.metrics.replace(config.identities.metrics.take());
        let restart = self.differences(&config);
        config.listen = self.listen;
        config.data_dir.clone_from(&self.data_dir);
        config.gateway = self.gateway.clone();
        config.settings.upstream_connections_kept = self.upstream_connections_kept;
        config.journal_capacity = self.journal_capacity;
        let text = config.show();
        let warnings = config.warnings.iter().map(ToString::to_string).collect();
        let configured = Configured {
            organization: config.organization.shared(),
            routing: Arc::new(config.routing),
            prices: Arc::new(config.prices),
            permissions: Arc::new(config.permissions),
            limits: config.limits,
            settings: Arc::new(config.settings),
        };
        Reading { configured, text, warnings, restart }
    }

    /// The settings that say something else than at the start, each in a sentence.
    fn differences(&self, config: &Config) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |setting: &str, now: String, started: String| {
            if now != started {
                found.push(format!("{setting} is {now} now; {started} stays until the next start"));
            }
        };
        let listeners = [
            ("listen.edge", config.listen.edge, self.asked.edge),
            ("listen.admin", config.listen.admin, self.asked.admin),
            ("listen.metrics", config.listen.metrics, self.asked.metrics),
        ];
        let text = |address: SocketAddr| address.to_string();
        listeners.into_iter().for_each(|(setting, now, started)| compare(setting, text(now), text(started)));
        compare("data_dir", config.data_dir.display().to_string(), self.data_dir.display().to_string());
        compare("gateway", config.gateway.to_string(), self.gateway.to_string());
        let kept = [config.settings.upstream_connections_kept, self.upstream_connections_kept].map(|n| n.to_string());
        let [now, started] = kept;
        compare("limits.upstream_connections_kept", now, started);
        compare("audit.queue", config.journal_capacity.to_string(), self.journal_capacity.to_string());
        found
    }
}

/// Reads the configuration again at each SIGHUP, for as long as the process runs.
pub(super) async fn at_each_hangup(mut hangups: Signal, reloader: Reloader) {
    while hangups.recv().await.is_some() {
        reloader.reload().await;
    }
}

/// Reads the configuration again and tells the log, the metrics and `/readyz` what came of it.
pub(super) fn again(load: Load, fixed: Fixed, metrics: Arc<Metrics>, health: Arc<Health>) -> Again {
    Arc::new(move || {
        let loaded = load();
        metrics.config_read(loaded.is_ok(), SystemTime::now().into());
        match loaded {
            Ok(config) => {
                start_log(config.log.format, config.log.level);
                metrics.tell_apart(config.metrics_keys_max);
                health.note(NOTE, None);
                let reading = fixed.reading(config);
                info!("the configuration was read again and holds for all requests to come");
                reading.warnings.iter().for_each(|warning| warn!("{warning}"));
                reading.restart.iter().for_each(|change| warn!("{change}"));
                Ok(reading)
            }
            Err(faults) => {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                faults.iter().for_each(|fault| error!("{fault}"));
                error!("the configuration stays as it was, because the one that was read has faults");
                health.note(
                    NOTE,
                    Some(format!("the one read last has faults and is not in force: {}", faults.join("; "))),
                );
                Err(faults)
            }
        }
    })
}
