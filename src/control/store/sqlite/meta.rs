//! Facts about the installation.

use rusqlite::{Connection, OptionalExtension};

use crate::control::store::StoreError;
use crate::domain::KeyDigest;

const PEPPER_CHECK: &str = "pepper_check";

pub(super) fn pepper_check(db: &Connection) -> Result<Option<KeyDigest>, StoreError> {
    let mut statement = db.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    Ok(statement.query_row([PEPPER_CHECK], |row| row.get(0).map(KeyDigest)).optional()?)
}

pub(super) fn keep_pepper_check(db: &Connection, check: &KeyDigest) -> Result<(), StoreError> {
    db.execute("INSERT INTO meta (name, value) VALUES (?1, ?2)", (PEPPER_CHECK, check.0))?;
    Ok(())
}
