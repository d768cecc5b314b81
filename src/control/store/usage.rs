//! What a store of usage sums keeps: sums per quarter-hour and series, and how far in the event log they reach.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::Timestamp;

use super::StoreError;

/// The seconds of the shortest time that sums are kept for. Every time zone's days begin at one of these.
pub(crate) const QUARTER_SECONDS: i64 = 15 * 60;
/// The seconds of a day, the longest time that sums are kept for.
pub(crate) const DAY_SECONDS: i64 = 24 * 60 * 60;

/// Sums of usage, derived from the event log and nothing else.
#[async_trait]
pub(crate) trait UsageStore: Send + Sync {
    async fn progress(&self) -> Result<Progress, StoreError>;

    /// Adds sums and moves the checkpoint, in one transaction. Adding a batch again changes nothing, so that one
    /// whose fate is unknown can be repeated.
    async fn add(&self, batch: Arc<Batch>) -> Result<(), StoreError>;

    /// Forgets the checkpoint and all sums from `from` on, so that they can be added again; without it, none.
    /// `from` begins a quarter-hour; before [`Progress::days_before`] it begins a day.
    async fn restart(&self, from: Option<Timestamp>) -> Result<(), StoreError>;

    /// Joins the quarter-hours of the oldest day that ended before `before` into that day's sums; false if there
    /// is none.
    async fn join_a_day(&self, before: Timestamp) -> Result<bool, StoreError>;

    /// Forgets what is older than `before`.
    async fn forget(&self, before: Timestamp) -> Result<(), StoreError>;

    async fn sums(&self, query: SumQuery) -> Result<Vec<SumRow>, StoreError>;

    /// The names of all models there are sums for.
    async fn models(&self) -> Result<Vec<String>, StoreError>;
}

/// How far the sums reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The last event that is part of the sums; `None` before the first.
    pub(crate) through: Option<Checkpoint>,
    /// Events of quarter-hours before this are part of the sums, wherever they stand in the log.
    pub(crate) kept_before: Timestamp,
    /// Before this there are sums of whole days (UTC) only.
    pub(crate) days_before: Timestamp,
}

/// A place in the event log. The event's id shows whether it is still the log that was summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) seq: i64,
    pub(crate) event: Uuid,
}

/// What is summed together.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Series {
    pub(crate) key: String,
    /// Empty: none.
    pub(crate) team: String,
    pub(crate) organization: String,
    pub(crate) provider: String,
    pub(crate) model: String,
}

/// Declares [`Sums`] and what is said of every figure alike, so that none is forgotten in one place.
macro_rules! figures {
    ($($(#[$meaning:meta])* $name:ident,)*) => {
        /// What was used, in integers. Kinds of tokens overlap as [`crate::domain::Tokens`] says.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        pub struct Sums {
            $($(#[$meaning])* pub $name: u64,)*
        }

        impl Sums {
            /// The names of the figures, in the order of [`Sums::figures`].
            pub(crate) const NAMES: [&str; [$(stringify!($name)),*].len()] = [$(stringify!($name)),*];

            pub(crate) fn figures(&self) -> [u64; Self::NAMES.len()] {
                [$(self.$name),*]
            }

            pub(crate) fn of_figures(figures: [u64; Self::NAMES.len()]) -> Self {
                let [$($name),*] = figures;
                Self { $($name),* }
            }
        }
    };
}

figures! {
    /// Requests that were admitted and have ended.
    requests,
    /// Requests that were refused.
    refused,
    /// Tokens, cached ones included; further kinds are parts of it or of `output`.
    input,
    cache_read,
    cache_write,
    cache_write_long,
    /// Tokens, reasoning included.
    output,
    reasoning,
    input_audio,
    input_image,
    output_audio,
    output_image,
    /// Searches of the web, which are billed one by one.
    web_searches,
    cost_nano_usd,
    /// The part of the cost that stands on estimated usage.
    estimated_cost_nano_usd,
    /// Requests whose usage the provider told.
    reported,
    /// Requests whose usage was estimated.
    estimated,
    /// Requests that used tokens of a model that has no price.
    unpriced,
}

/// Sums to be added, and how far they reach.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) through: Checkpoint,
    /// By the beginning of the quarter-hour, in seconds since 1970.
    pub(crate) sums: BTreeMap<(i64, Series), Sums>,
    /// What keys were last called, by id.
    pub(crate) names: HashMap<String, String>,
}

/// What sums can be told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Dimension {
    /// The quarter-hour; a day, where quarter-hours were joined.
    Time,
    Key,
    Team,
    Organization,
    Provider,
    Model,
}

/// Which sums are asked for. Times are those of quarter-hours: what began at or after `since` and before `until`.
#[derive(Clone, Debug, Default)]
pub(crate) struct SumQuery {
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    pub(crate) by: Vec<Dimension>,
    pub(crate) filter: SumFilter,
    /// The most rows that are wanted.
    pub(crate) limit: usize,
}

/// Whatever is `None` does not matter; an empty text is what has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct SumFilter {
    /// An id, or a name that any number of keys may have had.
    pub(crate) key: Option<String>,
    pub(crate) team: Option<String>,
    pub(crate) organization: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) model: Option<String>,
}

/// One row: of `series` and `time`, what was not asked for is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SumRow {
    /// In seconds since 1970.
    pub(crate) time: i64,
    pub(crate) series: Series,
    /// What the key was last called.
    pub(crate) key_name: String,
    pub(crate) sums: Sums,
}

impl Sums {
    /// Adds; at the largest number it stays there.
    pub(crate) fn add(&mut self, more: &Self) {
        let (sum, more) = (self.figures(), more.figures());
        *self = Self::of_figures(std::array::from_fn(|at| sum[at].saturating_add(more[at])));
    }
}
