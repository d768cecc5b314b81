//! Following: server-sent events, first of the past that was asked for, then as they are recorded.
//!
//! Two kinds of message. `ready` says that the past was told and the present follows; its `id`, like that of every other
//! message, is an event's number, with which to come back (`after`). A message without a name is an event.
//!
//! A follower reads the log itself and is only told that there is more, so a slow one misses nothing and holds up nobody.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{self, KeepAlive, Sse};
use futures::Stream;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;

use crate::control::admin::Admin;
use crate::control::admin::problem::Problem;
use crate::control::admin::v1::limit;
use crate::control::store::{EventFilter, EventOrder, EventPage, EventQuery, PAGE_MAX, StoreError};
use crate::listen::until_closing;

/// Messages that wait for a follower's connection.
const WAITING_MAX: usize = 64;
/// How long a follower lets events gather before it looks again: a busy log grows many times a second.
const PAUSE: Duration = Duration::from_millis(50);
/// How often a silent stream shows that it is alive.
const KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(15);

type Message = Result<sse::Event, Infallible>;

pub(super) async fn handler(
    admin: Arc<Admin>,
    filter: EventFilter,
    newest: Option<usize>,
    after: Option<i64>,
) -> Result<Sse<impl Stream<Item = Message>>, Problem> {
    let newest = newest.map(|newest| limit(Some(newest))).transpose()?;
    let tip = admin.events.tip();
    let (messages, waiting) = mpsc::channel(WAITING_MAX);
    let position = match (after, newest) {
        (Some(after), _) => after,
        (None, None) if filter.since.is_some() => 0,
        (None, _) => tip,
    };
    let newest = newest.filter(|_| after.is_none());
    let follower = Follower { admin, filter, messages, position };
    tokio::spawn(follower.run(newest));
    Ok(Sse::new(ReceiverStream::new(waiting)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_PERIOD)))
}

struct Follower {
    admin: Arc<Admin>,
    filter: EventFilter,
    messages: mpsc::Sender<Message>,
    /// The number of the last event that was considered.
    position: i64,
}

/// Why a follower is told nothing more.
enum End {
    Gone,
    Store(StoreError),
}

impl Follower {
    async fn run(mut self, newest: Option<usize>) {
        let Err(end) = self.tell(newest).await else { return };
        if let End::Store(error) = end {
            // The same words as in an answer; nobody listens any more if this fails.
            let problem = serde_json::to_string(&Problem::from(error).document()).unwrap_or_default();
            let _ = self.messages.send(Ok(sse::Event::default().event("problem").data(problem))).await;
        }
    }

    /// Tells the past and then the present, until the follower is gone or the gateway stops.
    async fn tell(&mut self, newest: Option<usize>) -> Result<(), End> {
        if let Some(limit) = newest {
            self.tell_newest(limit).await?;
        }
        let mut tip = self.admin.tip.clone();
        let mut closing = self.admin.closing.clone();
        let messages = self.messages.clone();
        self.tell_rest().await?;
        self.send(sse::Event::default().event("ready").id(self.position.to_string()).data("{}")).await?;
        loop {
            let position = self.position;
            let grown = tokio::select! {
                // The last events come before the end.
                biased;
                grown = tip.wait_for(|tip| *tip > position) => grown.is_ok(),
                () = messages.closed() => return Err(End::Gone),
                () = until_closing(&mut closing) => return Ok(()),
            };
            if grown {
                sleep(PAUSE).await;
            }
            self.tell_rest().await?;
            if !grown {
                return Ok(());
            }
        }
    }

    /// The newest events up to the position.
    async fn tell_newest(&mut self, limit: usize) -> Result<(), End> {
        let mut newest = Vec::new();
        let mut before = self.position + 1;
        while newest.len() < limit {
            let order = EventOrder::NewestFirst { before: Some(before) };
            let page = self.search(order, limit - newest.len()).await?;
            newest.extend(page.events);
            before = page.reached;
            if !page.more {
                break;
            }
        }
        for event in newest.iter().rev() {
            self.send(message(event.seq, &event.json)).await?;
        }
        Ok(())
    }

    /// Everything after the position.
    async fn tell_rest(&mut self) -> Result<(), End> {
        loop {
            let page = self.search(EventOrder::OldestFirst { after: self.position }, PAGE_MAX).await?;
            for event in &page.events {
                self.send(message(event.seq, &event.json)).await?;
            }
            self.position = page.reached;
            if !page.more {
                return Ok(());
            }
        }
    }

    async fn search(&self, order: EventOrder, limit: usize) -> Result<EventPage, End> {
        let query = EventQuery { filter: self.filter.clone(), order, limit };
        self.admin.events.events(query).await.map_err(End::Store)
    }

    async fn send(&self, message: sse::Event) -> Result<(), End> {
        let mut closing = self.admin.closing.clone();
        tokio::select! {
            biased;
            sent = self.messages.send(Ok(message)) => sent.map_err(|_| End::Gone),
            () = until_closing(&mut closing) => Err(End::Gone),
        }
    }
}

/// An event's JSON has no line breaks, so it is one line of data.
fn message(seq: i64, json: &RawValue) -> sse::Event {
    sse::Event::default().id(seq.to_string()).data(json.get())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use http_body_util::BodyExt;

    use crate::control::admin::tests::Bench;
    use crate::control::store::conformance::opening;
    use crate::journal::Opening;

    /// Reads messages until `enough`, in a short form: the request id of an event, else the message's name.
    async fn read(body: &mut Body, enough: usize) -> Vec<String> {
        let mut text = String::new();
        let mut messages = Vec::new();
        while messages.len() < enough {
            let frame =
                tokio::time::timeout(Duration::from_secs(10), body.frame()).await.expect("the stream is silent");
            let Some(frame) = frame else { break };
            text.push_str(std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap());
            while let Some((message, rest)) = text.split_once("\n\n") {
                messages.push(short(message));
                text = rest.to_owned();
            }
        }
        messages
    }

    fn short(message: &str) -> String {
        let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let data: serde_json::Value = serde_json::from_str(field("data:").unwrap()).unwrap();
        match field("event:") {
            Some(name) => format!("{name}@{}", field("id:").unwrap_or("")),
            None => data["request_id"].as_str().unwrap().into(),
        }
    }

    #[tokio::test]
    async fn the_past_that_was_asked_for_comes_before_the_present() {
        let bench = Bench::new().await;
        for number in 1..=3 {
            bench.record(opening(&number.to_string()));
        }
        bench.committed(3).await;
        let mut plain = bench.open("/v1/events?follow=true").await;
        let mut since = bench.open("/v1/events?follow=true&since=2024-01-01T00:00:00Z").await;
        let mut newest = bench.open("/v1/events?follow=true&limit=2").await;
        let mut after = bench.open("/v1/events?follow=true&after=2").await;
        assert_eq!(read(&mut plain, 1).await, ["ready@3"]);
        assert_eq!(read(&mut since, 4).await, ["1", "2", "3", "ready@3"]);
        assert_eq!(read(&mut newest, 3).await, ["2", "3", "ready@3"]);
        assert_eq!(read(&mut after, 2).await, ["3", "ready@3"]);
        bench.record(opening("4"));
        for body in [&mut plain, &mut since, &mut newest, &mut after] {
            assert_eq!(read(body, 1).await, ["4"]);
        }
    }

    #[tokio::test]
    async fn only_what_the_filter_lets_through_is_told() {
        let bench = Bench::new().await;
        let mut body = bench.open("/v1/events?follow=true&team=backend").await;
        assert_eq!(read(&mut body, 1).await, ["ready@0"]);
        bench.record(opening("1"));
        bench.record(Opening { team: Some("backend".into()), ..opening("2") });
        assert_eq!(read(&mut body, 1).await, ["2"]);
    }

    #[tokio::test]
    async fn a_long_past_is_told_whole_while_more_is_recorded() {
        let bench = Bench::new().await;
        for number in 0..2500 {
            bench.record(opening(&number.to_string()));
        }
        bench.committed(2500).await;
        let mut body = bench.open("/v1/events?follow=true&since=2024-01-01T00:00:00Z").await;
        for number in 2500..3000 {
            bench.record(opening(&number.to_string()));
        }
        let mut told = read(&mut body, 3001).await;
        told.retain(|message| !message.starts_with("ready"));
        assert_eq!(told, (0..3000).map(|number| number.to_string()).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_slow_follower_misses_nothing() {
        let bench = Bench::new().await;
        let mut body = bench.open("/v1/events?follow=true").await;
        assert_eq!(read(&mut body, 1).await, ["ready@0"]);
        for number in 0..8000 {
            bench.record(opening(&number.to_string()));
            if number % 1000 == 999 {
                bench.committed(number + 1).await;
            }
        }
        let told = read(&mut body, 8000).await;
        assert!(told.iter().map(|message| message.parse::<i64>().unwrap()).eq(0..8000));
    }
}
