//! 2 On whose account? The [`Caller`] becomes an [`Account`].

use std::sync::Arc;

use crate::catalog::{Catalog, KeyRecord};

use super::authenticate::Caller;

/// Key, team and organization that a request is charged to. Made only here.
pub struct Account {
    key: Arc<KeyRecord>,
    organization: Arc<str>,
}

impl Account {
    pub fn key(&self) -> &Arc<KeyRecord> {
        &self.key
    }

    pub fn organization(&self) -> &Arc<str> {
        &self.organization
    }
}

pub fn attribute(caller: &Caller, catalog: &Catalog) -> Account {
    Account { key: caller.key().clone(), organization: catalog.organization.clone() }
}
