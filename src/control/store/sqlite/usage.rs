//! `usage.db`: sums of usage, in a database of its own.
//!
//! Apart from the keys, because what is derived must not make what is precious wait for the disk; and because a
//! file that can be made again may also be deleted. A commit survives the end of the process; after a power cut
//! the sums may be behind the event log, and catch up.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params, params_from_iter};
use uuid::Uuid;

use crate::control::data_dir::DataDir;
use crate::control::store::StoreError;
use crate::control::store::usage::{
    Batch, Checkpoint, DAY_SECONDS, Dimension, Progress, Series, SumFilter, SumQuery, SumRow, Sums, UsageStore,
};
use crate::domain::Timestamp;

use super::open;
use super::worker::Worker;

/// The embedded store of usage sums.
pub(crate) struct SqliteUsage {
    writing: Worker,
    reading: Worker,
    // Nobody else may open the database while it is in use.
    _data_dir: Arc<DataDir>,
}

impl SqliteUsage {
    /// Opens the database, or makes it, and brings it to the present schema.
    pub(crate) fn open(data_dir: Arc<DataDir>) -> Result<Self, StoreError> {
        let writing = Worker::start("usage-write", open::usage(data_dir.path())?)?;
        let reading = Worker::start("usage-read", open::usage_for_reading(data_dir.path())?)?;
        Ok(Self { writing, reading, _data_dir: data_dir })
    }
}

#[async_trait]
impl UsageStore for SqliteUsage {
    async fn progress(&self) -> Result<Progress, StoreError> {
        self.writing.call(|db| progress(db)).await
    }

    async fn add(&self, batch: Arc<Batch>) -> Result<(), StoreError> {
        self.writing.call(move |db| add(db, &batch)).await
    }

    async fn restart(&self, from: Option<Timestamp>) -> Result<(), StoreError> {
        self.writing.call(move |db| restart(db, from.map(seconds))).await
    }

    async fn join_a_day(&self, before: Timestamp) -> Result<bool, StoreError> {
        self.writing.call(move |db| join_a_day(db, seconds(before))).await
    }

    async fn forget(&self, before: Timestamp) -> Result<(), StoreError> {
        self.writing.call(move |db| forget(db, seconds(before))).await
    }

    async fn sums(&self, query: SumQuery) -> Result<Vec<SumRow>, StoreError> {
        self.reading.call(move |db| sums(db, &query)).await
    }

    async fn models(&self) -> Result<Vec<String>, StoreError> {
        self.reading.call(|db| models(db)).await
    }
}

fn progress(db: &Connection) -> Result<Progress, StoreError> {
    let row = |row: &Row<'_>| {
        let (seq, event): (Option<i64>, Option<[u8; 16]>) = (row.get(0)?, row.get(1)?);
        let through = seq.zip(event).map(|(seq, event)| Checkpoint { seq, event: Uuid::from_bytes(event) });
        Ok(Progress { through, kept_before: moment(row.get(2)?), days_before: moment(row.get(3)?) })
    };
    Ok(db.query_row("SELECT seq, event, kept_before, days_before FROM progress", [], row)?)
}

fn add(db: &mut Connection, batch: &Batch) -> Result<(), StoreError> {
    let change = db.transaction()?;
    if progress(&change)?.through == Some(batch.through) {
        return Ok(());
    }
    for ((time, series), sums) in &batch.sums {
        let series = series_id(&change, series)?;
        add_one(&change, *time, series, sums)?;
    }
    for (key, name) in &batch.names {
        let sql = "INSERT OR REPLACE INTO key_names (key_id, name) VALUES (?1, ?2)";
        change.prepare_cached(sql)?.execute(params![key, name])?;
    }
    let Checkpoint { seq, event } = batch.through;
    change.execute("UPDATE progress SET seq = ?1, event = ?2", params![seq, event.as_bytes()])?;
    Ok(change.commit()?)
}

/// Adds to what is there; at the largest number it stays there.
fn add_one(db: &Connection, time: i64, series: i64, sums: &Sums) -> Result<(), StoreError> {
    let names = Sums::NAMES.join(", ");
    let marks = ["?"; Sums::NAMES.len()].join(", ");
    let added =
        Sums::NAMES.map(|name| format!("{name} = min({name}, {} - excluded.{name}) + excluded.{name}", i64::MAX));
    let sql = format!(
        "INSERT INTO sums (time, series, {names}) VALUES (?, ?, {marks}) ON CONFLICT (time, series) DO UPDATE SET {}",
        added.join(", ")
    );
    let figures = sums.figures().map(|figure| i64::try_from(figure).unwrap_or(i64::MAX));
    db.prepare_cached(&sql)?.execute(params_from_iter([time, series].into_iter().chain(figures)))?;
    Ok(())
}

fn series_id(db: &Connection, series: &Series) -> Result<i64, StoreError> {
    let Series { key, team, organization, provider, model } = series;
    let values = params![key, team, organization, provider, model];
    let find = "SELECT id FROM series WHERE key_id = ?1 AND team = ?2 AND organization = ?3 AND provider = ?4 \
                AND model = ?5";
    if let Some(id) = db.prepare_cached(find)?.query_row(values, |row| row.get(0)).optional()? {
        return Ok(id);
    }
    let insert = "INSERT INTO series (key_id, team, organization, provider, model) VALUES (?1, ?2, ?3, ?4, ?5)";
    db.prepare_cached(insert)?.execute(values)?;
    Ok(db.last_insert_rowid())
}

fn restart(db: &mut Connection, from: Option<i64>) -> Result<(), StoreError> {
    let change = db.transaction()?;
    change.execute("UPDATE progress SET seq = NULL, event = NULL, kept_before = ?1", [from.unwrap_or(0)])?;
    if let Some(from) = from {
        change.execute("DELETE FROM sums WHERE time >= ?1", [from])?;
        change.execute("UPDATE progress SET days_before = min(days_before, ?1)", [day_of(from)])?;
    }
    Ok(change.commit()?)
}

fn join_a_day(db: &mut Connection, before: i64) -> Result<bool, StoreError> {
    let change = db.transaction()?;
    let first = "SELECT min(time) FROM sums WHERE time >= (SELECT days_before FROM progress)";
    let first: Option<i64> = change.query_row(first, [], |row| row.get(0))?;
    let day = first.map(day_of).filter(|day| day + DAY_SECONDS <= before);
    if let Some(day) = day {
        let sql = format!("SELECT series, {} FROM sums WHERE time >= ?1 AND time < ?2 GROUP BY series", summed());
        let range = [day, day + DAY_SECONDS];
        let joined = change
            .prepare_cached(&sql)?
            .query_map(range, |row| Ok((row.get::<_, i64>(0)?, figures(row, 1)?)))?
            .collect::<Result<Vec<_>, _>>()?;
        change.execute("DELETE FROM sums WHERE time >= ?1 AND time < ?2", range)?;
        for (series, sums) in joined {
            add_one(&change, day, series, &sums)?;
        }
    }
    let days_before = day.map_or(day_of(before), |day| day + DAY_SECONDS);
    change.execute("UPDATE progress SET days_before = max(days_before, ?1)", [days_before])?;
    change.commit()?;
    Ok(day.is_some())
}

fn forget(db: &mut Connection, before: i64) -> Result<(), StoreError> {
    let change = db.transaction()?;
    let forgotten = change.execute("DELETE FROM sums WHERE time < ?1", [before])?;
    if forgotten > 0 {
        change.execute("DELETE FROM series WHERE id NOT IN (SELECT series FROM sums)", [])?;
        change.execute("DELETE FROM key_names WHERE key_id NOT IN (SELECT key_id FROM series)", [])?;
    }
    Ok(change.commit()?)
}

fn models(db: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = db.prepare_cached("SELECT DISTINCT model FROM series")?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn sums(db: &Connection, query: &SumQuery) -> Result<Vec<SumRow>, StoreError> {
    let column = |dimension: &Dimension| match dimension {
        Dimension::Time => "time",
        Dimension::Key => "key_id",
        Dimension::Team => "team",
        Dimension::Organization => "organization",
        Dimension::Provider => "provider",
        Dimension::Model => "model",
    };
    let all = [
        Dimension::Time,
        Dimension::Key,
        Dimension::Team,
        Dimension::Organization,
        Dimension::Provider,
        Dimension::Model,
    ];
    let shown = all.map(|dimension| match query.by.contains(&dimension) {
        true => column(&dimension),
        false if dimension == Dimension::Time => "0",
        false => "''",
    });
    let group = query.by.iter().map(column).collect::<Vec<_>>().join(", ");
    let group = if group.is_empty() { String::new() } else { format!(" GROUP BY {group} ORDER BY {group}") };
    let name = match query.by.contains(&Dimension::Key) {
        true => "coalesce((SELECT name FROM key_names WHERE key_names.key_id = series.key_id), '')",
        false => "''",
    };
    let (conditions, values) = conditions(query);
    let sql = format!(
        "SELECT {}, {name}, {} FROM sums JOIN series ON series.id = sums.series WHERE TRUE{conditions}{group} LIMIT {}",
        shown.join(", "),
        summed(),
        query.limit
    );
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(&values), row)?.collect::<Result<Vec<_>, _>>()?;
    // Without anything to group by, SQL answers with a row of nothing.
    Ok(rows.into_iter().filter(|row| row.sums != Sums::default()).collect())
}

fn conditions(query: &SumQuery) -> (String, Vec<Box<dyn ToSql>>) {
    let mut conditions = String::new();
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    for (condition, time) in [(" AND time >= ?", query.since), (" AND time < ?", query.until)] {
        if let Some(time) = time {
            conditions.push_str(condition);
            values.push(Box::new(seconds(time)));
        }
    }
    let SumFilter { key, team, organization, provider, model } = &query.filter;
    if let Some(key) = key {
        conditions.push_str(" AND (key_id = ? OR key_id IN (SELECT key_id FROM key_names WHERE name = ?))");
        values.extend([Box::new(key.clone()) as Box<dyn ToSql>, Box::new(key.clone())]);
    }
    for (condition, value) in [
        (" AND team = ?", team),
        (" AND organization = ?", organization),
        (" AND provider = ?", provider),
        (" AND model = ?", model),
    ] {
        if let Some(value) = value {
            conditions.push_str(condition);
            values.push(Box::new(value.clone()));
        }
    }
    (conditions, values)
}

fn row(row: &Row<'_>) -> rusqlite::Result<SumRow> {
    let series = Series {
        key: row.get(1)?,
        team: row.get(2)?,
        organization: row.get(3)?,
        provider: row.get(4)?,
        model: row.get(5)?,
    };
    Ok(SumRow { time: row.get(0)?, series, key_name: row.get(6)?, sums: figures(row, 7)? })
}

/// Each figure's sum in two halves, its upper bits and its lower ones, because SQLite's own sum can overflow.
fn summed() -> String {
    Sums::NAMES.map(|name| format!("sum({name} >> 32), sum({name} & 4294967295)")).join(", ")
}

/// What [`summed`] asked for, from column `first` on.
fn figures(row: &Row<'_>, first: usize) -> rusqlite::Result<Sums> {
    let mut figures = [0; Sums::NAMES.len()];
    for (at, figure) in figures.iter_mut().enumerate() {
        let half = |half| row.get::<_, Option<i64>>(first + 2 * at + half).map(|half| half.unwrap_or(0));
        let whole = (i128::from(half(0)?) << 32) + i128::from(half(1)?);
        *figure = u64::try_from(whole).unwrap_or(u64::MAX);
    }
    Ok(Sums::of_figures(figures))
}

fn day_of(time: i64) -> i64 {
    time - time.rem_euclid(DAY_SECONDS)
}

fn seconds(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(1_000_000)
}

fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}
