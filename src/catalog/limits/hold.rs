//! What one request has taken of all the limits that concern it.

use std::sync::Arc;
use std::time::Instant;

use super::elsewhere::{Elsewhere, Lodged};
use super::meters::{Gauge, Meter, Meters};
use super::purse::{Purse, THRESHOLDS};
use super::{Binding, Demand, Hit, Moment, Scopes, check, nanos_of};
use crate::catalog::Scope;
use crate::domain::{Budget, NanoUsd, Spending};

/// What a request has taken. Dropping it gives everything back as if the request had used nothing; settling it
/// makes it what was used.
#[derive(Debug)]
#[must_use = "what is not held is given back"]
pub struct Hold {
    parts: [Option<Part>; 3],
    input_tokens: u64,
    output_tokens: u64,
    reserved: Spending,
    taken_at: u64,
    /// What was taken of it elsewhere, too.
    lodged: Option<Lodged>,
}

/// What it has taken in one scope.
#[derive(Debug)]
struct Part {
    scope: Scope,
    meters: Arc<Meters>,
    /// A bit for each meter it has taken from.
    taken: u128,
}

/// What a request has used in the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub spending: Spending,
}

/// A share of a budget has been spent, and nobody was told so before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    pub scope: Scope,
    pub name: Arc<str>,
    pub budget: Budget,
    pub model: Option<String>,
    /// In percent.
    pub threshold: u8,
}

impl Hold {
    /// Takes what `demand` asks for from every limit that concerns it, or from none.
    pub fn take(scopes: Scopes<'_>, demand: &Demand<'_>, now: Moment) -> Result<Self, Box<Hit>> {
        let mut hold = Self {
            parts: [None, None, None],
            input_tokens: demand.input_tokens,
            output_tokens: demand.output_tokens,
            reserved: demand.bound,
            taken_at: now.nanos,
            lodged: None,
        };
        for (at, (scope, quota)) in scopes.each().into_iter().enumerate() {
            let Some(meters) = quota.and_then(|quota| quota.0.load_full()) else { continue };
            let (mut taken, mut refused) = (0, None);
            for (bit, meter) in meters.of(demand.model) {
                if !meter.take(demand, now) {
                    refused = Some(Hit::at(scopes, scope, meter, demand, now));
                    break;
                }
                taken |= bit;
            }
            hold.parts[at] = Some(Part { scope, meters, taken });
            if let Some(hit) = refused {
                hold.give_back(now.nanos);
                // Of several that refuse, the one that does so for longest is the one to be told.
                return Err(Box::new(check(scopes, demand, now).unwrap_or(hit)));
            }
        }
        if let Some(elsewhere) = scopes.organization.counting.elsewhere().filter(|_| !hold.is_empty()) {
            // Refused there, it is given back here.
            hold.lodged = Some(Lodged::new(elsewhere.take(&scopes.key.id, demand)?, elsewhere.clone()));
        }
        Ok(hold)
    }

    /// Takes what a request of another process has taken there: its place among those that run, and `reserved` of budgets,
    /// whether that fits or not. What it has taken of rates is not known here.
    pub fn lodge(scopes: Scopes<'_>, model: Option<&str>, reserved: Spending) -> Self {
        let mut hold =
            Self { parts: [None, None, None], input_tokens: 0, output_tokens: 0, reserved, taken_at: 0, lodged: None };
        for (at, (scope, quota)) in scopes.each().into_iter().enumerate() {
            let Some(meters) = quota.and_then(|quota| quota.0.load_full()) else { continue };
            let mut taken = 0;
            for (bit, meter) in meters.of(model) {
                match &meter.gauge {
                    Gauge::Slots(_, slots) => _ = slots.take(u64::MAX),
                    Gauge::Budget(budget, purse) => purse.lodge(budget.part_of(reserved)),
                    Gauge::Tokens(..) | Gauge::Requests(..) => continue,
                }
                taken |= bit;
            }
            hold.parts[at] = Some(Part { scope, meters, taken });
        }
        hold
    }

    /// What the request may still spend of budgets.
    pub fn reserved(&self) -> Spending {
        self.reserved
    }

    /// What the request is called where its limits are counted, if that is elsewhere.
    pub fn number(&self) -> Option<i64> {
        self.lodged.as_ref().map(|lodged| lodged.number)
    }

    /// Whether nothing was taken, because nothing limits the request.
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(Option::is_none)
    }

    /// Whether one of the budgets is a hard one.
    pub fn has_hard_budget(&self) -> bool {
        self.budgets().any(|(budget, _)| budget.hard)
    }

    /// Makes sure that hard budgets have room for what the request has spent so far, by reserving more where that
    /// has become more than was reserved; also those `elsewhere`, where the request has that number. `false` if there is
    /// none: then it must not go on.
    pub fn cover(&mut self, spending: Spending, now: Moment, elsewhere: Option<(&dyn Elsewhere, i64)>) -> bool {
        let Spending { money, tokens } = self.reserved;
        if spending.money <= money && spending.tokens <= tokens {
            return true;
        }
        // More than is needed, so that not every piece of the answer has to ask; failing that, what is needed.
        let ahead = |now: u64, before: u64| now.max(before).saturating_add((now / 16).max(1));
        let generous =
            Spending { money: NanoUsd(ahead(spending.money.0, money.0)), tokens: ahead(spending.tokens, tokens) };
        let exact = Spending { money: spending.money.max(money), tokens: spending.tokens.max(tokens) };
        self.extend(generous, now, elsewhere) || self.extend(exact, now, elsewhere)
    }

    /// Reserves up to `target` in every budget, or in none.
    pub fn extend(&mut self, target: Spending, now: Moment, elsewhere: Option<(&dyn Elsewhere, i64)>) -> bool {
        let more = |budget: &Budget| budget.part_of(target).saturating_sub(budget.part_of(self.reserved));
        let give_back = |count| self.budgets().take(count).for_each(|(budget, purse)| purse.give_back(more(budget)));
        let mut done = 0;
        for (budget, purse) in self.budgets() {
            if purse.reserve(budget, more(budget), now.wall).is_err() {
                give_back(done);
                return false;
            }
            done += 1;
        }
        if elsewhere.is_some_and(|(elsewhere, number)| !elsewhere.cover(number, target)) {
            give_back(done);
            return false;
        }
        self.reserved = target;
        true
    }

    fn budgets(&self) -> impl Iterator<Item = (&Budget, &Arc<Purse>)> {
        self.taken().filter_map(|(_, meter)| match &meter.gauge {
            Gauge::Budget(budget, purse) => Some((budget, purse)),
            _ => None,
        })
    }

    fn taken(&self) -> impl Iterator<Item = (&Part, &Meter)> {
        self.parts.iter().flatten().flat_map(|part| part.meters.among(part.taken).map(move |(_, meter)| (part, meter)))
    }

    /// Makes what was taken be what was used. Which thresholds of budgets were passed by that.
    pub fn settle(mut self, scopes: Scopes<'_>, model: Option<&str>, used: Used, now: Moment) -> Vec<Crossing> {
        let mut crossings = Vec::new();
        for (part, meter) in self.taken() {
            match &meter.gauge {
                Gauge::Slots(_, slots) => slots.give_back(),
                Gauge::Requests(..) => {}
                Gauge::Tokens(kind, _, pace, rate) => {
                    let taken = kind.count(self.input_tokens, self.output_tokens);
                    let used = kind.count(used.input_tokens, used.output_tokens);
                    rate.correct(*pace, taken, self.taken_at, used, now.nanos);
                }
                Gauge::Budget(budget, purse) => {
                    let (reserved, spent) = (budget.part_of(self.reserved), budget.part_of(used.spending));
                    let passed = purse.settle(budget, reserved, spent, now.wall);
                    told(&mut crossings, passed, scopes, part.scope, budget, meter);
                }
            }
        }
        self.spend_besides(scopes, model, used, now, &mut crossings);
        self.parts = [None, None, None];
        if let Some(lodged) = self.lodged.take() {
            lodged.told();
        }
        crossings
    }

    /// Budgets that were defined while the request ran count what it spent as well.
    fn spend_besides(
        &self,
        scopes: Scopes<'_>,
        model: Option<&str>,
        used: Used,
        now: Moment,
        crossings: &mut Vec<Crossing>,
    ) {
        for ((scope, quota), part) in scopes.each().into_iter().zip(&self.parts) {
            let Some(present) = quota.map(|quota| quota.0.load()) else { continue };
            let Some(meters) = &*present else { continue };
            if part.as_ref().is_some_and(|part| Arc::ptr_eq(&part.meters, meters)) {
                continue;
            }
            for (_, meter) in meters.of(model) {
                let Gauge::Budget(budget, purse) = &meter.gauge else { continue };
                if self.budgets().any(|(_, held)| Arc::ptr_eq(held, purse)) {
                    continue;
                }
                let passed = purse.settle(budget, 0, budget.part_of(used.spending), now.wall);
                told(crossings, passed, scopes, scope, budget, meter);
            }
        }
    }

    /// How the tightest limits on requests and on tokens stand that it has taken from.
    pub fn binding(&self, now: Instant) -> Binding {
        Binding::of(self.taken().map(|(_, meter)| meter), nanos_of(now))
    }

    fn give_back(&mut self, now: u64) {
        for (_, meter) in self.taken() {
            match &meter.gauge {
                Gauge::Slots(_, slots) => slots.give_back(),
                Gauge::Budget(budget, purse) => purse.give_back(budget.part_of(self.reserved)),
                Gauge::Tokens(kind, _, pace, rate) => {
                    let taken = kind.count(self.input_tokens, self.output_tokens);
                    rate.correct(*pace, taken, self.taken_at, 0, now);
                }
                Gauge::Requests(_, pace, rate) => rate.correct(*pace, 1, self.taken_at, 0, now),
            }
        }
        self.parts = [None, None, None];
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.is_empty() {
            self.give_back(Moment::now().nanos);
        }
    }
}

fn told(crossings: &mut Vec<Crossing>, passed: u8, scopes: Scopes<'_>, scope: Scope, budget: &Budget, meter: &Meter) {
    for (at, threshold) in THRESHOLDS.into_iter().enumerate() {
        if passed & (1 << at) != 0 {
            let model = meter.model.as_ref().map(ToString::to_string);
            crossings.push(Crossing { scope, name: scopes.name(scope), budget: budget.clone(), model, threshold });
        }
    }
}
