//! Teams.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::control::store::{Page, StoreError, Team, TeamRemoval};
use crate::domain::Timestamp;

use super::keys::{limits, limits_text, page, permissions, permissions_text};

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT seq, id, name, created_at, permissions, suspended_at, limits FROM teams ", $rest)
    };
}

pub(super) fn list(db: &Connection, cursor: Option<i64>, limit: usize) -> Result<Page<Team>, StoreError> {
    let mut statement = db.prepare_cached(select!("WHERE seq > ?1 ORDER BY seq LIMIT ?2"))?;
    let rows = statement.query_map((cursor.unwrap_or(0), limit as i64), |row| Ok((row.get(0)?, team(row)?)))?;
    Ok(page(rows.collect::<Result<_, _>>()?, limit))
}

pub(super) fn find(db: &Connection, id_or_name: &str) -> Result<Option<Team>, StoreError> {
    let sql = select!("WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1");
    let mut statement = db.prepare_cached(sql)?;
    Ok(statement.query_row([id_or_name], team).optional()?)
}

pub(super) fn insert(db: &Connection, team: &Team) -> Result<(), StoreError> {
    let mut taken = db.prepare_cached("SELECT 1 FROM teams WHERE name = ?1")?;
    if taken.exists([&team.name])? {
        return Err(StoreError::NameTaken);
    }
    let mut statement = db.prepare_cached(
        "INSERT INTO teams (id, name, created_at, permissions, suspended_at, limits) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    statement.execute(params![
        team.id,
        team.name,
        team.created_at.as_micros(),
        permissions_text(&team.permissions)?,
        team.suspended_at.map(Timestamp::as_micros),
        limits_text(&team.limits)?,
    ])?;
    Ok(())
}

/// Keeps permissions, suspension and limits.
pub(super) fn update(db: &Connection, team: &Team) -> Result<bool, StoreError> {
    let sql = "UPDATE teams SET permissions = ?2, suspended_at = ?3, limits = ?4 WHERE id = ?1";
    let mut statement = db.prepare_cached(sql)?;
    let suspended_at = team.suspended_at.map(Timestamp::as_micros);
    let (permissions, limits) = (permissions_text(&team.permissions)?, limits_text(&team.limits)?);
    Ok(statement.execute(params![team.id, permissions, suspended_at, limits])? > 0)
}

pub(super) fn remove(db: &Connection, id: &str) -> Result<TeamRemoval, StoreError> {
    let count = "SELECT count(*) FROM keys WHERE team_id = ?1 AND revoked_at IS NULL";
    let keys: i64 = db.prepare_cached(count)?.query_row([id], |row| row.get(0))?;
    if keys > 0 {
        return Ok(TeamRemoval::InUse { keys: keys as u64 });
    }
    db.prepare_cached("UPDATE keys SET team_id = NULL WHERE team_id = ?1")?.execute([id])?;
    let removed = db.prepare_cached("DELETE FROM teams WHERE id = ?1")?.execute([id])?;
    Ok(if removed > 0 { TeamRemoval::Removed } else { TeamRemoval::Unknown })
}

fn team(row: &Row<'_>) -> rusqlite::Result<Team> {
    Ok(Team {
        id: row.get(1)?,
        name: row.get(2)?,
        created_at: Timestamp::from_micros(row.get(3)?),
        permissions: permissions(row, 4)?,
        limits: limits(row, 6)?,
        suspended_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_micros),
    })
}
