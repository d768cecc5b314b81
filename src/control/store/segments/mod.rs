//! The event log: append-only files of JSON lines in `<data-dir>/events/`.
//!
//! An event is one line, sealed to the line before (`line.rs`). Lines go into segments, each named after its first event;
//! a full or old one is followed by the next, and what retention removes is the oldest segments, whole. `head.json`
//! remembers apart from them how far the log reaches. There is no index: a segment's name and header tell its first
//! number and the times before it, within a segment numbers are found by bisection, and a search looks for one telling
//! text of its filter in whole blocks.
//!
//! One writer appends groups; a group becomes visible to readers once it is whole. What a crash leaves behind is put right
//! when the log is opened (`recover.rs`), and said in the process's log.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;

use crate::catalog::Retention;
use crate::control::data_dir::DataDir;
use crate::domain::Timestamp;

use super::{EventPage, EventQuery, EventStore, Group, SEARCH_TIME_MAX, StoreError, Wait};
use search::View;
use writer::Writer;

mod line; // the form of a line, and the seal that holds it to the one before
mod segment; // one file: its header, and its lines in both directions
mod head; // how far the log reaches, kept apart from it
mod sync; // onto the disk, behind the writer's back
mod writer; // appending, rotating, pruning
mod recover; // what a process finds when it opens the log
mod search; // reading back
mod verify; // is the log still as it was written?
mod offline; // all of it without a running gateway

pub use offline::OfflineEvents;
pub use verify::{Fault, Verification};

const FOLDER: &str = "events";
/// What the event log was before it was made of segments.
const DATABASE: &str = "events.db";
/// Searches that run at once; more of them wait.
const SEARCHES_MAX: usize = 4;
/// The longest that a segment is written to, so that retention has something to remove.
const SEGMENT_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How large the log and its parts may become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A segment that has reached this size is followed by the next.
    pub(crate) segment_bytes: u64,
    /// When the oldest segments are removed.
    pub(crate) retention: Retention,
}

#[derive(Debug)]
pub(crate) struct SegmentLog {
    folder: PathBuf,
    writer: Mutex<Writer>,
    view: RwLock<View>,
    searches: Semaphore,
    /// Whether another process may write the log by now.
    is_closed: AtomicBool,
    // Nobody else may write the log while it is open.
    _data_dir: Arc<DataDir>,
}

impl SegmentLog {
    /// Opens the log, or begins one, and puts right what a crash left behind.
    pub(crate) fn open(data_dir: Arc<DataDir>, limits: Limits) -> Result<Self, StoreError> {
        let folder = folder(data_dir.path());
        let open = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            Writer::start(&folder, limits, recover::find(&folder)?, now())
        };
        let writer = open().map_err(|error| StoreError::at(&folder, error))?;
        if data_dir.path().join(DATABASE).exists() {
            log::warn!(
                "{DATABASE} in {} holds the events of an earlier version and is not read any more; they are in its table \
                 `events`, and the file may be removed",
                data_dir.path().display()
            );
        }
        let view = RwLock::new(View { segments: writer.segments().into(), tip: writer.tip() });
        Ok(Self {
            folder,
            writer: Mutex::new(writer),
            view,
            searches: Semaphore::new(SEARCHES_MAX),
            is_closed: AtomicBool::new(false),
            _data_dir: data_dir,
        })
    }

    /// Shows readers what the writer has done.
    fn show(&self, writer: &Writer, segments_changed: bool) {
        let mut view = self.view.write();
        view.tip = writer.tip();
        if segments_changed {
            view.segments = writer.segments().into();
        }
    }
}

#[async_trait]
impl EventStore for SegmentLog {
    fn append(&self, group: &Group, wait: Wait) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        let segments_changed = writer.append(group, wait, now())?;
        self.show(&writer, segments_changed);
        Ok(())
    }

    fn tip(&self) -> i64 {
        self.view.read().tip
    }

    fn tend(&self, now: Timestamp, retention: Retention) -> Result<u64, StoreError> {
        let mut writer = self.writer.lock();
        if writer.tend(now, retention)? {
            self.show(&writer, true);
        }
        Ok(writer.take_removed())
    }

    fn open_requests(&self) -> Vec<i64> {
        self.writer.lock().open_requests()
    }

    fn close(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        self.is_closed.store(true, Ordering::Release);
        Ok(writer.sync()?)
    }

    async fn events(&self, query: EventQuery) -> Result<EventPage, StoreError> {
        let _place = self.searches.acquire().await.map_err(|closed| StoreError::Failed(closed.into()))?;
        let view = self.view.read().clone();
        let search = move || search::run(&view, &query, Instant::now() + SEARCH_TIME_MAX);
        let found = tokio::task::spawn_blocking(search).await.map_err(|broken| StoreError::Failed(broken.into()))?;
        Ok(found?)
    }

    async fn verify(&self) -> Result<Verification, StoreError> {
        let _place = self.searches.acquire().await.map_err(|closed| StoreError::Failed(closed.into()))?;
        // The head first: the log only grows.
        let head = head::read(&self.folder)?;
        let view = self.view.read().clone();
        let verify = move || verify::view(&view, head);
        let found = tokio::task::spawn_blocking(verify).await.map_err(|broken| StoreError::Failed(broken.into()))?;
        Ok(found?)
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        if self.is_closed.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = self.writer.lock().sync() {
            log::error!("failed to sync the event log: {error}");
        }
    }
}

impl Limits {
    /// How long a segment is written to: an eighth of what is kept, so that what is removed is a small part of it.
    fn segment_age(&self) -> Duration {
        self.retention.age.map_or(SEGMENT_AGE_MAX, |age| SEGMENT_AGE_MAX.min(age / 8))
    }

    /// At which size a segment is full.
    fn segment_bytes(&self) -> u64 {
        self.retention.bytes_max.map_or(self.segment_bytes, |bytes_max| self.segment_bytes.min(bytes_max / 8))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment_bytes: 64 * 1024 * 1024, retention: Retention::default() }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER)
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

#[cfg(test)]
mod tests;
