//! `POST /v1/teams`: makes a team.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::admin::Admin;
use crate::control::admin::entrance::Caller;
use crate::control::admin::extract::Json;
use crate::control::admin::openapi::{LimitsSchema, PermissionsSchema};
use crate::control::admin::problem::Problem;
use crate::control::office::NewTeam;
use crate::domain::{Limits, Permissions};

use super::ChangedTeam;

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTeam {
    pub name: String,
    /// What is not named is not restricted.
    #[serde(default, skip_serializing_if = "Permissions::allow_all")]
    #[schema(value_type = PermissionsSchema, required = false)]
    pub permissions: Permissions,
    /// What is not named is not limited.
    #[serde(default, skip_serializing_if = "Limits::limit_nothing")]
    #[schema(value_type = LimitsSchema, required = false)]
    pub limits: Limits,
}

#[utoipa::path(
    post, path = "/v1/teams", operation_id = "create_team", tag = "teams", request_body = CreateTeam,
    responses((status = 201, description = "The team", body = ChangedTeam)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Json(asked): Json<CreateTeam>,
) -> Result<(StatusCode, Json<ChangedTeam>), Problem> {
    let CreateTeam { name, permissions, limits } = asked;
    let team = admin.office.create_team(NewTeam { name, permissions, limits }, caller.actor).await?;
    let warnings = admin.office.warnings(&team.permissions);
    Ok((StatusCode::CREATED, Json(ChangedTeam { team: team.into(), warnings })))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;

    #[tokio::test]
    async fn a_team_is_made_once_and_audited() {
        let bench = Bench::new().await;
        let team = bench.post("/v1/teams", json!({"name": "frontend"})).await.expect(201);
        let (action, ..) = bench.audited(team["id"].as_str().unwrap());
        assert_eq!(action, "team.create");
        bench.post("/v1/teams", json!({"name": "frontend"})).await.refuses(409, "name_taken");
        bench.post("/v1/teams", json!({"name": "team_x"})).await.refuses(422, "name_invalid");
        bench.post("/v1/teams", json!({"name": "none"})).await.refuses(422, "name_invalid");
    }
}
