//! Does every line still agree with the one before it, and is none missing?

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::head::Head;
use super::line::{self, Chain};
use super::search::View;
use super::segment::{Lines, Segment};

/// Faults that are named one by one; the rest are counted.
const FAULTS_NAMED_MAX: usize = 20;

/// What a verification found.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Verification {
    pub segments: usize,
    pub events: u64,
    pub first_seq: Option<i64>,
    pub last_seq: Option<i64>,
    /// The seal of the last event: whoever knows it can tell later that nothing before it was changed.
    pub chain: Option<String>,
    /// Events up to this number were removed by retention.
    pub pruned_through: i64,
    /// The first of what does not hold, in the order of the log.
    pub faults: Vec<Fault>,
    /// How many more there are.
    pub more_faults: u64,
}

/// A place where the log is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fault {
    /// The segment's file.
    pub segment: String,
    /// The line in it, from 1, which is the header; 0 if it is about the segment's end.
    pub line: u64,
    /// The number of the event that should be there.
    pub seq: i64,
    /// What is wrong there.
    pub what: String,
}

/// Verifies what readers see of a log.
pub(super) fn view(view: &View, head: Option<Head>) -> io::Result<Verification> {
    let mut walk = Walk { head, found: Verification::default(), chain: None, next_seq: 1, saw_head: false };
    walk.found.pruned_through = view.segments.last().map_or(0, |last| last.header.pruned_through);
    for segment in &*view.segments {
        walk.segment(segment)?;
    }
    walk.end(view.segments.last().map(|last| last.name()).unwrap_or_default());
    Ok(walk.found)
}

struct Walk {
    head: Option<Head>,
    found: Verification,
    /// The seal of the line before.
    chain: Option<Chain>,
    next_seq: i64,
    /// Whether the head was found in the log.
    saw_head: bool,
}

impl Walk {
    fn segment(&mut self, segment: &Segment) -> io::Result<()> {
        let name = segment.name();
        let file = match File::open(&segment.path) {
            // It was pruned meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.chain.is_none() => return Ok(()),
            opened => opened?,
        };
        self.found.segments += 1;
        let mut before = self.header(&name, segment);
        // The head knows events only; it may be the last one that was removed.
        self.saw_head |= self.head.is_some_and(|head| head.seq == self.next_seq - 1 && head.chain == before);
        let mut number = 0;
        let mut lines = Lines::new(&file, 0, segment.bytes());
        while let Some(line) = lines.next()? {
            number += 1;
            if number == 1 {
                if !line::holds(line, before) {
                    self.fault(&name, number, "the header does not agree with its seal: it was changed");
                }
            } else {
                self.event(&name, number, line, before);
            }
            before = line::chain_of(line).unwrap_or(before);
            self.saw_head |= self.head.is_some_and(|head| head.seq == self.next_seq - 1 && head.chain == before);
        }
        if !lines.rest().is_empty() {
            self.fault(&name, number + 1, "the last line is not whole: a write was interrupted");
        }
        self.chain = Some(before);
        self.found.chain = Some(before.to_string());
        Ok(())
    }

    /// Compares a segment with the one before it; the seal its header follows.
    fn header(&mut self, name: &str, segment: &Segment) -> Chain {
        let header = &segment.header;
        let (expected, follows) = match self.chain {
            Some(chain) => (self.next_seq, header.previous == chain),
            // The oldest that is left.
            None => (self.found.pruned_through + 1, true),
        };
        self.found.first_seq.get_or_insert(header.first_seq);
        if header.first_seq > expected {
            self.next_seq = expected;
            self.missing(name, 1, header.first_seq);
        } else if !follows {
            self.fault(name, 1, "the segment does not follow the one before it, whose end was changed or cut off");
        }
        self.next_seq = header.first_seq;
        header.previous
    }

    fn event(&mut self, name: &str, number: u64, line: &[u8], before: Chain) {
        self.found.events += 1;
        let Some(seq) = line::seq_of(line) else {
            return self.fault(name, number, "the line is no event");
        };
        if seq > self.next_seq {
            self.missing(name, number, seq);
        } else if seq < self.next_seq {
            self.fault(name, number, &format!("event {seq} stands here once more: the line was put in"));
        } else if !line::holds(line, before) {
            self.fault(name, number, "the event does not agree with its seal: it, or what was before it, was changed");
        }
        self.next_seq = seq + 1;
        self.found.last_seq = Some(seq);
    }

    fn end(&mut self, name: String) {
        let Some(head) = self.head else {
            return self.fault(&name, 0, "head.json, which says how far the log reaches, is missing or cannot be read");
        };
        if head.seq >= self.next_seq {
            let last = self.next_seq - 1;
            self.fault(
                &name,
                0,
                &format!("events up to {} were recorded, but the log ends with {last}: its end was cut off", head.seq),
            );
        } else if !self.saw_head && self.found.faults.is_empty() {
            self.fault(&name, 0, &format!("the log does not agree with head.json, which knew event {}", head.seq));
        }
    }

    fn missing(&mut self, name: &str, line: u64, found: i64) {
        let last = found - 1;
        let what = match last == self.next_seq {
            true => format!("event {last} is missing"),
            false => format!("events {} to {last} are missing", self.next_seq),
        };
        self.fault(name, line, &what);
    }

    fn fault(&mut self, segment: &str, line: u64, what: &str) {
        if self.found.faults.len() >= FAULTS_NAMED_MAX {
            self.found.more_faults += 1;
            return;
        }
        self.found.faults.push(Fault { segment: segment.into(), line, seq: self.next_seq, what: what.into() });
    }
}
