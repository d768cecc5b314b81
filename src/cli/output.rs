//! Tables, JSON and times on standard output.

use std::io::{self, Write};

use jiff::tz::TimeZone;
use serde::Serialize;

use crate::domain::Timestamp;

use super::Error;

/// What stands in a table for nothing.
pub(super) const NOTHING: &str = "-";

/// Prints rows under their headings, in aligned columns.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Result<(), Error> {
    let rows: Vec<_> = rows.iter().map(|row| row.to_vec()).collect();
    columns(headings.map(str::to_owned).to_vec(), &rows)
}

/// The same for as many columns as there are headings.
pub(super) fn columns(headings: Vec<String>, rows: &[Vec<String>]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    for line in aligned(&headings, rows) {
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

/// Prints a value as one line of JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string(value).map_err(|error| Error::Failed(error.to_string()))?;
    line(&text)
}

/// Prints a line at once.
pub(super) fn line(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Prints a part of a line at once.
pub(super) fn piece(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    write!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Tells the person at the terminal something that is not the command's output.
pub(super) fn hint(text: &str) {
    // A closed standard error is no reason to stop.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// `2024-01-15 10:30:12`, in UTC or in the time zone of this machine.
pub(super) fn time(time: Timestamp, local: bool) -> String {
    let zone = if local { TimeZone::system() } else { TimeZone::UTC };
    let time = jiff::Timestamp::from_microsecond(time.as_micros()).unwrap_or(jiff::Timestamp::MAX);
    time.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn aligned(headings: &[String], rows: &[Vec<String>]) -> Vec<String> {
    let lines = || std::iter::once(headings).chain(rows.iter().map(Vec::as_slice));
    let width = |at: usize| {
        lines().filter_map(|cells| cells.get(at)).map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let [headings, rows @ ..] =
            [["NAME", "ID"], ["équipe", "ak_1"], ["x", "-"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&headings, &rows), ["NAME    ID", "équipe  ak_1", "x       -"]);
    }

    #[test]
    fn times_are_in_utc_unless_asked_otherwise() {
        let moment = Timestamp::parse("2024-01-15T10:30:12.250Z").unwrap();
        assert_eq!(time(moment, false), "2024-01-15 10:30:12");
    }
}
