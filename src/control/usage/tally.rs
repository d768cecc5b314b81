//! One event's part in the sums.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::control::store::usage::{Series, Sums};
use crate::domain::{Timestamp, UsageSource, undated};
use crate::journal::{Event, Phase};

/// Models that are told apart; further ones are summed as [`OTHER`]. Callers choose the names.
const MODELS_MAX: usize = 2000;
const OTHER: &str = "other";

/// Sums that are not stored yet.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sums: BTreeMap<(i64, Series), Sums>,
    /// What keys were last called, by id.
    names: HashMap<String, String>,
    /// Every model there are sums for.
    models: HashSet<String>,
}

impl Tally {
    pub(super) fn new(models: impl IntoIterator<Item = String>) -> Self {
        Self { models: models.into_iter().collect(), ..Self::default() }
    }

    /// How many sums there are.
    pub(super) fn len(&self) -> usize {
        self.sums.len()
    }

    /// Adds an event of the quarter-hour that begins at `quarter`.
    pub(super) fn take(&mut self, quarter: Timestamp, event: &Event) {
        let Some(sums) = sums(event) else { return };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let series = Series {
            key: event.key.id.clone(),
            team: text(&event.team),
            organization: event.organization.clone(),
            provider: text(&event.provider),
            model: self.model(event, &sums),
        };
        self.sums.entry((quarter.as_micros() / 1_000_000, series)).or_default().add(&sums);
        if self.names.get(&event.key.id) != Some(&event.key.name) {
            self.names.insert(event.key.id.clone(), event.key.name.clone());
        }
    }

    /// Everything so far, of which nothing stays.
    pub(super) fn take_all(&mut self) -> (BTreeMap<(i64, Series), Sums>, HashMap<String, String>) {
        (std::mem::take(&mut self.sums), std::mem::take(&mut self.names))
    }

    /// The model that answered, without its release date. Only what used tokens has one, because any text can be
    /// asked for.
    fn model(&mut self, event: &Event, sums: &Sums) -> String {
        let named = event.model_served.as_deref().or(event.model_requested.as_deref()).unwrap_or_default();
        if sums.input == 0 && sums.output == 0 {
            return String::new();
        }
        let model = undated(named).unwrap_or(named);
        if !self.models.contains(model) {
            if self.models.len() >= MODELS_MAX {
                return OTHER.into();
            }
            self.models.insert(model.into());
        }
        model.into()
    }
}

/// What an event says was used; nothing if it only says that a request was admitted.
fn sums(event: &Event) -> Option<Sums> {
    let refused = event.phase == Phase::Input && event.status.is_some();
    if refused {
        return Some(Sums { refused: 1, ..Sums::default() });
    }
    let usage = event.usage.filter(|_| event.phase == Phase::Output)?;
    let cost = event.cost_nano_usd;
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
