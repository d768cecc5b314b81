//! `GET /v1/events/verify`: is the log still as it was written?

use std::sync::Arc;

use axum::extract::State;

use crate::control::Verification;
use crate::control::admin::Admin;
use crate::control::admin::extract::Json;
use crate::control::admin::problem::Problem;

#[utoipa::path(
    get, path = "/v1/events/verify", operation_id = "verify_events", tag = "events",
    responses((status = 200, description = "What was found; no faults if the log is whole", body = Verification)),
)]
pub(in crate::control::admin) async fn handler(State(admin): State<Arc<Admin>>) -> Result<Json<Verification>, Problem> {
    Ok(Json(admin.events.verify().await?))
}
