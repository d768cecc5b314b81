use crate::domain::{Budget, Timestamp};

use super::super::purse::{Purse, Short};

fn budget(text: &str) -> Budget {
    Budget::parse(text).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[test]
fn a_hard_budget_reserves_no_more_than_there_is() {
    let (budget, now) = (budget("100tokens/day"), at("2026-03-18T12:00:00Z"));
    let purse = Purse::new(&budget, now);
    purse.reserve(&budget, 60, now).unwrap();
    assert_eq!(purse.reserve(&budget, 41, now), Err(Short::Reserved));
    purse.reserve(&budget, 40, now).unwrap();
    purse.settle(&budget, 60, 61, now);
    assert_eq!(purse.fits(&budget, 40, now), Err(Short::Spent));
    purse.give_back(40);
    purse.reserve(&budget, 39, now).unwrap();
    let contents = purse.contents(&budget, now);
    assert_eq!((contents.spent, contents.reserved), (61, 39));
}

#[test]
fn a_soft_budget_only_counts() {
    let (budget, now) = (budget("100tokens/day:soft"), at("2026-03-18T12:00:00Z"));
    let purse = Purse::new(&budget, now);
    purse.reserve(&budget, 600, now).unwrap();
    assert_eq!(purse.settle(&budget, 600, 60, now), 0b001);
    assert_eq!(purse.settle(&budget, 0, 60, now), 0b110);
    assert_eq!(purse.settle(&budget, 0, 60, now), 0);
}

#[test]
fn a_new_window_begins_with_what_is_reserved_and_nothing_else() {
    let budget = budget("100tokens/day");
    let (monday, tuesday) = (at("2026-03-16T23:59:59Z"), at("2026-03-17T00:00:00Z"));
    let purse = Purse::new(&budget, monday);
    purse.settle(&budget, 0, 80, monday);
    purse.reserve(&budget, 20, monday).unwrap();
    assert_eq!(purse.reserve(&budget, 81, tuesday), Err(Short::Reserved));
    purse.reserve(&budget, 80, tuesday).unwrap();
    // Settled on Tuesday, it is Tuesday's.
    purse.settle(&budget, 20, 15, tuesday);
    let contents = purse.contents(&budget, tuesday);
    assert_eq!((contents.spent, contents.reserved, contents.window.start), (15, 80, tuesday));
}

#[test]
fn no_clock_makes_a_budget_new_again() {
    let budget = budget("100tokens/day");
    let purse = Purse::new(&budget, at("2026-03-17T12:00:00Z"));
    let spent = |now| purse.contents(&budget, at(now)).spent;
    purse.settle(&budget, 0, 90, at("2026-03-17T12:00:00Z"));
    // Ahead by hours, where some is spent, and back again: each window has what was spent in it.
    assert_eq!(spent("2026-03-18T01:00:00Z"), 0);
    purse.settle(&budget, 0, 30, at("2026-03-18T01:00:00Z"));
    assert_eq!(spent("2026-03-17T12:05:00Z"), 90);
    purse.settle(&budget, 0, 5, at("2026-03-17T13:00:00Z"));
    assert_eq!(spent("2026-03-18T01:00:00Z"), 30);
    assert_eq!(spent("2026-03-17T14:00:00Z"), 95);
    // Back to a day that this process has not seen.
    assert_eq!(spent("2026-03-16T14:00:00Z"), 95);
    assert_eq!(spent("2026-03-17T14:00:00Z"), 95);
    assert_eq!(spent("2027-01-01T00:00:00Z"), 0);
    assert_eq!(spent("2026-03-18T02:00:00Z"), 30);
}
