//! The price table as a file: `version`, then vendor → model → US dollars per million tokens.
//!
//! Prices are read from their text, never through floating point. What a model's entry leaves out:
//! `cache_read` and `cache_write` cost what `input` does, and `cache_write_long` what `cache_write` does. A
//! written 0 is free. Above its `input_tokens` the prices under `above` replace the ordinary ones for the
//! whole request; what `above` leaves out stays as it is, except that cache writes keep their ratio to the
//! input price: vendors price them as a multiple of it (1.25 × for OpenAI and Anthropic's 5 minutes, 2 × for
//! longer), and unscaled ones would make writing a cache cheaper than reading plain input.

use std::collections::HashMap;

use crate::domain::{ModelPrice, PicoUsd, PriceTable, Rates, Tier};

use super::findings::{Placed, Report};
use super::quantity::count;
use super::reader::{Section, read as read_file, shown};
use super::yaml;

const BUILT_IN: &str = include_str!("../../conf/prices.yaml");
const NAME_CHARS_MAX: usize = 128;

/// Prices as one section writes them.
struct Written {
    input: Option<PicoUsd>,
    cache_read: Option<PicoUsd>,
    cache_write: Option<PicoUsd>,
    cache_write_long: Option<PicoUsd>,
    output: Option<PicoUsd>,
}

/// The table that comes with the program.
pub(super) fn built_in(report: &Report) -> PriceTable {
    let own = Report::new("built-in prices");
    let table = read(BUILT_IN, &own);
    report.absorb(own);
    table
}

/// Reads a price file's text.
pub(super) fn read(text: &str, report: &Report) -> PriceTable {
    let Some(root) = yaml::parse(text, report) else { return PriceTable::default() };
    read_file(report, &root, |file| {
        let version = file.required("version", "what costs refer to, such as the date of the prices", version);
        let models = file.entries("models", |vendor, models| {
            check_name(&vendor, report);
            models.own_entries(|name, section| model(name, vendor.value, section))
        });
        let models: Vec<_> = models.into_iter().flatten().flatten().collect();
        report_doubles(&models, report);
        let version = version.map(|version| version.value).unwrap_or_default();
        PriceTable::new(&version, models.into_iter().map(|model| model.value))
    })
}

fn version(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
        return Err("a version has 1 to 64 letters, digits and . _ - +".into());
    }
    Ok(text.to_owned())
}

fn model(name: Placed<&str>, vendor: &str, section: &Section<'_>) -> Option<Placed<ModelPrice>> {
    check_name(&name, section.report());
    let input = section.required("input", "US dollars per million tokens, 0 if free", price);
    let output = section.required("output", "US dollars per million tokens, 0 if free", price);
    let written = written(section, input, output);
    let above = section.section("above", above);
    let rates = written.rates()?;
    let tier =
        above.map(|(input_tokens_above, above)| Tier { input_tokens_above, rates: above.replace(&written, &rates) });
    let price = ModelPrice { name: name.value.into(), vendor: vendor.into(), rates, tiers: tier.into_iter().collect() };
    Some(Placed { value: price, place: name.place })
}

fn above(section: &Section<'_>) -> Option<(u64, Written)> {
    let size = section.required(
        "input_tokens",
        "the size of the input beyond which these prices hold",
        count(1..=1_000_000_000),
    );
    let written = written(section, section.optional("input", price), section.optional("output", price));
    Some((size?.value as u64, written))
}

fn written(section: &Section<'_>, input: Option<Placed<PicoUsd>>, output: Option<Placed<PicoUsd>>) -> Written {
    let optional = |name| section.optional(name, price).map(|price| price.value);
    Written {
        input: input.map(|price| price.value),
        cache_read: optional("cache_read"),
        cache_write: optional("cache_write"),
        cache_write_long: optional("cache_write_long"),
        output: output.map(|price| price.value),
    }
}

impl Written {
    /// The ordinary rates; `None` if a price that must be there is not.
    fn rates(&self) -> Option<Rates> {
        let (input, output) = (self.input?, self.output?);
        let cache_write = self.cache_write.unwrap_or(input);
        Some(Rates {
            input,
            cache_read: self.cache_read.unwrap_or(input),
            cache_write,
            cache_write_long: self.cache_write_long.unwrap_or(cache_write),
            output,
        })
    }

    /// The rates of a tier: what it names, in place of the `ordinary` ones.
    fn replace(&self, model: &Self, ordinary: &Rates) -> Rates {
        let input = self.input.unwrap_or(ordinary.input);
        let cache_read = model.cache_read.map_or(input, |_| ordinary.cache_read);
        let scaled = |rate| in_ratio(rate, ordinary.input, input);
        Rates {
            input,
            cache_read: self.cache_read.unwrap_or(cache_read),
            cache_write: self.cache_write.unwrap_or_else(|| scaled(ordinary.cache_write)),
            cache_write_long: self.cache_write_long.unwrap_or_else(|| scaled(ordinary.cache_write_long)),
            output: self.output.unwrap_or(ordinary.output),
        }
    }
}

/// `rate` as it was to `before`, now to `after`; rounded half up. From a free input there is no ratio.
fn in_ratio(rate: PicoUsd, before: PicoUsd, after: PicoUsd) -> PicoUsd {
    let (rate, before, after) = (u128::from(rate.0), u128::from(before.0), u128::from(after.0));
    let scaled = (rate * after + before / 2).checked_div(before).unwrap_or(rate);
    PicoUsd(u64::try_from(scaled).unwrap_or(u64::MAX))
}

fn price(text: &str) -> Result<PicoUsd, String> {
    PicoUsd::parse_usd_per_million(text).ok_or_else(|| {
        let found = shown(text);
        format!("expected US dollars per million tokens like 0.15, at most six decimals and 1000000, found {found}")
    })
}

/// Names become metric labels.
fn check_name(name: &Placed<&str>, report: &Report) {
    let odd = |c: char| c.is_whitespace() || c.is_control();
    if name.value.is_empty() || name.value.chars().count() > NAME_CHARS_MAX || name.value.contains(odd) {
        report.fault(&name.place, format!("a name has 1 to {NAME_CHARS_MAX} characters and no spaces"));
    }
}

/// Requests name a model without its vendor.
fn report_doubles(models: &[Placed<ModelPrice>], report: &Report) {
    let mut seen = HashMap::new();
    for Placed { value: model, place } in models {
        if let Some(vendor) = seen.insert(model.name.clone(), model.vendor.clone()) {
            report.fault(place, format!("{vendor} has a model of this name, too; one of them must go"));
        }
    }
}
