//! `GET /v1/usage`: who used how much, and what it cost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::control::admin::Admin;
use crate::control::admin::extract::{Json, Query};
use crate::control::admin::problem::Problem;
use crate::control::now;
pub use crate::control::store::usage::Sums;
use crate::control::store::usage::{Dimension, SumFilter, SumQuery, SumRow};
use crate::domain::Timestamp;

/// How far back the report goes unasked.
const SPAN_DEFAULT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The most rows of one report.
const ROWS_MAX: usize = 10_000;
/// The most days that are told apart in one report.
const DAYS_MAX: usize = 1100;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::control::admin) struct ReadUsage {
    /// What is told apart: one or several of day, key, team, organization, provider, model, with commas between.
    /// Without it there is only the total.
    by: Option<String>,
    /// From when on; the quarter-hour it lies in is the first (the day, for what is older than 40 days). Default:
    /// 30 days ago.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Until when; the quarter-hour it lies in is the last. Default: now.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The id of a key, or the name it has now.
    key: Option<String>,
    team: Option<String>,
    provider: Option<String>,
    /// The model that answered, without its release date.
    model: Option<String>,
    /// Where days begin, by its IANA name, such as `Europe/Berlin`. Default: UTC.
    time_zone: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UsageReport {
    /// The time the report is about, in whole quarter-hours.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Absent: until now.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    pub time_zone: String,
    pub by: Vec<String>,
    /// In the order of what they are told apart by.
    pub rows: Vec<UsageRow>,
    pub total: Sums,
}

/// Of what it can be told apart by, only what was asked for is there, and only where there is one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UsageRow {
    /// `2026-01-31`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<UsageKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(flatten)]
    pub sums: Sums,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UsageKey {
    pub id: String,
    /// What it is called now.
    pub name: String,
}

#[utoipa::path(
    get, path = "/v1/usage", operation_id = "read_usage", tag = "usage", params(ReadUsage),
    responses((status = 200, description = "Sums over everything that is durable when asked", body = UsageReport)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Query(asked): Query<ReadUsage>,
) -> Result<Json<UsageReport>, Problem> {
    let (by, by_day) = dimensions(asked.by.as_deref().unwrap_or_default())?;
    let zone = zone(asked.time_zone.as_deref())?;
    let now = now();
    let since = admin.usage.begin(asked.since.unwrap_or_else(|| now.saturating_sub(SPAN_DEFAULT))).await?;
    let until = match asked.until {
        Some(until) => Some(admin.usage.end(until).await?),
        None => None,
    };
    if until.is_some_and(|until| until <= since) {
        return Err(Problem::request_invalid("until is not after since"));
    }
    let filter = SumFilter {
        key: asked.key,
        team: asked.team,
        organization: None,
        provider: asked.provider,
        model: asked.model,
    };
    let query = |since, until| SumQuery { since, until, by: by.clone(), filter: filter.clone(), limit: ROWS_MAX + 1 };
    let (days, queries): (Vec<_>, Vec<_>) = match by_day {
        true => days(&zone, since, until.unwrap_or(now))?
            .into_iter()
            .map(|(day, begin, end)| (Some(day), query(Some(begin.max(since)), Some(end.min(until.unwrap_or(end))))))
            .unzip(),
        false => (vec![None], vec![query(Some(since), until)]),
    };
    let found = admin.usage.each(queries).await?;
    let mut report = UsageReport {
        since,
        until,
        time_zone: zone.iana_name().unwrap_or("UTC").into(),
        by: asked.by.iter().flat_map(|by| by.split(',')).map(|word| word.trim().to_owned()).collect(),
        rows: Vec::new(),
        total: Sums::default(),
    };
    for (day, rows) in days.into_iter().zip(found) {
        for row in rows {
            report.total.add(&row.sums);
            if by_day || !by.is_empty() {
                report.rows.push(shown(row, day.clone(), &by));
            }
        }
        if report.rows.len() > ROWS_MAX {
            let detail = format!("these are more than {ROWS_MAX} rows: narrow it, or tell less apart");
            return Err(Problem::request_invalid(detail));
        }
    }
    Ok(Json(report))
}

/// What is to be told apart, and whether days are, too.
fn dimensions(by: &str) -> Result<(Vec<Dimension>, bool), Problem> {
    let known = BTreeMap::from([
        ("day", None),
        ("key", Some(Dimension::Key)),
        ("team", Some(Dimension::Team)),
        ("organization", Some(Dimension::Organization)),
        ("provider", Some(Dimension::Provider)),
        ("model", Some(Dimension::Model)),
    ]);
    let mut dimensions = Vec::new();
    let mut by_day = false;
    for word in by.split(',').map(str::trim).filter(|_| !by.is_empty()) {
        let twice = match known.get(word) {
            Some(None) => std::mem::replace(&mut by_day, true),
            Some(Some(dimension)) if dimensions.contains(dimension) => true,
            Some(Some(dimension)) => {
                dimensions.push(*dimension);
                false
            }
            None => {
                let known = known.into_keys().collect::<Vec<_>>().join(", ");
                return Err(Problem::request_invalid(format!("by takes one or more of {known}")));
            }
        };
        if twice {
            return Err(Problem::request_invalid(format!("by names {word} twice")));
        }
    }
    Ok((dimensions, by_day))
}

fn zone(name: Option<&str>) -> Result<TimeZone, Problem> {
    let unknown =
        |_| Problem::request_invalid("time_zone is the name of no time zone known here, such as Europe/Berlin");
    name.map_or(Ok(TimeZone::UTC), |name| TimeZone::get(name).map_err(unknown))
}

/// Each day from that of `since` to that of `until`: its name, its beginning and its end.
fn days(zone: &TimeZone, since: Timestamp, until: Timestamp) -> Result<Vec<(String, Timestamp, Timestamp)>, Problem> {
    let far = || Problem::request_invalid("since or until is too far away");
    let start = |date: jiff::civil::Date| {
        let zoned = date.to_zoned(zone.clone()).map_err(|_| far())?;
        Ok::<_, Problem>(Timestamp::from_micros(zoned.timestamp().as_microsecond()))
    };
    let moment = jiff::Timestamp::from_microsecond(since.as_micros()).map_err(|_| far())?;
    let mut date = zone.to_datetime(moment).date();
    let mut days = Vec::new();
    let mut begin = start(date)?;
    while begin < until {
        if days.len() >= DAYS_MAX {
            return Err(Problem::request_invalid(format!(
                "by=day covers at most {DAYS_MAX} days: choose a shorter period"
            )));
        }
        let next = date.tomorrow().map_err(|_| far())?;
        let end = start(next)?;
        days.push((date.to_string(), begin, end));
        (date, begin) = (next, end);
    }
    Ok(days)
}

fn shown(row: SumRow, day: Option<String>, by: &[Dimension]) -> UsageRow {
    let SumRow { series, key_name, sums, .. } = row;
    let text = |dimension, text: String| (by.contains(&dimension) && !text.is_empty()).then_some(text);
    UsageRow {
        day,
        key: text(Dimension::Key, series.key).map(|id| UsageKey { id, name: key_name }),
        team: text(Dimension::Team, series.team),
        organization: text(Dimension::Organization, series.organization),
        provider: text(Dimension::Provider, series.provider),
        model: text(Dimension::Model, series.model),
        sums,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;
    use crate::control::store::conformance::opening;
    use crate::domain::Verdict;
    use crate::journal::{Opening, Refused};

    use super::*;

    #[tokio::test]
    async fn it_sums_what_is_durable_and_tells_it_apart() {
        let bench = Bench::new().await;
        let refusal = Some(Refused { code: "model_unknown", status: 404 });
        let yesterday = now().saturating_sub(Duration::from_secs(24 * 3600));
        for time in [now(), now(), yesterday] {
            bench.record(Opening { verdict: Verdict::Deny, refusal, time, ..opening("x") });
        }
        bench.committed(3).await;
        let all = bench.get("/v1/usage").await.expect(200);
        assert_eq!((&all["total"]["refused"], &all["rows"], &all["time_zone"]), (&json!(3), &json!([]), &json!("UTC")));
        let told = bench.get("/v1/usage?by=day,key&time_zone=Asia/Kathmandu").await.expect(200);
        let rows = told["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 2, "{told}");
        assert_eq!((&rows[0]["key"], &rows[0]["refused"]), (&json!({"id": "ak_jane", "name": "jane"}), &json!(1)));
        assert!(rows[0]["day"].as_str() < rows[1]["day"].as_str() && rows[0].get("team").is_none());
        assert_eq!(told["total"], all["total"]);
        let none = bench.get("/v1/usage?by=team&team=backend").await.expect(200);
        assert_eq!((&none["rows"], &none["total"]["refused"]), (&json!([]), &json!(0)));
        let since = now().saturating_sub(Duration::from_secs(3600));
        let late = bench.get(&format!("/v1/usage?since={since}&team=frontend&provider=openai")).await.expect(200);
        assert_eq!(late["total"]["refused"], 2);
    }

    #[tokio::test]
    async fn what_it_does_not_understand_is_refused() {
        let bench = Bench::new().await;
        for query in [
            "by=user",
            "by=key,key",
            "by=day,day",
            "by=key,",
            "time_zone=Mars",
            "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z",
            "by=day&since=1990-01-01T00:00:00Z",
            "limit=5",
        ] {
            bench.get(&format!("/v1/usage?{query}")).await.refuses(422, "request_invalid");
        }
    }

    #[test]
    fn days_are_as_long_as_they_are() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let time = |text| Timestamp::parse(text).unwrap();
        let days = days(&berlin, time("2026-03-28T12:00:00Z"), time("2026-03-29T22:00:01Z")).unwrap();
        let told: Vec<_> = days.iter().map(|(day, begin, end)| format!("{day} {begin} {end}")).collect();
        assert_eq!(
            told,
            [
                "2026-03-28 2026-03-27T23:00:00.000Z 2026-03-28T23:00:00.000Z",
                "2026-03-29 2026-03-28T23:00:00.000Z 2026-03-29T22:00:00.000Z",
                "2026-03-30 2026-03-29T22:00:00.000Z 2026-03-30T22:00:00.000Z",
            ]
        );
    }
}
