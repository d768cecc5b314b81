//! Teams.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::admin::openapi::{LimitsSchema, PermissionsSchema};
use crate::control::store;
use crate::domain::{Limits, Permissions, Timestamp};

pub mod create;
pub mod list;
pub mod show;
pub mod update;
pub mod suspend;
pub mod resume;
pub mod delete;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Team {
    pub id: String,
    pub name: String,
    #[schema(value_type = PermissionsSchema)]
    pub permissions: Permissions,
    #[schema(value_type = LimitsSchema)]
    pub limits: Limits,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Since when no request of the team's keys passes; absent while they do.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub suspended_at: Option<Timestamp>,
}

/// A team, and what was done to it but probably not meant.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChangedTeam {
    #[serde(flatten)]
    pub team: Team,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl From<store::Team> for Team {
    fn from(team: store::Team) -> Self {
        let store::Team { id, name, permissions, limits, created_at, suspended_at } = team;
        Self { id, name, permissions, limits, created_at, suspended_at }
    }
}
