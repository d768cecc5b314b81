//! How a limit is shown to those outside.

use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;

use super::Standing;

/// A limit as the admin API and `GET /keeptrusts/me` show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitDocument {
    /// Who sets it: key, team or organization.
    pub scope: String,
    pub name: String,
    /// `rpm`, `tpm`, `concurrency`, …; of a budget, the budget itself, such as `50usd/month`.
    pub limit: String,
    pub model: Option<String>,
    /// requests, tokens, bytes or usd.
    pub unit: String,
    pub max: f64,
    pub remaining: f64,
    /// What running requests may still spend of a budget.
    pub reserved: f64,
    pub utilization: f64,
    pub resets_in_seconds: Option<f64>,
    pub resets_at: Option<Timestamp>,
    pub hard: bool,
}

impl From<&Standing> for LimitDocument {
    fn from(standing: &Standing) -> Self {
        let figure = |figure| standing.unit.figure(figure);
        Self {
            scope: standing.scope.label().into(),
            name: standing.name.to_string(),
            limit: standing.text.clone(),
            model: standing.model.clone(),
            unit: standing.unit.label().into(),
            max: figure(standing.max),
            remaining: figure(standing.remaining),
            reserved: figure(standing.reserved),
            utilization: standing.utilization(),
            resets_in_seconds: standing.resets_in.map(|time| time.as_secs_f64()),
            resets_at: standing.resets_at,
            hard: standing.hard,
        }
    }
}
