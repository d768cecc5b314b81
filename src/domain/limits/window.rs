//! When a calendar window begins and ends.

use std::fmt;

use jiff::tz::TimeZoneDatabase;
use jiff::{ToSpan, Unit, Zoned, ZonedRound};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::domain::Timestamp;

/// How long a budget lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    Hour,
    Day,
    /// From Monday on.
    Week,
    Month,
    /// For ever.
    Total,
}

/// A time zone of the database that is built in, by its name there: `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeZone(jiff::tz::TimeZone);

/// A span of time, its end excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Period {
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Total];

    pub fn label(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// The window of this period that `now` is in. A day lasts 23 or 25 hours where the clocks are changed.
    pub fn window(self, zone: &TimeZone, now: Timestamp) -> Window {
        // Fails beyond the year 9999 only, where nothing needs to end any more.
        self.bounded(zone, now).unwrap_or(Window::EVER)
    }

    fn bounded(self, zone: &TimeZone, now: Timestamp) -> Option<Window> {
        let now = jiff::Timestamp::from_microsecond(now.as_micros()).ok()?.to_zoned(zone.0.clone());
        let today = now.date();
        let midnight = |date: jiff::civil::Date| date.to_zoned(zone.0.clone()).ok();
        let (start, end) = match self {
            Self::Total => return Some(Window::EVER),
            Self::Hour => {
                let whole = ZonedRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Trunc);
                let start = now.round(whole).ok()?;
                let end = start.checked_add(1.hour()).ok()?;
                (start, end)
            }
            Self::Day => (midnight(today)?, midnight(today.tomorrow().ok()?)?),
            Self::Week => {
                let past = i64::from(today.weekday().to_monday_zero_offset());
                let monday = today.checked_sub(past.days()).ok()?;
                (midnight(monday)?, midnight(monday.checked_add(1.week()).ok()?)?)
            }
            Self::Month => {
                let first = today.first_of_month();
                (midnight(first)?, midnight(first.checked_add(1.month()).ok()?)?)
            }
        };
        let micros = |time: Zoned| Timestamp::from_micros(time.timestamp().as_microsecond());
        Some(Window { start: micros(start), end: micros(end) })
    }
}

impl Window {
    pub const EVER: Self = Self { start: Timestamp::from_micros(i64::MIN), end: Timestamp::from_micros(i64::MAX) };

    pub fn contains(&self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }
}

impl TimeZone {
    pub fn utc() -> Self {
        Self(jiff::tz::TimeZone::UTC)
    }

    /// The zone of this name. What the machine itself knows of time zones plays no part, so that every gateway
    /// agrees.
    pub fn named(name: &str) -> Option<Self> {
        TimeZoneDatabase::bundled().get(name).ok().map(Self)
    }

    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    pub fn is_utc(&self) -> bool {
        *self == Self::utc()
    }
}

impl Default for TimeZone {
    fn default() -> Self {
        Self::utc()
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for TimeZone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for TimeZone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| de::Error::custom("no such time zone; write one such as Europe/Berlin"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(period: Period, zone: &str, now: &str) -> (String, String) {
        let window = period.window(&TimeZone::named(zone).unwrap(), Timestamp::parse(now).unwrap());
        assert!(window.contains(Timestamp::parse(now).unwrap()));
        let short = |time: Timestamp| time.to_string().replace(":00.000Z", "");
        (short(window.start), short(window.end))
    }

    fn from_to(start: &str, end: &str) -> (String, String) {
        (start.into(), end.into())
    }

    #[test]
    fn windows_follow_the_calendar_of_their_zone() {
        let now = "2026-03-18T23:30:00Z";
        assert_eq!(window(Period::Hour, "UTC", now), from_to("2026-03-18T23:00", "2026-03-19T00:00"));
        assert_eq!(window(Period::Day, "UTC", now), from_to("2026-03-18T00:00", "2026-03-19T00:00"));
        assert_eq!(window(Period::Day, "Europe/Berlin", now), from_to("2026-03-18T23:00", "2026-03-19T23:00"));
        assert_eq!(window(Period::Week, "UTC", now), from_to("2026-03-16T00:00", "2026-03-23T00:00"));
        assert_eq!(window(Period::Hour, "Asia/Kolkata", now), from_to("2026-03-18T23:30", "2026-03-19T00:30"));
        assert_eq!(window(Period::Month, "America/New_York", now), from_to("2026-03-01T05:00", "2026-04-01T04:00"));
        assert_eq!(Period::Total.window(&TimeZone::utc(), Timestamp::from_micros(7)), Window::EVER);
    }

    #[test]
    fn a_day_is_as_long_as_its_clocks_make_it() {
        // The clocks of Berlin go forward at 01:00 UTC, and back on 25 October.
        let berlin = |now| window(Period::Day, "Europe/Berlin", now);
        assert_eq!(berlin("2026-03-29T12:00:00Z"), from_to("2026-03-28T23:00", "2026-03-29T22:00"));
        assert_eq!(berlin("2026-10-25T12:00:00Z"), from_to("2026-10-24T22:00", "2026-10-25T23:00"));
        let hour = |now| window(Period::Hour, "Europe/Berlin", now);
        assert_eq!(hour("2026-10-25T00:30:00Z"), from_to("2026-10-25T00:00", "2026-10-25T01:00"));
        assert_eq!(hour("2026-10-25T01:30:00Z"), from_to("2026-10-25T01:00", "2026-10-25T02:00"));
    }

    #[test]
    fn zones_have_the_names_of_the_database() {
        assert_eq!(TimeZone::named("europe/berlin").map(|zone| zone.to_string()), Some("Europe/Berlin".into()));
        assert!(TimeZone::named("Berlin").is_none() && TimeZone::named("").is_none());
        assert!(TimeZone::named("UTC").unwrap().is_utc() || TimeZone::named("UTC").unwrap().name() == "UTC");
    }
}
