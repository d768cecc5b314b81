//! `kt events`: the audit log, read back or followed live.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde_json::value::RawValue;

use crate::control::admin::v1::events::list::EventList;
use crate::control::{EventFilter, EventKeyFilter, Fault, OfflineEvents, Verification};
use crate::domain::{Timestamp, Verdict};
use crate::journal::Event;

use super::client::{Client, Gateway, with_query};
use super::moment::Moment;
use super::requests::Requests;
use super::{Error, output};

mod export; // everything, in one go
mod tail; // following

use export::{Format, Source, export};
use tail::Tail;

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
        /// Start with this many of the newest events
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=PAGE_MAX as u64))]
        limit: Option<u64>,
    },
    /// Print recorded events, the oldest first
    List {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        until: Until,
        /// Print at most this many events, the newest ones
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        limit: u64,
    },
    /// Write any number of recorded events to standard output, the oldest first
    Export {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        until: Until,
        /// One JSON object per line, as recorded (jsonl), or a table (csv)
        #[arg(long, value_enum, default_value = "jsonl")]
        format: Format,
        /// Read the files in the data directory; works whether or not the gateway is running
        #[arg(long)]
        offline: bool,
    },
    /// Check that no recorded event was changed, removed or inserted; exits with 1 if one was
    Verify {
        /// Read the files in the data directory of a gateway that is not running
        #[arg(long)]
        offline: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Which events.
#[derive(Debug, Args)]
struct Filter {
    /// Start of the period: a span such as 15m, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "SPAN|TIME", value_parser = Moment::parse)]
    since: Option<Moment>,
    #[command(flatten)]
    requests: Requests,
    /// Only requests that asked for this model
    #[arg(long)]
    model: Option<String>,
    /// Only events with this verdict: PASS, REDACT, BLOCK, DENY or ERROR
    #[arg(long, value_parser = verdict)]
    verdict: Option<Verdict>,
}

/// Where recorded events end.
#[derive(Debug, Args)]
struct Until {
    /// End of the period: a span such as 15m, or a time such as 2026-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "SPAN|TIME", value_parser = Moment::parse)]
    until: Option<Moment>,
}

/// Which events, and how they are printed.
#[derive(Debug, Args)]
struct Choice {
    #[command(flatten)]
    filter: Filter,
    /// Print times in this machine's time zone instead of UTC
    #[arg(long)]
    local: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Events {
    pub(super) async fn run(self) -> Result<(), Error> {
        let client = self.gateway.client()?;
        match self.command {
            Command::Tail { choice, limit } => Tail::new(choice, limit, client).run().await,
            Command::List { choice, until, limit } => list(&choice, &until, limit, &client).await,
            Command::Export { filter, until, format, offline } => {
                let source = match offline {
                    true => Source::files(&self.gateway.data_dir()?, &filter, &until)?,
                    false => Source::gateway(&client, &filter, &until).await?,
                };
                export(source, format).await
            }
            Command::Verify { offline: false, json } => report(client.get("/v1/events/verify").await?, json),
            Command::Verify { offline: true, json } => {
                let data_dir = self.gateway.data_dir()?;
                let found = OfflineEvents::verify(&data_dir).map_err(|error| {
                    Error::Failed(format!("cannot read the event log in {}: {error}", data_dir.display()))
                })?;
                report(found, json)
            }
        }
    }
}

impl Filter {
    fn query(&self) -> impl Iterator<Item = (&'static str, Option<String>)> + Clone {
        let now = Timestamp::from(SystemTime::now());
        let own = [
            ("since", self.since.map(|since| since.before(now).to_string())),
            ("model", self.model.clone()),
            ("verdict", self.verdict.map(|verdict| verdict.label().to_owned())),
        ];
        own.into_iter().chain(self.requests.query())
    }

    /// The same for whoever reads the log itself.
    fn events(&self, until: &Until) -> EventFilter {
        let now = Timestamp::from(SystemTime::now());
        let Requests { key, team, provider } = &self.requests;
        EventFilter {
            since: self.since.map(|since| since.before(now)),
            until: until.until.map(|until| until.before(now)),
            key: key.as_deref().map(EventKeyFilter::parse),
            team: team.clone(),
            model: self.model.clone(),
            provider: provider.clone(),
            verdict: self.verdict,
            phase: None,
        }
    }
}

impl Until {
    fn query(&self) -> [(&'static str, Option<String>); 1] {
        let now = Timestamp::from(SystemTime::now());
        [("until", self.until.map(|until| until.before(now).to_string()))]
    }
}

impl Choice {
    fn print(&self, event: &RawValue) -> Result<(), Error> {
        if self.json {
            return output::line(event.get());
        }
        let event = read(event)?;
        output::line(&format!("[{}] {}", output::time(event.time, self.local), event.line()))
    }
}

/// Reads an event as the gateway sent it.
pub(super) fn read(event: &RawValue) -> Result<Event, Error> {
    serde_json::from_str(event.get())
        .map_err(|error| Error::Failed(format!("the gateway sent an event this kt does not understand: {error}")))
}

fn verdict(text: &str) -> Result<Verdict, String> {
    Verdict::parse(&text.to_uppercase()).ok_or_else(|| "a verdict is PASS, REDACT, BLOCK, DENY or ERROR".into())
}

async fn list(choice: &Choice, until: &Until, limit: u64, client: &Client) -> Result<(), Error> {
    let mut newest_first = Vec::new();
    let mut cursor = None;
    let filters: Vec<_> = choice.filter.query().chain(until.query()).collect();
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
        found.faults.iter().try_for_each(|fault| output::line(&named(fault)))?;
        if found.pruned_through > 0 {
            output::line(&format!("events up to {} were removed by retention", found.pruned_through))?;
        }
    }
    let faults = found.faults.len() as u64 + found.more_faults;
    if faults > 0 {
        let faults = if faults == 1 { "1 fault".into() } else { format!("{faults} faults") };
        return Err(Error::Failed(format!("the event log is not as it was written: {faults}")));
    }
    if !json {
        let (first, last) = (found.first_seq.unwrap_or(1), found.last_seq.unwrap_or(0));
        let chain = found.chain.as_deref().unwrap_or("");
        output::line(&format!("{} events ({first} to {last}) are as they were written; chain {chain}", found.events))?;
    }
    Ok(())
}

/// Where a fault is, and what it is.
fn named(Fault { segment, line, seq, what }: &Fault) -> String {
    match line {
        0 if segment.is_empty() => format!("at the end, event {seq}: {what}"),
        0 => format!("{segment} at its end, event {seq}: {what}"),
        _ => format!("{segment} line {line}, event {seq}: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_in_any_case() {
        assert_eq!(verdict("deny"), Ok(Verdict::Deny));
        assert!(verdict("maybe").is_err());
    }
}
