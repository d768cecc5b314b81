//! What the operator wrote, and how it is read again. What it says is not this room's business: the process hands in
//! how to read it, and the office puts it in force.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::Timestamp;

use super::office::{Office, OfficeError};
use super::store::Actor;
use super::{Configured, now};

/// Reads the configuration again, or tells every fault of it. Blocks, because it reads files.
pub type Again = Arc<dyn Fn() -> Result<Reading, Vec<String>> + Send + Sync>;

/// A configuration without faults.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub configured: Configured,
    /// Every setting as it holds, without secrets.
    pub text: String,
    pub warnings: Vec<String>,
    /// Changes that take effect at the next start alone.
    pub restart: Vec<String>,
}

/// The configuration that is in force.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ConfigInForce {
    /// Every setting as it holds, in YAML; credentials as where they came from.
    pub text: String,
    /// Since when it holds.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Nothing wrong, but probably not meant.
    pub warnings: Vec<String>,
    /// Changes in the file that take effect at the next start alone.
    pub restart: Vec<String>,
    /// Why the configuration that was read last is not the one in force; empty if it is.
    pub faults: Vec<String>,
}

/// The operator's configuration, as the office keeps it.
pub(super) struct Configuration {
    pub(super) again: Again,
    in_force: Mutex<ConfigInForce>,
}

impl Configuration {
    /// `reading` is in force already.
    pub(super) fn new(reading: Reading, again: Again) -> Self {
        let configuration = Self { again, in_force: Mutex::default() };
        configuration.holds(reading);
        configuration
    }

    pub(super) fn in_force(&self) -> ConfigInForce {
        self.in_force.lock().clone()
    }

    /// Notes what holds from now on.
    pub(super) fn holds(&self, reading: Reading) -> ConfigInForce {
        let Reading { text, warnings, restart, .. } = reading;
        let in_force = ConfigInForce { text, since: now(), warnings, restart, faults: Vec::new() };
        self.in_force.lock().clone_from(&in_force);
        in_force
    }

    /// Notes why the last one that was read does not hold.
    pub(super) fn refused(&self, faults: &[String]) {
        self.in_force.lock().faults = faults.to_vec();
    }
}

/// Reads the configuration again on behalf of whoever may signal the process.
#[derive(Clone)]
pub struct Reloader(Office);

impl Reloader {
    pub(super) fn new(office: Office) -> Self {
        Self(office)
    }

    /// Puts the configuration in force as it is written now. What came of it is told where it was read.
    pub async fn reload(&self) {
        if let Err(error @ (OfficeError::Stopping | OfficeError::Store(_))) = self.0.reload(Actor::Signal).await {
            log::warn!("the configuration was not read again: {error}");
        }
    }
}

#[cfg(test)]
impl Default for Configuration {
    fn default() -> Self {
        Self::new(Reading::default(), Arc::new(|| Ok(Reading::default())))
    }
}
