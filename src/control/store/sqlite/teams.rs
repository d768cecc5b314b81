//! Teams.

use rusqlite::{Connection, OptionalExtension, Row};

use crate::control::store::{Page, StoreError, Team};
use crate::domain::Timestamp;

pub(super) fn list(db: &Connection, cursor: Option<i64>, limit: usize) -> Result<Page<Team>, StoreError> {
    let sql = "SELECT seq, id, name, created_at FROM teams WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map((cursor.unwrap_or(0), limit as i64), |row| Ok((row.get(0)?, team(row)?)))?;
    Ok(super::keys::page(rows.collect::<Result<_, _>>()?, limit))
}

pub(super) fn find(db: &Connection, id_or_name: &str) -> Result<Option<Team>, StoreError> {
    let sql = "SELECT seq, id, name, created_at FROM teams WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1";
    let mut statement = db.prepare_cached(sql)?;
    Ok(statement.query_row([id_or_name], team).optional()?)
}

pub(super) fn insert(db: &Connection, team: &Team) -> Result<(), StoreError> {
    let mut taken = db.prepare_cached("SELECT 1 FROM teams WHERE name = ?1")?;
    if taken.exists([&team.name])? {
        return Err(StoreError::NameTaken);
    }
    let mut statement = db.prepare_cached("INSERT INTO teams (id, name, created_at) VALUES (?1, ?2, ?3)")?;
    statement.execute((&team.id, &team.name, team.created_at.as_micros()))?;
    Ok(())
}

fn team(row: &Row<'_>) -> rusqlite::Result<Team> {
    Ok(Team { id: row.get(1)?, name: row.get(2)?, created_at: Timestamp::from_micros(row.get(3)?) })
}
