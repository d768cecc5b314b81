//! The one writer: groups become lines, lines become durable, full segments are followed by new ones.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::catalog::Retention;
use crate::control::data_dir::keep_room;
use crate::control::store::{Group, Part, Wait};
use crate::domain::Timestamp;

use super::Limits;
use super::head::{Head, HeadFile};
use super::line::{self, Chain};
use super::recover::{self, End, Found};
use super::segment::{Header, Segment};
use super::sync::Syncer;

/// How long an event that nobody waits for may be without being on disk.
const SYNC_PERIOD: Duration = Duration::from_secs(1);
/// The next segment while it is being begun.
const UNFINISHED_FILE: &str = "next.new";
/// How much of the disk is kept for its header: with it, retention can make room on a full one.
const UNFINISHED_BYTES: u64 = 256 * 1024;

#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    limits: Limits,
    file: Arc<File>,
    /// The oldest first; the last one is being written.
    segments: Vec<Arc<Segment>>,
    /// How much of the last segment holds whole groups.
    bytes: u64,
    end: End,
    syncer: Syncer,
    /// How far the log is known to be on disk.
    head: Option<Head>,
    synced_at: Instant,
    /// Whether there may be more in the file than `bytes`: the rest of a write that failed.
    is_torn: bool,
    /// Whether room is kept for the next header, where the file system can.
    is_ready: bool,
    /// How a group that is awaited gets onto the disk.
    pub(super) sync_data: fn(&File) -> io::Result<()>,
    /// The lines of the group in hand.
    lines: Vec<u8>,
    /// How many events retention removed since somebody asked.
    removed: u64,
}

impl Writer {
    pub(super) fn start(folder: &Path, limits: Limits, found: Found, now: Timestamp) -> io::Result<Self> {
        let Found { mut segments, mut end, is_sealed } = found;
        let (file, bytes) = match segments.last().filter(|_| !is_sealed) {
            Some(last) => (OpenOptions::new().write(true).open(&last.path)?, last.bytes()),
            None => {
                let pruned_through = segments.last().map_or(0, |last| last.header.pruned_through);
                let (file, segment) = begin(folder, &mut end, pruned_through, now)?;
                let bytes = segment.bytes();
                segments.push(segment);
                (file, bytes)
            }
        };
        let head_file = HeadFile::open(folder)?;
        // From the first moment on, so that a log without one is a fault.
        let present = Head { seq: end.tip, chain: end.event_chain };
        head_file.write(present)?;
        let syncer = Syncer::start(head_file)?;
        let synced_at = Instant::now();
        Ok(Self {
            folder: folder.into(),
            limits,
            file: Arc::new(file),
            segments,
            bytes,
            end,
            syncer,
            head: Some(present),
            synced_at,
            is_torn: false,
            is_ready: make_ready(folder).is_ok(),
            sync_data: File::sync_data,
            lines: Vec::new(),
            removed: 0,
        })
    }

    pub(super) fn tip(&self) -> i64 {
        self.end.tip
    }

    /// The first event that is left.
    fn first_seq(&self) -> i64 {
        self.segments.first().map_or(1, |first| first.header.first_seq)
    }

    /// How many events retention removed since the last time.
    pub(super) fn take_removed(&mut self) -> u64 {
        std::mem::take(&mut self.removed)
    }

    pub(super) fn open_requests(&self) -> Vec<i64> {
        self.end.open.iter().copied().collect()
    }

    pub(super) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// Writes a group, all of it or nothing. True if a new segment was begun for it.
    pub(super) fn append(&mut self, group: &Group, wait: Wait, now: Timestamp) -> io::Result<bool> {
        let last = group.next_seq() - 1;
        if last <= self.end.tip {
            return Ok(false);
        }
        if group.first_seq != self.end.tip + 1 {
            let (first, tip) = (group.first_seq, self.end.tip);
            return Err(io::Error::other(format!("a group begins with event {first}, but the log ends with {tip}")));
        }
        let is_new = self.bytes >= self.limits.segment_bytes();
        if is_new {
            self.rotate(now)?;
        }
        let chain = self.seal(group);
        self.write(wait)?;
        self.bytes += self.lines.len() as u64;
        self.end.tip = last;
        self.end.chain = chain;
        self.end.event_chain = chain;
        for (seq, row) in (group.first_seq..).zip(&group.rows) {
            self.end.newest = self.end.newest.max(row.time);
            match row.part {
                Part::Whole => {}
                Part::Opens => _ = self.end.open.insert(seq),
                Part::Closes(input) => _ = self.end.open.remove(&input),
            }
        }
        if let Some(segment) = self.segments.last() {
            segment.grow(self.bytes);
        }
        Ok(is_new)
    }

    /// Makes lines of a group's events; the seal of the last.
    fn seal(&mut self, group: &Group) -> Chain {
        self.lines.clear();
        let mut chain = self.end.chain;
        let mut begin = 0;
        for row in &group.rows {
            chain = line::seal(&mut self.lines, &group.json[begin..row.end], chain);
            begin = row.end;
        }
        chain
    }

    fn write(&mut self, wait: Wait) -> io::Result<()> {
        self.mend()?;
        self.is_torn = true;
        self.file.write_all_at(&self.lines, self.bytes)?;
        if wait == Wait::Disk {
            (self.sync_data)(&self.file)?;
        }
        self.is_torn = false;
        Ok(())
    }

    /// Takes the rest of a write that failed out of the file.
    fn mend(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.bytes)?;
            self.is_torn = false;
        }
        Ok(())
    }

    /// Does what is due; true if segments came or went.
    pub(super) fn tend(&mut self, now: Timestamp, retention: Retention) -> io::Result<bool> {
        self.limits.retention = retention;
        if let Some(head) = self.syncer.ended()? {
            self.head = Some(head);
        }
        let is_dirty = self.head != Some(self.written());
        if is_dirty && !self.syncer.is_busy() && self.synced_at.elapsed() >= SYNC_PERIOD {
            self.synced_at = Instant::now();
            self.syncer.begin(&self.file, self.bytes, self.written())?;
        }
        let is_due = self.segments.last().is_some_and(|last| {
            let is_old = now >= last.header.created_at.saturating_add(self.limits.segment_age());
            let is_empty = self.bytes <= last.events_at;
            is_old && !is_empty || self.expired(now) > last.header.pruned_through
        });
        if is_due {
            self.rotate(now)?;
        }
        if !self.is_ready {
            // Tried again until the disk has room for it.
            self.is_ready = make_ready(&self.folder).is_ok();
        }
        Ok(is_due)
    }

    /// Everything that was written is on disk, and the head says so.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.synced_at = Instant::now();
        let head = self.written();
        self.syncer.complete(&self.file, self.bytes, head)?;
        self.head = Some(head);
        Ok(())
    }

    /// The last event, and its seal.
    fn written(&self) -> Head {
        Head { seq: self.end.tip, chain: self.end.event_chain }
    }

    /// Ends the present segment and begins the next one, which says what retention removes; then removes it.
    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        self.mend()?;
        self.sync()?;
        let through = self.expired(now);
        let present = self.segments.last().filter(|last| self.bytes <= last.events_at).cloned();
        let mut end = self.end.clone();
        if let Some(empty) = &present {
            // It holds nothing and is replaced by one of the same name.
            end.chain = empty.header.previous;
        }
        let (file, segment) = begin(&self.folder, &mut end, through, now)?;
        if present.is_some() {
            self.segments.pop();
        }
        self.bytes = segment.bytes();
        self.file = Arc::new(file);
        self.end = end;
        self.segments.push(segment);
        let before = self.segments.len();
        let first_before = self.first_seq();
        if let Err(error) = recover::remove_pruned(&mut self.segments, through) {
            // The next start tries again.
            log::error!("failed to remove old segments of the event log: {error}");
        }
        let removed = before - self.segments.len();
        self.removed += (self.first_seq() - first_before).unsigned_abs();
        if removed > 0 {
            log::info!("events up to {through} have been removed from the log by its retention ({removed} segments)");
        }
        self.is_ready = make_ready(&self.folder).is_ok();
        Ok(())
    }

    /// Up to which event the log may forget: whole segments that are too old, or too many.
    fn expired(&self, now: Timestamp) -> i64 {
        let keep_from = self.limits.retention.age.map(|retention| now.saturating_sub(retention));
        let mut total: u64 = self.segments.iter().map(|segment| segment.bytes()).sum();
        let mut through = self.segments.last().map_or(0, |last| last.header.pruned_through);
        let after = self.segments.iter().skip(1).map(|next| (next.header.first_seq, next.header.newest));
        let after = after.chain([(self.end.tip + 1, self.end.newest)]);
        for (segment, (next_seq, newest)) in self.segments.iter().zip(after) {
            let is_empty = next_seq == segment.header.first_seq;
            let is_old = keep_from.is_some_and(|from| newest < from);
            let is_much =
                self.limits.retention.bytes_max.is_some_and(|most| total + self.limits.segment_bytes() > most);
            if is_empty || !is_old && !is_much {
                break;
            }
            total -= segment.bytes();
            through = through.max(next_seq - 1);
        }
        through
    }
}

/// Begins a segment after what the log holds.
fn begin(folder: &Path, end: &mut End, pruned_through: i64, now: Timestamp) -> io::Result<(File, Arc<Segment>)> {
    let open = end.open.iter().copied().collect();
    let header = Header::new(end.tip + 1, now, end.newest, end.chain, pruned_through, open);
    let (line, chain) = header.seal()?;
    let path = Segment::path(folder, header.first_seq);
    let bytes = line.len() as u64;
    // Under another name until it is whole: a crash leaves no segment without a header.
    let file = unfinished(folder)?;
    file.write_all_at(&line, 0)?;
    // What an attempt before left behind.
    file.set_len(bytes)?;
    file.sync_data()?;
    fs::rename(folder.join(UNFINISHED_FILE), &path)?;
    File::open(folder)?.sync_all()?;
    end.chain = chain;
    Ok((file, Segment::new(path, header, bytes, bytes)))
}

/// Keeps room for the header of the next segment.
fn make_ready(folder: &Path) -> io::Result<()> {
    match keep_room(&unfinished(folder)?, 0, UNFINISHED_BYTES) {
        // Then a full disk is for the operator to empty.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        done => done,
    }
}

fn unfinished(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).open(folder.join(UNFINISHED_FILE))
}
