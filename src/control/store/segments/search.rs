//! Reading back. A search reads whole blocks and looks for one telling text of the filter in them; only lines that have
//! it are parsed. It never waits for the writer.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use memchr::memmem::{Finder, FinderRev};
use memchr::{memchr, memrchr};
use serde_json::value::RawValue;

use crate::control::store::{EventFilter, EventKeyFilter, EventOrder, EventPage, EventQuery, StoredEvent};
use crate::domain::{Timestamp, Verdict};
use crate::journal::Event;

use super::line;
use super::segment::{Lines, LinesBack, Segment};

/// What readers see of the log at one moment.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// The oldest first; never empty.
    pub(super) segments: Arc<[Arc<Segment>]>,
    pub(super) tip: i64,
}

/// Answers a query; interrupted at `deadline`, it tells where to go on.
pub(super) fn run(view: &View, query: &EventQuery, deadline: Instant) -> io::Result<EventPage> {
    let text = |time: Timestamp| time.to_string().into_bytes();
    let search = Search {
        view,
        query,
        deadline,
        telling: telling(&query.filter),
        since: query.filter.since.map(text),
        until: query.filter.until.map(text),
        is_plain: query.filter
            == EventFilter { since: query.filter.since, until: query.filter.until, ..EventFilter::default() },
        events: Vec::new(),
        reached: 0,
    };
    match query.order {
        EventOrder::OldestFirst { after } => search.forward(after),
        EventOrder::NewestFirst { before } => search.backward(before.unwrap_or(i64::MAX)),
    }
}

/// A text that every event the filter means must contain, as rare a one as there is.
fn telling(filter: &EventFilter) -> Option<Vec<u8>> {
    let member = |name: &str, value: &str| Some(format!("\"{name}\":{}", serde_json::to_string(value).ok()?).into());
    let EventFilter { since: _, until: _, key, team, model, provider, verdict, phase } = filter;
    match (key, model, team, verdict, provider, phase) {
        (Some(EventKeyFilter::Id(id)), ..) => member("id", id),
        (Some(EventKeyFilter::Name(name)), ..) => member("name", name),
        // It may be found in either of two members.
        (_, Some(model), ..) => serde_json::to_vec(model).ok(),
        (_, _, Some(team), ..) => member("team", team),
        (_, _, _, Some(verdict), ..) if *verdict != Verdict::Pass => member("verdict", verdict.label()),
        (_, _, _, _, Some(provider), _) => member("provider", provider),
        (.., Some(phase)) => member("phase", phase.label()),
        (_, _, _, Some(verdict), ..) => member("verdict", verdict.label()),
        _ => None,
    }
}

struct Search<'a> {
    view: &'a View,
    query: &'a EventQuery,
    deadline: Instant,
    telling: Option<Vec<u8>>,
    /// The filter's times, as they would stand in an event.
    since: Option<Vec<u8>>,
    until: Option<Vec<u8>>,
    /// Whether the filter asks for nothing but times.
    is_plain: bool,
    events: Vec<StoredEvent>,
    reached: i64,
}

/// Whether to go on with the next line.
#[derive(PartialEq, Eq)]
enum Next {
    Line,
    /// The page is full.
    Full,
    /// What follows is not asked for.
    Beyond,
}

impl Search<'_> {
    fn forward(mut self, after: i64) -> io::Result<EventPage> {
        let segments = &self.view.segments;
        let first_asked = after.saturating_add(1);
        self.reached = after;
        let finder = self.telling.take();
        let finder = finder.as_deref().map(Finder::new);
        for (at, segment) in segments.iter().enumerate() {
            let next = segments.get(at + 1).map(|next| &next.header);
            let is_before = next.is_some_and(|next| next.first_seq <= first_asked);
            let is_older = next.zip(self.query.filter.since).is_some_and(|(next, since)| next.newest < since);
            if is_before || is_older {
                continue;
            }
            let Some(file) = open(segment)? else { continue };
            let mut lines = Lines::new(&file, segment.find(&file, first_asked)?, segment.bytes());
            while let Some(block) = lines.next_block()? {
                if self.block_forward(block, finder.as_ref()) == Next::Full {
                    return Ok(self.page(true));
                }
                self.reached = last_seq(block).unwrap_or(self.reached).min(self.view.tip);
                if self.reached >= self.view.tip {
                    return Ok(self.page(false));
                }
                if Instant::now() >= self.deadline {
                    return Ok(self.page(true));
                }
            }
        }
        self.reached = self.view.tip.max(after);
        Ok(self.page(false))
    }

    fn block_forward(&mut self, block: &[u8], finder: Option<&Finder<'_>>) -> Next {
        let mut at = 0;
        while at < block.len() {
            if let Some(finder) = finder {
                let Some(found) = finder.find(&block[at..]) else { break };
                at += memrchr(b'\n', &block[at..at + found]).map_or(0, |end| end + 1);
            }
            let end = at + memchr(b'\n', &block[at..]).unwrap_or(block.len() - at);
            match self.consider(&block[at..end], 1..=self.view.tip) {
                Next::Line => at = end + 1,
                done => return done,
            }
        }
        Next::Line
    }

    fn backward(mut self, before: i64) -> io::Result<EventPage> {
        let segments = &self.view.segments;
        let last_asked = before.saturating_sub(1).min(self.view.tip);
        self.reached = before;
        let finder = self.telling.take();
        let finder = finder.as_deref().map(FinderRev::new);
        for (at, segment) in segments.iter().enumerate().rev() {
            if segment.header.first_seq > last_asked {
                continue;
            }
            let next = segments.get(at + 1).map(|next| &next.header);
            if next.zip(self.query.filter.since).is_some_and(|(next, since)| next.newest < since) {
                break;
            }
            let Some(file) = open(segment)? else { break };
            let end = match next {
                Some(next) if next.first_seq <= last_asked => segment.bytes(),
                _ => segment.find(&file, last_asked.saturating_add(1))?,
            };
            let mut lines = LinesBack::new(&file, segment.events_at, end);
            while let Some(block) = lines.next_block()? {
                if self.block_backward(block, finder.as_ref(), last_asked) == Next::Full {
                    return Ok(self.page(true));
                }
                self.reached = first_seq(block).unwrap_or(self.reached);
                if Instant::now() >= self.deadline {
                    return Ok(self.page(true));
                }
            }
        }
        Ok(self.page(false))
    }

    fn block_backward(&mut self, block: &[u8], finder: Option<&FinderRev<'_>>, last_asked: i64) -> Next {
        // Always the end of a line, its line break included.
        let mut end = block.len();
        while end > 0 {
            if let Some(finder) = finder {
                let Some(found) = finder.rfind(&block[..end]) else { break };
                end = found + memchr(b'\n', &block[found..end]).map_or(end - found, |at| at + 1);
            }
            let begin = memrchr(b'\n', &block[..end - 1]).map_or(0, |at| at + 1);
            match self.consider(&block[begin..end - 1], 1..=last_asked) {
                Next::Full => return Next::Full,
                Next::Line | Next::Beyond => end = begin,
            }
        }
        Next::Line
    }

    /// Takes a line if it is meant.
    fn consider(&mut self, line: &[u8], asked: std::ops::RangeInclusive<i64>) -> Next {
        // A line that is no event is a fault, which `verify` names.
        let Some(seq) = line::seq_of(line) else { return Next::Line };
        if !asked.contains(&seq) {
            return Next::Beyond;
        }
        if !self.is_meant(line) {
            return Next::Line;
        }
        let Some(json) = str::from_utf8(line).ok().and_then(|json| RawValue::from_string(json.into()).ok()) else {
            return Next::Line;
        };
        self.events.push(StoredEvent { seq, json });
        self.reached = seq;
        if self.events.len() >= self.query.limit { Next::Full } else { Next::Line }
    }

    fn is_meant(&self, line: &[u8]) -> bool {
        let time = line::time_of(line);
        let is_before = self.since.as_deref().is_some_and(|since| time.is_none_or(|time| time < since));
        let is_after = self.until.as_deref().is_some_and(|until| time.is_none_or(|time| time >= until));
        if is_before || is_after {
            return false;
        }
        self.is_plain || serde_json::from_slice(line).is_ok_and(|event: Event| self.query.filter.matches(&event))
    }

    fn page(self, more: bool) -> EventPage {
        EventPage { events: self.events, reached: self.reached, more }
    }
}

/// `None` if it was pruned meanwhile.
fn open(segment: &Segment) -> io::Result<Option<File>> {
    match File::open(&segment.path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn last_seq(block: &[u8]) -> Option<i64> {
    let lines = block.strip_suffix(b"\n")?;
    line::seq_of(&lines[memrchr(b'\n', lines).map_or(0, |at| at + 1)..])
}

fn first_seq(block: &[u8]) -> Option<i64> {
    line::seq_of(&block[..memchr(b'\n', block)?])
}
