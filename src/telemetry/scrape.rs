//! The listener for `/metrics`, `/livez` and `/readyz`: loopback by default, nothing secret, nothing slow.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::journal::Journal;

use super::Health;

/// Prometheus' text format, version 0.0.4.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

pub fn scrape_routes(journal: Journal, health: Arc<Health>) -> Router {
    let metrics = move || {
        let exposition = journal.expose();
        async move { ([(header::CONTENT_TYPE, EXPOSITION)], exposition) }
    };
    let ready = move || {
        let (reasons, notes) = (health.reasons(), health.notes());
        async move {
            let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons, "notes": notes });
            (status, axum::Json(body)).into_response()
        }
    };
    Router::new().route("/metrics", get(metrics)).route("/livez", get(async || "ok\n")).route("/readyz", get(ready))
}
