//! A whole request among many: all or nothing, and nothing left over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use crate::catalog::{KeyRecord, KeyState};
use crate::domain::{NanoUsd, Spending, Timestamp};
use crate::journal::KeySeries;

use super::*;

const NOW: Moment = Moment { nanos: 1_000_000_000, wall: Timestamp::from_micros(1_800_000_000_000_000) };

fn limits(json: &str) -> Limits {
    serde_json::from_str(json).unwrap()
}

/// A key and its organization with these limits.
fn bench(of_key: &str, of_organization: &str) -> (KeyRecord, Organization) {
    let state = Arc::new(KeyState::new(Arc::new(KeySeries::detached("jane", "none"))));
    state.quota().define(&limits(of_key), NOW);
    let organization = Organization { name: "acme".into(), quota: Arc::default() };
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

proptest! {
    /// Whatever is taken, settled and dropped in whatever order, the counters say what a ledger kept by hand says.
    #[test]
    fn counters_agree_with_a_ledger(steps in prop::collection::vec((0..4_u8, 1..40_u64, 0..60_u64), 1..200)) {
        let (key, organization) = bench(r#"{"concurrency":4,"budgets":[{"tokens":200,"per":"day"}]}"#, "{}");
        let scopes = Scopes { key: &key, organization: &organization };
        let (mut held, mut spent): (Vec<(Hold, u64)>, u64) = (Vec::new(), 0);
        for (step, amount, cost) in steps {
            let reserved: u64 = held.iter().map(|(_, reserved)| reserved).sum();
            match (step, held.is_empty()) {
                (0 | 1, _) | (_, true) => {
                    let fits = held.len() < 4 && spent + reserved + amount <= 200;
                    let taken = Hold::take(scopes, &demand(amount), NOW);
                    prop_assert_eq!(taken.is_ok(), fits);
                    held.extend(taken.ok().map(|hold| (hold, amount)));
                }
                (2, false) => {
                    let (hold, _) = held.remove(amount as usize % held.len());
                    hold.settle(scopes, Some("m"), used(cost), NOW);
                    spent += cost;
                }
                _ => drop(held.swap_remove(amount as usize % held.len())),
            }
            let reserved: u64 = held.iter().map(|(_, reserved)| reserved).sum();
            prop_assert_eq!(slots_left(scopes), 4 - held.len() as u64);
            prop_assert_eq!(budget(scopes, Scope::Key), (200_u64.saturating_sub(spent), reserved));
        }
    }
}
