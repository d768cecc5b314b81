//! Requests that were admitted and whose end was never recorded, because the process ended without a word. Nobody else
//! writes to the log by now, so their end will not come: they get one that says so.
//!
//! What they used is not known. The INPUT event is written before the provider is asked, and the answer may have come
//! whole; a guess would be no better than nothing, so the event says `none`, and no cost.

use crate::control::now;
use crate::control::store::{EventFilter, EventOrder, EventQuery, EventStore, Group, Part, StoreError, Wait};
use crate::domain::{Ended, Timestamp, Usage, Verdict};
use crate::journal::{Event, EventUsage, Phase};

use super::GROUP_MAX;

pub(super) async fn close(store: &dyn EventStore) -> Result<(), StoreError> {
    let open = store.open_requests();
    for some in open.chunks(GROUP_MAX) {
        let mut group = Group::default();
        group.begin(store.tip() + 1);
        for &seq in some {
            // It may have been removed by retention; then nothing is left to be closed.
            let Some(input) = find(store, seq).await? else { continue };
            let output = end(input, group.next_seq(), now());
            serde_json::to_writer(&mut group.json, &output).map_err(|error| StoreError::Failed(error.into()))?;
            group.add(output.time, Part::Closes(seq));
        }
        store.append(&group, Wait::Disk)?;
    }
    if !open.is_empty() {
        log::warn!(
            "{} requests were running when the last process ended without a word; their events say `crashed`",
            open.len()
        );
    }
    Ok(())
}

/// The event with this number, if retention has not removed it.
pub(in crate::control) async fn find(store: &dyn EventStore, seq: i64) -> Result<Option<Event>, StoreError> {
    let order = EventOrder::OldestFirst { after: seq - 1 };
    let page = store.events(EventQuery { filter: EventFilter::default(), order, limit: 1 }).await?;
    let found = page.events.first().filter(|found| found.seq == seq);
    Ok(found.and_then(|found| serde_json::from_str(found.json.get()).ok()))
}

fn end(input: Event, seq: i64, time: Timestamp) -> Event {
    Event {
        seq,
        time,
        id: uuid::Uuid::now_v7(),
        phase: Phase::Output,
        verdict: Verdict::Error,
        reason: Some(Ended::Crashed.label().into()),
        usage: Some(EventUsage::from(&Usage::default())),
        advisors: Vec::new(),
        ended: Some(Ended::Crashed),
        input_seq: Some(input.seq),
        ..input
    }
}
