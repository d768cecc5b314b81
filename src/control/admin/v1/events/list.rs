//! The list: the newest events first, in pages.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::control::admin::Admin;
use crate::control::admin::extract::Json;
use crate::control::admin::problem::Problem;
use crate::control::admin::v1::limit;
use crate::control::store::{EventFilter, EventOrder, EventQuery};

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// Each as it was recorded, of the form `keeptrusts.event/1`.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Box<RawValue>>,
    /// The `cursor` of the next page; absent after the last. A page of a long search may hold fewer events than were
    /// asked for, or none, and still be followed by others.
    pub next_cursor: Option<String>,
}

pub(super) async fn handler(
    admin: Arc<Admin>,
    filter: EventFilter,
    asked_limit: Option<usize>,
    cursor: Option<String>,
) -> Result<Json<EventList>, Problem> {
    let limit = limit(asked_limit)?;
    let before = match cursor.as_deref().map(str::parse) {
        Some(Ok(before)) => Some(before),
        Some(Err(_)) => return Err(Problem::request_invalid("cursor is not one that a list returned as next_cursor")),
        None => None,
    };
    let query = EventQuery { filter, order: EventOrder::NewestFirst { before }, limit };
    let found = admin.events.events(query).await?;
    let next_cursor = found.more.then(|| found.reached.to_string());
    Ok(Json(EventList { events: found.events.into_iter().map(|event| event.json).collect(), next_cursor }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::control::admin::tests::Bench;
    use crate::control::store::conformance::opening;
    use crate::domain::{Timestamp, Verdict};
    use crate::journal::{Opening, Refused};

    fn requests(list: &Value) -> Vec<String> {
        let events = list["events"].as_array().unwrap().iter();
        events.map(|event| event["request_id"].as_str().unwrap().into()).collect()
    }

    #[tokio::test]
    async fn it_filters_and_turns_pages() {
        let bench = Bench::new().await;
        for number in 0..5 {
            bench.record(opening(&number.to_string()));
        }
        let refusal = Some(Refused { code: "model_unknown", status: 404 });
        let time = Timestamp::parse("2030-01-01T00:00:00Z").unwrap();
        bench.record(Opening { verdict: Verdict::Deny, refusal, time, model_requested: None, ..opening("late") });
        bench.committed(6).await;

        let all = bench.get("/v1/events").await.expect(200);
        assert_eq!(requests(&all), ["late", "4", "3", "2", "1", "0"]);
        assert_eq!((&all["events"][0]["schema"], &all["next_cursor"]), (&json!("keeptrusts.event/1"), &json!(null)));
        for (query, count) in [
            ("verdict=DENY", 1),
            ("since=2029-12-31T00:00:00%2B01:00", 1),
            ("key=jane&team=frontend&provider=openai", 6),
            ("key=ak_jane&model=gpt-4o-mini&phase=INPUT&verdict=PASS", 5),
            ("key=john", 0),
            ("phase=OUTPUT", 0),
        ] {
            assert_eq!(requests(&bench.get(&format!("/v1/events?{query}")).await.expect(200)).len(), count, "{query}");
        }
        let first = bench.get("/v1/events?limit=4").await.expect(200);
        let next = format!("/v1/events?limit=4&cursor={}", first["next_cursor"].as_str().unwrap());
        let rest = bench.get(&next).await.expect(200);
        assert_eq!((requests(&rest), &rest["next_cursor"]), (vec!["1".to_string(), "0".into()], &json!(null)));
    }

    #[tokio::test]
    async fn what_it_does_not_understand_is_refused() {
        let bench = Bench::new().await;
        for query in ["verdict=pass", "since=yesterday", "cursor=1-1", "limit=2000", "phase=x", "kye=jane", "after=3"] {
            bench.get(&format!("/v1/events?{query}")).await.refuses(422, "request_invalid");
        }
        bench.get("/v1/events?follow=true&cursor=1").await.refuses(422, "request_invalid");
        bench.get("/v1/events?follow=true&limit=0").await.refuses(422, "request_invalid");
    }
}
