//! Room on the disk that is kept for changes: also when the disk is full, a key can be revoked.
//!
//! SQLite writes a change to its log file, from the beginning or behind its end, before anything else. So much of the disk
//! behind the end is kept for it, and no other file can take it. Whoever adds something makes sure first that all of it is
//! there; what is left of a full disk goes to those who take away.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::control::data_dir::{keep_room, private_file};
use crate::control::store::StoreError;

use super::open;

/// Hundreds of changes one by one, thousands at once. With it the log stays within what its index has room for
/// (16 MiB), so that the index need not grow.
const BYTES: u64 = 8 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Reserve {
    log: File,
    /// The file system knows no such thing.
    is_vain: AtomicBool,
}

impl Reserve {
    /// For the database of keys, which must be open.
    pub(super) fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let path = open::keys_log(data_dir);
        let log = private_file(&path).map_err(|error| StoreError::at(&path, error))?;
        let reserve = Self { log, is_vain: AtomicBool::new(false) };
        if let Err(error) = reserve.fill() {
            log::warn!("no room on the disk could be kept for revocations, which need it when it is full: {error}");
        }
        Ok(reserve)
    }

    /// Keeps as much room as there should be, if the disk has it.
    pub(super) fn fill(&self) -> Result<(), StoreError> {
        if self.is_vain.load(Ordering::Relaxed) {
            return Ok(());
        }
        let keep = || keep_room(&self.log, self.log.metadata()?.len(), BYTES);
        keep().map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull,
            kind => {
                self.is_vain.store(kind == io::ErrorKind::Unsupported, Ordering::Relaxed);
                StoreError::Failed(error.into())
            }
        })
    }
}
