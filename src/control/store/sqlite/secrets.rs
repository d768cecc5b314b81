//! The texts of keys: their digests, how long they are valid, and when they were used.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::control::store::{KeySecret, NotedUse, Rotation, SecretUse, StoreError};
use crate::domain::{KeyDigest, Timestamp};

pub(super) fn insert(db: &Connection, key: i64, secret: &KeySecret) -> Result<(), StoreError> {
    let mut statement = db.prepare_cached(
        "INSERT INTO secrets (id, key, digest, shown, created_at, valid_until, last_used_at, last_client, \
         last_address) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let last = secret.last_use.as_ref();
    statement.execute(params![
        secret.id,
        key,
        secret.digest.0,
        secret.shown,
        secret.created_at.as_micros(),
        secret.valid_until.map(Timestamp::as_micros),
        last.map(|last| last.at.as_micros()),
        last.map(|last| &last.client),
        last.and_then(|last| last.address).map(|address| address.to_string()),
    ])?;
    Ok(())
}

/// False if the key is revoked, or its newest text is another one than expected.
pub(super) fn rotate(db: &Connection, rotation: &Rotation) -> Result<bool, StoreError> {
    let mut newest = db.prepare_cached(
        "SELECT k.seq FROM keys k WHERE k.id = ?1 AND k.revoked_at IS NULL \
         AND (SELECT s.id FROM secrets s WHERE s.key = k.seq ORDER BY s.seq DESC LIMIT 1) = ?2",
    )?;
    let key: Option<i64> = newest.query_row([&rotation.key, &rotation.expected], |row| row.get(0)).optional()?;
    let Some(key) = key else { return Ok(false) };
    let mut end = db.prepare_cached("UPDATE secrets SET valid_until = ?3 WHERE id = ?1 AND key = ?2")?;
    for (id, time) in &rotation.ends {
        end.execute((id, key, time.as_micros()))?;
    }
    let mut forget = db.prepare_cached("DELETE FROM secrets WHERE id = ?1 AND key = ?2")?;
    for id in &rotation.forgotten {
        forget.execute((id, key))?;
    }
    insert(db, key, &rotation.secret)?;
    Ok(true)
}

/// Keeps later uses than are known, in one transaction.
pub(super) fn note_uses(db: &mut Connection, uses: &[NotedUse]) -> Result<(), StoreError> {
    let change = db.transaction()?;
    {
        let mut statement = change.prepare_cached(
            "UPDATE secrets SET last_used_at = ?2, last_client = ?3, last_address = ?4 \
             WHERE digest = ?1 AND (last_used_at IS NULL OR last_used_at < ?2)",
        )?;
        for NotedUse { digest, last_use } in uses {
            let address = last_use.address.map(|address| address.to_string());
            statement.execute((digest.0, last_use.at.as_micros(), last_use.client, address))?;
        }
    }
    Ok(change.commit()?)
}

/// The text whose columns begin at `at`.
pub(super) fn secret(row: &Row<'_>, at: usize) -> rusqlite::Result<KeySecret> {
    let time = |at| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at)?.map(Timestamp::from_micros));
    let last_use = match time(at + 5)? {
        Some(time) => Some(SecretUse {
            at: time,
            client: row.get::<_, Option<String>>(at + 6)?.unwrap_or_default(),
            address: row.get_ref(at + 7)?.as_str_or_null()?.and_then(|address| address.parse().ok()),
        }),
        None => None,
    };
    Ok(KeySecret {
        id: row.get(at)?,
        digest: KeyDigest(row.get(at + 1)?),
        shown: row.get(at + 2)?,
        created_at: Timestamp::from_micros(row.get(at + 3)?),
        valid_until: time(at + 4)?,
        last_use,
    })
}
