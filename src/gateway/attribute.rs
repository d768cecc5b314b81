//! 2 On whose account? The [`Caller`] becomes an [`Account`].

use std::sync::Arc;

use crate::catalog::{Catalog, Credential};

use super::authenticate::Caller;

/// Key, team and organization that a request is charged to. Made only here.
pub struct Account {
    credential: Credential,
    organization: Arc<str>,
}

impl Account {
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    pub fn organization(&self) -> &Arc<str> {
        &self.organization
    }
}

pub fn attribute(caller: &Caller, catalog: &Catalog) -> Account {
    Account { credential: caller.credential().clone(), organization: catalog.organization.clone() }
}
