//! Which events are asked for, and what is found.

use serde_json::value::RawValue;

use crate::domain::{Timestamp, Verdict};
use crate::journal::{Event, Phase};

use super::is_key_id;

/// Which events are asked for, in which order.
#[derive(Clone, Debug)]
pub(crate) struct EventQuery {
    pub(crate) filter: EventFilter,
    pub(crate) order: EventOrder,
    pub(crate) limit: usize,
}

/// Which events are meant; whatever is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventFilter {
    pub(crate) since: Option<Timestamp>,
    /// Events of this moment are not meant any more.
    pub(crate) until: Option<Timestamp>,
    pub(crate) key: Option<EventKeyFilter>,
    pub(crate) team: Option<String>,
    /// The model as it was asked for, which both events of a request share.
    pub(crate) model: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) phase: Option<Phase>,
}

impl EventFilter {
    /// Whether `event` is meant. Agrees with what [`EventStore::events`](super::EventStore::events) finds.
    pub(crate) fn matches(&self, event: &Event) -> bool {
        fn agrees(wanted: &Option<String>, found: Option<&str>) -> bool {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        }
        self.since.is_none_or(|since| event.time >= since)
            && self.until.is_none_or(|until| event.time < until)
            && self.key.as_ref().is_none_or(|key| match key {
                EventKeyFilter::Id(id) => event.key.id == *id,
                EventKeyFilter::Name(name) => event.key.name == *name,
            })
            && agrees(&self.team, event.team.as_deref())
            && agrees(&self.model, model_of(event))
            && agrees(&self.provider, event.provider.as_deref())
            && self.verdict.is_none_or(|verdict| event.verdict == verdict)
            && self.phase.is_none_or(|phase| event.phase == phase)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EventKeyFilter {
    Id(String),
    Name(String),
}

impl EventKeyFilter {
    /// Reads an id or a name; no name begins like an id.
    pub(crate) fn parse(text: &str) -> Self {
        if is_key_id(text) { Self::Id(text.into()) } else { Self::Name(text.into()) }
    }
}

/// Which way through the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventOrder {
    /// The newest first, of those before a number: for reading back.
    NewestFirst { before: Option<i64> },
    /// The oldest first, of those after a number: for following.
    OldestFirst { after: i64 },
}

/// Some of the events that were asked for.
#[derive(Debug)]
pub(crate) struct EventPage {
    pub(crate) events: Vec<StoredEvent>,
    /// The number of the last event that was considered, whether it was meant or not: the place to go on from.
    pub(crate) reached: i64,
    /// Whether there may be more: the limit was met, or a long search was interrupted.
    pub(crate) more: bool,
}

/// An event as it was written.
#[derive(Debug)]
pub(crate) struct StoredEvent {
    pub(crate) seq: i64,
    pub(crate) json: Box<RawValue>,
}

/// The model that an event is found by.
fn model_of(event: &Event) -> Option<&str> {
    event.model_requested.as_deref().or(event.model_served.as_deref())
}
