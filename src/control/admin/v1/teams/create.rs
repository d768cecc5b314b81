//! `POST /v1/teams`: makes a team.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::control::admin::Admin;
use crate::control::admin::entrance::Caller;
use crate::control::admin::extract::Json;
use crate::control::admin::problem::Problem;

use super::Team;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTeam {
    pub name: String,
}

pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Json(asked): Json<CreateTeam>,
) -> Result<(StatusCode, Json<Team>), Problem> {
    let team = admin.office.create_team(asked.name, caller.actor).await?;
    Ok((StatusCode::CREATED, Json(team.into())))
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
