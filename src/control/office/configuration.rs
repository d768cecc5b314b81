//! The configuration: read again, put in force.

use serde_json::json;

use crate::control::configuration::ConfigInForce;
use crate::control::store::{Actor, Audit};

use super::{Desk, Office, OfficeError};

impl Office {
    /// Reads the configuration again and puts it in force for all requests to come; a faulty one changes nothing.
    pub(crate) async fn reload(&self, actor: Actor) -> Result<ConfigInForce, OfficeError> {
        self.to_the_end(|desk| async move { desk.reload(actor).await }).await
    }

    pub(crate) fn config_in_force(&self) -> ConfigInForce {
        self.desk.configuration.in_force()
    }
}

impl Desk {
    async fn reload(&self, actor: Actor) -> Result<ConfigInForce, OfficeError> {
        // A turn of its own: no revocation waits for a file system.
        let _turn = self.reload.lock().await;
        let again = self.configuration.again.clone();
        let read = tokio::task::spawn_blocking(move || again()).await.map_err(|_| OfficeError::Stopping)?;
        let reading = read.map_err(|faults| {
            self.configuration.refused(&faults);
            OfficeError::Configuration(faults)
        })?;
        self.publisher.configure(reading.configured.clone());
        let in_force = self.configuration.holds(reading);
        let detail = json!({ "warnings": in_force.warnings.len(), "restart": in_force.restart });
        let audit = Audit { actor, action: "config.reload", target: "config".into(), time: in_force.since, detail };
        // The file is what is durable here, and it is in force: a store that fails must not keep an operator from
        // changing what is configured, perhaps in order to mend it.
        if let Err(error) = self.store.note(audit).await {
            log::error!("a reload of the configuration was not recorded in the audit log: {error}");
        }
        Ok(in_force)
    }
}
