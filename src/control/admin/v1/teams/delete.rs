//! `DELETE /v1/teams/{id}`: removes a team that no key belongs to, revoked ones aside.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;

use crate::control::admin::Admin;
use crate::control::admin::entrance::Caller;
use crate::control::admin::extract::{Json, Path};
use crate::control::admin::problem::Problem;

use super::Team;

#[utoipa::path(
    delete, path = "/v1/teams/{id}", operation_id = "delete_team", tag = "teams",
    params(("id" = String, Path, description = "The team's id or name")),
    responses((status = 200, description = "The team as it was", body = Team)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id_or_name): Path,
) -> Result<Json<Team>, Problem> {
    Ok(Json(admin.office.remove_team(id_or_name, caller.actor).await?.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;

    #[tokio::test]
    async fn a_team_with_keys_stays() {
        let bench = Bench::new().await;
        let team = bench.post("/v1/teams", json!({"name": "frontend"})).await.expect(201);
        bench.post("/v1/tokens", json!({"name": "jane", "team": "frontend"})).await.expect(201);
        bench.delete("/v1/teams/frontend").await.refuses(409, "team_in_use");
        bench.delete("/v1/tokens/jane").await.expect(200);
        bench.delete("/v1/teams/frontend").await.expect(200);
        assert_eq!(bench.audited(team["id"].as_str().unwrap()).0, "team.delete");
        bench.delete("/v1/teams/frontend").await.refuses(404, "team_unknown");
        bench.post("/v1/teams", json!({"name": "frontend"})).await.expect(201);
    }
}
