//! `GET /v1/whoami`: who the caller is here, and what this is.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::admin::Admin;
use crate::control::admin::entrance::Caller;
use crate::control::admin::extract::Json;
use crate::control::admin::openapi::AdminRoleSchema;
use crate::control::store::AdminRole;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// As audit records name the caller: `socket`, or the id of the admin token.
    pub actor: String,
    /// The name of the admin token, if one was used.
    pub name: Option<String>,
    /// What the caller may do: the socket's user everything.
    #[schema(value_type = AdminRoleSchema)]
    pub role: AdminRole,
    pub organization: String,
    pub gateway: String,
    pub version: String,
    /// The gateway's process.
    pub pid: u32,
}

#[utoipa::path(
    get, path = "/v1/whoami", operation_id = "whoami", tag = "whoami",
    responses((status = 200, description = "The caller and this gateway", body = WhoAmI)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Json<WhoAmI> {
    Json(WhoAmI {
        actor: caller.actor.label().into(),
        role: caller.token.as_ref().map_or(AdminRole::Admin, |token| token.role),
        name: caller.token.map(|token| token.name),
        organization: admin.catalog.load().organization.to_string(),
        gateway: admin.gateway.to_string(),
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
    })
}

#[cfg(test)]
mod tests {
    use crate::control::admin::tests::Bench;

    #[tokio::test]
    async fn each_entrance_has_its_own_actor() {
        let bench = Bench::new().await;
        let by_socket = bench.get("/v1/whoami").await.expect(200);
        assert_eq!((by_socket["actor"].as_str(), by_socket["organization"].as_str()), (Some("socket"), Some("acme")));
        let by_token = bench.get_by_tcp("/v1/whoami", &bench.bearer()).await.expect(200);
        assert!(by_token["actor"].as_str().unwrap().starts_with("adm_"));
        assert_eq!(by_token["name"].as_str(), Some("first"));
    }
}
