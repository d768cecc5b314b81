//! `GET /v1/admin-tokens`: all admin tokens; there are at most 1000.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::admin::Admin;
use crate::control::admin::extract::Json;

use super::AdminToken;

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AdminTokenList {
    pub admin_tokens: Vec<AdminToken>,
}

#[utoipa::path(
    get, path = "/v1/admin-tokens", operation_id = "list_admin_tokens", tag = "admin tokens",
    responses((status = 200, description = "Admin tokens, without their secrets", body = AdminTokenList)),
)]
pub(in crate::control::admin) async fn handler(State(admin): State<Arc<Admin>>) -> Json<AdminTokenList> {
    let tokens = admin.office.admin_tokens();
    Json(AdminTokenList { admin_tokens: tokens.into_iter().map(AdminToken::from).collect() })
}
