//! Limits as they are counted: each a definition and the counter it is held against.

use std::sync::Arc;

use crate::domain::{Bounds, Budget, Count, Limits, Pattern, Spending, Window};

use super::purse::Purse;
use super::rate::{Pace, Rate};
use super::slots::Slots;
use super::{Demand, Moment};

/// The limits of one key, team or organization. There are never more than [`Meters::MAX`].
#[derive(Debug)]
pub struct Meters {
    limits: Limits,
    meters: Box<[Meter]>,
}

/// One limit that is used up and refilled.
#[derive(Debug)]
pub struct Meter {
    /// Which requests it counts; `None` for all.
    pub model: Option<Pattern>,
    pub gauge: Gauge,
}

/// A budget and what is spent of it.
#[derive(Clone, Copy, Debug)]
pub struct RunningBudget<'a> {
    /// Which requests it counts; `None` for all.
    pub model: Option<&'a Pattern>,
    budget: &'a Budget,
    purse: &'a Purse,
}

impl RunningBudget<'_> {
    /// The window that `now` is in.
    pub fn window(&self, now: Moment) -> Window {
        self.budget.per.window(&self.budget.time_zone, now.wall)
    }

    /// Adds what was spent in the present window before this process counted.
    pub fn add(&self, spent: Spending, now: Moment) {
        self.purse.restore(self.budget, self.budget.part_of(spent), now.wall);
    }
}

/// What is counted, how much of it there may be, and how much there is.
#[derive(Debug)]
pub enum Gauge {
    Slots(u64, Arc<Slots>),
    Budget(Budget, Arc<Purse>),
    Tokens(Kind, u64, Pace, Arc<Rate>),
    Requests(u64, Pace, Arc<Rate>),
}

/// Which tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    All,
    Input,
    Output,
}

impl Meters {
    /// One bit for each tells a request which it has taken from.
    pub const MAX: usize = 128;

    /// Counters of `before` that count the same go on.
    pub fn new(limits: &Limits, before: Option<&Self>, now: Moment) -> Self {
        let known = before.map_or(&[][..], |before| &before.meters);
        let mut meters = Vec::new();
        add(&mut meters, None, &limits.all, known, now);
        limits.models.iter().for_each(|(model, bounds)| add(&mut meters, Some(model), bounds, known, now));
        // Slots first and requests last: what is given back when a later one refuses is then what costs nobody.
        meters.sort_by_key(|meter| meter.gauge.order());
        meters.truncate(Self::MAX);
        Self { limits: limits.clone(), meters: meters.into() }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn iter(&self) -> impl Iterator<Item = &Meter> {
        self.meters.iter()
    }

    /// The budgets among them.
    pub fn budgets(&self) -> impl Iterator<Item = RunningBudget<'_>> {
        self.meters.iter().filter_map(|meter| match &meter.gauge {
            Gauge::Budget(budget, purse) => Some(RunningBudget { model: meter.model.as_ref(), budget, purse }),
            _ => None,
        })
    }

    /// Those that count requests for `model`, each with its bit.
    pub fn of<'a>(&'a self, model: Option<&'a str>) -> impl Iterator<Item = (u128, &'a Meter)> {
        self.numbered().filter(move |(_, meter)| meter.counts(model))
    }

    /// Those whose bits are in `taken`.
    pub fn among(&self, taken: u128) -> impl Iterator<Item = (u128, &Meter)> {
        self.numbered().filter(move |(bit, _)| taken & bit != 0)
    }

    fn numbered(&self) -> impl Iterator<Item = (u128, &Meter)> {
        self.meters.iter().enumerate().map(|(at, meter)| (1 << at, meter))
    }

    /// The tightest bound on one request for `model`, of those that nothing has to be counted for.
    pub fn bound(&self, model: Option<&str>, of: impl Fn(&Bounds) -> Option<Count>) -> Option<u64> {
        let named = self.limits.models.iter().filter(|(pattern, _)| model.is_some_and(|model| pattern.matches(model)));
        let bounds = std::iter::once(&self.limits.all).chain(named.map(|(_, bounds)| bounds));
        bounds.filter_map(of).map(Count::get).min()
    }
}

impl Meter {
    /// Whether it counts a request for `model`; one whose model is not known is counted by those for all.
    pub fn counts(&self, model: Option<&str>) -> bool {
        self.model.as_ref().is_none_or(|pattern| model.is_some_and(|model| pattern.matches(model)))
    }

    /// Takes what the request will probably need, if that much is left.
    pub fn take(&self, demand: &Demand<'_>, now: Moment) -> bool {
        match &self.gauge {
            Gauge::Slots(max, slots) => slots.take(*max),
            Gauge::Budget(budget, purse) => purse.reserve(budget, budget.part_of(demand.bound), now.wall).is_ok(),
            Gauge::Tokens(kind, _, pace, rate) => rate.take(*pace, kind.of(demand), now.nanos).is_ok(),
            Gauge::Requests(_, pace, rate) => rate.take(*pace, 1, now.nanos).is_ok(),
        }
    }

    /// Whether [`Meter::take`] would succeed.
    pub fn fits(&self, demand: &Demand<'_>, now: Moment) -> bool {
        match &self.gauge {
            Gauge::Slots(max, slots) => slots.taken() < *max,
            Gauge::Budget(budget, purse) => purse.fits(budget, budget.part_of(demand.bound), now.wall).is_ok(),
            Gauge::Tokens(kind, _, pace, rate) => rate.fits(*pace, kind.of(demand), now.nanos).is_ok(),
            Gauge::Requests(_, pace, rate) => rate.fits(*pace, 1, now.nanos).is_ok(),
        }
    }
}

impl Gauge {
    fn order(&self) -> u8 {
        match self {
            Self::Slots(..) => 0,
            Self::Budget(..) => 1,
            Self::Tokens(..) => 2,
            Self::Requests(..) => 3,
        }
    }
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::All, Self::Input, Self::Output];

    pub fn of(self, demand: &Demand<'_>) -> u64 {
        self.count(demand.input_tokens, demand.output_tokens)
    }

    pub fn count(self, input: u64, output: u64) -> u64 {
        match self {
            Self::All => input.saturating_add(output),
            Self::Input => input,
            Self::Output => output,
        }
    }
}

/// Adds a meter for each of `bounds`, with the counter it had.
fn add(meters: &mut Vec<Meter>, model: Option<&Pattern>, bounds: &Bounds, known: &[Meter], now: Moment) {
    let known = || known.iter().filter(|meter| meter.model.as_ref() == model).map(|meter| &meter.gauge);
    let mut gauges = Vec::new();
    if let Some(max) = bounds.concurrency {
        let slots =
            known().find_map(|gauge| if let Gauge::Slots(_, slots) = gauge { Some(slots.clone()) } else { None });
        gauges.push(Gauge::Slots(max.get(), slots.unwrap_or_default()));
    }
    for budget in &bounds.budgets {
        let purse = known().find_map(|gauge| match gauge {
            Gauge::Budget(before, purse) if before.counts_like(budget) => Some(purse.clone()),
            _ => None,
        });
        gauges.push(Gauge::Budget(budget.clone(), purse.unwrap_or_else(|| Arc::new(Purse::new(budget, now.wall)))));
    }
    for (kind, tpm) in Kind::ALL.into_iter().zip([bounds.tpm, bounds.input_tpm, bounds.output_tpm]) {
        let Some(tpm) = tpm else { continue };
        let rate = known().find_map(|gauge| match gauge {
            Gauge::Tokens(before, _, _, rate) if *before == kind => Some(rate.clone()),
            _ => None,
        });
        gauges.push(Gauge::Tokens(kind, tpm.get(), Pace::in_bulk(tpm.get()), rate.unwrap_or_default()));
    }
    if let Some(rpm) = bounds.rpm {
        let rate =
            known().find_map(|gauge| if let Gauge::Requests(.., rate) = gauge { Some(rate.clone()) } else { None });
        let pace = Pace::one_by_one(rpm.get(), bounds.burst.unwrap_or(rpm).get());
        gauges.push(Gauge::Requests(rpm.get(), pace, rate.unwrap_or_default()));
    }
    meters.extend(gauges.into_iter().map(|gauge| Meter { model: model.cloned(), gauge }));
}
