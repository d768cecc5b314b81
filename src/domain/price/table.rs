//! Every known price, and which one holds for a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::{Advisor, NanoUsd, ServiceTier, Timestamp, Usage};

use super::ModelPrice;

/// Every known price, with the version that costs refer to.
#[derive(Clone, Debug, Default)]
pub struct PriceTable {
    version: Arc<str>,
    unknown: Unknown,
    models: Models,
    /// What some providers want instead, by their configured name.
    providers: BTreeMap<Arc<str>, Models>,
}

/// A model's prices, the earliest first.
type Models = BTreeMap<Arc<str>, Vec<Dated>>;

#[derive(Clone, Debug)]
struct Dated {
    from: Option<Timestamp>,
    price: Arc<ModelPrice>,
}

/// What becomes of requests for models that have no price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// They pass, cost nothing, and are counted as unpriced.
    #[default]
    Allow,
    Deny,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceRow {
    /// The configured provider whose price it is; `None`: anybody's.
    pub provider: Option<Arc<str>>,
    /// When it begins to hold; `None`: it always has.
    pub from: Option<Timestamp>,
    #[serde(flatten)]
    pub price: Arc<ModelPrice>,
}

impl Unknown {
    pub const ALL: [Self; 2] = [Self::Allow, Self::Deny];

    pub fn label(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl PriceTable {
    /// The name of a row that holds for every model of its provider that has no row of its own.
    pub const ANY: &str = "other";

    pub fn new(version: &str, rows: impl IntoIterator<Item = PriceRow>) -> Self {
        let mut table = Self { version: version.into(), ..Self::default() };
        rows.into_iter().for_each(|row| table.put(row));
        table
    }

    /// Takes a row up, in place of the one from the same time.
    pub fn put(&mut self, PriceRow { provider, from, price }: PriceRow) {
        let models = match provider {
            Some(provider) => self.providers.entry(provider).or_default(),
            None => &mut self.models,
        };
        let rows = models.entry(price.name.clone()).or_default();
        rows.retain(|row| row.from != from);
        rows.push(Dated { from, price });
        rows.sort_by_key(|row| row.from);
    }

    #[must_use]
    pub fn with_unknown(self, unknown: Unknown) -> Self {
        Self { unknown, ..self }
    }

    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    pub fn unknown(&self) -> Unknown {
        self.unknown
    }

    /// Every row, by provider, name and time.
    pub fn rows(&self) -> impl Iterator<Item = PriceRow> {
        let own = self.providers.iter().map(|(provider, models)| (Some(provider), models));
        let models = std::iter::once((None, &self.models)).chain(own);
        models.flat_map(|(provider, models)| {
            let row =
                move |row: &Dated| PriceRow { provider: provider.cloned(), from: row.from, price: row.price.clone() };
            models.values().flatten().map(row)
        })
    }

    /// Every model that has a price of its own, with the last one.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ModelPrice>> {
        let models = std::iter::once(&self.models).chain(self.providers.values());
        models.flat_map(|models| models.values().filter_map(|rows| rows.last()).map(|row| &row.price))
    }

    /// What `model` costs at `provider` at the time `at`. The model may carry a release date that the table does
    /// not (`gpt-4o-mini-2024-07-18`, `claude-haiku-4-5-20251001`).
    pub fn find(&self, provider: &str, model: &str, at: Timestamp) -> Option<&Arc<ModelPrice>> {
        let own = self.providers.get(provider);
        own.and_then(|own| in_force(own, model, at).or_else(|| in_force(own, Self::ANY, at)))
            .or_else(|| in_force(&self.models, model, at))
    }

    /// What `usage` costs at the price of the model that answered. Of it, `advisors` are charged at their own prices,
    /// and at that of the answer's model where they have none: nothing is free because it is unknown.
    pub fn charge(
        &self,
        price: &ModelPrice,
        usage: &Usage,
        advisors: &[Advisor],
        (provider, at): (&str, Timestamp),
    ) -> NanoUsd {
        // A tier for speed is that of the model that was asked.
        let tier = if usage.tier == ServiceTier::Fast { ServiceTier::Standard } else { usage.tier };
        let own = advisors.iter().fold(usage.tokens, |rest, advisor| rest.minus(advisor.tokens));
        let own = price.charge(&Usage { tokens: own, ..*usage });
        advisors.iter().fold(own, |sum, advisor| {
            let theirs = self.find(provider, &advisor.model, at).map_or(price, |price| price);
            let asked = Usage { tokens: advisor.tokens, tier, ..Usage::default() };
            NanoUsd(sum.0.saturating_add(theirs.charge(&asked).0))
        })
    }
}

fn in_force<'a>(models: &'a Models, model: &str, at: Timestamp) -> Option<&'a Arc<ModelPrice>> {
    let rows = models.get(model).or_else(|| models.get(undated(model)?))?;
    rows.iter().rev().find(|row| row.from.is_none_or(|from| from <= at)).map(|row| &row.price)
}

/// `model` without a trailing `-YYYY-MM-DD` or `-YYYYMMDD`; `None` if it has none.
pub fn undated(model: &str) -> Option<&str> {
    let matches = |tail: &str, shape: &str| {
        tail.len() == shape.len()
            && tail.bytes().zip(shape.bytes()).all(|(t, s)| if s == b'0' { t.is_ascii_digit() } else { t == s })
    };
    ["-0000-00-00", "-00000000"].into_iter().find_map(|shape| {
        let (base, tail) = model.split_at_checked(model.len().checked_sub(shape.len())?)?;
        matches(tail, shape).then_some(base)
    })
}
