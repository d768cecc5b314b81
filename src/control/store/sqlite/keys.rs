//! Access and gateway keys.

use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::control::store::{Key, KeyQuery, Page, Revocation, StoreError, TeamRef, is_key_id};
use crate::domain::{KeyDigest, KeyKind, Timestamp};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT k.seq, k.id, k.kind, k.name, t.id, t.name, k.digest, k.shown, k.created_at, k.expires_at, ",
            "k.revoked_at, k.revoke_reason FROM keys k LEFT JOIN teams t ON t.id = k.team_id ",
            $rest
        )
    };
}

pub(super) fn list(db: &Connection, query: &KeyQuery) -> Result<Page<Key>, StoreError> {
    let sql = select!(
        "WHERE k.seq > ?1 AND (?2 IS NULL OR k.kind = ?2) AND (?3 IS NULL OR (k.revoked_at IS NOT NULL) = ?3) \
         ORDER BY k.seq LIMIT ?4"
    );
    let mut statement = db.prepare_cached(sql)?;
    let kind = query.kind.map(KeyKind::label);
    let wanted = params![query.cursor.unwrap_or(0), kind, query.revoked, query.limit as i64];
    let rows = statement.query_map(wanted, |row| Ok((row.get(0)?, key(row)?)))?;
    Ok(page(rows.collect::<Result<_, _>>()?, query.limit))
}

pub(super) fn find(db: &Connection, id_or_name: &str) -> Result<Option<Key>, StoreError> {
    let sql = if is_key_id(id_or_name) {
        select!("WHERE k.id = ?1")
    } else {
        select!("WHERE k.name = ?1 ORDER BY k.revoked_at IS NOT NULL, k.seq DESC LIMIT 1")
    };
    let mut statement = db.prepare_cached(sql)?;
    Ok(statement.query_row([id_or_name], key).optional()?)
}

pub(super) fn insert(db: &Connection, key: &Key) -> Result<(), StoreError> {
    let mut taken = db.prepare_cached("SELECT 1 FROM keys WHERE name = ?1 AND revoked_at IS NULL")?;
    if taken.exists([&key.name])? {
        return Err(StoreError::NameTaken);
    }
    let mut statement = db.prepare_cached(
        "INSERT INTO keys (id, kind, name, team_id, digest, shown, created_at, expires_at, revoked_at, revoke_reason) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    statement.execute(params![
        key.id,
        key.kind.label(),
        key.name,
        key.team.as_ref().map(|team| &team.id),
        key.digest.0,
        key.shown,
        key.created_at.as_micros(),
        key.expires_at.map(Timestamp::as_micros),
        key.revocation.as_ref().map(|revocation| revocation.time.as_micros()),
        key.revocation.as_ref().and_then(|revocation| revocation.reason.as_ref()),
    ])?;
    Ok(())
}

pub(super) fn revoke(db: &Connection, id: &str, revocation: &Revocation) -> Result<bool, StoreError> {
    let sql = "UPDATE keys SET revoked_at = ?2, revoke_reason = ?3 WHERE id = ?1 AND revoked_at IS NULL";
    let mut statement = db.prepare_cached(sql)?;
    let changed = statement.execute((id, revocation.time.as_micros(), &revocation.reason))?;
    Ok(changed > 0)
}

/// A page of rows that were asked for by `limit`; a full one may have a successor.
pub(super) fn page<T>(rows: Vec<(i64, T)>, limit: usize) -> Page<T> {
    let next = rows.last().filter(|_| rows.len() == limit).map(|(seq, _)| *seq);
    Page { items: rows.into_iter().map(|(_, item)| item).collect(), next }
}

fn key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let time = |at| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at)?.map(Timestamp::from_micros));
    let kind: String = row.get(2)?;
    let kind = KeyKind::ALL.into_iter().find(|known| known.label() == kind);
    let unknown = || rusqlite::Error::FromSqlConversionFailure(2, Type::Text, FromSqlError::InvalidType.into());
    let team = match row.get::<_, Option<String>>(4)? {
        Some(id) => Some(TeamRef { id, name: row.get(5)? }),
        None => None,
    };
    let reason: Option<String> = row.get(11)?;
    Ok(Key {
        id: row.get(1)?,
        kind: kind.ok_or_else(unknown)?,
        name: row.get(3)?,
        team,
        digest: KeyDigest(row.get(6)?),
        shown: row.get(7)?,
        created_at: Timestamp::from_micros(row.get(8)?),
        expires_at: time(9)?,
        revocation: time(10)?.map(|time| Revocation { time, reason }),
    })
}
