//! `DELETE /v1/admin-tokens/{id}`: revokes an admin token, by id or name; never the last of an admin.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;

use crate::control::admin::Admin;
use crate::control::admin::entrance::Caller;
use crate::control::admin::extract::{Json, Path};
use crate::control::admin::problem::Problem;

use super::AdminToken;

#[utoipa::path(
    delete, path = "/v1/admin-tokens/{id}", operation_id = "revoke_admin_token", tag = "admin tokens",
    params(("id" = String, Path, description = "The admin token's id or name")),
    responses((status = 200, description = "The token as it was; it opens nothing any more", body = AdminToken)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id_or_name): Path,
) -> Result<Json<AdminToken>, Problem> {
    Ok(Json(admin.office.revoke_admin_token(id_or_name, caller.actor).await?.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;

    #[tokio::test]
    async fn the_last_admin_stays() {
        let bench = Bench::new().await;
        bench.post("/v1/admin-tokens", json!({"name": "eye", "role": "viewer"})).await.expect(201);
        bench.delete("/v1/admin-tokens/first").await.refuses(409, "admin_token_last");
        let made = bench.post("/v1/admin-tokens", json!({"name": "second", "role": "admin"})).await.expect(201);
        bench.delete("/v1/admin-tokens/first").await.expect(200);
        bench.get_by_tcp("/v1/whoami", &bench.bearer()).await.refuses(401, "token_unknown");
        bench.get_by_tcp("/v1/whoami", &format!("Bearer {}", made["token"].as_str().unwrap())).await.expect(200);
        assert_eq!(bench.audit_count(made["id"].as_str().unwrap()), 1);
        bench.delete("/v1/admin-tokens/first").await.refuses(404, "admin_token_unknown");
    }
}
