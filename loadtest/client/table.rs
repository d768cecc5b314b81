//! One table of many measurements: medians for each target, and what they come to against the goals.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Measurement {
    target: String,
    scenario: String,
    #[serde(flatten)]
    figures: BTreeMap<String, Value>,
}

/// All measurements of all files, in their order.
struct Measurements(Vec<Measurement>);

/// What is shown of a scenario: its title, scenario, figure, and whether what the provider alone takes is subtracted.
const ROWS: [(&str, &str, &str, bool); 15] = [
    ("1 connection: added p50, µs", "one", "p50_us", true),
    ("1 connection: added p99, µs", "one", "p99_us", true),
    ("1 connection: CPU a request, µs", "one", "cpu_us", false),
    ("64 connections: requests a second", "many", "per_second", false),
    ("64 connections: CPU a request, µs", "many", "cpu_us", false),
    ("64 connections: p99, µs", "many", "p99_us", false),
    ("200 KB prompt: requests a second", "large", "per_second", false),
    ("200 KB prompt: CPU a request, µs", "large", "cpu_us", false),
    ("500 streams: CPU an event, µs", "streams", "cpu_us", false),
    ("500 streams: added time to the first event p50, µs", "streams", "first_p50_us", true),
    ("500 streams: added time to the first event p99, µs", "streams", "first_p99_us", true),
    ("500 streams: added gap p99, µs", "streams", "gap_p99_us", true),
    ("memory idle, KiB", "idle", "memory_kib", false),
    ("memory at 64 connections, KiB", "many", "memory_kib", false),
    ("failed", "many", "failed", false),
];
const PROVIDER: &str = "direct";
const BARE: &str = "bare";
const GOVERNED: &str = "governed";
const UNGOVERNED: &str = "ungoverned";

/// The tables, as Markdown.
pub fn of(files: &[PathBuf]) -> Result<String, Box<dyn Error>> {
    let mut all = Vec::new();
    for file in files {
        for line in fs::read_to_string(file)?.lines() {
            all.push(serde_json::from_str(line)?);
        }
    }
    let all = Measurements(all);
    let mut table = String::new();
    all.write_figures(&mut table)?;
    all.write_goals(&mut table)?;
    Ok(table)
}

impl Measurements {
    fn values(&self, scenario: &str, target: &str, figure: &str) -> Vec<f64> {
        let these = self.0.iter().filter(|it| it.scenario == scenario && it.target == target);
        these.filter_map(|it| it.figures.get(figure)?.as_f64()).collect()
    }

    fn median(&self, scenario: &str, target: &str, figure: &str) -> Option<f64> {
        let mut values = self.values(scenario, target, figure);
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    fn write_figures(&self, table: &mut String) -> std::fmt::Result {
        let mut targets: Vec<&str> = Vec::new();
        for it in &self.0 {
            if !targets.contains(&&*it.target) {
                targets.push(&it.target);
            }
        }
        writeln!(table, "| | {} |\n|---|{}", targets.join(" | "), "---:|".repeat(targets.len()))?;
        for (title, scenario, figure, added) in ROWS {
            write!(table, "| {title} |")?;
            for target in &targets {
                let provider = if added { self.median(scenario, PROVIDER, figure) } else { Some(0.0) };
                match self.median(scenario, target, figure).zip(provider) {
                    Some((_, _)) if added && *target == PROVIDER => write!(table, " |")?,
                    Some((value, provider)) if value < 1000.0 => write!(table, " {:.1} |", value - provider)?,
                    Some((value, provider)) => write!(table, " {:.0} |", value - provider)?,
                    None => write!(table, " |")?,
                }
            }
            writeln!(table)?;
        }
        Ok(())
    }

    fn write_goals(&self, table: &mut String) -> std::fmt::Result {
        let pair = |scenario, figure, first, second| {
            self.median(scenario, first, figure).zip(self.median(scenario, second, figure))
        };
        let ratio = |scenario, figure| pair(scenario, figure, GOVERNED, BARE).map(|(ours, bare)| ours / bare);
        let more = |scenario, figure| pair(scenario, figure, GOVERNED, BARE).map(|(ours, bare)| ours - bare);
        let to_ungoverned = pair("many", "per_second", GOVERNED, UNGOVERNED).map(|(on, off)| on / off);
        let idle = self.median("idle", GOVERNED, "memory_kib").map(|kib| kib / 1024.0);
        let per_stream = self.kib_a_stream(GOVERNED).zip(self.kib_a_stream(BARE)).map(|(ours, bare)| ours - bare);
        writeln!(table, "\n| governed, everything on | goal | figure | |\n|---|---:|---:|---|")?;
        let mut row = |title: &str, sign: &str, goal: f64, unit: &str, figure: Option<f64>| {
            let Some(figure) = figure else { return Ok(()) };
            let met = if sign == "≤" { figure <= goal } else { figure >= goal };
            let verdict = if met { "met" } else { "missed" };
            writeln!(table, "| {title} | {sign} {goal}{unit} | {figure:.2}{unit} | {verdict} |")
        };
        row("CPU a request, 64 connections, to bare Pingora's", "≤", 1.25, " ×", ratio("many", "cpu_us"))?;
        row("requests a second, 64 connections, to bare Pingora's", "≥", 0.85, " ×", ratio("many", "per_second"))?;
        row("p50 at 1 connection, above bare Pingora's", "≤", 20.0, " µs", more("one", "p50_us"))?;
        row("p99 at 1 connection, above bare Pingora's", "≤", 20.0, " µs", more("one", "p99_us"))?;
        row("CPU a request with a 200 KB prompt, to bare Pingora's", "≤", 1.5, " ×", ratio("large", "cpu_us"))?;
        row("CPU an event, 500 streams, to bare Pingora's", "≤", 1.2, " ×", ratio("streams", "cpu_us"))?;
        row("gap p99, 500 streams, above bare Pingora's", "≤", 1000.0, " µs", more("streams", "gap_p99_us"))?;
        row("memory idle", "≤", 30.0, " MiB", idle)?;
        row("memory an open stream, above bare Pingora's", "≤", 4.0, " KiB", per_stream)?;
        row("requests a second, 64 connections, to ungoverned", "≥", 0.9, " ×", to_ungoverned)
    }

    /// What an open stream added to the memory of a process that had not been under load before: the first round's.
    fn kib_a_stream(&self, target: &str) -> Option<f64> {
        let first = |scenario, figure| self.values(scenario, target, figure).first().copied();
        Some((first("streams", "memory_kib")? - first("idle", "memory_kib")?) / first("streams", "streams")?)
    }
}
