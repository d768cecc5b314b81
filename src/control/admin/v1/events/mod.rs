//! `GET /v1/events`: what was recorded; and with `follow=true`, what is being recorded.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::control::admin::Admin;
use crate::control::admin::extract::Queries;
use crate::control::admin::problem::Problem;
use crate::control::store::{EventFilter, EventKeyFilter};
use crate::domain::{Timestamp, Verdict};
use crate::journal::Phase;

pub mod list;
pub mod export;
pub mod verify;
mod follow;

/// Which events; all that is given must agree.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::control::admin) struct Filter {
    /// Only events from this time on.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// No events from this time on; not when following.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The id or name of a key.
    key: Option<String>,
    team: Option<String>,
    /// The model as it was asked for.
    model: Option<String>,
    provider: Option<String>,
    /// PASS, REDACT, BLOCK, DENY or ERROR.
    #[param(value_type = Option<String>)]
    verdict: Option<Verdict>,
    /// INPUT or OUTPUT.
    #[param(value_type = Option<String>)]
    phase: Option<Phase>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::control::admin) struct ReadEvents {
    /// In a list: how many. When following: how many of the past, the newest ones.
    limit: Option<usize>,
    /// In a list only: where the page begins.
    cursor: Option<String>,
    /// Do not end, but send events as they are recorded (`text/event-stream`).
    #[serde(default)]
    follow: bool,
    /// When following only: everything that was recorded after the event with this number.
    after: Option<i64>,
}

#[utoipa::path(
    get, path = "/v1/events", operation_id = "read_events", tag = "events", params(Filter, ReadEvents),
    responses((status = 200, description = "The newest events first; with `follow`, a stream of them", content(
        (list::EventList = "application/json"), (String = "text/event-stream"),
    ))),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Queries(filter, asked): Queries<Filter, ReadEvents>,
) -> Result<Response, Problem> {
    if asked.follow && filter.until.is_some() {
        return Err(Problem::request_invalid("until is for lists; when following, close the connection instead"));
    }
    let filter = filter.into();
    match (asked.follow, asked.cursor, asked.after) {
        (true, None, after) => {
            follow::handler(admin, filter, asked.limit, after).await.map(IntoResponse::into_response)
        }
        (false, cursor, None) => {
            list::handler(admin, filter, asked.limit, cursor).await.map(IntoResponse::into_response)
        }
        (true, Some(_), _) => Err(Problem::request_invalid("cursor is for lists; follow with `after` instead")),
        (false, _, Some(_)) => Err(Problem::request_invalid("after needs `follow=true`; lists have `cursor`")),
    }
}

impl From<Filter> for EventFilter {
    fn from(asked: Filter) -> Self {
        let Filter { since, until, key, team, model, provider, verdict, phase } = asked;
        let key = key.as_deref().map(EventKeyFilter::parse);
        Self { since, until, key, team, model, provider, verdict, phase }
    }
}
