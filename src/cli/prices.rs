//! `kt prices`: what models cost, and taking prices over from the community's file.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::config::prices::{self, Choice, Imported};
use crate::control::admin::v1::prices::PriceList;
use crate::domain::{Factor, ModelPrice, Pattern, PriceRow, PriceTable, Timestamp};

use super::client::{CallError, Gateway};
use super::moment::Moment;
use super::{Error, output};

/// The largest file that is read: the community's has a few megabytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Names that are told one by one; of more there is the number.
const NAMES_TOLD_MAX: usize = 20;

#[derive(Debug, Args)]
pub(super) struct Prices {
    #[command(flatten)]
    gateway: Gateway,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the prices that the running gateway uses, or those in a file
    List {
        /// Show the prices in this file instead
        #[arg(long, value_name = "FILE", conflicts_with = "built_in")]
        file: Option<PathBuf>,
        /// Show the price table built into kt instead
        #[arg(long)]
        built_in: bool,
        /// Only models with this name; * stands for any characters, ? for one
        #[arg(long, value_name = "PATTERN", value_parser = pattern)]
        model: Option<Pattern>,
        /// Only models of this vendor
        #[arg(long)]
        vendor: Option<String>,
        /// Print one JSON object; prices in millionths of a dollar per million tokens
        #[arg(long)]
        json: bool,
    },
    /// Import prices from LiteLLM's model_prices_and_context_window.json into a price file
    Import {
        /// The file to read
        file: PathBuf,
        /// The price file to update; created from the built-in table if it does not exist
        #[arg(long, value_name = "FILE")]
        into: PathBuf,
        /// The version of the resulting table, which costs refer to
        #[arg(long, value_name = "VERSION")]
        version: String,
        /// Import the models of these LiteLLM providers [default: the vendors in the table]
        #[arg(long, value_delimiter = ',', value_name = "NAMES")]
        vendors: Vec<String>,
        /// Import the models of a LiteLLM provider as the prices of a configured provider
        #[arg(long = "provider", value_name = "THEIRS=OURS", value_parser = pair)]
        providers: Vec<(String, String)>,
        /// Only models with these names; * stands for any characters, ? for one
        #[arg(long, value_delimiter = ',', value_name = "PATTERNS", value_parser = pattern)]
        models: Vec<Pattern>,
        /// Apply changed prices from this day or time on, and keep the current ones before [default: always]
        #[arg(long, value_name = "DAY|TIME", value_parser = Moment::parse)]
        from: Option<Moment>,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Print the result as one JSON object
        #[arg(long)]
        json: bool,
    },
}

impl Prices {
    pub(super) async fn run(self) -> Result<(), Error> {
        match self.command {
            Command::List { file, built_in, model, vendor, json } => {
                let table = match (file, built_in) {
                    (Some(file), _) => read(&file)?,
                    (None, true) => prices::built_in_table().map_err(|faults| Error::Failed(faults.to_string()))?,
                    (None, false) => in_use(&self.gateway).await?,
                };
                list(&table, json, |price| {
                    model.as_ref().is_none_or(|model| model.matches(&price.name))
                        && vendor.as_ref().is_none_or(|vendor| **vendor == *price.vendor)
                })
            }
            Command::Import { file, into, version, vendors, providers, models, from, dry_run, json } => {
                let now = Timestamp::from(std::time::SystemTime::now());
                let choice = Choice { vendors, providers, models, from: from.map(|from| from.ahead_of(now)) };
                import(&file, &into, &version, &choice, dry_run, json)
            }
        }
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| error.to_string())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (theirs, ours) = text
        .split_once('=')
        .filter(|(theirs, ours)| !theirs.is_empty() && !ours.is_empty())
        .ok_or("write it like azure=azure-eu")?;
    Ok((theirs.into(), ours.into()))
}

/// A price file, with all its faults if it has any.
pub(super) fn read(file: &Path) -> Result<PriceTable, Error> {
    prices::read_file(file).map_err(|faults| Error::Failed(faults.to_string()))
}

/// What the running gateway uses; without one, what it would use unless told otherwise.
async fn in_use(gateway: &Gateway) -> Result<PriceTable, Error> {
    match gateway.client()?.get::<PriceList>("/v1/prices").await {
        Ok(list) => Ok(PriceTable::new(&list.version, list.rows).with_unknown(list.unknown)),
        Err(CallError::Unreachable(why)) => {
            output::hint(&format!("kt: {why}\nkt: this is the table that is built in:"));
            prices::built_in_table().map_err(|faults| Error::Failed(faults.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

fn list(table: &PriceTable, json: bool, is_asked: impl Fn(&ModelPrice) -> bool) -> Result<(), Error> {
    let rows: Vec<PriceRow> = table.rows().filter(|row| is_asked(&row.price)).collect();
    if json {
        return output::json(&PriceList { version: table.version().to_string(), unknown: table.unknown(), rows });
    }
    let headings = ["MODEL", "VENDOR", "FROM", "INPUT", "CACHE READ", "CACHE WRITE", "LONG", "OUTPUT", "OTHER"];
    output::table(headings, &rows.iter().map(cells).collect::<Vec<_>>())?;
    let unknown = table.unknown().label();
    output::hint(&format!(
        "US dollars per million tokens; version {}, models without a price: {unknown}",
        table.version()
    ));
    Ok(())
}

fn cells(row: &PriceRow) -> [String; 9] {
    let ModelPrice { name, vendor, rates, .. } = &*row.price;
    let vendor = row.provider.as_ref().map_or_else(|| vendor.to_string(), |provider| format!("(at {provider})"));
    let from = row.from.map_or_else(|| output::NOTHING.into(), |from| output::time(from, false));
    let [input, read, write, long, out] =
        [rates.input, rates.cache_read, rates.cache_write, rates.cache_write_long, rates.output]
            .map(|price| price.per_million());
    [name.to_string(), vendor, from, input, read, write, long, out, besides(&row.price)]
}

/// What else there is to a price.
fn besides(price: &ModelPrice) -> String {
    let rates = &price.rates;
    let mut parts = Vec::new();
    if price.is_free() {
        parts.push("free".to_owned());
    }
    for tier in &price.tiers {
        let (size, input, output) = (tier.input_tokens_above, tier.rates.input, tier.rates.output);
        parts.push(format!("above {size}: {} / {}", input.per_million(), output.per_million()));
    }
    for (what, own, usual) in [
        ("reasoning", rates.reasoning, rates.output),
        ("audio in", rates.input_audio, rates.input),
        ("image in", rates.input_image, rates.input),
        ("audio out", rates.output_audio, rates.output),
        ("image out", rates.output_image, rates.output),
    ] {
        if own != usual {
            parts.push(format!("{what} {}", own.per_million()));
        }
    }
    let factors = price.factors;
    for (what, Factor(factor)) in
        [("flex", factors.flex), ("batch", factors.batch), ("priority", factors.priority), ("fast", factors.fast)]
    {
        if Factor(factor) != Factor::ONE {
            parts.push(format!("{what} ×{}", f64::from(factor) / 1000.0));
        }
    }
    parts.join(", ")
}

fn import(file: &Path, into: &Path, version: &str, choice: &Choice, dry_run: bool, json: bool) -> Result<(), Error> {
    let failed = |path: &Path, error: std::io::Error| Error::Failed(format!("{}: {error}", path.display()));
    let size = fs::metadata(file).map_err(|error| failed(file, error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(Error::Failed(format!("{} is larger than any such file", file.display())));
    }
    let text = fs::read_to_string(file).map_err(|error| failed(file, error))?;
    let base = match into.exists() {
        true => read(into)?,
        false => prices::built_in_table().map_err(|faults| Error::Failed(faults.to_string()))?,
    };
    let mut table = PriceTable::new(version, base.rows());
    let imported =
        prices::import(&text, choice, &mut table).map_err(|why| Error::Failed(format!("{}: {why}", file.display())))?;
    let written = prices::write(&table);
    // What cannot be read again is not written: the version may be none, for instance.
    let again = prices::read_text(&into.display().to_string(), &written)
        .map_err(|faults| Error::Failed(format!("the result would be no price file: {faults}")))?;
    if !again.rows().eq(table.rows()) {
        return Err(Error::Failed("the result would read as other prices than were taken; nothing was written".into()));
    }
    if !dry_run {
        replace(into, &written).map_err(|error| failed(into, error))?;
    }
    if json { report_json(&imported) } else { report(&imported, into, dry_run) }
}

/// Whoever reads the file meanwhile reads the old one or the new one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = fs::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

fn report(imported: &Imported, into: &Path, dry_run: bool) -> Result<(), Error> {
    let Imported { new, changed, same, skipped, others, rounded } = imported;
    for name in new {
        output::line(&format!("new      {name}"))?;
    }
    for (name, what) in changed {
        output::line(&format!("changed  {name}: {what}"))?;
    }
    for (why, names) in skipped {
        let told = names.iter().take(NAMES_TOLD_MAX).cloned().collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(NAMES_TOLD_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        output::line(&format!("skipped  {} ({why}): {told}{more}", names.len()))?;
    }
    if !others.is_empty() {
        let mut most: Vec<_> = others.iter().collect();
        most.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let told: Vec<_> = most.iter().take(NAMES_TOLD_MAX).map(|(name, count)| format!("{name} {count}")).collect();
        let more = if most.len() > told.len() { ", …" } else { "" };
        let count: usize = others.values().sum();
        let line = format!("{count} (providers not asked for by --vendors or --provider): {}{more}", told.join(", "));
        output::line(&format!("skipped  {line}"))?;
    }
    for figure in rounded {
        output::line(&format!("rounded  {figure}"))?;
    }
    let verb = if dry_run { "would be written" } else { "written" };
    output::hint(&format!(
        "{} new, {} changed, {same} as before, {} skipped; {verb} to {}",
        new.len(),
        changed.len(),
        skipped.values().map(Vec::len).sum::<usize>() + others.values().sum::<usize>(),
        into.display()
    ));
    Ok(())
}

fn report_json(imported: &Imported) -> Result<(), Error> {
    let Imported { new, changed, same, skipped, others, rounded } = imported;
    let changed: Vec<_> =
        changed.iter().map(|(model, what)| serde_json::json!({ "model": model, "what": what })).collect();
    output::json(&serde_json::json!({
        "new": new, "changed": changed, "same": same, "skipped": skipped, "others": others, "rounded": rounded,
    }))
}
