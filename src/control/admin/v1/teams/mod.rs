//! Teams.

use serde::{Deserialize, Serialize};

use crate::control::store;
use crate::domain::Timestamp;

pub mod create;
pub mod list;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    pub id: String,
    pub name: String,
    pub created_at: Timestamp,
}

impl From<store::Team> for Team {
    fn from(team: store::Team) -> Self {
        Self { id: team.id, name: team.name, created_at: team.created_at }
    }
}
