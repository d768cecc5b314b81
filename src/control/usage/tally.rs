//! One event's part in the sums.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use crate::control::store::usage::{QUARTER_SECONDS, Series, Sums};
use crate::domain::{Timestamp, UsageSource, undated};
use crate::journal::Phase;

use super::begin;
use super::row::Row;

/// Models that are told apart; further ones are summed as [`OTHER`]. Callers choose the names.
const MODELS_MAX: usize = 2000;
const OTHER: &str = "other";

/// Sums that are not stored yet.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sums: BTreeMap<(i64, Series), Sums>,
    /// What keys were last called, by id.
    names: HashMap<String, String>,
}

impl Tally {
    /// How many sums there are.
    pub(super) fn len(&self) -> usize {
        self.sums.len()
    }

    /// Adds an event to its quarter-hour. `models` are those that have sums already.
    pub(super) fn take(&mut self, row: &Row<'_>, models: &mut HashSet<String>) {
        let Some(sums) = sums(row) else { return };
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or_default().to_owned();
        let series = Series {
            key: row.key.id.to_string(),
            team: text(&row.team),
            organization: row.organization.to_string(),
            provider: text(&row.provider),
            model: model(row, &sums, models),
        };
        let quarter = begin(row.time, QUARTER_SECONDS).as_micros() / 1_000_000;
        self.sums.entry((quarter, series)).or_default().add(&sums);
        if self.names.get(&*row.key.id).is_none_or(|name| *name != row.key.name) {
            self.names.insert(row.key.id.to_string(), row.key.name.to_string());
        }
    }

    /// Adds what is younger than another tally.
    pub(super) fn add(&mut self, younger: Self) {
        if self.sums.is_empty() {
            *self = younger;
            return;
        }
        for (cell, sums) in younger.sums {
            self.sums.entry(cell).or_default().add(&sums);
        }
        self.names.extend(younger.names);
    }

    /// Forgets what is of quarter-hours before this time.
    pub(super) fn forget_before(&mut self, time: Timestamp) {
        let seconds = time.as_micros() / 1_000_000;
        self.sums.retain(|(quarter, _), _| *quarter >= seconds);
    }

    /// Everything so far, of which nothing stays.
    pub(super) fn take_all(&mut self) -> (BTreeMap<(i64, Series), Sums>, HashMap<String, String>) {
        (std::mem::take(&mut self.sums), std::mem::take(&mut self.names))
    }
}

/// The model that answered, without its release date. Only what used tokens has one, because any text can be
/// asked for.
fn model(row: &Row<'_>, sums: &Sums, models: &mut HashSet<String>) -> String {
    let named = row.model_served.as_deref().or(row.model_requested.as_deref()).unwrap_or_default();
    if sums.input == 0 && sums.output == 0 {
        return String::new();
    }
    let model = undated(named).unwrap_or(named);
    if !models.contains(model) {
        if models.len() >= MODELS_MAX {
            return OTHER.into();
        }
        models.insert(model.into());
    }
    model.into()
}

/// What an event says was used; nothing if it only says that a request was admitted.
fn sums(row: &Row<'_>) -> Option<Sums> {
    let refused = row.phase == Phase::Input && row.status.is_some();
    if refused {
        return Some(Sums { refused: 1, ..Sums::default() });
    }
    let usage = row.usage.filter(|_| row.phase == Phase::Output)?;
    let cost = row.cost_nano_usd;
    let is_estimated = usage.source == UsageSource::Estimated;
    Some(Sums {
        requests: 1,
        refused: 0,
        input: usage.input,
        cache_read: usage.cache_read,
        cache_write: usage.cache_write,
        cache_write_long: usage.cache_write_long,
        output: usage.output,
        reasoning: usage.reasoning,
        input_audio: usage.input_audio,
        input_image: usage.input_image,
        output_audio: usage.output_audio,
        output_image: usage.output_image,
        web_searches: usage.web_searches,
        cost_nano_usd: cost.unwrap_or(0),
        estimated_cost_nano_usd: cost.filter(|_| is_estimated).unwrap_or(0),
        reported: u64::from(usage.source == UsageSource::Provider),
        estimated: u64::from(is_estimated),
        unpriced: u64::from(cost.is_none() && (usage.input > 0 || usage.output > 0)),
    })
}
