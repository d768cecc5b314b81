//! Quantities as the operator writes them: `10s`, `32MiB`, `127.0.0.1:41002`.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::reader::{nearest, shown};

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60 * 1000), ("h", 60 * 60 * 1000), ("d", 24 * 60 * 60 * 1000)];
const SIZE_UNITS: [(&str, u64); 4] = [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// A reader for durations in `range`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl FnOnce(&str) -> Result<Duration, String> {
    move |text| {
        let duration = parse_units(text, &DURATION_UNITS)
            .map(Duration::from_millis)
            .ok_or_else(|| format!("expected a duration like 10s, 5m or 250ms, found {}", shown(text)))?;
        within(duration, range, |duration| show_duration(*duration))
    }
}

/// A reader for sizes in `range`, in bytes.
pub(super) fn size(range: RangeInclusive<usize>) -> impl FnOnce(&str) -> Result<usize, String> {
    move |text| {
        let size = parse_units(text, &SIZE_UNITS).and_then(|bytes| usize::try_from(bytes).ok());
        let size = size.ok_or_else(|| format!("expected a size in bytes or like 32MiB, found {}", shown(text)))?;
        within(size, range, |size| show_size(*size))
    }
}

/// A reader for whole numbers in `range`.
pub(super) fn count(range: RangeInclusive<usize>) -> impl FnOnce(&str) -> Result<usize, String> {
    move |text| {
        let count = parse_units(text, &[("", 1)]).and_then(|count| usize::try_from(count).ok());
        let count = count.ok_or_else(|| format!("expected a whole number, found {}", shown(text)))?;
        within(count, range, ToString::to_string)
    }
}

/// Reads an address to listen on. Names are not looked up: what they stand for may change between starts.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let local = |port: &str| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().ok()?)));
    let address = match text.strip_prefix("localhost:") {
        Some(port) => local(port),
        None => text.parse().ok(),
    };
    address.ok_or_else(|| {
        format!("expected an IP address and a port like 127.0.0.1:41002 or [::1]:41002, found {}", shown(text))
    })
}

/// A reader for one of a few words.
pub(super) fn choice<T: Copy>(choices: &[(&'static str, T)]) -> impl FnOnce(&str) -> Result<T, String> {
    move |text| {
        if let Some((_, chosen)) = choices.iter().find(|(word, _)| *word == text) {
            return Ok(*chosen);
        }
        let words = || choices.iter().map(|(word, _)| *word);
        Err(match nearest(text, words()) {
            Some(near) => format!("did you mean {near}? found {}", shown(text)),
            None => format!("expected {}, found {}", words().collect::<Vec<_>>().join(" or "), shown(text)),
        })
    }
}

/// As [`duration`] reads it, in the largest unit without a remainder.
pub(super) fn show_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show_units(milliseconds, &DURATION_UNITS)
}

/// As [`size`] reads it, in the largest unit without a remainder.
pub(super) fn show_size(bytes: usize) -> String {
    show_units(bytes as u64, &SIZE_UNITS)
}

fn within<T: PartialOrd>(value: T, range: RangeInclusive<T>, show: impl Fn(&T) -> String) -> Result<T, String> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(format!("must be from {} to {}, found {}", show(range.start()), show(range.end()), show(&value)))
}

fn parse_units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim_start_matches(' '))?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

fn show_units(value: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, scale): &&(&str, u64)| value >= *scale && value.is_multiple_of(*scale);
    match units.iter().rev().find(fits) {
        Some((name, scale)) => format!("{}{name}", value / scale),
        None => format!("{value}{}", units[0].0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_exactly() {
        let read = |text| duration(Duration::ZERO..=Duration::MAX)(text).ok();
        assert_eq!(read("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(read("10s"), Some(Duration::from_secs(10)));
        assert_eq!(read("30 m"), Some(Duration::from_secs(1800)));
        assert_eq!(read("1d"), Some(Duration::from_secs(86400)));
        for bad in ["10", "", "s", "1.5s", "-1s", "1s ", "1sec", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sizes_and_counts_are_read_exactly() {
        let read = |text| size(0..=usize::MAX)(text).ok();
        assert_eq!((read("33554432"), read("32MiB"), read("1KiB")), (Some(32 << 20), Some(32 << 20), Some(1024)));
        assert_eq!((read("32MB"), read("1e3"), read("-1")), (None, None, None));
        assert_eq!(count(1..=9)("10"), Err("must be from 1 to 9, found 10".into()));
        assert_eq!(size(1024..=1 << 30)("7"), Err("must be from 1KiB to 1GiB, found 7".into()));
    }

    #[test]
    fn quantities_are_shown_as_they_are_read() {
        let shown = [0, 250, 10_000, 90_000, 120_000, 86_400_000].map(|ms| show_duration(Duration::from_millis(ms)));
        assert_eq!(shown, ["0ms", "250ms", "10s", "90s", "2m", "1d"]);
        assert_eq!([0, 1000, 1024, 32 << 20].map(show_size), ["0", "1000", "1KiB", "32MiB"]);
    }

    #[test]
    fn addresses_are_numbers() {
        assert_eq!(address("localhost:0").map(|a| a.to_string()), Ok("127.0.0.1:0".into()));
        assert_eq!(address("[::1]:80").map(|a| a.to_string()), Ok("[::1]:80".into()));
        for bad in ["41002", ":41002", "gateway.example:41002", "127.0.0.1", "127.0.0.1:65536"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
