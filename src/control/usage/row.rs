//! What sums take from an event: of its record, while it is written, or of its JSON, when it is read again.

use std::borrow::Cow;

use serde::Deserialize;
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::journal::{EventUsage, Phase, Record};

/// The part of an event that is summed.
#[derive(Debug, Deserialize)]
pub(super) struct Row<'a> {
    pub(super) id: Uuid,
    pub(super) time: Timestamp,
    pub(super) phase: Phase,
    #[serde(borrow)]
    pub(super) key: RowKey<'a>,
    pub(super) team: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) organization: Cow<'a, str>,
    pub(super) provider: Option<Cow<'a, str>>,
    pub(super) model_requested: Option<Cow<'a, str>>,
    pub(super) model_served: Option<Cow<'a, str>>,
    pub(super) status: Option<u16>,
    pub(super) usage: Option<EventUsage>,
    pub(super) cost_nano_usd: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RowKey<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
}

impl<'a> Row<'a> {
    /// Of the event that is written for `record` under `id`.
    pub(super) fn of(record: &'a Record, id: Uuid) -> Self {
        let (opening, closing) = match record {
            Record::Opened(opening) => (&**opening, None),
            Record::Closed(closing) => (&*closing.opening, Some(&**closing)),
        };
        Self {
            id,
            time: closing.map_or(opening.time, |closing| closing.time),
            phase: if closing.is_some() { Phase::Output } else { Phase::Input },
            key: RowKey { id: Cow::Borrowed(&opening.key.id), name: Cow::Borrowed(&opening.key.name) },
            team: opening.team.as_deref().map(Cow::Borrowed),
            organization: Cow::Borrowed(&opening.organization),
            provider: opening.provider.as_deref().map(Cow::Borrowed),
            model_requested: opening.model_requested.as_deref().map(Cow::Borrowed),
            model_served: closing.and_then(|closing| closing.model_served.as_deref()).map(Cow::Borrowed),
            status: closing.map(|closing| closing.status).or(opening.refusal.map(|refused| refused.status)),
            usage: closing.map(|closing| EventUsage::from(&closing.usage)),
            cost_nano_usd: closing.and_then(|closing| closing.cost.as_ref()).map(|cost| cost.amount.0),
        }
    }
}
