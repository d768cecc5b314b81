//! The endpoints: one file each.

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, get, post};

use super::Admin;

pub mod tokens;
pub mod revocations;
pub mod teams;
pub mod admin_tokens;
pub mod events;
pub mod usage;
pub mod prices;
pub mod explain;
pub mod config;
pub mod whoami;
pub mod upgrade;

/// The most items a list answers with at a time, and how many it does unasked.
const LIMIT_MAX: usize = crate::control::store::PAGE_MAX;
const LIMIT_DEFAULT: usize = 100;

/// Every path with what answers there. `openapi.rs` describes each; a test compares the two.
pub(super) fn routes() -> [(&'static str, MethodRouter<Arc<Admin>>); 20] {
    [
        ("/tokens", get(tokens::list::handler).post(tokens::create::handler)),
        ("/tokens/{id}", get(tokens::show::handler).patch(tokens::update::handler).delete(tokens::revoke::handler)),
        ("/tokens/{id}/rotate", post(tokens::rotate::handler)),
        ("/revocations", post(revocations::handler)),
        ("/teams", get(teams::list::handler).post(teams::create::handler)),
        ("/teams/{id}", get(teams::show::handler).patch(teams::update::handler).delete(teams::delete::handler)),
        ("/teams/{id}/suspend", post(teams::suspend::handler)),
        ("/teams/{id}/resume", post(teams::resume::handler)),
        ("/admin-tokens", get(admin_tokens::list::handler).post(admin_tokens::create::handler)),
        ("/admin-tokens/{id}", axum::routing::delete(admin_tokens::revoke::handler)),
        ("/events", get(events::handler)),
        ("/events/export", get(events::export::handler)),
        ("/events/verify", get(events::verify::handler)),
        ("/usage", get(usage::handler)),
        ("/prices", get(prices::handler)),
        ("/explain", get(explain::handler)),
        ("/config", get(config::show::handler)),
        ("/config/reload", post(config::reload::handler)),
        ("/whoami", get(whoami::handler)),
        ("/upgrade", post(upgrade::handler)),
    ]
}

pub(super) fn router() -> Router<Arc<Admin>> {
    routes().into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods))
}

/// Checks the `limit` of a list.
fn limit(asked: Option<usize>) -> Result<usize, super::problem::Problem> {
    match asked.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        limit => Err(super::problem::Problem::request_invalid(format!("limit is 1 to {LIMIT_MAX}; found {limit}"))),
    }
}
