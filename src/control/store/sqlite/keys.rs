//! Access and gateway keys.

use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, Params, Row, params};

use crate::control::store::{Key, KeyQuery, Page, Revocation, StoreError, TeamRef, is_key_id};
use crate::domain::{KeyKind, KeyStanding, Limits, Permissions, Timestamp};

use super::secrets;

/// Keys by a condition, with all their texts: a row for each text.
macro_rules! select {
    ($which:literal) => {
        concat!(
            "SELECT k.seq, k.id, k.kind, k.name, t.id, t.name, k.permissions, k.created_at, k.expires_at, ",
            "k.revoked_at, k.revoke_reason, k.limits, s.id, s.digest, s.shown, s.created_at, s.valid_until, ",
            "s.last_used_at, s.last_client, s.last_address ",
            "FROM (SELECT * FROM keys k ",
            $which,
            ") k LEFT JOIN teams t ON t.id = k.team_id JOIN secrets s ON s.key = k.seq ORDER BY k.seq, s.seq"
        )
    };
}

/// Where the columns of a text begin.
const SECRET: usize = 12;

pub(super) fn list(db: &Connection, query: &KeyQuery) -> Result<Page<Key>, StoreError> {
    // The order of the cases is that of `KeyStanding::ALL`.
    let sql = select!(
        "WHERE k.seq > ?1 AND (?2 IS NULL OR k.kind = ?2) AND (?3 IS NULL OR (k.revoked_at IS NOT NULL) = ?3) \
         AND (?4 IS NULL OR k.team_id = ?4) \
         AND (?5 IS NULL OR ?5 = CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' \
             WHEN k.expires_at <= ?6 THEN 'expired' WHEN k.expires_at <= ?7 THEN 'expiring' \
             WHEN EXISTS (SELECT 1 FROM secrets s WHERE s.key = k.seq AND s.valid_until > ?6) THEN 'rotated' \
             ELSE 'active' END) \
         AND (?8 IS NULL OR (k.created_at < ?8 \
             AND NOT EXISTS (SELECT 1 FROM secrets s WHERE s.key = k.seq AND s.last_used_at >= ?8))) \
         ORDER BY k.seq LIMIT ?9"
    );
    let (standing, now) = query.standing.unzip();
    let expiring = now.map(|now: Timestamp| now.saturating_add(KeyStanding::EXPIRING_WITHIN));
    let wanted = params![
        query.cursor.unwrap_or(0),
        query.kind.map(KeyKind::label),
        query.revoked,
        query.team,
        standing.map(KeyStanding::label),
        now.map(Timestamp::as_micros),
        expiring.map(Timestamp::as_micros),
        query.unused_since.map(Timestamp::as_micros),
        query.limit as i64,
    ];
    Ok(page(read(db, sql, wanted)?, query.limit))
}

pub(super) fn find(db: &Connection, id_or_name: &str) -> Result<Option<Key>, StoreError> {
    let sql = if is_key_id(id_or_name) {
        select!("WHERE k.id = ?1")
    } else {
        select!("WHERE k.name = ?1 ORDER BY k.revoked_at IS NOT NULL, k.seq DESC LIMIT 1")
    };
    Ok(read(db, sql, [id_or_name])?.pop().map(|(_, key)| key))
}

pub(super) fn insert(db: &Connection, key: &Key) -> Result<(), StoreError> {
    refuse_taken_name(db, key)?;
    let mut statement = db.prepare_cached(
        "INSERT INTO keys (id, kind, name, team_id, permissions, created_at, expires_at, revoked_at, revoke_reason, \
         limits) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let seq = statement.insert(params![
        key.id,
        key.kind.label(),
        key.name,
        key.team.as_ref().map(|team| &team.id),
        permissions_text(&key.permissions)?,
        key.created_at.as_micros(),
        key.expires_at.map(Timestamp::as_micros),
        key.revocation.as_ref().map(|revocation| revocation.time.as_micros()),
        key.revocation.as_ref().and_then(|revocation| revocation.reason.as_ref()),
        limits_text(&key.limits)?,
    ])?;
    key.secrets.iter().try_for_each(|secret| secrets::insert(db, seq, secret))
}

/// Keeps name, team, expiry, permissions and limits.
pub(super) fn update(db: &Connection, key: &Key) -> Result<bool, StoreError> {
    refuse_taken_name(db, key)?;
    let mut statement = db.prepare_cached(
        "UPDATE keys SET name = ?2, team_id = ?3, permissions = ?4, expires_at = ?5, limits = ?6 \
         WHERE id = ?1 AND revoked_at IS NULL",
    )?;
    let changed = statement.execute(params![
        key.id,
        key.name,
        key.team.as_ref().map(|team| &team.id),
        permissions_text(&key.permissions)?,
        key.expires_at.map(Timestamp::as_micros),
        limits_text(&key.limits)?,
    ])?;
    Ok(changed > 0)
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

/// Permissions as they are kept: nothing where nothing is restricted.
pub(super) fn permissions_text(permissions: &Permissions) -> Result<Option<String>, StoreError> {
    if permissions.allow_all() {
        return Ok(None);
    }
    serde_json::to_string(permissions).map(Some).map_err(|error| StoreError::Failed(error.into()))
}

/// Permissions in column `at`.
pub(super) fn permissions(row: &Row<'_>, at: usize) -> rusqlite::Result<Permissions> {
    match row.get_ref(at)?.as_str_or_null()? {
        None => Ok(Permissions::default()),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, error.into())),
    }
}

/// Limits as they are kept: nothing where nothing is limited.
pub(super) fn limits_text(limits: &Limits) -> Result<Option<String>, StoreError> {
    if limits.limit_nothing() {
        return Ok(None);
    }
    serde_json::to_string(limits).map(Some).map_err(|error| StoreError::Failed(error.into()))
}

/// Limits in column `at`.
pub(super) fn limits(row: &Row<'_>, at: usize) -> rusqlite::Result<Limits> {
    match row.get_ref(at)?.as_str_or_null()? {
        None => Ok(Limits::default()),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, error.into())),
    }
}

fn refuse_taken_name(db: &Connection, key: &Key) -> Result<(), StoreError> {
    let mut taken = db.prepare_cached("SELECT 1 FROM keys WHERE name = ?1 AND revoked_at IS NULL AND id <> ?2")?;
    if taken.exists([&key.name, &key.id])? { Err(StoreError::NameTaken) } else { Ok(()) }
}

/// Keys in order, each with its sequence number and all its texts.
fn read(db: &Connection, sql: &str, wanted: impl Params) -> Result<Vec<(i64, Key)>, StoreError> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(wanted)?;
    let mut keys: Vec<(i64, Key)> = Vec::new();
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        let secret = secrets::secret(row, SECRET)?;
        match keys.last_mut() {
            Some((known, key)) if *known == seq => key.secrets.push(secret),
            _ => keys.push((seq, Key { secrets: vec![secret], ..key(row)? })),
        }
    }
    Ok(keys)
}

/// The key of a row, without its texts.
fn key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let time = |at| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at)?.map(Timestamp::from_micros));
    let kind = row.get_ref(2)?.as_str()?;
    let kind = KeyKind::ALL.into_iter().find(|known| known.label() == kind);
    let unknown = || rusqlite::Error::FromSqlConversionFailure(2, Type::Text, FromSqlError::InvalidType.into());
    let team = match row.get::<_, Option<String>>(4)? {
        Some(id) => Some(TeamRef { id, name: row.get(5)? }),
        None => None,
    };
    let reason: Option<String> = row.get(10)?;
    Ok(Key {
        id: row.get(1)?,
        kind: kind.ok_or_else(unknown)?,
        name: row.get(3)?,
        team,
        permissions: permissions(row, 6)?,
        limits: limits(row, 11)?,
        secrets: Vec::new(),
        created_at: Timestamp::from_micros(row.get(7)?),
        expires_at: time(8)?,
        revocation: time(9)?.map(|time| Revocation { time, reason }),
    })
}
