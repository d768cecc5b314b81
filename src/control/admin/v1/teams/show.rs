//! `GET /v1/teams/{id}`: one team, by id or name.

use std::sync::Arc;

use axum::extract::State;

use crate::control::admin::Admin;
use crate::control::admin::extract::{Json, Path};
use crate::control::admin::problem::Problem;

use super::Team;

#[utoipa::path(
    get, path = "/v1/teams/{id}", operation_id = "show_team", tag = "teams",
    params(("id" = String, Path, description = "The team's id or name")),
    responses((status = 200, description = "The team", body = Team)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Path(id_or_name): Path,
) -> Result<Json<Team>, Problem> {
    let team = admin.keys.find_team(&id_or_name).await?.ok_or_else(Problem::team_unknown)?;
    Ok(Json(team.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;

    #[tokio::test]
    async fn a_team_is_found_by_id_and_by_name() {
        let bench = Bench::new().await;
        let permissions = json!({"providers": ["openai"]});
        let made = bench.post("/v1/teams", json!({"name": "frontend", "permissions": permissions})).await.expect(201);
        assert_eq!(made["warnings"].as_array().unwrap().len(), 1);
        let by_name = bench.get("/v1/teams/frontend").await.expect(200);
        assert_eq!((&by_name["id"], &by_name["permissions"]), (&made["id"], &permissions));
        let by_id = bench.get(&format!("/v1/teams/{}", made["id"].as_str().unwrap())).await.expect(200);
        assert_eq!(by_id, by_name);
        bench.get("/v1/teams/nobody").await.refuses(404, "team_unknown");
    }
}
