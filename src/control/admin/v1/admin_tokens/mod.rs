//! Admin tokens: who may call the admin API over TCP.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::admin::openapi::AdminRoleSchema;
use crate::control::store;
use crate::domain::Timestamp;

pub mod create;
pub mod list;
pub mod revoke;

pub use crate::control::store::AdminRole;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdminToken {
    pub id: String,
    pub name: String,
    /// The first characters of the token's secret.
    pub shown: String,
    #[schema(value_type = AdminRoleSchema)]
    pub role: AdminRole,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<store::AdminToken> for AdminToken {
    fn from(token: store::AdminToken) -> Self {
        let store::AdminToken { id, name, shown, role, created_at, .. } = token;
        Self { id, name, shown, role, created_at }
    }
}
