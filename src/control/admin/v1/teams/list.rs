//! `GET /v1/teams`: teams in the order they were made.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::control::admin::Admin;
use crate::control::admin::extract::{Json, Query};
use crate::control::admin::problem::Problem;
use crate::control::admin::v1::limit;

use super::Team;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::control::admin) struct ListTeams {
    limit: Option<usize>,
    cursor: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TeamList {
    pub teams: Vec<Team>,
    /// The `cursor` of the next page; absent after the last.
    pub next_cursor: Option<i64>,
}

#[utoipa::path(
    get, path = "/v1/teams", operation_id = "list_teams", tag = "teams", params(ListTeams),
    responses((status = 200, description = "Teams in the order they were made", body = TeamList)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Query(asked): Query<ListTeams>,
) -> Result<Json<TeamList>, Problem> {
    let page = admin.keys.teams(asked.cursor, limit(asked.limit)?).await?;
    Ok(Json(TeamList { teams: page.items.into_iter().map(Team::from).collect(), next_cursor: page.next }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;

    #[tokio::test]
    async fn it_turns_pages() {
        let bench = Bench::new().await;
        for name in ["a", "b"] {
            bench.post("/v1/teams", json!({"name": name})).await.expect(201);
        }
        let first = bench.get("/v1/teams?limit=1").await.expect(200);
        assert_eq!(first["teams"][0]["name"], "a");
        let next = bench.get(&format!("/v1/teams?limit=2&cursor={}", first["next_cursor"])).await.expect(200);
        assert_eq!((&next["teams"][0]["name"], &next["next_cursor"]), (&json!("b"), &json!(null)));
    }
}
