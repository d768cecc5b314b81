//! 2 On whose account? The [`Caller`] becomes an [`Account`].

use std::sync::Arc;

use crate::catalog::{Catalog, Credential};
use crate::journal;

use super::authenticate::{Caller, OwnKey};

/// Key, team and organization that a request is charged to. Made only here.
pub struct Account {
    credential: Credential,
    organization: Arc<str>,
    own_key: Option<OwnKey>,
    kind: journal::Credential,
}

impl Account {
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The caller's own key for the provider, where one is used.
    pub fn own_key(&self) -> Option<&OwnKey> {
        self.own_key.as_ref()
    }

    /// What kind of credential the account was found by.
    pub fn kind(&self) -> journal::Credential {
        self.kind
    }

    pub fn organization(&self) -> &Arc<str> {
        &self.organization
    }
}

pub fn attribute(caller: &Caller, catalog: &Catalog) -> Account {
    Account {
        credential: caller.credential().clone(),
        organization: catalog.organization.clone(),
        own_key: caller.own_key().cloned(),
        kind: caller.kind(),
    }
}
