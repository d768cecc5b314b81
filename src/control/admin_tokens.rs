//! The admin tokens in memory: what opens the TCP entrance of the admin API.

use std::sync::Arc;

use arc_swap::ArcSwap;
use subtle::ConstantTimeEq;

use crate::domain::KeyDigest;

use super::store::AdminToken;

/// The tokens of this moment. A stranger's guess costs no look-up in the store.
#[derive(Clone)]
pub(crate) struct AdminTokens(Arc<ArcSwap<Vec<AdminToken>>>);

impl AdminTokens {
    pub(super) fn new(tokens: Vec<AdminToken>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(tokens)))
    }

    /// Every token is compared to its end, so that the time taken tells nothing.
    pub(super) fn find(&self, digest: &KeyDigest) -> Option<AdminToken> {
        let tokens = self.0.load();
        let fits = |token: &&AdminToken| bool::from(token.digest.0.ct_eq(&digest.0));
        tokens.iter().fold(None, |found, token| if fits(&token) { Some(token) } else { found }).cloned()
    }

    pub(super) fn all(&self) -> Arc<Vec<AdminToken>> {
        self.0.load_full()
    }

    pub(super) fn add(&self, token: &AdminToken) {
        self.0.rcu(|tokens| [&tokens[..], std::slice::from_ref(token)].concat());
    }

    pub(super) fn remove(&self, id: &str) {
        self.0.rcu(|tokens| tokens.iter().filter(|token| token.id != id).cloned().collect::<Vec<_>>());
    }
}
