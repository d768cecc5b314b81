//! What requests of the predecessor hold of limits, until their end is on record here.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::catalog::{Credential, CurrentCatalog, Demand, Hold, Moment, Organization, Scopes, Used};
use crate::domain::{NanoUsd, Spending};
use crate::journal::{Closing, Metrics, Threshold};

use super::wire::{Answer, Asked};

pub(super) struct Held {
    pub(super) catalog: Arc<CurrentCatalog>,
    holds: Mutex<HashMap<i64, Own>>,
    /// Keys of those requests by their ids: the catalog finds them by their texts alone.
    keys: Mutex<HashMap<String, Option<Credential>>>,
}

/// What one request holds, and of whose limits.
struct Own {
    hold: Hold,
    credential: Credential,
    payer: Arc<Organization>,
}

impl Held {
    pub(super) fn new(catalog: Arc<CurrentCatalog>) -> Self {
        Self { catalog, holds: Mutex::default(), keys: Mutex::default() }
    }

    /// Takes what the request has taken already, where it was begun.
    pub(super) fn lodge(&self, number: i64, key: &str, model: Option<&str>, reserved: Spending) {
        let Some((credential, payer)) = self.find(key) else { return };
        let mut holds = self.holds.lock();
        holds.entry(number).or_insert_with(|| {
            let hold = Hold::lodge(Scopes::of(&credential, &payer), model, reserved);
            Own { hold, credential, payer }
        });
    }

    pub(super) fn answer(&self, number: i64, asked: &Asked) -> Answer {
        match asked {
            Asked::Take { key, model, input_tokens, output_tokens, bound } => {
                // A key that is not known here is not limited here.
                let Some((credential, payer)) = self.find(key) else { return Answer::Granted };
                let (input_tokens, output_tokens, bound) = (*input_tokens, *output_tokens, *bound);
                let demand = Demand { model: model.as_deref(), input_tokens, output_tokens, bound };
                match Hold::take(Scopes::of(&credential, &payer), &demand, Moment::now()) {
                    Err(hit) => Answer::Refused(Some(hit)),
                    Ok(hold) => {
                        self.holds.lock().insert(number, Own { hold, credential, payer });
                        Answer::Granted
                    }
                }
            }
            Asked::Cover { spending } => match self.holds.lock().get_mut(&number) {
                Some(own) => match own.hold.extend(*spending, Moment::now(), None) {
                    true => Answer::Granted,
                    false => Answer::Refused(None),
                },
                None => Answer::Granted,
            },
        }
    }

    /// Gives back what a request holds that comes to nothing.
    pub(super) fn give_back(&self, number: i64) {
        self.holds.lock().remove(&number);
    }

    /// Makes what a request holds be what it has used. Thresholds of budgets are those that are passed here.
    pub(super) fn settle(&self, number: i64, closing: &mut Closing, metrics: &Metrics) {
        let opening = closing.opening.clone();
        let (tokens, model) = (closing.usage.tokens, opening.model_requested.as_deref());
        let own = self.holds.lock().remove(&number).or_else(|| {
            // Limits that were set since count it as well.
            let (credential, payer) = self.find(&opening.key.id)?;
            Some(Own {
                hold: Hold::lodge(Scopes::of(&credential, &payer), model, Spending::default()),
                credential,
                payer,
            })
        });
        let Some(Own { hold, credential, payer }) = own else { return };
        let money = closing.cost.as_ref().map_or(NanoUsd(0), |cost| cost.amount);
        let spending = Spending { money, tokens: tokens.input.saturating_add(tokens.output) };
        let used = Used { input_tokens: tokens.input, output_tokens: tokens.output, spending };
        let crossings = hold.settle(Scopes::of(&credential, &payer), model, used, Moment::now());
        closing.thresholds = crossings
            .into_iter()
            .map(|crossing| {
                let (scope, budget) = (crossing.scope.label(), crossing.budget.to_string());
                metrics.budget_threshold_passed(scope, &crossing.name, &budget, crossing.threshold);
                log::warn!("{} % of the budget {budget} of the {scope} {} is spent", crossing.threshold, crossing.name);
                Threshold { scope, name: crossing.name, budget, model: crossing.model, percent: crossing.threshold }
            })
            .collect();
    }

    /// Looks up keys, all at once.
    pub(super) fn meet(&self, ids: impl Iterator<Item = String>) {
        let mut keys: HashMap<_, _> = ids.map(|id| (id, None)).collect();
        for known in self.catalog.load().keys.iter() {
            if let Some(key) = keys.get_mut(&*known.key.id) {
                *key = Some(known.clone());
            }
        }
        self.keys.lock().extend(keys);
    }

    /// The key with this id, if there is one.
    pub(super) fn key(&self, id: &str) -> Option<Credential> {
        if !self.keys.lock().contains_key(id) {
            self.meet(std::iter::once(id.to_owned()));
        }
        self.keys.lock().get(id).cloned().flatten()
    }

    fn find(&self, key: &str) -> Option<(Credential, Arc<Organization>)> {
        Some((self.key(key)?, self.catalog.load().payer.clone()))
    }
}
