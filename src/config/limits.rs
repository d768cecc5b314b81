//! How much the whole organization may use.

use std::collections::BTreeMap;

use crate::domain::{Allowance, Bounds, Budget, Count, Limits, Pattern, Period, TimeZone};

use super::findings::Placed;
use super::quantity::{choice, count};
use super::reader::{Section, shown};

/// Reads the limits among the settings of `section`.
pub(super) fn limits(section: &Section<'_>) -> Limits {
    let models = section.entries("models", |name, section| {
        let pattern =
            Pattern::parse(name.value).map_err(|error| section.report().fault(&name.place, error.to_string()));
        let body_bytes_max = value(section.optional("body_bytes_max", amount));
        let bounds = Bounds { body_bytes_max, ..bounds(section) };
        pattern.ok().map(|pattern| (pattern, bounds))
    });
    let limits =
        Limits { weight: None, all: bounds(section), models: models.into_iter().flatten().collect::<BTreeMap<_, _>>() };
    if let Err(error) = limits.check() {
        section.report().fault(section.place(), error.to_string());
    }
    limits
}

fn bounds(section: &Section<'_>) -> Bounds {
    let read = |name| value(section.optional(name, amount));
    let one = section.has("budget").then(|| section.section("budget", budget)).flatten();
    if !section.has("budget") {
        // Known all the same.
        section.section("budget", |_| ());
    }
    let several = section.items("budgets", budget).into_iter().flatten();
    Bounds {
        rpm: read("rpm"),
        burst: read("burst"),
        tpm: read("tpm"),
        input_tpm: read("input_tpm"),
        output_tpm: read("output_tpm"),
        concurrency: read("concurrency"),
        body_bytes_max: None,
        output_tokens_max: read("output_tokens_max"),
        budgets: one.into_iter().chain(several).collect(),
    }
}

fn budget(section: &Section<'_>) -> Option<Budget> {
    let dollars =
        |text: &str| Allowance::dollars(text).ok_or_else(|| format!("expected dollars, found {}", shown(text)));
    let usd = section.optional("usd", dollars);
    let tokens = section.optional("tokens", amount);
    let per = section.required(
        "per",
        "hour, day, week, month or total",
        choice(&Period::ALL.map(|period| (period.label(), period))),
    );
    let zone = section.optional("time_zone", |text| {
        TimeZone::named(text)
            .ok_or_else(|| format!("no such time zone: {}; write one such as Europe/Berlin", shown(text)))
    });
    let hard = section.optional("hard", choice(&[("true", true), ("false", false)]));
    let (has_usd, has_tokens) = (section.has("usd"), section.has("tokens"));
    if has_usd == has_tokens && section.is_present() {
        section.report().fault(section.place(), "a budget is either in usd or in tokens: write one of them");
    }
    Some(Budget {
        allowance: value(usd).or(value(tokens).map(Allowance::Tokens))?,
        per: value(per)?,
        time_zone: value(zone).unwrap_or_default(),
        hard: value(hard).unwrap_or(true),
    })
}

fn amount(text: &str) -> Result<Count, String> {
    let read = count(1..=usize::try_from(Count::MAX).unwrap_or(usize::MAX))(text)?;
    Count::new(read as u64).map_err(|error| error.to_string())
}

fn value<T>(placed: Option<Placed<T>>) -> Option<T> {
    placed.map(|placed| placed.value)
}
