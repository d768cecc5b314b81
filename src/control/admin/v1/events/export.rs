//! `GET /v1/events/export`: everything that is asked for, the oldest first, in one answer of any size.
//!
//! The answer ends with what was recorded when it was asked for. It is read a page at a time and waits for whoever takes
//! it, so it needs no more memory than a page. One that cannot be finished breaks off: an answer that ends as HTTP wants
//! it is whole.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};

use crate::control::admin::Admin;
use crate::control::admin::extract::Queries;
use crate::control::admin::problem::Problem;
use crate::control::store::{EventFilter, EventOrder, EventQuery, PAGE_MAX, StoredEvent};
use crate::journal::{Event, csv};
use crate::listen::until_closing;

use super::Filter;

/// Pages that wait for the connection.
const WAITING_MAX: usize = 2;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::control::admin) struct ExportEvents {
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

/// How events are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// Each as it was recorded, one a line.
    #[default]
    Jsonl,
    /// Comma-separated values, with a line of names first.
    Csv,
}

#[utoipa::path(
    get, path = "/v1/events/export", operation_id = "export_events", tag = "events", params(ExportEvents, Filter),
    responses((status = 200, description = "The oldest events first", content(
        (String = "application/x-ndjson"), (String = "text/csv"),
    ))),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Queries(asked, filter): Queries<ExportEvents, Filter>,
) -> Result<Response, Problem> {
    let (pages, waiting) = mpsc::channel(WAITING_MAX);
    let tip = admin.events.tip();
    tokio::spawn(Export { admin, filter: filter.into(), format: asked.format, tip, pages }.run());
    let (kind, name) = match asked.format {
        Format::Jsonl => ("application/x-ndjson", "attachment; filename=\"events.jsonl\""),
        Format::Csv => ("text/csv; charset=utf-8; header=present", "attachment; filename=\"events.csv\""),
    };
    let headers =
        [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(ReceiverStream::new(waiting))).into_response())
}

struct Export {
    admin: Arc<Admin>,
    filter: EventFilter,
    format: Format,
    /// The last event there was when it was asked for.
    tip: i64,
    pages: mpsc::Sender<io::Result<Bytes>>,
}

impl Export {
    async fn run(self) {
        let mut closing = self.admin.closing.clone();
        let ended = tokio::select! {
            ended = self.write() => ended,
            () = until_closing(&mut closing) => Err(io::Error::other("the gateway is stopping")),
        };
        if let Err(error) = ended {
            log::warn!("an export of events could not be finished: {error}");
            // Whoever asked may be gone.
            let _ = self.pages.send(Err(error)).await;
        }
    }

    async fn write(&self) -> io::Result<()> {
        if let Format::Csv = self.format {
            self.send(format!("{}\n", csv::header()).into()).await?;
        }
        let mut after = 0;
        while after < self.tip {
            let order = EventOrder::OldestFirst { after };
            let query = EventQuery { filter: self.filter.clone(), order, limit: PAGE_MAX };
            let page = self.admin.events.events(query).await.map_err(io::Error::other)?;
            let mut text = String::new();
            for event in page.events.iter().take_while(|event| event.seq <= self.tip) {
                self.format.write(event, &mut text)?;
            }
            if !text.is_empty() {
                self.send(text.into()).await?;
            }
            after = page.reached;
            if !page.more {
                break;
            }
        }
        Ok(())
    }

    async fn send(&self, page: Bytes) -> io::Result<()> {
        self.pages.send(Ok(page)).await.map_err(|_gone| io::ErrorKind::BrokenPipe.into())
    }
}

impl Format {
    fn write(self, event: &StoredEvent, text: &mut String) -> io::Result<()> {
        match self {
            Self::Jsonl => text.push_str(event.json.get()),
            Self::Csv => text.push_str(&csv::line(&serde_json::from_str::<Event>(event.json.get())?)),
        }
        text.push('\n');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use crate::control::admin::tests::Bench;
    use crate::control::store::conformance::opening;
    use crate::journal::Opening;

    async fn lines(bench: &Bench, query: &str) -> Vec<String> {
        let kind =
            if query.contains("csv") { "text/csv; charset=utf-8; header=present" } else { "application/x-ndjson" };
        let body = bench.open_as(&format!("/v1/events/export{query}"), kind).await;
        let body = body.collect().await.unwrap().to_bytes();
        std::str::from_utf8(&body).unwrap().lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn everything_comes_in_its_order_however_much_it_is() {
        let bench = Bench::new().await;
        for number in 0..2500 {
            bench.record(opening(&number.to_string()));
        }
        bench.record(Opening { team: Some("=1+1,2".into()), ..opening("odd") });
        bench.committed(2501).await;
        let events = lines(&bench, "").await;
        let seq = |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_i64().unwrap();
        assert!(events.iter().map(seq).eq(1..=2501));
        let table = lines(&bench, "?format=csv").await;
        assert_eq!((table.len(), &table[0][..9]), (2502, "seq,time,"));
        let columns = table[0].split(',').count();
        assert!(table[1..2501].iter().all(|line| line.split(',').count() == columns));
        assert!(table[2501].starts_with("2501,") && table[2501].contains(",\"'=1+1,2\","), "{}", table[2501]);
    }

    #[tokio::test]
    async fn it_is_filtered_like_a_list() {
        let bench = Bench::new().await;
        bench.record(opening("1"));
        bench.record(Opening { team: Some("backend".into()), ..opening("2") });
        bench.committed(2).await;
        assert_eq!(lines(&bench, "?team=backend").await.len(), 1);
        assert_eq!(lines(&bench, "?until=2000-01-01T00:00:00Z").await.len(), 0);
        assert_eq!(lines(&bench, "?team=backend&format=csv").await.len(), 2);
        bench.get("/v1/events/export?format=xml").await.refuses(422, "request_invalid");
        bench.get("/v1/events/export?limit=3").await.refuses(422, "request_invalid");
    }
}
