//! Opening the databases: private files, what SQLite is told, and the schema.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::control::data_dir::private_file;
use crate::control::store::StoreError;

const KEYS_FILE: &str = "keeptrusts.db";
const USAGE_FILE: &str = "usage.db";

/// Each text brings the schema one version up. They are never changed once released, only added to.
const KEYS_SCHEMA: [&str; 3] = [include_str!("keys_1.sql"), include_str!("keys_2.sql"), include_str!("keys_3.sql")];
const USAGE_SCHEMA: [&str; 1] = [include_str!("usage_1.sql")];

/// How long a connection waits for another one, such as an operator's `sqlite3`, before it fails.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);
/// What a log file is cut back to after a checkpoint.
const LOG_BYTES_KEPT: i64 = 16 * 1024 * 1024;

/// `keeptrusts.db`, for reading and writing.
pub(super) fn keys(data_dir: &Path) -> Result<Connection, StoreError> {
    let path = data_dir.join(KEYS_FILE);
    open(&path, "FULL", &KEYS_SCHEMA).map_err(|error| explained(error, &path, "restore it from a backup"))
}

/// Where SQLite writes changes of `keeptrusts.db` first.
pub(super) fn keys_log(data_dir: &Path) -> PathBuf {
    data_dir.join(KEYS_FILE).with_extension("db-wal")
}

/// `usage.db`, for reading and writing.
pub(super) fn usage(data_dir: &Path) -> Result<Connection, StoreError> {
    let path = data_dir.join(USAGE_FILE);
    let remedy = "remove it with what begins with its name; it is made anew from the events";
    open(&path, "NORMAL", &USAGE_SCHEMA).map_err(|error| explained(error, &path, remedy))
}

/// `usage.db`, for reading.
pub(super) fn usage_for_reading(data_dir: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(data_dir.join(USAGE_FILE), flags)?;
    db.busy_timeout(BUSY_TIME_MAX)?;
    Ok(db)
}

fn open(path: &Path, synchronous: &str, schema: &[&str]) -> Result<Connection, StoreError> {
    let mut db = writable(path, synchronous)?;
    migrate(&mut db, schema)?;
    Ok(db)
}

/// Which file it is and, if it is damaged, what to do.
fn explained(error: StoreError, path: &Path, remedy: &str) -> StoreError {
    let StoreError::Failed(cause) = error else { return error };
    let code = cause.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    let is_damaged = matches!(code, Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt));
    let remedy = if is_damaged { format!(": {remedy}") } else { String::new() };
    StoreError::Failed(format!("{}: {cause}{remedy}", path.display()).into())
}

fn writable(path: &Path, synchronous: &str) -> Result<Connection, StoreError> {
    // SQLite would make the file with the umask's mode; its log files inherit this one.
    private_file(path).map_err(|error| StoreError::Failed(error.into()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_TIME_MAX)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", synchronous)?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    Ok(db)
}

/// Brings the schema up to date, one version a transaction.
fn migrate(db: &mut Connection, versions: &[&str]) -> Result<(), StoreError> {
    let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = versions.len() as i64;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (version, schema) in (1i64..).zip(versions).skip(usize::try_from(found).unwrap_or(0)) {
        let change = db.transaction()?;
        change.execute_batch(schema)?;
        change.pragma_update(None, "user_version", version)?;
        change.commit()?;
    }
    Ok(())
}
