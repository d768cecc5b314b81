//! Keys: made, changed, rotated, revoked.

use crate::catalog::unmatched;
use crate::control::ids;
use crate::control::store::{Key, KeySecret, TeamRef};
use crate::domain::{KeyKind, KeyText, Permissions, Timestamp};

use super::{Desk, Office, OfficeError};

mod create; // made
mod update; // changed
mod rotate; // given a new text
mod revoke; // ended, one or many

pub(crate) use create::{NewKey, NewKeyKind};
pub(crate) use revoke::Revocations;
pub(crate) use update::KeyPatch;

impl Office {
    /// Sentences about patterns that nothing configured matches.
    pub(crate) fn warnings(&self, permissions: &Permissions) -> Vec<String> {
        let catalog = self.desk.publisher.catalog().load();
        unmatched(permissions, &catalog.routing, &catalog.prices)
    }
}

impl Desk {
    async fn key(&self, id_or_name: &str) -> Result<Key, OfficeError> {
        self.store.find_key(id_or_name).await.map_err(OfficeError::Store)?.ok_or(OfficeError::KeyUnknown)
    }

    async fn team(&self, id_or_name: &str) -> Result<TeamRef, OfficeError> {
        let found = self.store.find_team(id_or_name).await.map_err(OfficeError::Store)?;
        let team = found.ok_or(OfficeError::TeamUnknown)?;
        Ok(TeamRef { id: team.id, name: team.name })
    }

    fn mint(&self, kind: KeyKind, created_at: Timestamp) -> Result<(KeyText, KeySecret), OfficeError> {
        let text = KeyText::mint(kind, getrandom::fill).map_err(OfficeError::Random)?;
        let secret = KeySecret {
            id: ids::short_id("ks_").map_err(OfficeError::Random)?,
            digest: self.pepper.digest(text.expose()),
            shown: text.shown().into(),
            created_at,
            valid_until: None,
            last_use: None,
        };
        Ok((text, secret))
    }
}
