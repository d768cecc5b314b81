//! What a process finds when it opens the log: usually a log that ends where it ended; after a crash perhaps a last line
//! that was not written to its end; and requests whose end was never recorded.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::domain::Timestamp;
use crate::journal::Phase;

use super::head::{self, Head};
use super::line::{self, Chain};
use super::segment::{Lines, Segment};

/// A log as it was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The oldest first.
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) end: End,
    /// Whether the last segment must be left as it is: it is damaged, or there is none.
    pub(super) is_sealed: bool,
}

/// Where a log ends, and what is still open there.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) tip: i64,
    pub(super) chain: Chain,
    /// The seal of the last event, which may be followed by a header.
    pub(super) event_chain: Chain,
    /// The latest time of all events.
    pub(super) newest: Timestamp,
    /// The numbers of the INPUT events whose requests were admitted and have no OUTPUT event yet. Each of them held a
    /// place in the journal, so they are no more than it has places.
    pub(super) open: BTreeSet<i64>,
}

#[derive(Deserialize)]
struct Row {
    time: Timestamp,
    phase: Phase,
    /// An INPUT event has one if the request was refused.
    status: Option<u16>,
    input_seq: Option<i64>,
}

pub(super) fn find(folder: &Path) -> io::Result<Found> {
    let mut segments = segments(folder)?;
    let head = head::read(folder)?;
    if let Some(pruned) = segments.last().map(|last| last.header.pruned_through) {
        // A crash came between the decision to remove a segment and its removal.
        remove_pruned(&mut segments, pruned)?;
    }
    let Some(last) = segments.last() else {
        let start = End {
            tip: 0,
            chain: Chain::START,
            event_chain: Chain::START,
            newest: Timestamp::default(),
            open: BTreeSet::new(),
        };
        let end = missed(start, head);
        return Ok(Found { segments, end, is_sealed: true });
    };
    let (end, is_damaged) = read_to_end(last)?;
    let reaches_head = head.is_none_or(|head| head.seq <= end.tip);
    if is_damaged || !reaches_head {
        log::error!(
            "the event log is damaged after event {} ({}): `kt events verify` says where; it is left as it is, and a new \
             segment is begun",
            end.tip,
            last.name()
        );
    }
    let end = missed(end, head);
    Ok(Found { segments, end, is_sealed: is_damaged || !reaches_head })
}

/// Where a log goes on that has lost its end: after everything it is known to have held.
fn missed(end: End, head: Option<Head>) -> End {
    match head {
        Some(head) if head.seq > end.tip => End { tip: head.seq, chain: head.chain, event_chain: head.chain, ..end },
        _ => end,
    }
}

/// The segments in a folder, the oldest first. One without a whole header holds no event and is removed.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<Arc<Segment>>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(Segment::is_named) {
            continue;
        }
        match Segment::open(&entry.path())? {
            Some(segment) => segments.push(segment),
            None => {
                log::warn!("removing {}: a crash came before it held anything", entry.path().display());
                fs::remove_file(entry.path())?;
            }
        }
    }
    segments.sort_by_key(|segment| segment.header.first_seq);
    Ok(segments)
}

/// Removes the segments that hold nothing after event `through`.
pub(super) fn remove_pruned(segments: &mut Vec<Arc<Segment>>, through: i64) -> io::Result<()> {
    while let [oldest, next, ..] = &segments[..]
        && next.header.first_seq <= through + 1
    {
        match fs::remove_file(&oldest.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => segments.remove(0),
        };
    }
    Ok(())
}

/// Reads the last segment and cuts off a line that was not written to its end. The second value tells whether there is
/// damage of any other kind.
fn read_to_end(segment: &Segment) -> io::Result<(End, bool)> {
    let header = &segment.header;
    let file = File::open(&segment.path)?;
    let mut lines = Lines::new(&file, 0, segment.bytes());
    let mut end = End {
        tip: header.first_seq - 1,
        chain: header.previous,
        event_chain: header.previous,
        newest: header.newest,
        open: header.open.iter().copied().collect(),
    };
    let (mut is_header, mut is_damaged, mut whole) = (true, false, 0);
    while let Some(line) = lines.next()? {
        is_damaged |= !line::holds(line, end.chain);
        end.chain = line::chain_of(line).unwrap_or(end.chain);
        whole += line.len() as u64 + 1;
        if std::mem::take(&mut is_header) {
            continue;
        }
        match (line::seq_of(line), serde_json::from_slice::<Row>(line)) {
            (Some(seq), Ok(row)) => {
                end.event_chain = end.chain;
                end.take(seq, &row);
            }
            _ => is_damaged = true,
        }
    }
    if !lines.rest().is_empty() && !is_damaged {
        log::warn!(
            "the last write to the event log was interrupted: {} bytes after event {} ({}) were not a whole event and are \
             cut off; nothing that was acknowledged is lost",
            lines.rest().len(),
            end.tip,
            segment.name()
        );
        OpenOptions::new().write(true).open(&segment.path)?.set_len(whole)?;
    }
    segment.grow(whole);
    Ok((end, is_damaged))
}

impl End {
    fn take(&mut self, seq: i64, row: &Row) {
        self.tip = self.tip.max(seq);
        self.newest = self.newest.max(row.time);
        match (row.phase, row.input_seq) {
            (Phase::Input, _) if row.status.is_none() => _ = self.open.insert(seq),
            (Phase::Output, Some(input)) => _ = self.open.remove(&input),
            _ => {}
        }
    }
}
