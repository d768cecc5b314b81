//! The table as text, which reads as the same table again.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use crate::domain::{Factor, Factors, ModelPrice, PicoUsd, PriceRow, PriceTable, Rates, Timestamp};

use super::ANY;

const HEAD: &str = "# Prices in US dollars per million tokens: vendor → model → kind of token. What may stand here is \
                    described in\n# conf/prices.yaml of the program. Written by `kt prices import`; changes by hand \
                    are kept by the next import,\n# comments are not.\n";

/// Rows of one model, by where they stand.
type Rows = BTreeMap<(Option<Arc<str>>, Arc<str>, Arc<str>), Vec<PriceRow>>;

/// Every row of `table`, with everything that has to be said of it.
pub fn write(table: &PriceTable) -> String {
    let mut text = format!("{HEAD}version: {}\n", quoted(table.version()));
    let mut rows = Rows::new();
    for row in table.rows() {
        let place = (row.provider.clone(), row.price.vendor.clone(), row.price.name.clone());
        rows.entry(place).or_default().push(row);
    }
    let mut section = None;
    for ((provider, vendor, name), rows) in rows {
        let heading = provider.clone().unwrap_or(vendor);
        let present = Some((provider.is_some(), heading.clone()));
        if section.as_ref().map(|(own, _)| *own) != Some(provider.is_some()) {
            text.push_str(if provider.is_some() { "providers:\n" } else { "models:\n" });
        }
        if section != present {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {}:", quoted(&heading));
        }
        section = present;
        let name = if provider.is_some() && &*name == PriceTable::ANY { ANY } else { &name };
        let _ = writeln!(text, "    {}: {{{}}}", quoted(name), model(&rows));
    }
    if section.is_none() {
        text.push_str("models: {}\n");
    }
    text
}

fn model(rows: &[PriceRow]) -> String {
    let mut text = String::new();
    // A model whose first price begins some time has none before: it then is the price of the time before, too.
    let mut rows = rows.iter();
    if let Some(first) = rows.next() {
        text.push_str(&price(&first.price));
    }
    let changes: Vec<_> =
        rows.filter_map(|row| Some(format!("{{from: {}, {}}}", quoted(&day(row.from?)), price(&row.price)))).collect();
    if !changes.is_empty() {
        let _ = write!(text, ",\n      changes: [\n        {}]", changes.join(",\n        "));
    }
    text
}

fn price(price: &ModelPrice) -> String {
    let mut parts = rates(&price.rates, None);
    let Factors { flex, batch, priority, fast } = price.factors;
    for (name, factor) in [("flex", flex), ("batch", batch), ("priority", priority), ("fast", fast)] {
        if factor != Factor::ONE {
            parts.push(format!("{name}: {}", decimal(u64::from(factor.0), 3)));
        }
    }
    if price.web_search.0 > 0 {
        parts.push(format!("web_search: {}", decimal(price.web_search.0, 9)));
    }
    for tier in &price.tiers {
        let size = format!("input_tokens: {}", tier.input_tokens_above);
        let above = std::iter::once(size).chain(rates(&tier.rates, Some(&price.rates))).collect::<Vec<_>>();
        parts.push(format!("above: {{{}}}", above.join(", ")));
    }
    parts.join(", ")
}

/// What has to be said for these rates to be read again; in a tier, everything that has a price of its own.
fn rates(rates: &Rates, ordinary: Option<&Rates>) -> Vec<String> {
    let Rates { input, cache_read, cache_write, cache_write_long, output, .. } = *rates;
    let own = |of: &Rates, kind: fn(&Rates) -> PicoUsd, unless: PicoUsd| kind(of) != unless;
    let is_said = |kind: fn(&Rates) -> PicoUsd, base: fn(&Rates) -> PicoUsd| {
        own(rates, kind, base(rates)) || ordinary.is_some_and(|ordinary| own(ordinary, kind, base(ordinary)))
    };
    let in_tier = ordinary.is_some();
    let kinds: [(&str, PicoUsd, bool); 10] = [
        ("input", input, true),
        ("cache_read", cache_read, is_said(|r| r.cache_read, |r| r.input)),
        ("cache_write", cache_write, in_tier || cache_write != input),
        ("cache_write_long", cache_write_long, in_tier || cache_write_long != cache_write),
        ("output", output, true),
        ("reasoning", rates.reasoning, is_said(|r| r.reasoning, |r| r.output)),
        ("input_audio", rates.input_audio, is_said(|r| r.input_audio, |r| r.input)),
        ("input_image", rates.input_image, is_said(|r| r.input_image, |r| r.input)),
        ("output_audio", rates.output_audio, is_said(|r| r.output_audio, |r| r.output)),
        ("output_image", rates.output_image, is_said(|r| r.output_image, |r| r.output)),
    ];
    kinds.iter().filter(|(.., said)| *said).map(|(name, price, _)| format!("{name}: {}", price.per_million())).collect()
}

/// `value` / 10^`decimals`, without zeros at its end.
fn decimal(value: u64, decimals: u32) -> String {
    let scale = 10u64.pow(decimals);
    let text = format!("{}.{:0width$}", value / scale, value % scale, width = decimals as usize);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The day, if it is the beginning of one.
fn day(time: Timestamp) -> String {
    let text = time.to_string();
    text.strip_suffix("T00:00:00.000Z").map_or(text.clone(), str::to_owned)
}

/// A text as YAML takes it: what JSON quotes, YAML reads alike.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._/@+-".contains(c);
    match text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain) {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}
