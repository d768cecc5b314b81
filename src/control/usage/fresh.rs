//! What the ledger has just written, summed as it writes: nobody has to read it from the log again.

use std::collections::HashSet;

use parking_lot::Mutex;
use uuid::Uuid;

use crate::control::store::usage::Checkpoint;
use crate::journal::Record;

use super::HELD_MAX;
use super::row::Row;
use super::tally::Tally;

/// The sums of the newest events. Whatever is not here is in the log, so anything may be left out.
#[derive(Debug, Default)]
pub(in crate::control) struct Fresh(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Every model there are sums for.
    models: HashSet<String>,
    /// Events up to this one were summed already.
    summed: i64,
    run: Option<Run>,
}

/// Sums of events that follow each other without a gap.
#[derive(Debug)]
pub(super) struct Run {
    /// The number before that of the first.
    after: i64,
    pub(super) through: Checkpoint,
    pub(super) tally: Tally,
}

/// What there is for one who has summed all events up to some number.
#[derive(Debug)]
pub(super) enum Next {
    /// The sums of those that follow.
    Run(Run),
    /// Nothing that follows at once, but there will be from this number on.
    After(i64),
    Nothing,
}

impl Fresh {
    /// Adds events that are in the log by now: consecutive ones from `first_seq` on, with their ids.
    pub(in crate::control) fn add<'a>(
        &self,
        first_seq: i64,
        events: impl ExactSizeIterator<Item = (&'a Record, Uuid)>,
    ) {
        let State { models, summed, run } = &mut *self.0.lock();
        for (seq, (record, id)) in (first_seq..).zip(events) {
            if seq <= *summed {
                continue;
            }
            let through = Checkpoint { seq, event: id };
            if run.as_ref().is_some_and(|run| run.through.seq + 1 != seq || run.tally.len() >= HELD_MAX) {
                *run = None;
            }
            let run = run.get_or_insert_with(|| Run { after: seq - 1, through, tally: Tally::default() });
            run.tally.take(&Row::of(record, id), models);
            run.through = through;
        }
    }

    /// What follows the event with the number `summed`, up to which all were summed.
    pub(super) fn after(&self, summed: i64) -> Next {
        let state = &mut *self.0.lock();
        state.summed = summed;
        match state.run.take() {
            Some(run) if run.after == summed => Next::Run(run),
            Some(run) if run.after > summed => {
                let after = run.after;
                state.run = Some(run);
                Next::After(after)
            }
            // Some of it was summed already, and sums cannot be taken apart.
            _ => Next::Nothing,
        }
    }

    /// The models that are told apart.
    pub(super) fn models<T>(&self, with: impl FnOnce(&mut HashSet<String>) -> T) -> T {
        with(&mut self.0.lock().models)
    }
}
