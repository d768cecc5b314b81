//! Laws about the event log.

use std::time::Duration;

use crate::domain::{Timestamp, Verdict};
use crate::journal::Phase;

use super::super::*;
use super::samples::*;

pub(super) async fn events_are_numbered_and_repeatable(store: &impl EventStore) {
    assert_eq!(store.tip(), 0);
    let mut events = [3, 1, 2].map(|second| event(second * 1_000_000));
    let group = group(0, &mut events);
    for wait in [Wait::Process, Wait::Disk] {
        store.append(&group, wait).unwrap();
        assert_eq!(store.tip(), 3);
    }
    let order = EventOrder::OldestFirst { after: 1 };
    let found = store.events(EventQuery { filter: EventFilter::default(), order, limit: 10 }).await.unwrap();
    assert_eq!(found.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [2, 3]);
    assert_eq!((found.reached, found.more), (3, false));
    assert_eq!(found.events.iter().map(read).collect::<Vec<_>>(), events[1..]);
}

pub(super) async fn searches_agree_with_the_filter(store: &impl EventStore) {
    let mut events = Vec::new();
    for number in 0..64i64 {
        let mut event = event((10 + number) * 1_000_000);
        let bit = |at: i64| number >> at & 1 == 1;
        event.key.name = if bit(0) { "jane" } else { "john \"the\" \n" }.into();
        event.key.id = format!("ak_{}", if bit(0) { "jane" } else { "john" });
        event.team = bit(1).then(|| "frontend".into());
        event.model_requested = bit(2).then(|| "gpt-4o".into());
        event.provider = bit(3).then(|| "anthropic".into());
        event.verdict = if bit(4) { Verdict::Deny } else { Verdict::Pass };
        event.phase = if bit(5) { Phase::Output } else { Phase::Input };
        events.push(event);
    }
    // The clock goes back once.
    events.swap(3, 40);
    append(store, &mut events);
    let all = || EventFilter { since: Some(Timestamp::from_micros(10_000_000)), ..EventFilter::default() };
    let filters = [
        all(),
        EventFilter { since: Some(Timestamp::from_micros(40_000_000)), ..all() },
        EventFilter { until: Some(Timestamp::from_micros(40_000_000)), ..all() },
        EventFilter { key: Some(EventKeyFilter::parse("jane")), ..all() },
        EventFilter { key: Some(EventKeyFilter::parse("john \"the\" \n")), ..all() },
        EventFilter { key: Some(EventKeyFilter::parse("ak_john")), ..all() },
        EventFilter { team: Some("frontend".into()), ..all() },
        EventFilter { model: Some("gpt-4o".into()), ..all() },
        EventFilter { provider: Some("anthropic".into()), ..all() },
        EventFilter { verdict: Some(Verdict::Deny), ..all() },
        EventFilter { verdict: Some(Verdict::Pass), phase: Some(Phase::Output), ..all() },
        EventFilter { phase: Some(Phase::Input), ..all() },
        EventFilter { team: Some("nobody' OR 1=1 --".into()), ..all() },
    ];
    for filter in filters {
        let expected: Vec<_> = events.iter().filter(|event| filter.matches(event)).cloned().collect();
        let query = EventQuery { filter, order: EventOrder::NewestFirst { before: None }, limit: 100 };
        let mut found: Vec<_> = store.events(query.clone()).await.unwrap().events.iter().map(read).collect();
        found.reverse();
        assert_eq!(found, expected, "{query:?}");
        let query = EventQuery { order: EventOrder::OldestFirst { after: 0 }, ..query };
        let found: Vec<_> = store.events(query.clone()).await.unwrap().events.iter().map(read).collect();
        assert_eq!(found, expected, "{query:?}");
    }
}

pub(super) async fn pages_meet_without_gap_or_overlap(store: &impl EventStore) {
    let moment = Timestamp::from_micros(500_000_000);
    let mut events: Vec<_> = (0..50).map(|_| event(moment.as_micros())).collect();
    append(store, &mut events);
    let filter = EventFilter { since: Some(moment.saturating_sub(Duration::from_secs(1))), ..EventFilter::default() };
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let order = EventOrder::NewestFirst { before };
        let page = store.events(EventQuery { filter: filter.clone(), order, limit: 7 }).await.unwrap();
        found.extend(page.events.iter().map(read));
        before = Some(page.reached);
        if !page.more {
            break;
        }
    }
    found.reverse();
    assert_eq!(found, events);
    found.clear();
    let mut after = 0;
    loop {
        let order = EventOrder::OldestFirst { after };
        let page = store.events(EventQuery { filter: filter.clone(), order, limit: 7 }).await.unwrap();
        found.extend(page.events.iter().map(read));
        after = page.reached;
        if !page.more {
            break;
        }
    }
    assert_eq!((found, after), (events, store.tip()));
}

pub(super) fn groups_follow_one_another(store: &impl EventStore) {
    let tip = store.tip();
    let skipping = group(tip + 1, &mut [event(1)]);
    assert!(store.append(&skipping, Wait::Process).is_err());
    assert_eq!(store.tip(), tip);
}
