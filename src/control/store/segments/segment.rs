//! One file of the log: a header, then events.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::{memchr, memrchr};
use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;

use super::line::{self, Chain};

/// The name and version of the header's form.
const SCHEMA: &str = "keeptrusts.segment/1";
const SUFFIX: &str = ".jsonl";
/// How much of a file is read at once.
pub(super) const BLOCK_BYTES: usize = 256 * 1024;
/// And at first.
const FIRST_BYTES: usize = 8 * 1024;
/// A range this small is read from its beginning rather than halved again.
const RANGE_BYTES_MIN: u64 = 64 * 1024;

/// A file of the log, as readers know it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) header: Header,
    /// Where the first event begins.
    pub(super) events_at: u64,
    /// How much of the file holds committed lines.
    bytes: AtomicU64,
}

/// The first line of a segment. It is sealed like any other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    schema: String,
    pub(super) first_seq: i64,
    pub(super) created_at: Timestamp,
    /// The latest time of all events in earlier segments.
    pub(super) newest: Timestamp,
    /// The seal of the line before, so that what is left after pruning can still be verified.
    pub(super) previous: Chain,
    /// Events up to this number were removed by retention.
    pub(super) pruned_through: i64,
    /// The INPUT events of requests that were still running.
    pub(super) open: Vec<i64>,
}

impl Header {
    pub(super) fn new(
        first_seq: i64,
        created_at: Timestamp,
        newest: Timestamp,
        previous: Chain,
        pruned_through: i64,
        open: Vec<i64>,
    ) -> Self {
        Self { schema: SCHEMA.into(), first_seq, created_at, newest, previous, pruned_through, open }
    }

    /// The header as a sealed line, and its seal.
    pub(super) fn seal(&self) -> io::Result<(Vec<u8>, Chain)> {
        let mut sealed = Vec::new();
        let chain = line::seal(&mut sealed, &serde_json::to_vec(self)?, self.previous);
        Ok((sealed, chain))
    }
}

impl Segment {
    /// The path of the segment whose first event has this number.
    pub(super) fn path(folder: &Path, first_seq: i64) -> PathBuf {
        folder.join(format!("{first_seq:016}{SUFFIX}"))
    }

    /// Whether a file is called like a segment.
    pub(super) fn is_named(name: &str) -> bool {
        name.strip_suffix(SUFFIX).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
    }

    pub(super) fn new(path: PathBuf, header: Header, events_at: u64, bytes: u64) -> Arc<Self> {
        Arc::new(Self { path, header, events_at, bytes: AtomicU64::new(bytes) })
    }

    /// Reads what a file says about itself. `None` if its header is not whole: then it holds no event either.
    pub(super) fn open(path: &Path) -> io::Result<Option<Arc<Self>>> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut start = Vec::new();
        loop {
            let read = read_at(&file, start.len() as u64, bytes, &mut start)?;
            if let Some(end) = memchr(b'\n', &start) {
                let header: Result<Header, _> = serde_json::from_slice(&start[..end]);
                let header = header.map_err(|error| {
                    let what =
                        format!("{}: its first line is damaged: {error}: restore it from a backup", path.display());
                    io::Error::new(io::ErrorKind::InvalidData, what)
                })?;
                return Ok(Some(Self::new(path.into(), header, end as u64 + 1, bytes)));
            }
            if read == 0 {
                return Ok(None);
            }
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Shows readers what was written.
    pub(super) fn grow(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Release);
    }

    pub(super) fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Where the first line begins whose event has at least this number.
    pub(super) fn find(&self, file: &File, seq: i64) -> io::Result<u64> {
        let (mut low, mut high) = (self.events_at, self.bytes());
        if seq <= self.header.first_seq {
            return Ok(low);
        }
        while high - low > RANGE_BYTES_MIN {
            let middle = low + (high - low) / 2;
            // The line after the one that the middle is in.
            match next_line(file, middle, high)? {
                Some((at, found)) if found < seq => low = at,
                _ => high = middle,
            }
        }
        let mut at = low;
        let mut lines = Lines::new(file, low, self.bytes());
        while let Some(line) = lines.next()? {
            if line::seq_of(line).is_some_and(|found| found >= seq) {
                break;
            }
            at += line.len() as u64 + 1;
        }
        Ok(at)
    }
}

/// The first line that begins after `at` and is an event: where it begins, and its number.
fn next_line(file: &File, at: u64, end: u64) -> io::Result<Option<(u64, i64)>> {
    let mut lines = Lines::new(file, at, end);
    let Some(partial) = lines.next()? else { return Ok(None) };
    let at = at + partial.len() as u64 + 1;
    Ok(lines.next()?.and_then(line::seq_of).map(|seq| (at, seq)))
}

/// Appends the next block of a file, at most up to `end`; how much that was.
pub(super) fn read_at(file: &File, at: u64, end: u64, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let wanted = usize::try_from(end.saturating_sub(at)).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
    let before = bytes.len();
    bytes.resize(before + wanted, 0);
    let mut filled = before;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], at + (filled - before) as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(filled - before)
}

/// The whole lines of a range of a file, a block at a time.
pub(super) struct Lines<'a> {
    file: &'a File,
    /// Where the next block begins, and where the range ends.
    at: u64,
    end: u64,
    bytes: Vec<u8>,
    /// How much of `bytes` was given out.
    taken: usize,
    /// How much is read next: little at first, because many look for one line alone.
    step: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(file: &'a File, at: u64, end: u64) -> Self {
        Self { file, at, end, bytes: Vec::new(), taken: 0, step: FIRST_BYTES }
    }

    /// The next line, without its line break.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            if let Some(length) = memchr(b'\n', &self.bytes[self.taken..]) {
                let begin = self.taken;
                self.taken += length + 1;
                return Ok(Some(&self.bytes[begin..begin + length]));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// All whole lines of the next block, each with its line break.
    pub(super) fn next_block(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            if let Some(length) = memrchr(b'\n', &self.bytes[self.taken..]) {
                let begin = self.taken;
                self.taken += length + 1;
                return Ok(Some(&self.bytes[begin..=begin + length]));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// What follows the last whole line.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn fill(&mut self) -> io::Result<bool> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        let end = self.end.min(self.at + self.step as u64);
        let read = read_at(self.file, self.at, end, &mut self.bytes)?;
        self.at += read as u64;
        self.step = (self.step * 4).min(BLOCK_BYTES);
        Ok(read > 0)
    }
}

/// The lines of a range of a file, the last first, a block at a time.
pub(super) struct LinesBack<'a> {
    file: &'a File,
    begin: u64,
    /// What lies before this has not been read.
    at: u64,
    bytes: Vec<u8>,
}

impl<'a> LinesBack<'a> {
    pub(super) fn new(file: &'a File, begin: u64, end: u64) -> Self {
        Self { file, begin, at: end, bytes: Vec::new() }
    }

    /// All whole lines of the block before, each with its line break.
    pub(super) fn next_block(&mut self) -> io::Result<Option<&[u8]>> {
        // The beginning of the block before, up to where the lines given out began.
        let kept = std::mem::take(&mut self.bytes);
        let first = memchr(b'\n', &kept).map_or(kept.len(), |end| end + 1);
        let mut torn = kept;
        torn.truncate(if self.at == self.begin { 0 } else { first });
        loop {
            if self.at == self.begin {
                self.bytes = torn;
                return Ok((!self.bytes.is_empty()).then_some(&self.bytes));
            }
            let from = self.at.saturating_sub(BLOCK_BYTES as u64).max(self.begin);
            let mut block = Vec::with_capacity(BLOCK_BYTES + torn.len());
            read_at(self.file, from, self.at, &mut block)?;
            block.append(&mut torn);
            self.at = from;
            let first = if from == self.begin { Some(0) } else { memchr(b'\n', &block).map(|end| end + 1) };
            match first {
                Some(first) if first < block.len() => {
                    self.bytes = block;
                    return Ok(Some(&self.bytes[first..]));
                }
                // A line that is longer than the block.
                _ => torn = block,
            }
        }
    }
}
