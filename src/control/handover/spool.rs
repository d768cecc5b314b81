//! Records of a process that has handed over and cannot reach its successor any more: a file in the data directory, which
//! the next process adopts. It is locked as long as its process lives, and there before anything is in it, so that nobody
//! takes requests for crashed that still run.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::control::ledger::orphans;
use crate::control::store::{EventStore, Group, Part, StoreError, Wait};
use crate::journal::{Event, Phase};

use super::wire::{Passed, line};

const PREFIX: &str = "handover-";
const SUFFIX: &str = ".jsonl";
/// How long a process that has lost its successor may take to end.
const END_PATIENCE: Duration = Duration::from_secs(10);
const END_LOOK: Duration = Duration::from_millis(10);

/// The file of this process.
pub(super) struct Spool {
    path: PathBuf,
    file: File,
    is_used: bool,
}

impl Spool {
    pub(super) fn open(data_dir: &Path) -> io::Result<Self> {
        let path = path(data_dir, std::process::id());
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        file.lock()?;
        file.sync_all()?;
        Ok(Self { path, file, is_used: false })
    }

    pub(super) fn write(&mut self, records: &[Passed]) -> io::Result<()> {
        self.is_used = true;
        let lines: Vec<u8> = records.iter().filter_map(line).flatten().collect();
        self.file.write_all(&lines)?;
        self.file.sync_data()
    }
}

impl Drop for Spool {
    /// Removes the file, if nobody needs it.
    fn drop(&mut self) {
        if !self.is_used {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a process that hands over, or has, still serves.
pub fn is_handed_over(data_dir: &Path) -> bool {
    let mut entries = fs::read_dir(data_dir).into_iter().flatten().flatten();
    entries.any(|entry| is_spool(&entry.path()))
}

fn is_spool(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

fn path(data_dir: &Path, pid: u32) -> PathBuf {
    data_dir.join(format!("{PREFIX}{pid}{SUFFIX}"))
}

/// What the process `pid` could not tell, once it has ended. The file is still there.
pub(super) fn left_by(data_dir: &Path, pid: u32) -> io::Result<Vec<Passed>> {
    match read(&path(data_dir, pid)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

pub(super) fn remove(data_dir: &Path, pid: u32) {
    let _ = fs::remove_file(path(data_dir, pid));
}

/// Appends to `store` what processes other than `but` could not tell. Nobody else writes to it by now.
pub(in crate::control) async fn adopt(
    store: &dyn EventStore,
    data_dir: &Path,
    but: Option<u32>,
) -> Result<(), StoreError> {
    let own = but.map(|pid| path(data_dir, pid));
    for entry in fs::read_dir(data_dir)? {
        let path = entry?.path();
        if !is_spool(&path) || own.as_ref() == Some(&path) {
            continue;
        }
        let records = read(&path)?;
        if !records.is_empty() {
            append(store, &records).await?;
            log::warn!("{} records of a process that had handed over are in the event log now", records.len());
        }
        fs::remove_file(&path)?;
    }
    Ok(())
}

/// Reads a file when its process has ended.
fn read(path: &Path) -> io::Result<Vec<Passed>> {
    let file = File::open(path)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if begun.elapsed() < END_PATIENCE => thread::sleep(END_LOOK),
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other(format!(
                    "a process that handed over still runs, and holds {}: end it",
                    path.display()
                )));
            }
        }
    }
    let mut records = Vec::new();
    for line in BufReader::new(file).lines() {
        match serde_json::from_str(&line?) {
            Ok(passed) => records.push(passed),
            // The process was killed while it wrote.
            Err(error) => log::warn!("a record in {} is not whole: {error}", path.display()),
        }
    }
    Ok(records)
}

async fn append(store: &dyn EventStore, records: &[Passed]) -> Result<(), StoreError> {
    let mut open: HashSet<i64> = store.open_requests().into_iter().collect();
    let mut known = HashMap::new();
    if records.iter().any(|passed| passed.number < 0) {
        // One that came through, though its process did not learn of it, is not written twice.
        for &seq in &open {
            if let Some(event) = orphans::find(store, seq).await? {
                known.insert((event.request_id, event.started_at), seq);
            }
        }
    }
    let mut numbers = HashMap::new();
    let mut group = Group::default();
    group.begin(store.tip() + 1);
    for Passed { number, event, .. } in records {
        let Ok(mut event) = serde_json::from_str::<Event>(event.get()) else { continue };
        event.seq = group.next_seq();
        let part = match (event.phase, event.status) {
            (Phase::Input, Some(_refused)) => Part::Whole,
            (Phase::Input, None) => {
                if let Some(&seq) = known.get(&(event.request_id.clone(), event.started_at)) {
                    numbers.insert(*number, seq);
                    continue;
                }
                numbers.insert(*number, event.seq);
                open.insert(event.seq);
                Part::Opens
            }
            (Phase::Output, _) => {
                let input = numbers.get(number).copied().unwrap_or(*number);
                if !open.remove(&input) {
                    continue;
                }
                event.input_seq = Some(input);
                Part::Closes(input)
            }
        };
        serde_json::to_writer(&mut group.json, &event).map_err(|error| StoreError::Failed(error.into()))?;
        group.add(event.time, part);
    }
    if group.rows.is_empty() { Ok(()) } else { store.append(&group, Wait::Disk) }
}
