//! `kt events export`: recorded events of any number, to standard output.
//!
//! What comes from a gateway and what is read from its files are the same lines, and take the same way out. How far it
//! is stands on standard error; an export that is not whole ends with 1 and says so.

use std::collections::VecDeque;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use memchr::memchr;
use tokio::time::timeout;

use crate::cli::client::{Client, with_query};
use crate::cli::{Error, output};
use crate::control::{EventOrder, EventQuery, OfflineEvents, PAGE_MAX};
use crate::journal::{Event, csv};

use super::{Filter, Until};

/// A gateway that looks for rare events in a large log sends nothing meanwhile.
const SILENCE_MAX: Duration = Duration::from_secs(5 * 60);
/// The longest event. Events are a few kilobytes.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often a terminal, or whatever else standard error is, is told how far it is.
const TERMINAL_PERIOD: Duration = Duration::from_millis(250);
const LOG_PERIOD: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Jsonl,
    Csv,
}

/// Where events come from.
pub(super) enum Source {
    Gateway(Lines),
    Files { log: OfflineEvents, query: EventQuery, found: VecDeque<String>, is_read: bool },
}

impl Source {
    pub(super) async fn gateway(client: &Client, filter: &Filter, until: &Until) -> Result<Self, Error> {
        let query = filter.query().chain(until.query());
        let body = client.open(&with_query("/v1/events/export", query)).await?;
        Ok(Self::Gateway(Lines { body, bytes: Vec::new(), taken: 0 }))
    }

    pub(super) fn files(data_dir: &Path, filter: &Filter, until: &Until) -> Result<Self, Error> {
        let log = OfflineEvents::open(data_dir).map_err(|error| unreadable(data_dir, &error))?;
        let order = EventOrder::OldestFirst { after: 0 };
        let query = EventQuery { filter: filter.events(until), order, limit: PAGE_MAX };
        Ok(Self::Files { log, query, found: VecDeque::new(), is_read: false })
    }

    /// The next event as it was recorded.
    async fn next(&mut self) -> Result<Option<String>, Error> {
        match self {
            Self::Gateway(lines) => lines.next().await,
            Self::Files { log, query, found, is_read } => {
                while found.is_empty() && !*is_read {
                    let page = log
                        .events(query)
                        .map_err(|error| Error::Failed(format!("the event log cannot be read on: {error}")))?;
                    found.extend(page.events.iter().map(|event| event.json.get().to_owned()));
                    query.order = EventOrder::OldestFirst { after: page.reached };
                    *is_read = !page.more;
                }
                Ok(found.pop_front())
            }
        }
    }
}

/// The lines of an answer as it arrives.
pub(super) struct Lines {
    body: Incoming,
    bytes: Vec<u8>,
    /// How much of `bytes` was given out.
    taken: usize,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<String>, Error> {
        loop {
            if let Some(length) = memchr(b'\n', &self.bytes[self.taken..]) {
                let line = &self.bytes[self.taken..self.taken + length];
                let line = String::from_utf8(line.into()).map_err(|_| broken("the gateway's answer makes no sense"))?;
                self.taken += length + 1;
                return Ok(Some(line));
            }
            self.bytes.drain(..self.taken);
            self.taken = 0;
            if self.bytes.len() > EVENT_BYTES_MAX {
                return Err(broken("the gateway's answer makes no sense: an event without end"));
            }
            match timeout(SILENCE_MAX, self.body.frame()).await {
                Ok(Some(Ok(frame))) => self.bytes.extend(frame.into_data().unwrap_or_default()),
                Ok(Some(Err(error))) => return Err(broken(&format!("the connection broke off ({error})"))),
                Ok(None) if self.bytes.is_empty() => return Ok(None),
                Ok(None) => return Err(broken("the gateway's answer ends within an event")),
                Err(_) => return Err(broken("the gateway has gone silent")),
            }
        }
    }
}

pub(super) async fn export(mut source: Source, format: Format) -> Result<(), Error> {
    let mut out = BufWriter::with_capacity(256 * 1024, io::stdout().lock());
    let mut progress = Progress::new();
    if format == Format::Csv {
        writeln!(out, "{}", csv::header())?;
    }
    let ended = loop {
        let json = match source.next().await {
            Ok(Some(json)) => json,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let line = match format {
            Format::Jsonl => json,
            Format::Csv => csv_line(&json)?,
        };
        writeln!(out, "{line}")?;
        progress.wrote(line.len() + 1);
    };
    out.flush()?;
    progress.end();
    ended
}

fn csv_line(json: &str) -> Result<String, Error> {
    let event: Event = serde_json::from_str(json)
        .map_err(|error| Error::Failed(format!("there is an event this kt does not understand: {error}")))?;
    Ok(csv::line(&event))
}

/// What the person at the terminal, or a job's log, sees of it.
struct Progress {
    events: u64,
    bytes: u64,
    begun: Instant,
    told: Instant,
    is_terminal: bool,
}

impl Progress {
    fn new() -> Self {
        let now = Instant::now();
        Self { events: 0, bytes: 0, begun: now, told: now, is_terminal: io::stderr().is_terminal() }
    }

    fn wrote(&mut self, bytes: usize) {
        self.events += 1;
        self.bytes += bytes as u64;
        let period = if self.is_terminal { TERMINAL_PERIOD } else { LOG_PERIOD };
        if self.events.is_multiple_of(256) && self.told.elapsed() >= period {
            self.told = Instant::now();
            self.tell("so far");
        }
    }

    fn end(&self) {
        self.tell("written");
        if self.is_terminal {
            output::hint("");
        }
    }

    fn tell(&self, what: &str) {
        let Self { events, bytes, .. } = *self;
        let megabytes = bytes as f64 / 1e6;
        let text = format!("{events} events ({megabytes:.1} MB) {what}, {:.0} s", self.begun.elapsed().as_secs_f64());
        match self.is_terminal {
            // The next one takes its place.
            true => _ = write!(io::stderr().lock(), "\r{text}"),
            false => output::hint(&text),
        }
    }
}

fn broken(why: &str) -> Error {
    Error::Failed(format!("{why}: the export is not whole"))
}

fn unreadable(data_dir: &Path, error: &io::Error) -> Error {
    Error::Failed(format!("cannot read the event log in {}: {error}", data_dir.display()))
}
