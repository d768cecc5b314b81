//! What was spent before this process began: budgets go on where the event log says they are.
//!
//! The sums of usage are derived from the log and exact when they are asked for here, before anything listens, so the
//! spending of a window is never less after a crash than what the events say. Sums are kept by the quarter-hour: a
//! window that begins within one (no time zone of today does) would begin with all of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::catalog::{Catalog, Moment, Quota, RunningBudget};
use crate::domain::{NanoUsd, Pattern, Spending, Window};

use super::publish::Publisher;
use super::store::StoreError;
use super::store::usage::{Dimension, SumQuery, SumRow};
use super::usage::Usage;

/// Sums by whose they are and by model, since the beginning of one window.
type Known = HashMap<(Dimension, Window), Vec<SumRow>>;

/// Adds to every budget what was spent in its present window.
pub(super) async fn go_on(publisher: &Publisher, usage: &Usage, now: Moment) -> Result<(), StoreError> {
    let catalog = publisher.catalog().load();
    let mut known = Known::new();
    add(&catalog, &catalog.payer.quota, Dimension::Organization, &catalog.organization, usage, &mut known, now).await?;
    for team in publisher.teams() {
        add(&catalog, team.state.quota(), Dimension::Team, &team.name, usage, &mut known, now).await?;
    }
    let mut keys: Vec<_> = catalog.keys.iter().map(|credential| &credential.key).collect();
    keys.retain(|key| !key.state.quota().is_unlimited());
    keys.sort_by(|one, other| one.id.cmp(&other.id));
    // A key has several texts, and is one all the same.
    keys.dedup_by(|one, other| one.id == other.id);
    for key in keys {
        add(&catalog, key.state.quota(), Dimension::Key, &key.id, usage, &mut known, now).await?;
    }
    Ok(())
}

async fn add(
    catalog: &Catalog,
    quota: &Quota,
    whose: Dimension,
    name: &Arc<str>,
    usage: &Usage,
    known: &mut Known,
    now: Moment,
) -> Result<(), StoreError> {
    let Some(meters) = quota.meters() else { return Ok(()) };
    for budget in meters.budgets() {
        let window = budget.window(now);
        let rows = match known.entry((whose, window)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(rows(usage, whose, window).await?),
        };
        let own =
            rows.iter().filter(|row| owner(whose, row) == &**name && concerns(catalog, &budget, &row.series.model));
        let spent = own.fold(Spending::default(), |spent, row| Spending {
            money: spent.money + NanoUsd(row.sums.cost_nano_usd),
            tokens: spent.tokens.saturating_add(row.sums.input).saturating_add(row.sums.output),
        });
        budget.add(spent, now);
    }
    Ok(())
}

async fn rows(usage: &Usage, whose: Dimension, window: Window) -> Result<Vec<SumRow>, StoreError> {
    let since = match window == Window::EVER {
        true => None,
        false => Some(usage.begin(window.start).await?),
    };
    let by = vec![whose, Dimension::Model];
    usage.sums(SumQuery { since, by, limit: usize::MAX >> 1, ..SumQuery::default() }).await
}

fn owner(whose: Dimension, row: &SumRow) -> &str {
    match whose {
        Dimension::Team => &row.series.team,
        Dimension::Organization => &row.series.organization,
        _ => &row.series.key,
    }
}

/// Whether a budget counts requests that `model` answered. It goes by the name that callers ask for, which may have
/// been an alias.
fn concerns(catalog: &Catalog, budget: &RunningBudget<'_>, model: &str) -> bool {
    let Some(pattern) = budget.model else { return true };
    let is_alias = |pattern: &Pattern| {
        let mut rules = catalog.routing.models.iter().filter(|rule| rule.serves.as_deref() == Some(model));
        rules.any(|rule| pattern.matches(&rule.name))
    };
    pattern.matches(model) || is_alias(pattern)
}
