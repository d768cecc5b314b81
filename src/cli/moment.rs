//! `90d`, `15m` and times as people write them.

use std::time::Duration;

use crate::domain::Timestamp;

const UNITS: [(char, u64); 5] = [('s', 1), ('m', 60), ('h', 60 * 60), ('d', 24 * 60 * 60), ('w', 7 * 24 * 60 * 60)];
/// The longest span that is understood: a hundred years.
const SPAN_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A time that was said in words: as a span from now, or as itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Span(Duration),
    Time(Timestamp),
}

impl Moment {
    /// Reads `15m`, `90d`, `1h30m`, a time in RFC 3339, or a day (which begins at midnight, UTC).
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let time = || Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")));
        let moment = span(text).map(Self::Span).or_else(|| time().map(Self::Time));
        moment.ok_or_else(|| "write a span such as 15m, 24h or 90d, or a time such as 2026-01-31T12:00:00Z".into())
    }

    pub(super) fn ahead_of(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Span(span) => now.saturating_add(span),
            Self::Time(time) => time,
        }
    }

    pub(super) fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Span(span) => now.saturating_sub(span),
            Self::Time(time) => time,
        }
    }
}

/// Reads a span, or `0` for none.
pub(super) fn span_or_none(text: &str) -> Result<Duration, String> {
    let found = if ["0", "0s"].contains(&text) { Some(Duration::ZERO) } else { span(text) };
    found.ok_or_else(|| "write a span such as 24h or 7d, or 0".into())
}

fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        let (_, seconds) = UNITS.into_iter().find(|(known, _)| *known == unit)?;
        total = total.checked_add(Duration::from_secs(count.checked_mul(seconds)?))?;
        rest = &rest[digits + unit.len_utf8()..];
    }
    (!total.is_zero() && total <= SPAN_MAX).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times_are_told_apart() {
        let seconds = |text| match Moment::parse(text) {
            Ok(Moment::Span(span)) => Some(span.as_secs()),
            _ => None,
        };
        assert_eq!(seconds("15m"), Some(900));
        assert_eq!(seconds("90d"), Some(7_776_000));
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("2w"), Some(1_209_600));
        assert_eq!(span_or_none("0"), Ok(Duration::ZERO));
        assert_eq!(span_or_none("24h"), Ok(Duration::from_secs(86_400)));
        assert!(span_or_none("").is_err() && span_or_none("-1h").is_err() && span_or_none("24").is_err());
        let day = Timestamp::parse("2026-01-31T00:00:00Z").unwrap();
        assert_eq!(Moment::parse("2026-01-31"), Ok(Moment::Time(day)));
        assert_eq!(Moment::parse("2026-01-31T01:00:00+01:00"), Ok(Moment::Time(day)));
        for bad in ["", "0s", "15", "m", "-5m", "1.5h", "15 m", "1é", "99999999999999999999d", "500000w", "2026-13-01"]
        {
            assert!(Moment::parse(bad).is_err(), "{bad}");
        }
    }
}
