//! Teams: made, changed, suspended, removed.

use serde_json::{Value, json};

use crate::control::store::{Actor, Audit, Team, TeamRemoval};
use crate::control::{ids, now};
use crate::domain::{Limits, LimitsChange, Permissions, PermissionsChange};

use super::{Desk, Office, OfficeError, TEAM_PREFIXES, checked_name, checked_permissions, taken};

/// What a new team is to be.
pub(crate) struct NewTeam {
    pub(crate) name: String,
    pub(crate) permissions: Permissions,
    pub(crate) limits: Limits,
}

/// What is to change about a team; `None` leaves it. A team keeps its name: it stands in events and metrics.
#[derive(Default)]
pub(crate) struct TeamPatch {
    pub(crate) permissions: PermissionsChange,
    pub(crate) limits: Option<LimitsChange>,
    pub(crate) suspended: Option<bool>,
}

impl Office {
    pub(crate) async fn create_team(&self, new: NewTeam, actor: Actor) -> Result<Team, OfficeError> {
        self.to_the_end(|desk| async move { desk.create_team(new, actor).await }).await
    }

    /// Changes the team with this id or name.
    pub(crate) async fn update_team(&self, team: String, patch: TeamPatch, actor: Actor) -> Result<Team, OfficeError> {
        self.to_the_end(|desk| async move { desk.update_team(&team, patch, actor).await }).await
    }

    /// Removes the team with this id or name, if no key that is not revoked belongs to it.
    pub(crate) async fn remove_team(&self, team: String, actor: Actor) -> Result<Team, OfficeError> {
        self.to_the_end(|desk| async move { desk.remove_team(&team, actor).await }).await
    }
}

impl Desk {
    async fn create_team(&self, new: NewTeam, actor: Actor) -> Result<Team, OfficeError> {
        let name = checked_name(&new.name, &TEAM_PREFIXES)?;
        checked_permissions(&new.permissions)?;
        new.limits.check().map_err(OfficeError::Limits)?;
        let id = ids::short_id("team_").map_err(OfficeError::Random)?;
        let (permissions, limits, created_at) = (new.permissions, new.limits, now());
        let team = Team { id, name: name.to_string(), created_at, permissions, limits, suspended_at: None };
        let detail = json!({ "name": team.name, "permissions": team.permissions, "limits": team.limits });
        let audit = Audit { actor, action: "team.create", target: team.id.clone(), time: created_at, detail };
        let _turn = self.turn.lock().await;
        self.store.create_team(team.clone(), audit).await.map_err(|error| taken(error, &team.name))?;
        self.publisher.add_team(&team);
        Ok(team)
    }

    async fn update_team(&self, id_or_name: &str, patch: TeamPatch, actor: Actor) -> Result<Team, OfficeError> {
        let time = now();
        let turn = self.turn.lock().await;
        let before = self.whole_team(id_or_name).await?;
        let mut team = before.clone();
        team.permissions = patch.permissions.applied_to(team.permissions);
        checked_permissions(&team.permissions)?;
        if let Some(change) = patch.limits {
            team.limits = change.applied_to(&team.limits).map_err(OfficeError::Limits)?;
        }
        team.suspended_at = match patch.suspended {
            Some(true) => team.suspended_at.or(Some(time)),
            Some(false) => None,
            None => team.suspended_at,
        };
        let suspension = (before.suspended_at.is_some(), team.suspended_at.is_some());
        let action = match suspension {
            (false, true) => "team.suspend",
            (true, false) => "team.resume",
            _ if before.permissions != team.permissions || before.limits != team.limits => "team.update",
            _ => return Ok(team),
        };
        let detail = change(&before, &team);
        let audit = Audit { actor, action, target: team.id.clone(), time, detail };
        if !self.store.update_team(team.clone(), audit).await? {
            return Err(OfficeError::TeamMissing);
        }
        self.apply(Some(turn), |publisher, woken| publisher.update_team(&team, woken)).await;
        Ok(team)
    }

    async fn remove_team(&self, id_or_name: &str, actor: Actor) -> Result<Team, OfficeError> {
        let _turn = self.turn.lock().await;
        let team = self.whole_team(id_or_name).await?;
        let detail = json!({ "name": team.name });
        let audit = Audit { actor, action: "team.delete", target: team.id.clone(), time: now(), detail };
        match self.store.remove_team(&team.id, audit).await? {
            TeamRemoval::Removed => {
                self.publisher.remove_team(&team.id);
                Ok(team)
            }
            TeamRemoval::Unknown => Err(OfficeError::TeamMissing),
            TeamRemoval::InUse { keys } => Err(OfficeError::TeamInUse(keys)),
        }
    }

    async fn whole_team(&self, id_or_name: &str) -> Result<Team, OfficeError> {
        self.store.find_team(id_or_name).await?.ok_or(OfficeError::TeamMissing)
    }
}

fn change(before: &Team, after: &Team) -> Value {
    let mut detail = json!({ "name": after.name });
    if before.permissions != after.permissions {
        detail["permissions"] = json!({ "from": before.permissions, "to": after.permissions });
    }
    if before.limits != after.limits {
        detail["limits"] = json!({ "from": before.limits, "to": after.limits });
    }
    detail
}
