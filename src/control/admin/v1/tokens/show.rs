//! `GET /v1/tokens/{id}`: one key, by id or name.

use std::sync::Arc;

use axum::extract::State;

use crate::control::admin::Admin;
use crate::control::admin::extract::{Json, Path};
use crate::control::admin::problem::Problem;
use crate::control::now;

use super::Token;

#[utoipa::path(
    get, path = "/v1/tokens/{id}", operation_id = "show_token", tag = "tokens",
    params(("id" = String, Path, description = "The key's id or name")),
    responses((status = 200, description = "The key, without its secrets", body = Token)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Path(id_or_name): Path,
) -> Result<Json<Token>, Problem> {
    let key = admin.keys.find_key(&id_or_name).await?.ok_or_else(Problem::token_unknown)?;
    Ok(Json(Token::of(key, &admin.catalog.load(), now())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;

    #[tokio::test]
    async fn a_key_is_found_by_id_and_by_name() {
        let bench = Bench::new().await;
        let created = bench.post("/v1/tokens", json!({"name": "équipe+1"})).await.expect(201);
        let by_id = bench.get(&format!("/v1/tokens/{}", created["id"].as_str().unwrap())).await.expect(200);
        let by_name = bench.get("/v1/tokens/%C3%A9quipe+1").await.expect(200);
        assert_eq!(by_id, by_name);
        assert_eq!((&by_id["state"], &by_id["revoked_at"]), (&json!("active"), &json!(null)));
        assert!(by_id.get("key").is_none());
    }

    #[tokio::test]
    async fn an_unknown_key_is_a_problem() {
        let bench = Bench::new().await;
        bench.get("/v1/tokens/ak_nobody").await.refuses(404, "token_unknown");
        bench.get("/v1/tokens/%FF").await.refuses(400, "request_malformed");
    }
}
