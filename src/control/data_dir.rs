//! The directory everything durable lives in, for one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fmt, io};

use nix::fcntl::{FallocateFlags, fallocate};

const LOCK_FILE: &str = "lock";

/// A data directory that belongs to this process until the value is dropped.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    // The kernel gives the lock back when the process ends, however it ends.
    lock: File,
}

/// Why a directory cannot be used.
#[derive(Debug)]
pub enum DataDirError {
    Io {
        path: PathBuf,
        error: io::Error,
    },
    /// Others could replace the files in it.
    Writable {
        path: PathBuf,
        mode: u32,
    },
    InUse(PathBuf),
    /// There is something else.
    NoDirectory(PathBuf),
}

impl DataDir {
    /// Makes the directory if need be (mode 0700) and takes it for this process. An existing directory keeps
    /// its mode, because it may serve others too; every file made in it is private by its own mode.
    pub(super) fn open(path: &Path) -> Result<Self, DataDirError> {
        let in_path = |error| DataDirError::Io { path: path.into(), error };
        if path.exists() && !path.is_dir() {
            return Err(DataDirError::NoDirectory(path.into()));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(in_path)?;
        let mode = fs::metadata(path).map_err(in_path)?.permissions().mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(DataDirError::Writable { path: path.into(), mode });
        }
        if let Some((owner, myself)) = strangers(path) {
            log::warn!(
                "the data directory {} belongs to user {owner} and this process is user {myself}, whose files the owner \
                 may be unable to open: start the gateway as user {owner}",
                path.display()
            );
        }
        let lock = private_file(&path.join(LOCK_FILE)).map_err(in_path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.into(), lock }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path.into())),
            Err(TryLockError::Error(error)) => Err(in_path(error)),
        }
    }

    /// Gives the directory to another process. Nothing in it may be written any more.
    pub(super) fn release(&self) -> io::Result<()> {
        self.lock.unlock()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The users who a directory belongs to and who this process is, if they are two.
fn strangers(path: &Path) -> Option<(u32, u32)> {
    let owner = |path: &Path| Some(fs::metadata(path).ok()?.uid());
    let (owner, myself) = (owner(path)?, owner(Path::new("/proc/self"))?);
    (owner != myself).then_some((owner, myself))
}

/// Opens a file for writing that only its owner can read, whatever the umask; makes it if need be.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Keeps `bytes` of the disk for what will be written to `file` from `at` on. Its length stays, and so does what is there.
/// Not every file system can.
pub(super) fn keep_room(file: &File, at: u64, bytes: u64) -> io::Result<()> {
    let (at, bytes) = (i64::try_from(at), i64::try_from(bytes));
    let (Ok(at), Ok(bytes)) = (at, bytes) else { return Err(io::ErrorKind::FileTooLarge.into()) };
    Ok(fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, at, bytes)?)
}

impl fmt::Display for DataDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => {
                write!(f, "failed to use the data directory {}: {error}", path.display())?;
                match strangers(path) {
                    Some((owner, myself)) if error.kind() == io::ErrorKind::PermissionDenied => {
                        write!(f, "; it belongs to user {owner}, and this process is user {myself}")
                    }
                    _ => Ok(()),
                }
            }
            Self::NoDirectory(path) => {
                write!(f, "{} is no directory: choose another one with --data-dir, or move it away", path.display())
            }
            Self::Writable { path, mode } => write!(
                f,
                "others can write to the data directory {0} (mode {mode:04o}): run `chmod go-w {0}`, or choose \
                 another one with --data-dir",
                path.display()
            ),
            Self::InUse(path) => write!(
                f,
                "another gateway is running on the data directory {}: stop it, or choose another one with --data-dir",
                path.display()
            ),
        }
    }
}

impl std::error::Error for DataDirError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_and_has_one_owner() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("made/by/us");
        let owner = DataDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(matches!(DataDir::open(&path), Err(DataDirError::InUse(_))));
        drop(owner);
        assert!(DataDir::open(&path).is_ok());
    }

    #[test]
    fn what_is_no_directory_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        fs::write(&path, "").unwrap();
        assert!(matches!(DataDir::open(&path), Err(DataDirError::NoDirectory(_))));
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = DataDir::open(temp.path()).unwrap_err();
        assert!(error.to_string().contains("chmod go-w"), "{error}");
    }
}
