//! What nobody waits for gets onto the disk behind the writer's back: however long a disk takes, what happens meanwhile
//! is written within its window. One sync at a time; the head follows what it proves.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::thread;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::head::{Head, HeadFile};

/// How much of a file's end stays in the system's memory once it is on disk: what followers read a moment later.
const CACHED_BYTES: u64 = 4 << 20;

/// The way to the thread that syncs, which ends with it.
#[derive(Debug)]
pub(super) struct Syncer {
    asks: SyncSender<Ask>,
    answers: Receiver<io::Result<Head>>,
    is_busy: bool,
}

#[derive(Debug)]
struct Ask {
    file: Arc<File>,
    /// How long the file is.
    bytes: u64,
    head: Head,
}

impl Syncer {
    pub(super) fn start(head_file: HeadFile) -> io::Result<Self> {
        let (asks, asked) = mpsc::sync_channel::<Ask>(1);
        let (answer, answers) = mpsc::sync_channel(1);
        let run = move || {
            for Ask { file, bytes, head } in asked {
                let done = file.sync_data().and_then(|()| head_file.write(head)).map(|()| head);
                give_back(&file, bytes);
                if answer.send(done).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("ledger-sync".into()).spawn(run)?;
        Ok(Self { asks, answers, is_busy: false })
    }

    /// Begins to sync the `bytes` that were written to `file` up to now and end with `head`, unless it is still at it.
    pub(super) fn begin(&mut self, file: &Arc<File>, bytes: u64, head: Head) -> io::Result<()> {
        if !self.is_busy {
            self.asks.send(Ask { file: file.clone(), bytes, head }).map_err(|_| gone())?;
            self.is_busy = true;
        }
        Ok(())
    }

    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// How far the log is on disk, if a sync has ended since the last time.
    pub(super) fn ended(&mut self) -> io::Result<Option<Head>> {
        if !self.is_busy {
            return Ok(None);
        }
        let done = match self.answers.try_recv() {
            Ok(done) => done,
            Err(TryRecvError::Empty) => return Ok(None),
            Err(TryRecvError::Disconnected) => Err(gone()),
        };
        self.is_busy = false;
        done.map(Some)
    }

    /// Syncs, and waits for it.
    pub(super) fn complete(&mut self, file: &Arc<File>, bytes: u64, head: Head) -> io::Result<()> {
        if std::mem::take(&mut self.is_busy) {
            // Whatever came of it, the next one covers it.
            _ = self.answers.recv();
        }
        self.begin(file, bytes, head)?;
        self.is_busy = false;
        self.answers.recv().map_err(|_| gone())?.map(|_| ())
    }
}

/// Lets the system use the memory of what was written long ago for what is written next. A log that only grows would
/// take fresh memory for each page, which on a virtual machine costs many times the write.
fn give_back(file: &File, bytes: u64) {
    let old = i64::try_from(bytes.saturating_sub(CACHED_BYTES)).unwrap_or(0);
    if old > 0 {
        // Without it the memory is given back when somebody else needs it.
        let _ = posix_fadvise(file, 0, old, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that syncs the event log has ended")
}
