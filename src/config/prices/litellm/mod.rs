//! Prices from the community's JSON file, LiteLLM's `model_prices_and_context_window.json`, as rows of our own.
//!
//! Its figures are US dollars per token, written as JSON numbers; they are read from their text into pico-dollars,
//! never through floating point. What a file does not say of a model that the table has (service tiers, searches)
//! stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::domain::{Factor, Factors, ModelPrice, Pattern, PicoUsd, PriceRow, PriceTable, Rates, Tier, Timestamp};

/// What kinds of model are taken: those that are paid by the token.
const MODES: [&str; 4] = ["chat", "completion", "responses", "embedding"];
/// Kinds of which some are paid by the token, and the others by the picture or the second.
const MEDIA_MODES: [&str; 4] = ["image_generation", "image_edit", "audio_transcription", "audio_speech"];
/// The one entry that is no model but describes the file.
const SAMPLE: &str = "sample_spec";

/// What is to be taken.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Their names of providers whose models are anybody's; none: those that the table has as vendors.
    pub vendors: Vec<String>,
    /// Their name of a provider, and the configured provider of ours whose own prices those are.
    pub providers: Vec<(String, String)>,
    /// Only models with these names.
    pub models: Vec<Pattern>,
    /// When the prices begin to hold; `None`: they replace what is there.
    pub from: Option<Timestamp>,
}

/// What became of the file's entries, by the model's name.
#[derive(Debug, Default)]
pub struct Imported {
    pub new: Vec<String>,
    /// With what changed.
    pub changed: Vec<(String, String)>,
    pub same: usize,
    /// Why entries were not taken, and which.
    pub skipped: BTreeMap<String, Vec<String>>,
    /// How many entries there are of providers that were not asked for.
    pub others: BTreeMap<String, usize>,
    /// Figures that had the traces of binary fractions (`2.9999999999999997e-07`), and what they were taken for.
    pub rounded: Vec<String>,
}

type Entry = BTreeMap<String, Box<RawValue>>;

/// Takes prices from the file's text into `table`.
pub fn import(text: &str, choice: &Choice, table: &mut PriceTable) -> Result<Imported, String> {
    let entries: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(text).map_err(|error| format!("this is no JSON object of models: {error}"))?;
    let known: BTreeSet<String> = table.rows().map(|row| row.price.vendor.to_string()).collect();
    let mut imported = Imported::default();
    let mut rows = BTreeMap::new();
    for (key, entry) in entries.iter().filter(|(key, _)| *key != SAMPLE) {
        match take(key, entry.get(), choice, &known, table, &mut imported) {
            Ok(Some(row)) => {
                // The later is the one that names its provider.
                let name = (row.provider.clone(), row.price.name.clone());
                if let Some((earlier, _)) = rows.insert(name, (key, row)) {
                    let why = "another entry has the same name".to_owned();
                    imported.skipped.entry(why).or_default().push(earlier.clone());
                }
            }
            Ok(None) => {}
            Err(why) => imported.skipped.entry(why).or_default().push(key.clone()),
        }
    }
    for (_, row) in rows.into_values() {
        keep(row, table, &mut imported);
    }
    Ok(imported)
}

/// The row of an entry; `None` if it was not asked for, else why it cannot be taken.
fn take(
    key: &str,
    entry: &str,
    choice: &Choice,
    known: &BTreeSet<String>,
    table: &PriceTable,
    imported: &mut Imported,
) -> Result<Option<PriceRow>, String> {
    let entry: Entry = serde_json::from_str(entry).map_err(|_| "no object".to_owned())?;
    let their = text(&entry, "litellm_provider").unwrap_or_default();
    let name = key.strip_prefix(&format!("{their}/")).unwrap_or(key);
    if !choice.models.is_empty() && !choice.models.iter().any(|pattern| pattern.matches(name)) {
        return Ok(None);
    }
    let provider = choice.providers.iter().find(|(theirs, _)| *theirs == their).map(|(_, ours)| Arc::from(&**ours));
    let is_vendor = if choice.vendors.is_empty() { known.contains(&their) } else { choice.vendors.contains(&their) };
    if provider.is_none() && !is_vendor {
        *imported.others.entry(their).or_default() += 1;
        return Ok(None);
    }
    let mode = text(&entry, "mode").unwrap_or_default();
    let is_media = MEDIA_MODES.contains(&&*mode) && is_paid_by_the_token(key, &entry, imported)?;
    if !MODES.contains(&&*mode) && !is_media {
        return Err(format!("mode {mode:?} is not paid by the token"));
    }
    if name.is_empty() || name.chars().count() > super::NAME_CHARS_MAX || name.contains(char::is_whitespace) {
        return Err("no name that a table can have".into());
    }
    if let Some(other) = table.iter().find(|price| *price.name == *name && *price.vendor != their)
        && provider.is_none()
    {
        return Err(format!("{} has a model of this name", other.vendor));
    }
    let vendor = table.iter().find(|price| *price.vendor == their);
    let present = table.rows().filter(|row| row.provider == provider && *row.price.name == *name).last();
    let base = present.as_ref().map(|row| &row.price).or(vendor);
    let price = ModelPrice {
        name: name.into(),
        vendor: provider.as_deref().unwrap_or(&their).into(),
        factors: base.map(|base| base.factors).unwrap_or_default(),
        web_search: base.map(|base| base.web_search).unwrap_or_default(),
        ..price(key, &entry, imported)?
    };
    // A model that is new has always had its price: there is none before.
    let from = choice.from.filter(|_| present.is_some());
    Ok(Some(PriceRow { provider, from, price: Arc::new(with_factors(price, key, &entry, imported)?) }))
}

/// Whether an entry for pictures or sound has prices for both sides.
fn is_paid_by_the_token(key: &str, entry: &Entry, imported: &mut Imported) -> Result<bool, String> {
    let input = figure(key, entry, "input_cost_per_token", imported)?;
    Ok(input.is_some_and(|price| price.0 > 0) && output_figure(key, entry, imported)?.is_some())
}

/// The price of what is made: of text, or where the entry has none, of pictures or sound.
fn output_figure(key: &str, entry: &Entry, imported: &mut Imported) -> Result<Option<PicoUsd>, String> {
    for name in ["output_cost_per_token", "output_cost_per_image_token", "output_cost_per_audio_token"] {
        if let Some(price) = figure(key, entry, name, imported)? {
            return Ok(Some(price));
        }
    }
    Ok(None)
}

/// Rates and tiers of an entry.
fn price(key: &str, entry: &Entry, imported: &mut Imported) -> Result<ModelPrice, String> {
    let output = output_figure(key, entry, imported)?;
    let mut figure = |name: &str| figure(key, entry, name, imported);
    let input = figure("input_cost_per_token")?.ok_or("no price for input tokens")?;
    let output = match output {
        Some(output) => output,
        None if text(entry, "mode").as_deref() == Some("embedding") => PicoUsd(0),
        None => return Err("no price for output tokens".into()),
    };
    let flat = Rates::flat(input, output);
    let cache_write = figure("cache_creation_input_token_cost")?.unwrap_or(input);
    let an_hour = figure("cache_creation_input_token_cost_above_1hr")?;
    let half_a_day = figure("cache_creation_input_token_cost_above_12hr")?;
    let rates = Rates {
        cache_read: figure("cache_read_input_token_cost")?.unwrap_or(input),
        cache_write,
        cache_write_long: an_hour.or(half_a_day).unwrap_or(cache_write),
        reasoning: figure("output_cost_per_reasoning_token")?.unwrap_or(output),
        input_audio: figure("input_cost_per_audio_token")?.unwrap_or(input),
        input_image: figure("input_cost_per_image_token")?.unwrap_or(input),
        output_audio: figure("output_cost_per_audio_token")?.unwrap_or(output),
        output_image: figure("output_cost_per_image_token")?.unwrap_or(output),
        ..flat
    };
    let mut tiers = Vec::new();
    for (suffix, input_tokens_above) in thresholds(entry) {
        let mut figure = |name: &str, ordinary: PicoUsd, base: PicoUsd, above: PicoUsd| {
            let own = figure(&format!("{name}{suffix}"))?;
            // What has no price of its own goes with the one it follows.
            let follows = super::in_ratio(ordinary, base, above);
            Ok::<_, String>(own.unwrap_or(follows))
        };
        let dear_input = figure("input_cost_per_token", input, input, input)?;
        let dear_output = figure("output_cost_per_token", output, output, output)?;
        let read = figure("cache_read_input_token_cost", rates.cache_read, input, dear_input)?;
        let write = figure("cache_creation_input_token_cost", rates.cache_write, input, dear_input)?;
        let long = figure("cache_creation_input_token_cost_above_1hr", rates.cache_write_long, input, dear_input)?;
        let scale = |rate, base, above| super::in_ratio(rate, base, above);
        let above = Rates {
            input: dear_input,
            cache_read: read,
            cache_write: write,
            cache_write_long: long,
            output: dear_output,
            reasoning: scale(rates.reasoning, output, dear_output),
            input_audio: scale(rates.input_audio, input, dear_input),
            input_image: scale(rates.input_image, input, dear_input),
            output_audio: scale(rates.output_audio, output, dear_output),
            output_image: scale(rates.output_image, output, dear_output),
        };
        tiers.push(Tier { input_tokens_above, rates: above });
    }
    if tiers.len() > 1 {
        return Err("several long-context tiers".into());
    }
    let (factors, web_search) = (Factors::default(), PicoUsd(0));
    Ok(ModelPrice { name: "".into(), vendor: "".into(), rates, tiers, factors, web_search })
}

/// The sizes of input beyond which other prices hold, with the ending that names those prices.
fn thresholds(entry: &Entry) -> BTreeMap<String, u64> {
    let size = |key: &String| {
        let suffix = key.strip_prefix("input_cost_per_token").or_else(|| key.strip_prefix("output_cost_per_token"))?;
        let thousands: u64 = suffix.strip_prefix("_above_")?.strip_suffix("k_tokens")?.parse().ok()?;
        Some((suffix.to_owned(), thousands.checked_mul(1000)?))
    };
    entry.keys().filter_map(size).collect()
}

/// The price with the factors and the price of searches that the file tells.
fn with_factors(
    mut price: ModelPrice,
    key: &str,
    entry: &Entry,
    imported: &mut Imported,
) -> Result<ModelPrice, String> {
    let ModelPrice { factors, rates, .. } = &mut price;
    for (suffix, factor) in
        [("_flex", &mut factors.flex), ("_batches", &mut factors.batch), ("_priority", &mut factors.priority)]
    {
        let input = figure(key, entry, &format!("input_cost_per_token{suffix}"), imported)?;
        let output = figure(key, entry, &format!("output_cost_per_token{suffix}"), imported)?;
        let of = |tier: PicoUsd, ordinary: PicoUsd| {
            let scaled = u128::from(tier.0) * 1000;
            let ordinary = u128::from(ordinary.0);
            let whole = ordinary > 0 && scaled.is_multiple_of(ordinary);
            u32::try_from(scaled.checked_div(ordinary)?).ok().filter(|_| whole).map(Factor)
        };
        let found = match (input.and_then(|input| of(input, rates.input)), output) {
            (Some(found), Some(output)) => of(output, rates.output).filter(|other| *other == found),
            (found, None) => found,
            (None, Some(_)) => None,
        };
        match found {
            Some(found) => *factor = found,
            None if input.is_some() || output.is_some() => {
                let why = format!("service tier {} is no one factor, and stays as it was", &suffix[1..]);
                imported.skipped.entry(why).or_default().push(key.to_owned());
            }
            None => {}
        }
    }
    if let Some(sizes) = entry.get("search_context_cost_per_query") {
        let sizes: Entry = serde_json::from_str(sizes.get()).unwrap_or_default();
        let costs: BTreeSet<Option<PicoUsd>> =
            sizes.values().map(|cost| exact(cost.get()).map(|(cost, _)| cost)).collect();
        if let [Some(cost)] = costs.into_iter().collect::<Vec<_>>()[..] {
            price.web_search = cost;
        }
    }
    Ok(price)
}

fn keep(row: PriceRow, table: &mut PriceTable, imported: &mut Imported) {
    let present =
        table.rows().filter(|known| known.provider == row.provider && known.price.name == row.price.name).last();
    let name = row
        .provider
        .as_ref()
        .map_or_else(|| row.price.name.to_string(), |provider| format!("{provider}: {}", row.price.name));
    match present {
        Some(known) if known.price == row.price => imported.same += 1,
        Some(known) => {
            imported.changed.push((name, difference(&known.price, &row.price)));
            table.put(PriceRow { from: row.from.or(known.from), ..row });
        }
        None => {
            imported.new.push(name);
            table.put(row);
        }
    }
}

/// `input 2.5 → 2, output 10 → 8`.
fn difference(before: &ModelPrice, after: &ModelPrice) -> String {
    let kinds = |rates: &Rates| {
        [
            ("input", rates.input),
            ("cache_read", rates.cache_read),
            ("cache_write", rates.cache_write),
            ("cache_write_long", rates.cache_write_long),
            ("output", rates.output),
            ("reasoning", rates.reasoning),
            ("input_audio", rates.input_audio),
            ("input_image", rates.input_image),
            ("output_audio", rates.output_audio),
            ("output_image", rates.output_image),
        ]
    };
    let mut changes: Vec<String> = kinds(&before.rates)
        .iter()
        .zip(kinds(&after.rates))
        .filter(|((_, before), (_, after))| before != after)
        .map(|((kind, before), (_, after))| format!("{kind} {} → {}", before.per_million(), after.per_million()))
        .collect();
    for (what, is_changed) in [
        ("long-context prices", before.tiers != after.tiers),
        ("service tiers", before.factors != after.factors),
        ("searches", before.web_search != after.web_search),
    ] {
        if is_changed {
            changes.push(what.into());
        }
    }
    changes.join(", ")
}

fn text(entry: &Entry, name: &str) -> Option<String> {
    serde_json::from_str(entry.get(name)?.get()).ok()
}

/// A price per token; `None` if the entry has none.
fn figure(key: &str, entry: &Entry, name: &str, imported: &mut Imported) -> Result<Option<PicoUsd>, String> {
    let Some(written) = entry.get(name).map(|raw| raw.get()).filter(|written| *written != "null") else {
        return Ok(None);
    };
    let (price, is_exact) = exact(written).ok_or_else(|| format!("{name} is no price in whole pico-dollars"))?;
    if !is_exact {
        imported.rounded.push(format!("{key}: {name} {written} as {} per million", price.per_million()));
    }
    Ok(Some(price))
}

/// Dollars per token, read from their text. What is off by less than a billionth of itself bears the traces of
/// binary fractions; it is taken for what was meant, and said to be inexact. Anything else finer than a
/// pico-dollar is no price.
fn exact(text: &str) -> Option<(PicoUsd, bool)> {
    const PICO_DIGITS: i32 = 12;
    /// No price per token has more; beyond it is nonsense: $1 000 000 per million tokens.
    const PICO_MAX: u128 = 1_000_000_000_000;
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.len() > 30 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u128 = digits.parse().ok()?;
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(PICO_DIGITS)?;
    let scale = 10u128.checked_pow(shift.unsigned_abs());
    let (pico, rest, scale) = match (shift >= 0, scale) {
        _ if number == 0 => (0, 0, 1),
        (true, scale) => (number.checked_mul(scale?)?, 0, 1),
        (false, Some(scale)) => (number / scale, number % scale, scale),
        (false, None) => return None,
    };
    let nearest = if rest * 2 >= scale { pico + 1 } else { pico };
    let off = rest.min(scale - rest);
    if nearest > PICO_MAX || off.checked_mul(1_000_000_000)? > number {
        return None;
    }
    Some((PicoUsd(u64::try_from(nearest).ok()?), rest == 0))
}

#[cfg(test)]
mod tests;
