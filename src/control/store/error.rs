//! Why a store did not do as asked.

use std::error::Error;
use std::fmt;
use std::path::Path;

/// Why the store did not do as asked.
#[derive(Debug)]
pub enum StoreError {
    /// Something live has the name already.
    NameTaken,
    /// The database was made by a newer version of this program.
    Newer { found: i64, known: i64 },
    /// Nothing can be added, because the disk is full; what is there can still be changed.
    DiskFull,
    /// The database, its disk or its thread failed.
    Failed(Box<dyn Error + Send + Sync>),
}

impl StoreError {
    pub(super) fn at(path: &Path, error: std::io::Error) -> Self {
        Self::Failed(format!("{}: {error}", path.display()).into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameTaken => f.write_str("the name is taken"),
            Self::Newer { found, known } => write!(
                f,
                "it was made by a newer version of this program (schema {found}, this program knows up to {known})"
            ),
            Self::DiskFull => f.write_str(
                "the disk is full: make room for new things; what is left is for revocations and other changes of what \
                 there is",
            ),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl Error for StoreError {}
