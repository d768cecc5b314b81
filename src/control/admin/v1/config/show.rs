//! `GET /v1/config`: the configuration that is in force, without secrets.

use std::sync::Arc;

use axum::extract::State;

use crate::control::admin::Admin;
use crate::control::admin::extract::Json;

use super::ConfigInForce;

#[utoipa::path(
    get, path = "/v1/config", operation_id = "show_config", tag = "config",
    responses((status = 200, description = "Every setting as it holds", body = ConfigInForce)),
)]
pub(in crate::control::admin) async fn handler(State(admin): State<Arc<Admin>>) -> Json<ConfigInForce> {
    Json(admin.office.config_in_force())
}
