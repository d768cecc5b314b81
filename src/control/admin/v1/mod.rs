//! The endpoints: one file each.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::Admin;

pub mod tokens;
pub mod teams;
pub mod events;
pub mod whoami;

/// The most items a list answers with at a time, and how many it does unasked.
const LIMIT_MAX: usize = crate::control::store::PAGE_MAX;
const LIMIT_DEFAULT: usize = 100;

pub(super) fn router() -> Router<Arc<Admin>> {
    Router::new()
        .route("/tokens", get(tokens::list::handler).post(tokens::create::handler))
        .route("/tokens/{id}", get(tokens::show::handler).delete(tokens::revoke::handler))
        .route("/teams", get(teams::list::handler).post(teams::create::handler))
        .route("/events", get(events::handler))
        .route("/whoami", get(whoami::handler))
}

/// Checks the `limit` of a list.
fn limit(asked: Option<usize>) -> Result<usize, super::problem::Problem> {
    match asked.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        limit => Err(super::problem::Problem::request_invalid(format!("limit is 1 to {LIMIT_MAX}; found {limit}"))),
    }
}
