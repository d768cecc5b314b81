//! Events on their way into the log.

use crate::domain::Timestamp;

/// Events on their way into the log.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// The number of the first event.
    pub(crate) first_seq: i64,
    /// The events' JSON, one after the other with nothing between.
    pub(crate) json: Vec<u8>,
    pub(crate) rows: Vec<GroupRow>,
}

impl Group {
    /// Makes it empty, for events from `first_seq` on.
    pub(crate) fn begin(&mut self, first_seq: i64) {
        self.first_seq = first_seq;
        self.json.clear();
        self.rows.clear();
    }

    /// The number of the next event that is added.
    pub(crate) fn next_seq(&self) -> i64 {
        self.first_seq + self.rows.len() as i64
    }

    /// Adds the event whose JSON was appended last.
    pub(crate) fn add(&mut self, time: Timestamp, part: Part) {
        self.rows.push(GroupRow { end: self.json.len(), time, part });
    }
}

/// What the log has to know of an event without reading it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupRow {
    /// Where its JSON ends.
    pub(crate) end: usize,
    pub(crate) time: Timestamp,
    pub(crate) part: Part,
}

/// What an event is of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything.
    Whole,
    /// Its beginning: its end is still to come.
    Opens,
    /// Its end; the number is that of its beginning.
    Closes(i64),
}

/// What an append waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The events outlive this process, and soon after also the machine.
    Process,
    /// The events are on disk.
    Disk,
}
