//! Admin tokens.

use rusqlite::{Connection, Row};

use crate::control::store::{AdminToken, PAGE_MAX, StoreError};
use crate::domain::{KeyDigest, Timestamp};

pub(super) fn list(db: &Connection) -> Result<Vec<AdminToken>, StoreError> {
    let sql = "SELECT id, name, digest, shown, created_at FROM admin_tokens ORDER BY seq LIMIT ?1";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([PAGE_MAX as i64], admin_token)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn insert(db: &Connection, token: &AdminToken) -> Result<(), StoreError> {
    let sql = "INSERT INTO admin_tokens (id, name, digest, shown, created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
    let created_at = token.created_at.as_micros();
    db.execute(sql, (&token.id, &token.name, token.digest.0, &token.shown, created_at))?;
    Ok(())
}

fn admin_token(row: &Row<'_>) -> rusqlite::Result<AdminToken> {
    Ok(AdminToken {
        id: row.get(0)?,
        name: row.get(1)?,
        digest: KeyDigest(row.get(2)?),
        shown: row.get(3)?,
        created_at: Timestamp::from_micros(row.get(4)?),
    })
}
