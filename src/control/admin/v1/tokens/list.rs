//! `GET /v1/tokens`: keys in the order they were made.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::control::admin::Admin;
use crate::control::admin::extract::{Json, Query};
use crate::control::admin::openapi::TokenStateSchema;
use crate::control::admin::problem::Problem;
use crate::control::admin::v1::limit;
use crate::control::now;
use crate::control::store::KeyQuery;
use crate::domain::Timestamp;

use super::{Token, TokenKind, TokenState};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::control::admin) struct ListTokens {
    #[serde(rename = "type")]
    #[param(inline)]
    kind: Option<TokenKind>,
    /// The id or name of a team.
    team: Option<String>,
    #[param(value_type = Option<TokenStateSchema>, inline)]
    state: Option<TokenState>,
    /// Only keys that were made before this time and not used since.
    #[param(value_type = Option<String>, format = DateTime)]
    unused_since: Option<Timestamp>,
    limit: Option<usize>,
    cursor: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    pub tokens: Vec<Token>,
    /// The `cursor` of the next page; absent after the last.
    pub next_cursor: Option<i64>,
}

#[utoipa::path(
    get, path = "/v1/tokens", operation_id = "list_tokens", tag = "tokens", params(ListTokens),
    responses((status = 200, description = "Keys in the order they were made", body = TokenList)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Query(asked): Query<ListTokens>,
) -> Result<Json<TokenList>, Problem> {
    let limit = limit(asked.limit)?;
    let now = now();
    let team = match asked.team {
        Some(team) => Some(admin.keys.find_team(&team).await?.ok_or_else(Problem::team_unknown)?.id),
        None => None,
    };
    if asked.unused_since.is_some() {
        // So that the store knows of every use there was.
        admin.office.write_uses().await?;
    }
    let query = KeyQuery {
        kind: asked.kind.map(Into::into),
        revoked: None,
        team,
        standing: asked.state.map(|state| (state, now)),
        unused_since: asked.unused_since,
        cursor: asked.cursor,
        limit,
    };
    let page = admin.keys.keys(query).await?;
    let catalog = admin.catalog.load();
    let tokens = page.items.into_iter().map(|key| Token::of(key, &catalog, now)).collect();
    Ok(Json(TokenList { tokens, next_cursor: page.next }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;

    #[tokio::test]
    async fn it_filters_by_type_and_turns_pages() {
        let bench = Bench::new().await;
        for (name, kind) in [("a", "access"), ("b", "gateway"), ("c", "access")] {
            bench.post("/v1/tokens", json!({"name": name, "type": kind})).await.expect(201);
        }
        let names = |list: &serde_json::Value| -> Vec<String> {
            list["tokens"].as_array().unwrap().iter().map(|token| token["name"].as_str().unwrap().into()).collect()
        };
        assert_eq!(names(&bench.get("/v1/tokens?type=gateway").await.expect(200)), ["b"]);
        let first = bench.get("/v1/tokens?limit=2").await.expect(200);
        assert_eq!(names(&first), ["a", "b"]);
        let rest = bench.get(&format!("/v1/tokens?limit=2&cursor={}", first["next_cursor"])).await.expect(200);
        assert_eq!((names(&rest), &rest["next_cursor"]), (vec!["c".into()], &json!(null)));
    }

    #[tokio::test]
    async fn it_filters_by_team_state_and_use() {
        let bench = Bench::new().await;
        bench.post("/v1/teams", json!({"name": "frontend"})).await.expect(201);
        let used = bench.post("/v1/tokens", json!({"name": "used", "team": "frontend"})).await.expect(201);
        for name in ["idle", "gone"] {
            bench.post("/v1/tokens", json!({"name": name})).await.expect(201);
        }
        bench.delete("/v1/tokens/gone").await.expect(200);
        let names = async |query: &str| -> Vec<String> {
            let list = bench.get(&format!("/v1/tokens?{query}")).await.expect(200);
            list["tokens"].as_array().unwrap().iter().map(|token| token["name"].as_str().unwrap().into()).collect()
        };
        assert_eq!(names("team=frontend").await, ["used"]);
        assert_eq!(names("state=active").await, ["used", "idle"]);
        assert_eq!(names("state=revoked").await, ["gone"]);
        bench.get("/v1/tokens?team=nobody").await.refuses(404, "team_unknown");
        let digest = bench.control.pepper.digest(used["key"].as_str().unwrap());
        let at = crate::control::now().saturating_add(std::time::Duration::from_secs(60));
        bench.control.catalog.load().keys.find(&digest).unwrap().secret.used(at, "curl", None);
        // The use was noted a moment ago and is written now.
        assert_eq!(names(&format!("state=active&unused_since={at}")).await, ["idle"]);
        let stored = bench.get("/v1/tokens/used").await.expect(200);
        assert_eq!(stored["secrets"][0]["last_client"], "curl");
    }

    #[tokio::test]
    async fn a_query_it_does_not_know_is_refused() {
        let bench = Bench::new().await;
        for query in ["type=admin", "tpye=access", "limit=0", "limit=1001", "limit=x", "cursor=x", "state=dead"] {
            bench.get(&format!("/v1/tokens?{query}")).await.refuses(422, "request_invalid");
        }
    }
}
