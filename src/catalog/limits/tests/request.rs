//! A whole request among many: all or nothing, and nothing left over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use crate::catalog::{KeyRecord, KeyState};
use crate::domain::{NanoUsd, Spending, Timestamp};
use crate::journal::KeySeries;

use super::super::*;

const NOW: Moment = Moment { nanos: 1_000_000_000, wall: Timestamp::from_micros(1_800_000_000_000_000) };

fn limits(json: &str) -> Limits {
    serde_json::from_str(json).unwrap()
}

/// A key and its organization with these limits.
fn bench(of_key: &str, of_organization: &str) -> (KeyRecord, Organization) {
    let state = Arc::new(KeyState::new(Arc::new(KeySeries::detached("jane", "none"))));
    state.quota().define(&limits(of_key), NOW);
    let organization = Organization { name: "acme".into(), ..Organization::default() };
    organization.quota.define(&limits(of_organization), NOW);
    (KeyRecord { id: "ak_1".into(), name: "jane".into(), team: None, state }, organization)
}

fn demand(money: u64) -> Demand<'static> {
    let bound = Spending { money: NanoUsd(money), tokens: money };
    Demand { model: Some("m"), input_tokens: 1, output_tokens: 1, bound }
}

fn used(money: u64) -> Used {
    Used { input_tokens: 1, output_tokens: 1, spending: Spending { money: NanoUsd(money), tokens: money } }
}

/// What is left of a budget, and reserved of it, by the scope that sets it.
fn budget(scopes: Scopes<'_>, scope: Scope) -> (u64, u64) {
    let standings = standings(scopes, NOW);
    let found = standings.iter().find(|standing| standing.named == Named::Budget && standing.scope == scope).unwrap();
    (found.remaining, found.reserved)
}

fn slots_left(scopes: Scopes<'_>) -> u64 {
    standings(scopes, NOW).iter().find(|standing| standing.named == Named::Concurrency).unwrap().remaining
}

#[test]
fn a_refusal_gives_back_what_was_taken_before_it() {
    let (key, organization) = bench(
        r#"{"rpm":9,"tpm":90,"concurrency":3,"budgets":[{"tokens":1000,"per":"day"}]}"#,
        r#"{"budgets":[{"tokens":100,"per":"day"}]}"#,
    );
    let scopes = Scopes { key: &key, organization: &organization };
    let before = standings(scopes, NOW);
    let hit = Hold::take(scopes, &demand(101), NOW).unwrap_err();
    assert_eq!((hit.standing.scope, hit.wait, hit.code()), (Scope::Organization, Wait::Never, "budget_exceeded"));
    assert_eq!(standings(scopes, NOW), before);
    let held = Hold::take(scopes, &demand(60), NOW).unwrap();
    let hit = Hold::take(scopes, &demand(60), NOW).unwrap_err();
    assert_eq!((hit.wait, hit.code()), (Wait::Running, "budget_reserved"));
    drop(held);
    assert_eq!(standings(scopes, NOW).iter().map(|standing| standing.reserved).sum::<u64>(), 0);
}

#[test]
fn a_panic_gives_back_what_was_held() {
    let (key, organization) = bench(r#"{"concurrency":1,"budgets":[{"usd":"1","per":"day"}]}"#, "{}");
    let scopes = Scopes { key: &key, organization: &organization };
    let broken = catch_unwind(AssertUnwindSafe(|| {
        let _held = Hold::take(scopes, &demand(1_000_000_000), NOW).unwrap();
        panic!("in the middle of a request");
    }));
    assert!(broken.is_err());
    assert_eq!((slots_left(scopes), budget(scopes, Scope::Key)), (1, (1_000_000_000, 0)));
}

#[test]
fn threads_together_spend_no_more_than_there_is() {
    let (key, organization) = bench(
        r#"{"concurrency":5,"budgets":[{"tokens":10000,"per":"day"}]}"#,
        r#"{"rpm":1000000,"budgets":[{"tokens":9000,"per":"day"}]}"#,
    );
    let scopes = Scopes { key: &key, organization: &organization };
    let (spent, running) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                for round in 0..2000_u64 {
                    let Ok(hold) = Hold::take(scopes, &demand(70), NOW) else { continue };
                    assert!(running.fetch_add(1, Ordering::SeqCst) < 5);
                    running.fetch_sub(1, Ordering::SeqCst);
                    match round % 3 {
                        0 => drop(hold),
                        _ => {
                            spent.fetch_add(round % 71, Ordering::SeqCst);
                            hold.settle(scopes, Some("m"), used(round % 71), NOW);
                        }
                    }
                }
            });
        }
    });
    let spent = spent.into_inner();
    assert!((8900..=9000).contains(&spent), "{spent}");
    assert_eq!((slots_left(scopes), budget(scopes, Scope::Key)), (5, (10_000 - spent, 0)));
    assert_eq!(budget(scopes, Scope::Organization), (9000 - spent, 0));
}

/// What counters should say, kept by hand: of a key with four slots and of its organization.
#[derive(Debug, Default)]
struct Ledger {
    spent: u64,
    reserved: Vec<u64>,
}

impl Ledger {
    const BUDGETS: [u64; 2] = [200, 230];

    fn fits(&self, more: u64) -> bool {
        self.spent + self.reserved.iter().sum::<u64>() + more <= Self::BUDGETS[0]
    }

    /// What becomes of the reservation of a request that has spent `spending`; `None` if it must end.
    fn covered(&self, at: usize, spending: u64) -> Option<u64> {
        let reserved = self.reserved[at];
        let ahead = spending + (spending / 16).max(1);
        let fits = |target: &u64| self.fits(target.saturating_sub(reserved));
        if spending <= reserved { Some(reserved) } else { [ahead, spending].into_iter().find(fits) }
    }
}

proptest! {
    /// Whatever is taken, extended, settled and dropped in whatever order and on whatever day, the counters say what a
    /// ledger kept by hand says.
    #[test]
    fn counters_agree_with_a_ledger(steps in prop::collection::vec((0..12_u8, 1..40_u64, 0..60_u64), 1..300)) {
        let (key, organization) = bench(
            r#"{"concurrency":4,"budgets":[{"tokens":200,"per":"day"}]}"#,
            r#"{"rpm":1000000,"budgets":[{"tokens":230,"per":"day"},{"tokens":1,"per":"day","hard":false}]}"#,
        );
        let scopes = Scopes { key: &key, organization: &organization };
        let (mut now, mut ledger, mut held) = (NOW, Ledger::default(), Vec::<Hold>::new());
        for (step, amount, cost) in steps {
            let at = amount as usize % held.len().max(1);
            match (step, held.is_empty()) {
                (0..5, _) | (_, true) => {
                    let fits = held.len() < 4 && ledger.fits(amount);
                    let taken = Hold::take(scopes, &demand(amount), now);
                    prop_assert_eq!(taken.is_ok(), fits);
                    if let Ok(hold) = taken {
                        held.push(hold);
                        ledger.reserved.push(amount);
                    }
                }
                (5 | 6, false) => {
                    let covered = ledger.covered(at, cost);
                    prop_assert_eq!(held[at].cover(used(cost).spending, now, None), covered.is_some());
                    ledger.reserved[at] = covered.unwrap_or(ledger.reserved[at]);
                }
                (7..10, false) => {
                    held.remove(at).settle(scopes, Some("m"), used(cost), now);
                    ledger.reserved.remove(at);
                    ledger.spent += cost;
                }
                (10, false) => {
                    drop(held.swap_remove(at));
                    ledger.reserved.swap_remove(at);
                }
                _ => {
                    now.wall = Timestamp::from_micros(now.wall.as_micros() + 86_400_000_000);
                    ledger.spent = 0;
                }
            }
            let reserved: u64 = ledger.reserved.iter().sum();
            let standings = standings(scopes, now);
            let slots = standings.iter().find(|standing| standing.named == Named::Concurrency).unwrap();
            prop_assert_eq!(slots.remaining, 4 - held.len() as u64);
            let budgets = standings.iter().filter(|standing| standing.named == Named::Budget && standing.hard);
            for (standing, max) in budgets.zip(Ledger::BUDGETS) {
                prop_assert_eq!((standing.remaining, standing.reserved), (max.saturating_sub(ledger.spent), reserved));
            }
        }
    }
}
