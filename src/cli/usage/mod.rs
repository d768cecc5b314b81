//! `kt usage`: who used how much, and what it cost.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;

use crate::control::admin::v1::usage::{Sums, UsageReport, UsageRow};
use crate::domain::csv::field;
use crate::domain::{NanoUsd, Timestamp};

use super::client::{Gateway, with_query};
use super::moment::Moment;
use super::requests::Requests;
use super::{Error, output};

mod reprice; // the same by another price table

#[derive(Debug, Args)]
pub(super) struct Usage {
    #[command(flatten)]
    gateway: Gateway,
    /// What to group by; several are separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT", default_value = "key")]
    by: Vec<By>,
    /// Start of the period: a span such as 30d, a day, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "SPAN|DAY|TIME", default_value = "30d")]
    since: String,
    /// End of the period, in the same forms [default: now]
    #[arg(long, value_name = "SPAN|DAY|TIME")]
    until: Option<String>,
    #[command(flatten)]
    requests: Requests,
    /// Only requests that this model answered
    #[arg(long)]
    model: Option<String>,
    /// Time zone in which days begin, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", conflicts_with = "local")]
    time_zone: Option<String>,
    /// Let days begin in this machine's time zone
    #[arg(long)]
    local: bool,
    /// Print one JSON object
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print comma-separated values, with a column for every figure
    #[arg(long)]
    csv: bool,
    /// Compare recorded costs with what the gateway's current price table would charge
    #[arg(long, conflicts_with = "csv")]
    reprice: bool,
    /// Use the price table in this file instead
    #[arg(long, value_name = "FILE", requires = "reprice")]
    prices: Option<PathBuf>,
}

/// What usage can be told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Day,
    Key,
    Team,
    Organization,
    Provider,
    Model,
}

impl Usage {
    pub(super) async fn run(self) -> Result<(), Error> {
        let client = self.gateway.client()?;
        let zone = zone(self.time_zone.as_deref(), self.local)?;
        let now = Timestamp::from(SystemTime::now());
        let since = moment(&self.since, &zone, now)?;
        let until = self.until.as_deref().map(|until| moment(until, &zone, now)).transpose()?;
        if self.reprice {
            let Self { by, requests, model, json, prices, .. } = self;
            let asked = reprice::Asked { by: &by, since, until, requests, model, zone, json };
            return reprice::run(asked, prices.as_deref(), &client).await;
        }
        let words = self.by.iter().map(|by| by.word()).collect::<Vec<_>>().join(",");
        let query = [
            ("by", Some(words)),
            ("since", Some(since.to_string())),
            ("until", until.map(|until| until.to_string())),
            ("model", self.model),
            ("time_zone", zone.iana_name().map(Into::into)),
        ];
        let report: UsageReport =
            client.get(&with_query("/v1/usage", query.into_iter().chain(self.requests.query()))).await?;
        match (self.json, self.csv) {
            (true, _) => output::json(&report),
            (_, true) => csv(&self.by, &report),
            _ => print(&self.by, &report, self.local),
        }
    }
}

impl By {
    fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Key => "key",
            Self::Team => "team",
            Self::Organization => "organization",
            Self::Provider => "provider",
            Self::Model => "model",
        }
    }

    fn of(self, row: &UsageRow) -> Option<&str> {
        match self {
            Self::Day => row.day.as_deref(),
            Self::Key => row.key.as_ref().map(|key| &*key.name),
            Self::Team => row.team.as_deref(),
            Self::Organization => row.organization.as_deref(),
            Self::Provider => row.provider.as_deref(),
            Self::Model => row.model.as_deref(),
        }
    }
}

fn zone(name: Option<&str>, local: bool) -> Result<TimeZone, Error> {
    match name {
        Some(name) => {
            TimeZone::get(name).map_err(|_| Error::Usage(format!("--time-zone: {name:?} is no time zone known here")))
        }
        None if local => {
            let zone = Some(TimeZone::system()).filter(|zone| zone.iana_name().is_some());
            zone.ok_or_else(|| Error::Usage("this machine's time zone has no name: say --time-zone".into()))
        }
        None => Ok(TimeZone::UTC),
    }
}

/// A day begins at midnight in `zone`; all else is what [`Moment`] reads.
fn moment(text: &str, zone: &TimeZone, now: Timestamp) -> Result<Timestamp, Error> {
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && text.len() == "2026-01-31".len()
        && let Ok(start) = date.to_zoned(zone.clone())
    {
        return Ok(Timestamp::from_micros(start.timestamp().as_microsecond()));
    }
    Moment::parse(text).map(|moment| moment.before(now)).map_err(Error::Usage)
}

fn print(by: &[By], report: &UsageReport, local: bool) -> Result<(), Error> {
    if report.total == Sums::default() {
        output::hint("no usage in this time");
        return Ok(());
    }
    let figures = ["REQUESTS", "REFUSED", "INPUT", "CACHE READ", "CACHE WRITE", "OUTPUT", "COST"];
    let headings = by.iter().map(|by| by.word().to_uppercase()).chain(figures.map(str::to_owned)).collect();
    let line = |names: Vec<String>, sums: &Sums| -> Vec<String> {
        let counts = [sums.requests, sums.refused, sums.input, sums.cache_read, sums.cache_write, sums.output];
        let counts = counts.map(|count| count.to_string());
        names.into_iter().chain(counts).chain([NanoUsd(sums.cost_nano_usd).to_string()]).collect()
    };
    let names = |row: &UsageRow| by.iter().map(|by| by.of(row).unwrap_or(output::NOTHING).to_owned()).collect();
    let mut rows: Vec<_> = report.rows.iter().map(|row| line(names(row), &row.sums)).collect();
    let total = (0..by.len()).map(|at| if at == 0 { "total".into() } else { String::new() }).collect();
    rows.push(line(total, &report.total));
    output::columns(headings, &rows)?;
    let until = report.until.map_or_else(|| "now".into(), |until| output::time(until, local));
    output::hint(&format!("from {} to {until}", output::time(report.since, local)));
    let Sums { unpriced, estimated, estimated_cost_nano_usd, .. } = report.total;
    if estimated > 0 {
        let cost = NanoUsd(estimated_cost_nano_usd);
        output::hint(&format!("{cost} of it stand on the estimated usage of {estimated} requests"));
    }
    if unpriced > 0 {
        output::hint(&format!("{unpriced} requests used models that have no price: they are not part of the cost"));
    }
    Ok(())
}

/// Every figure in a column, and the cost once more in dollars.
fn csv(by: &[By], report: &UsageReport) -> Result<(), Error> {
    let names = by.iter().flat_map(|by| match by {
        By::Key => vec!["key", "key_id"],
        other => vec![other.word()],
    });
    output::line(&names.chain(Sums::NAMES).chain(["cost_usd"]).collect::<Vec<_>>().join(","))?;
    for row in &report.rows {
        let names = by.iter().flat_map(|by| match by {
            By::Key => vec![by.of(row), row.key.as_ref().map(|key| &*key.id)],
            other => vec![other.of(row)],
        });
        let names = names.map(|name| field(name.unwrap_or_default()).into_owned());
        let cost = row.sums.cost_nano_usd;
        let dollars = format!("{}.{:09}", cost / 1_000_000_000, cost % 1_000_000_000);
        let figures = row.sums.figures().map(|figure| figure.to_string());
        output::line(&names.chain(figures).chain([dollars]).collect::<Vec<_>>().join(","))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_where_it_was_asked_for() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let now = Timestamp::parse("2026-07-02T12:00:00Z").unwrap();
        let read = |text, zone: &TimeZone| moment(text, zone, now).map(|time| time.to_string()).ok();
        assert_eq!(read("2026-07-01", &berlin).as_deref(), Some("2026-06-30T22:00:00.000Z"));
        assert_eq!(read("2026-07-01", &TimeZone::UTC).as_deref(), Some("2026-07-01T00:00:00.000Z"));
        assert_eq!(read("1d", &berlin).as_deref(), Some("2026-07-01T12:00:00.000Z"));
        assert_eq!(read("2026-07-01T00:00:00Z", &berlin).as_deref(), Some("2026-07-01T00:00:00.000Z"));
        assert_eq!(read("lately", &berlin), None);
    }
}
