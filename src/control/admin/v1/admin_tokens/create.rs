//! `POST /v1/admin-tokens`: makes an admin token and shows it, this once.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::admin::Admin;
use crate::control::admin::entrance::Caller;
use crate::control::admin::extract::Json;
use crate::control::admin::openapi::AdminRoleSchema;
use crate::control::admin::problem::Problem;

use super::{AdminRole, AdminToken};

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateAdminToken {
    pub name: String,
    #[schema(value_type = AdminRoleSchema)]
    pub role: AdminRole,
}

/// It has no `Debug`, so that no log line can hold a token.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedAdminToken {
    #[serde(flatten)]
    pub admin_token: AdminToken,
    pub token: String,
}

#[utoipa::path(
    post, path = "/v1/admin-tokens", operation_id = "create_admin_token", tag = "admin tokens",
    request_body = CreateAdminToken,
    responses((status = 201, description = "The token with its secret, which is never shown again", body = CreatedAdminToken)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Json(asked): Json<CreateAdminToken>,
) -> Result<(StatusCode, Json<CreatedAdminToken>), Problem> {
    let (token, text) = admin.office.create_admin_token(asked.name, asked.role, caller.actor).await?;
    let created = CreatedAdminToken { admin_token: token.into(), token: text.expose().to_owned() };
    Ok((StatusCode::CREATED, Json(created)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;

    #[tokio::test]
    async fn a_viewer_reads_and_changes_nothing() {
        let bench = Bench::new().await;
        let made = bench.post("/v1/admin-tokens", json!({"name": "eye", "role": "viewer"})).await.expect(201);
        let viewer = format!("Bearer {}", made["token"].as_str().unwrap());
        for path in ["/v1/tokens", "/v1/teams", "/v1/admin-tokens", "/v1/whoami", "/v1/events", "/openapi.json"] {
            bench.get_by_tcp(path, &viewer).await.expect(200);
        }
        for (method, path) in [
            ("POST", "/v1/tokens"),
            ("PATCH", "/v1/tokens/x"),
            ("DELETE", "/v1/tokens/x"),
            ("POST", "/v1/tokens/x/rotate"),
            ("POST", "/v1/revocations"),
            ("POST", "/v1/admin-tokens"),
            ("PUT", "/v1/nothing"),
        ] {
            bench.call_by_tcp(method, path, &viewer).await.refuses(403, "role_insufficient");
        }
        bench.call_by_tcp("DELETE", "/v1/tokens/x", &bench.bearer()).await.refuses(404, "token_unknown");
        let list = bench.get("/v1/admin-tokens").await.expect(200);
        assert_eq!(
            (&list["admin_tokens"][1]["role"], &list["admin_tokens"][1]["name"]),
            (&json!("viewer"), &json!("eye"))
        );
        assert!(!list.to_string().contains(made["token"].as_str().unwrap()));
        bench.delete("/v1/admin-tokens/eye").await.expect(200);
        bench.get_by_tcp("/v1/tokens", &viewer).await.refuses(401, "token_unknown");
    }

    #[tokio::test]
    async fn bad_requests_are_refused() {
        let bench = Bench::new().await;
        bench.post("/v1/admin-tokens", json!({"name": "first", "role": "admin"})).await.refuses(409, "name_taken");
        bench.post("/v1/admin-tokens", json!({"name": "x", "role": "root"})).await.refuses(422, "request_invalid");
        bench.post("/v1/admin-tokens", json!({"name": "x"})).await.refuses(422, "request_invalid");
        bench.post("/v1/admin-tokens", json!({"name": "adm_x", "role": "admin"})).await.refuses(422, "name_invalid");
    }
}
