//! Admin tokens.

use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::control::store::{AdminRole, AdminToken, AdminTokenRemoval, PAGE_MAX, StoreError};
use crate::domain::{KeyDigest, Timestamp};

pub(super) fn list(db: &Connection) -> Result<Vec<AdminToken>, StoreError> {
    let sql = "SELECT id, name, digest, shown, created_at, role FROM admin_tokens ORDER BY seq LIMIT ?1";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([PAGE_MAX as i64], admin_token)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn insert(db: &Connection, token: &AdminToken) -> Result<(), StoreError> {
    let mut taken = db.prepare_cached("SELECT 1 FROM admin_tokens WHERE name = ?1")?;
    if taken.exists([&token.name])? {
        return Err(StoreError::NameTaken);
    }
    let sql = "INSERT INTO admin_tokens (id, name, digest, shown, created_at, role) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let created_at = token.created_at.as_micros();
    db.execute(sql, (&token.id, &token.name, token.digest.0, &token.shown, created_at, token.role.label()))?;
    Ok(())
}

pub(super) fn remove(db: &Connection, id: &str) -> Result<AdminTokenRemoval, StoreError> {
    let role = "SELECT role FROM admin_tokens WHERE id = ?1";
    let role: Option<String> = db.query_row(role, [id], |row| row.get(0)).optional()?;
    let Some(role) = role else { return Ok(AdminTokenRemoval::Unknown) };
    let admins = "SELECT count(*) FROM admin_tokens WHERE role = 'admin'";
    let admins: i64 = db.query_row(admins, [], |row| row.get(0))?;
    if role == AdminRole::Admin.label() && admins == 1 {
        return Ok(AdminTokenRemoval::Last);
    }
    db.execute("DELETE FROM admin_tokens WHERE id = ?1", [id])?;
    Ok(AdminTokenRemoval::Removed)
}

fn admin_token(row: &Row<'_>) -> rusqlite::Result<AdminToken> {
    let role = row.get_ref(5)?.as_str()?;
    let role = AdminRole::ALL.into_iter().find(|known| known.label() == role);
    let unknown = || rusqlite::Error::FromSqlConversionFailure(5, Type::Text, FromSqlError::InvalidType.into());
    Ok(AdminToken {
        id: row.get(0)?,
        name: row.get(1)?,
        digest: KeyDigest(row.get(2)?),
        shown: row.get(3)?,
        created_at: Timestamp::from_micros(row.get(4)?),
        role: role.ok_or_else(unknown)?,
    })
}
