//! The price table as a file: `version`, then vendor → model → US dollars per million tokens.
//!
//! Prices are read from their text, never through floating point. What a model's entry leaves out:
//! `cache_read`, `cache_write`, sound and pictures cost what `input` does, `cache_write_long` what `cache_write`
//! does, reasoning and what is made of sound and pictures what `output` does. A written 0 is free. Above its
//! `input_tokens` the prices under `above` replace the ordinary ones for the whole request; what `above` leaves out
//! stays as it is, except that cache writes keep their ratio to the input price: vendors price them as a multiple
//! of it (1.25 × for OpenAI and Anthropic's 5 minutes, 2 × for longer), and unscaled ones would make writing a
//! cache cheaper than reading plain input.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::domain::{Factor, Factors, ModelPrice, PicoUsd, PriceRow, PriceTable, Rates, Tier, Timestamp};

use super::files;
use super::findings::{Faults, Placed, Report};
use super::quantity::count;
use super::reader::{self, Section, shown};
use super::yaml;

mod write; // the table as text
mod litellm; // prices from the community's file
#[cfg(test)]
mod vectors; // what the recorded answers of providers cost

pub use litellm::{Choice, Imported, import};
pub use write::write;

const BUILT_IN: &str = include_str!("../../../conf/prices.yaml");
const NAME_CHARS_MAX: usize = 128;
/// The name under which a file has the price of every model of a provider.
const ANY: &str = "*";

/// Prices as one section writes them.
struct Written {
    input: Option<PicoUsd>,
    cache_read: Option<PicoUsd>,
    cache_write: Option<PicoUsd>,
    cache_write_long: Option<PicoUsd>,
    output: Option<PicoUsd>,
    reasoning: Option<PicoUsd>,
    input_audio: Option<PicoUsd>,
    input_image: Option<PicoUsd>,
    output_audio: Option<PicoUsd>,
    output_image: Option<PicoUsd>,
}

/// What holds for all models of a vendor that do not say otherwise.
#[derive(Clone, Copy, Default)]
struct Defaults {
    factors: Factors,
    web_search: PicoUsd,
}

/// The table that comes with the program.
pub fn built_in_table() -> Result<PriceTable, Faults> {
    let report = Report::new("built-in prices");
    let table = built_in(&report);
    report.close().map(|_| table)
}

/// The table in a file, or all that is wrong with it.
pub fn read_file(path: &Path) -> Result<PriceTable, Faults> {
    let name = path.display().to_string();
    match files::read_text(path, files::YAML_BYTES_MAX) {
        Ok(text) => read_text(&name, &text),
        Err(error) => {
            let report = Report::new(&name);
            report.fault(&report.place(0, ""), format!("failed to read it: {error}"));
            report.close().map(|_| PriceTable::default())
        }
    }
}

/// The table in a text that came from `origin`, or all that is wrong with it.
pub fn read_text(origin: &str, text: &str) -> Result<PriceTable, Faults> {
    let report = Report::new(origin);
    let table = read(text, &report);
    report.close().map(|_| table)
}

/// The table that comes with the program, for a report of all faults.
pub(super) fn built_in(report: &Report) -> PriceTable {
    let own = Report::new("built-in prices");
    let table = read(BUILT_IN, &own);
    report.absorb(own);
    table
}

/// Reads a price file's text.
pub(super) fn read(text: &str, report: &Report) -> PriceTable {
    let Some(root) = yaml::parse(text, report) else { return PriceTable::default() };
    reader::read(report, &root, |file| {
        let version = file.required("version", "what costs refer to, such as the date of the prices", version);
        let vendors: HashMap<String, Defaults> = file
            .entries("vendors", |vendor, section| (vendor.value.to_owned(), defaults(section, Defaults::default())))
            .into_iter()
            .collect();
        let models = file.entries("models", |vendor, models| {
            check_name(&vendor, report);
            let defaults = vendors.get(vendor.value).copied().unwrap_or_default();
            models.own_entries(|name, section| model(name, vendor.value, defaults, section))
        });
        let models: Vec<_> = models.into_iter().flatten().flatten().collect();
        report_doubles(&models, report);
        let providers = file.entries("providers", |provider, models| {
            let own = models.own_entries(|name, section| model(name, provider.value, Defaults::default(), section));
            let provider: Arc<str> = provider.value.into();
            let own = own.into_iter().flatten().flat_map(|model| model.value);
            own.map(|row| PriceRow { provider: Some(provider.clone()), ..row }).collect::<Vec<_>>()
        });
        let version = version.map(|version| version.value).unwrap_or_default();
        let models = models.into_iter().flat_map(|model| model.value);
        PriceTable::new(&version, models.chain(providers.into_iter().flatten()))
    })
}

fn version(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
        return Err("a version has 1 to 64 letters, digits and . _ - +".into());
    }
    Ok(text.to_owned())
}

fn defaults(section: &Section<'_>, unless: Defaults) -> Defaults {
    let factor = |name, unless| section.optional(name, factor).map_or(unless, |factor| factor.value);
    let Factors { flex, batch, priority, fast } = unless.factors;
    Defaults {
        factors: Factors {
            flex: factor("flex", flex),
            batch: factor("batch", batch),
            priority: factor("priority", priority),
            fast: factor("fast", fast),
        },
        web_search: section.optional("web_search", per_thousand).map_or(unless.web_search, |price| price.value),
    }
}

/// A model's rows: the price it has, and those it had or will have from some time on.
fn model(name: Placed<&str>, vendor: &str, defaults: Defaults, section: &Section<'_>) -> Option<Placed<Vec<PriceRow>>> {
    check_name(&name, section.report());
    let named: Arc<str> = if name.value == ANY { PriceTable::ANY.into() } else { name.value.into() };
    let first = price(named.clone(), vendor, defaults, section);
    let changes = section.items("changes", |change| {
        let from = change.required("from", "the day or time from which this price holds", moment);
        let price = price(named.clone(), vendor, defaults, change);
        Some((from?, price?))
    });
    let mut rows = vec![PriceRow { provider: None, from: None, price: Arc::new(first?) }];
    for (from, price) in changes.into_iter().flatten() {
        if rows.last().is_some_and(|last| last.from.is_some_and(|last| from.value <= last)) {
            section.report().fault(&from.place, "not later than the change before it");
        }
        rows.push(PriceRow { provider: None, from: Some(from.value), price: Arc::new(price) });
    }
    Some(Placed { value: rows, place: name.place })
}

fn price(name: Arc<str>, vendor: &str, vendors: Defaults, section: &Section<'_>) -> Option<ModelPrice> {
    let input = section.required("input", "US dollars per million tokens, 0 if free", per_million);
    let output = section.required("output", "US dollars per million tokens, 0 if free", per_million);
    let written = written(section, input, output);
    let above = section.section("above", above);
    let Defaults { factors, web_search } = defaults(section, vendors);
    let rates = written.rates()?;
    let tier =
        above.map(|(input_tokens_above, above)| Tier { input_tokens_above, rates: above.replace(&written, &rates) });
    Some(ModelPrice { name, vendor: vendor.into(), rates, tiers: tier.into_iter().collect(), factors, web_search })
}

fn above(section: &Section<'_>) -> Option<(u64, Written)> {
    let size = section.required(
        "input_tokens",
        "the size of the input beyond which these prices hold",
        count(1..=1_000_000_000),
    );
    let written = written(section, section.optional("input", per_million), section.optional("output", per_million));
    Some((size?.value as u64, written))
}

fn written(section: &Section<'_>, input: Option<Placed<PicoUsd>>, output: Option<Placed<PicoUsd>>) -> Written {
    let optional = |name| section.optional(name, per_million).map(|price| price.value);
    Written {
        input: input.map(|price| price.value),
        cache_read: optional("cache_read"),
        cache_write: optional("cache_write"),
        cache_write_long: optional("cache_write_long"),
        output: output.map(|price| price.value),
        reasoning: optional("reasoning"),
        input_audio: optional("input_audio"),
        input_image: optional("input_image"),
        output_audio: optional("output_audio"),
        output_image: optional("output_image"),
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
            reasoning: self.reasoning.unwrap_or(output),
            input_audio: self.input_audio.unwrap_or(input),
            input_image: self.input_image.unwrap_or(input),
            output_audio: self.output_audio.unwrap_or(output),
            output_image: self.output_image.unwrap_or(output),
        })
    }

    /// The rates of a tier: what it names, in place of the `ordinary` ones. What the `model` has no price of its
    /// own for follows the tier's input or output.
    fn replace(&self, model: &Self, ordinary: &Rates) -> Rates {
        let input = self.input.unwrap_or(ordinary.input);
        let output = self.output.unwrap_or(ordinary.output);
        let scaled = |rate| in_ratio(rate, ordinary.input, input);
        let follow = |own: Option<PicoUsd>, model: Option<PicoUsd>, unless| own.or(model).unwrap_or(unless);
        Rates {
            input,
            cache_read: follow(self.cache_read, model.cache_read, input),
            cache_write: self.cache_write.unwrap_or_else(|| scaled(ordinary.cache_write)),
            cache_write_long: self.cache_write_long.unwrap_or_else(|| scaled(ordinary.cache_write_long)),
            output,
            reasoning: follow(self.reasoning, model.reasoning, output),
            input_audio: follow(self.input_audio, model.input_audio, input),
            input_image: follow(self.input_image, model.input_image, input),
            output_audio: follow(self.output_audio, model.output_audio, output),
            output_image: follow(self.output_image, model.output_image, output),
        }
    }
}

/// `rate` as it was to `before`, now to `after`; rounded half up. From a free input there is no ratio.
fn in_ratio(rate: PicoUsd, before: PicoUsd, after: PicoUsd) -> PicoUsd {
    let (rate, before, after) = (u128::from(rate.0), u128::from(before.0), u128::from(after.0));
    let scaled = (rate * after + before / 2).checked_div(before).unwrap_or(rate);
    PicoUsd(u64::try_from(scaled).unwrap_or(u64::MAX))
}

fn per_million(text: &str) -> Result<PicoUsd, String> {
    PicoUsd::parse_usd_per_million(text).ok_or_else(|| {
        let found = shown(text);
        format!("expected US dollars per million tokens like 0.15, at most six decimals and 1000000, found {found}")
    })
}

fn per_thousand(text: &str) -> Result<PicoUsd, String> {
    let read = PicoUsd::parse_usd_per_million(text).map(|price| PicoUsd(price.0 * 1000));
    read.ok_or_else(|| format!("expected US dollars per thousand searches like 10, found {}", shown(text)))
}

fn factor(text: &str) -> Result<Factor, String> {
    let read = PicoUsd::parse_usd_per_million(text).map(|price| price.0);
    let thousandths = read.filter(|millionths| millionths.is_multiple_of(1000) && *millionths <= 100_000_000);
    thousandths
        .and_then(|millionths| u32::try_from(millionths / 1000).ok().map(Factor))
        .ok_or_else(|| format!("expected a factor like 0.5, at most three decimals and 100, found {}", shown(text)))
}

fn moment(text: &str) -> Result<Timestamp, String> {
    let time = Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")));
    time.ok_or_else(|| format!("expected a day like 2026-12-01 or a time in RFC 3339, found {}", shown(text)))
}

/// Names become metric labels.
fn check_name(name: &Placed<&str>, report: &Report) {
    let odd = |c: char| c.is_whitespace() || c.is_control();
    if name.value.is_empty() || name.value.chars().count() > NAME_CHARS_MAX || name.value.contains(odd) {
        report.fault(&name.place, format!("a name has 1 to {NAME_CHARS_MAX} characters and no spaces"));
    }
}

/// Requests name a model without its vendor.
fn report_doubles(models: &[Placed<Vec<PriceRow>>], report: &Report) {
    let mut seen = HashMap::new();
    for Placed { value: rows, place } in models {
        let Some(PriceRow { price, .. }) = rows.first() else { continue };
        if let Some(vendor) = seen.insert(price.name.clone(), price.vendor.clone()) {
            report.fault(place, format!("{vendor} has a model of this name, too; one of them must go"));
        }
    }
}
