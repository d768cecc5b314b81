//! `POST /v1/teams/{id}/resume`: lets requests of the team's keys pass again.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;

use crate::control::admin::Admin;
use crate::control::admin::entrance::Caller;
use crate::control::admin::extract::{Json, Path};
use crate::control::admin::problem::Problem;
use crate::control::office::TeamPatch;

use super::Team;

#[utoipa::path(
    post, path = "/v1/teams/{id}/resume", operation_id = "resume_team", tag = "teams",
    params(("id" = String, Path, description = "The team's id or name")),
    responses((status = 200, description = "Requests of the team's keys pass again", body = Team)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id_or_name): Path,
) -> Result<Json<Team>, Problem> {
    let patch = TeamPatch { suspended: Some(false), ..TeamPatch::default() };
    let team = admin.office.update_team(id_or_name, patch, caller.actor).await?;
    Ok(Json(team.into()))
}
