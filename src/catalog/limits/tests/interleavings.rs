//! The counters under schedules that shuttle makes: threads are stopped at each of their atomics in turn, in thousands of
//! random orders, those in which few switches happen at the worst moments included.
//!
//! The files of the counters are compiled here once more, beside atomics that shuttle watches.

use std::sync::atomic::{AtomicU64 as Tally, Ordering::SeqCst};

use shuttle::sync::Arc;
use shuttle::thread;

use crate::domain::{Budget, Timestamp};

use purse::Purse;
use rate::{Pace, Rate};
use slots::Slots;

mod sync {
    pub use shuttle::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../purse.rs"]
#[expect(clippy::duplicate_mod, dead_code, reason = "beside other atomics, and only what requests call is called")]
mod purse;
#[path = "../rate.rs"]
#[expect(clippy::duplicate_mod, dead_code, reason = "beside other atomics, and only what requests call is called")]
mod rate;
#[path = "../slots.rs"]
#[expect(clippy::duplicate_mod, reason = "beside other atomics")]
mod slots;

/// Runs `scenario` under random schedules, and under those that have few switches.
fn explore(scenario: fn()) {
    shuttle::check_random(scenario, 2000);
    shuttle::check_pct(scenario, 2000, 3);
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[test]
fn requests_spend_no_more_than_there_is_and_leave_nothing_reserved() {
    explore(|| {
        let (budget, now) = (Budget::parse("100tokens/day").unwrap(), at("2026-03-17T12:00:00Z"));
        let (purse, paid) = (Arc::new(Purse::new(&budget, now)), Arc::new(Tally::new(0)));
        let requests = [40, 40, 40, 25].map(|bound: u64| {
            let (budget, purse, paid) = (budget.clone(), purse.clone(), paid.clone());
            thread::spawn(move || {
                for cost in [None, Some(bound - 7), Some(bound)] {
                    if purse.reserve(&budget, bound, now).is_err() {
                        continue;
                    }
                    match cost {
                        None => purse.give_back(bound),
                        Some(cost) => {
                            purse.settle(&budget, bound, cost, now);
                            paid.fetch_add(cost, SeqCst);
                        }
                    }
                    assert!(purse.contents(&budget, now).spent <= 100);
                }
            })
        });
        requests.into_iter().for_each(|request| request.join().unwrap());
        let contents = purse.contents(&budget, now);
        assert_eq!((contents.spent, contents.reserved), (paid.load(SeqCst), 0));
        assert!(contents.spent <= 100);
    });
}

#[test]
fn windows_that_end_meanwhile_lose_nothing_and_count_nothing_twice() {
    explore(|| {
        let budget = Budget::parse("100tokens/day").unwrap();
        let days = ["2026-03-16T23:59:59Z", "2026-03-17T00:00:00Z"].map(at);
        let (purse, paid) = (Arc::new(Purse::new(&budget, days[0])), Arc::new(Tally::new(0)));
        // One is a little ahead of the other, and one sees the clock go back.
        let requests = [[days[0], days[0]], [days[0], days[1]], [days[1], days[0]]].map(|[begin, end]| {
            let (budget, purse, paid) = (budget.clone(), purse.clone(), paid.clone());
            thread::spawn(move || {
                if purse.reserve(&budget, 60, begin).is_ok() {
                    purse.settle(&budget, 60, 50, end);
                    paid.fetch_add(50, SeqCst);
                }
            })
        });
        requests.into_iter().for_each(|request| request.join().unwrap());
        let spent = days.map(|day| purse.contents(&budget, day).spent);
        assert_eq!(spent.iter().sum::<u64>(), paid.load(SeqCst), "{spent:?}");
        assert!(spent.iter().all(|spent| *spent <= 100), "{spent:?}");
        assert_eq!(purse.contents(&budget, days[1]).reserved, 0);
    });
}

#[test]
fn each_threshold_is_told_once() {
    explore(|| {
        let (budget, now) = (Budget::parse("100tokens/day:soft").unwrap(), at("2026-03-17T12:00:00Z"));
        let (purse, told) = (Arc::new(Purse::new(&budget, now)), Arc::new(Tally::new(0)));
        let requests = [30, 40, 50].map(|cost| {
            let (budget, purse, told) = (budget.clone(), purse.clone(), told.clone());
            thread::spawn(move || {
                let passed = purse.settle(&budget, 0, cost, now);
                told.fetch_add(passed.count_ones().into(), SeqCst);
            })
        });
        requests.into_iter().for_each(|request| request.join().unwrap());
        assert_eq!(told.load(SeqCst), 3);
    });
}

#[test]
fn no_more_slots_are_taken_than_there_are() {
    explore(|| {
        let (slots, running) = (Arc::new(Slots::default()), Arc::new(Tally::new(0)));
        let requests = [(); 4].map(|()| {
            let (slots, running) = (slots.clone(), running.clone());
            thread::spawn(move || {
                for _ in 0..3 {
                    if slots.take(2) {
                        assert!(running.fetch_add(1, SeqCst) < 2);
                        thread::yield_now();
                        running.fetch_sub(1, SeqCst);
                        slots.give_back();
                    }
                }
            })
        });
        requests.into_iter().for_each(|request| request.join().unwrap());
        assert_eq!(slots.taken(), 0);
    });
}

#[test]
fn a_rate_lets_exactly_its_burst_pass_at_one_moment() {
    explore(|| {
        let (pace, now) = (Pace::one_by_one(60, 3), 1_000_000_000);
        let (rate, passed) = (Arc::new(Rate::default()), Arc::new(Tally::new(0)));
        let requests = [false, true, false, true, false].map(|gives_back| {
            let (rate, passed) = (rate.clone(), passed.clone());
            thread::spawn(move || {
                if rate.take(pace, 1, now).is_ok() {
                    match gives_back {
                        true => rate.correct(pace, 1, now, 0, now),
                        false => _ = passed.fetch_add(1, SeqCst),
                    }
                }
            })
        });
        requests.into_iter().for_each(|request| request.join().unwrap());
        let passed = passed.load(SeqCst);
        assert_eq!(pace.left(rate.level(now)), 3 - passed);
        while rate.take(pace, 1, now).is_ok() {}
        assert_eq!(pace.left(rate.level(now)), 0);
    });
}
