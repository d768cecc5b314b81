//! `PATCH /v1/teams/{id}`: changes a team, by id or name. What is absent stays, what is `null` is cleared.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::admin::Admin;
use crate::control::admin::entrance::Caller;
use crate::control::admin::extract::{Json, Path};
use crate::control::admin::openapi::{LimitsSchema, PermissionsSchema};
use crate::control::admin::problem::Problem;
use crate::control::office::TeamPatch;
use crate::domain::{LimitsChange, PermissionsChange, present};

use super::ChangedTeam;

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateTeam {
    /// Each list that is there replaces the present one; `null`, for one or for all, lifts the restriction.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PermissionsSchema>)]
    pub permissions: Option<Option<PermissionsChange>>,
    /// A merge patch (RFC 7396): what is absent stays, `null` lifts a limit, or all of them.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LimitsSchema>)]
    pub limits: Option<LimitsChange>,
}

#[utoipa::path(
    patch, path = "/v1/teams/{id}", operation_id = "update_team", tag = "teams", request_body = UpdateTeam,
    params(("id" = String, Path, description = "The team's id or name")),
    responses((status = 200, description = "The team as it is now", body = ChangedTeam)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id_or_name): Path,
    Json(asked): Json<UpdateTeam>,
) -> Result<Json<ChangedTeam>, Problem> {
    let permissions = asked.permissions.map(|change| change.unwrap_or_else(PermissionsChange::lift));
    let patch = TeamPatch { permissions: permissions.unwrap_or_default(), limits: asked.limits, suspended: None };
    let team = admin.office.update_team(id_or_name, patch, caller.actor).await?;
    let warnings = admin.office.warnings(&team.permissions);
    Ok(Json(ChangedTeam { team: team.into(), warnings }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;

    #[tokio::test]
    async fn permissions_of_a_team_hold_for_its_keys_at_once() {
        let bench = Bench::new().await;
        let made = bench.post("/v1/teams", json!({"name": "frontend"})).await.expect(201);
        let key = bench.post("/v1/tokens", json!({"name": "jane", "team": "frontend"})).await.expect(201);
        let digest = bench.control.pepper.digest(key["key"].as_str().unwrap());
        let team = bench.control.catalog.load().keys.find(&digest).unwrap().key.team.clone().unwrap();
        let patch = json!({"permissions": {"models": ["gpt-*"]}});
        bench.patch("/v1/teams/frontend", patch.clone()).await.expect(200);
        assert!(!team.state.permissions().allow_model("claude-5"));
        let id = made["id"].as_str().unwrap();
        assert_eq!(bench.audited(id).0, "team.update");
        bench.patch("/v1/teams/frontend", patch).await.expect(200);
        assert_eq!(bench.audit_count(id), 2, "nothing was changed the second time");
        let lifted = bench.patch("/v1/teams/frontend", json!({"permissions": null})).await.expect(200);
        assert_eq!(lifted["permissions"], json!({}));
        assert!(team.state.permissions().allow_all());
        bench.patch("/v1/teams/frontend", json!({"name": "x"})).await.refuses(422, "request_invalid");
        bench.patch("/v1/teams/nobody", json!({})).await.refuses(404, "team_unknown");
    }
}
