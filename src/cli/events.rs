//! `kt events`: the audit log, read back or followed live.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

use crate::control::admin::ProblemDocument;
use crate::control::admin::v1::events::list::EventList;
use crate::control::{Verification, verify_events};
use crate::domain::{Timestamp, Verdict};
use crate::journal::Event;

use super::client::{CallError, Client, Gateway, with_query};
use super::moment::Moment;
use super::{Error, output};

/// A gateway sends something every 15 seconds; a connection silent for longer than this is dead.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// The pauses between attempts to come back: doubled from the first to the last.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(250);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// The longest message of the stream. Events are a few kilobytes.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
const PAGE_MAX: usize = 1000;

#[derive(Debug, Args)]
pub(super) struct Events {
    #[command(flatten)]
    gateway: Gateway,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print events as they are recorded, until interrupted
    Tail {
        #[command(flatten)]
        choice: Choice,
        /// Begin with this many of the newest events
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=PAGE_MAX as u64))]
        limit: Option<u64>,
    },
    /// Print recorded events, the oldest first
    List {
        #[command(flatten)]
        choice: Choice,
        /// Print at most this many, the newest ones
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        limit: u64,
    },
    /// Check that no recorded event was changed, removed or put in; ends with 1 if one was
    Verify {
        /// Read the files in the data directory, of a gateway that does not run
        #[arg(long)]
        offline: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Which events, and how they are printed.
#[derive(Debug, Args)]
struct Choice {
    /// From when on: a span such as 15m, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "SPAN|TIME", value_parser = Moment::parse)]
    since: Option<Moment>,
    /// Only requests with this key
    #[arg(long, value_name = "ID|NAME")]
    key: Option<String>,
    /// Only requests of this team
    #[arg(long)]
    team: Option<String>,
    /// Only requests that asked for this model
    #[arg(long)]
    model: Option<String>,
    /// Only requests to this provider
    #[arg(long)]
    provider: Option<String>,
    /// Only events with this verdict: PASS, REDACT, BLOCK, DENY or ERROR
    #[arg(long, value_parser = verdict)]
    verdict: Option<Verdict>,
    /// Print times in this machine's time zone instead of UTC
    #[arg(long)]
    local: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

impl Events {
    pub(super) async fn run(self) -> Result<(), Error> {
        let client = self.gateway.client()?;
        match self.command {
            Command::Tail { choice, limit } => Tail::new(choice, limit, client).run().await,
            Command::List { choice, limit } => list(&choice, limit, &client).await,
            Command::Verify { offline: false, json } => report(client.get("/v1/events/verify").await?, json),
            Command::Verify { offline: true, json } => {
                let data_dir = self.gateway.data_dir()?;
                let found = verify_events(&data_dir).map_err(|error| {
                    Error::Failed(format!("cannot read the event log in {}: {error}", data_dir.display()))
                })?;
                report(found, json)
            }
        }
    }
}

impl Choice {
    fn query(&self) -> [(&'static str, Option<String>); 6] {
        let now = Timestamp::from(SystemTime::now());
        [
            ("since", self.since.map(|since| since.before(now).to_string())),
            ("key", self.key.clone()),
            ("team", self.team.clone()),
            ("model", self.model.clone()),
            ("provider", self.provider.clone()),
            ("verdict", self.verdict.map(|verdict| verdict.label().to_owned())),
        ]
    }

    fn print(&self, event: &RawValue) -> Result<(), Error> {
        if self.json {
            return output::line(event.get());
        }
        let event: Event = serde_json::from_str(event.get()).map_err(|error| {
            Error::Failed(format!("the gateway sent an event this kt does not understand: {error}"))
        })?;
        output::line(&format!("[{}] {}", output::time(event.time, self.local), event.line()))
    }
}

fn verdict(text: &str) -> Result<Verdict, String> {
    Verdict::parse(&text.to_uppercase()).ok_or_else(|| "a verdict is PASS, REDACT, BLOCK, DENY or ERROR".into())
}

async fn list(choice: &Choice, limit: u64, client: &Client) -> Result<(), Error> {
    let mut newest_first = Vec::new();
    let mut cursor = None;
    let filters = choice.query();
    let mut missing = usize::try_from(limit).unwrap_or(usize::MAX);
    while missing > 0 {
        let page = [("limit", Some(missing.min(PAGE_MAX).to_string())), ("cursor", cursor)];
        let page: EventList = client.get(&with_query("/v1/events", filters.clone().into_iter().chain(page))).await?;
        missing = missing.saturating_sub(page.events.len());
        newest_first.extend(page.events);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if newest_first.is_empty() {
        output::hint("no such events");
    }
    newest_first.iter().rev().try_for_each(|event| choice.print(event))
}

/// Prints what a verification found; an error if that is a fault.
fn report(found: Verification, json: bool) -> Result<(), Error> {
    if json {
        let text = serde_json::to_string(&found).map_err(|error| Error::Failed(error.to_string()))?;
        output::line(&text)?;
    } else {
        found.faults.iter().try_for_each(|fault| {
            output::line(&format!("{} line {}, event {}: {}", fault.segment, fault.line, fault.seq, fault.what))
        })?;
        if found.pruned_through > 0 {
            output::line(&format!("events up to {} were removed by retention", found.pruned_through))?;
        }
    }
    let faults = found.faults.len() as u64 + found.more_faults;
    if faults > 0 {
        return Err(Error::Failed(format!("the event log is not as it was written: {faults} faults")));
    }
    if !json {
        let (first, last) = (found.first_seq.unwrap_or(1), found.last_seq.unwrap_or(0));
        let chain = found.chain.as_deref().unwrap_or("");
        output::line(&format!("{} events ({first} to {last}) are as they were written; chain {chain}", found.events))?;
    }
    Ok(())
}

/// A live view of the log that misses nothing, also when the connection breaks.
struct Tail {
    choice: Choice,
    limit: Option<u64>,
    client: Client,
    /// The number of the last event that was considered: where to come back to.
    position: Option<String>,
}

impl Tail {
    fn new(choice: Choice, limit: Option<u64>, client: Client) -> Self {
        Self { choice, limit, client, position: None }
    }

    async fn run(mut self) -> Result<(), Error> {
        let mut body = self.client.open(&self.path()).await?;
        loop {
            let why = self.print_all(&mut body).await?;
            output::hint(&format!("kt: {why}; reconnecting"));
            body = self.reconnect().await?;
            output::hint(match self.position {
                Some(_) => "kt: reconnected; what was recorded meanwhile follows, nothing was missed",
                None => "kt: reconnected; starting over",
            });
        }
    }

    fn path(&self) -> String {
        let follow = [("follow", Some("true".into()))];
        match &self.position {
            // What was printed before the interruption is not asked for again.
            Some(position) => {
                let filters = self.choice.query().into_iter().filter(|(name, _)| *name != "since");
                let after = [("after", Some(position.clone()))];
                with_query("/v1/events", filters.chain(follow).chain(after))
            }
            None => {
                let limit = [("limit", self.limit.map(|limit| limit.to_string()))];
                with_query("/v1/events", self.choice.query().into_iter().chain(follow).chain(limit))
            }
        }
    }

    /// Prints until the connection ends, and says why it did.
    async fn print_all(&mut self, body: &mut Incoming) -> Result<String, Error> {
        let mut messages = Messages::default();
        loop {
            let frame = match timeout(SILENCE_MAX, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Ok(format!("the connection broke off ({error})")),
                Ok(None) => return Ok("the gateway ended the stream".into()),
                Err(_) => return Ok("the gateway has gone silent".into()),
            };
            let Ok(bytes) = frame.into_data() else { continue };
            messages.push(&bytes)?;
            while let Some(message) = messages.next() {
                self.take(message)?;
            }
        }
    }

    fn take(&mut self, message: Message) -> Result<(), Error> {
        let garbled = |error: serde_json::Error| Error::Failed(format!("the gateway's stream makes no sense: {error}"));
        match message.name.as_str() {
            "" => self.choice.print(&serde_json::from_str::<Box<RawValue>>(&message.data).map_err(garbled)?)?,
            "problem" => {
                let problem: ProblemDocument = serde_json::from_str(&message.data).map_err(garbled)?;
                return Err(Error::Failed(format!("{} ({})", problem.detail, problem.code)));
            }
            // `ready`, and whatever a newer gateway may say.
            _ => {}
        }
        self.position = message.id.or(self.position.take());
        Ok(())
    }

    async fn reconnect(&self) -> Result<Incoming, Error> {
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            sleep(pause).await;
            match self.client.open(&self.path()).await {
                Ok(body) => return Ok(body),
                Err(CallError::Unreachable(_)) => pause = (pause * 2).min(RETRY_PAUSE_MAX),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Server-sent events as our gateway writes them: lines that end in `\n`, one `data` a message.
#[derive(Default)]
struct Messages {
    bytes: Vec<u8>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    name: String,
    id: Option<String>,
    data: String,
}

impl Messages {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.bytes.len() + bytes.len() > MESSAGE_BYTES_MAX {
            return Err(Error::Failed("the gateway's stream makes no sense: a message without end".into()));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole message. Comments, which only show that the connection lives, are none.
    fn next(&mut self) -> Option<Message> {
        loop {
            let end = memchr::memmem::find(&self.bytes, b"\n\n")?;
            let text: Vec<u8> = self.bytes.drain(..end + 2).collect();
            let mut message = Message::default();
            for line in String::from_utf8_lossy(&text).lines() {
                match line.split_once(':').map(|(field, value)| (field, value.trim_start_matches(' '))) {
                    Some(("event", value)) => message.name = value.into(),
                    Some(("id", value)) => message.id = Some(value.into()),
                    Some(("data", value)) => message.data = value.into(),
                    _ => {}
                }
            }
            if !message.data.is_empty() {
                return Some(message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_however_they_are_cut() {
        let stream = ": alive\n\nevent: ready\nid: 7\ndata: {}\n\nid: 8\ndata: {\"a\":\"b: c\"}\n\n:\n\nid: 9\ndata: x";
        for size in 1..stream.len() {
            let mut messages = Messages::default();
            let mut read = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                messages.push(piece).unwrap();
                read.extend(std::iter::from_fn(|| messages.next()));
            }
            let message = |name: &str, id: &str, data: &str| Message {
                name: name.into(),
                id: Some(id.into()),
                data: data.into(),
            };
            assert_eq!(read, [message("ready", "7", "{}"), message("", "8", "{\"a\":\"b: c\"}")], "{size}");
        }
    }

    #[test]
    fn an_endless_message_is_refused() {
        let mut messages = Messages::default();
        assert!(messages.push(&vec![b'x'; MESSAGE_BYTES_MAX]).is_ok());
        assert!(messages.push(b"x").is_err());
    }

    #[test]
    fn verdicts_are_read_in_any_case() {
        assert_eq!(verdict("deny"), Ok(Verdict::Deny));
        assert!(verdict("maybe").is_err());
    }
}
