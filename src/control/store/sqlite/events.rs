//! The event log.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use rusqlite::{Connection, Row, ToSql, params, params_from_iter};
use serde_json::value::RawValue;

use crate::control::store::{
    EventFilter, EventKeyFilter, EventOrder, EventQuery, Position, SEARCH_TIME_MAX, StoreError, StoredEvent, model_of,
};
use crate::domain::{Timestamp, Verdict};
use crate::journal::Event;

/// How many of SQLite's steps a search makes between looks at the clock.
const STEPS_PER_LOOK: i32 = 10_000;

pub(super) fn append(db: &mut Connection, events: &[Arc<Event>]) -> Result<Vec<i64>, StoreError> {
    let transaction = db.transaction()?;
    // The conflict clause changes nothing; it is there so that a repeated event answers with its number.
    let sql = "INSERT INTO events (id, request_id, time, phase, verdict, key_id, key_name, team, provider, model, \
               status, cost_nano_usd, json) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) \
               ON CONFLICT (id) DO UPDATE SET id = excluded.id RETURNING seq";
    let numbers = {
        let mut statement = transaction.prepare_cached(sql)?;
        let append_one = |event: &Arc<Event>| {
            let json = serde_json::to_string(event).map_err(|error| StoreError::Failed(error.into()))?;
            let cost = event.cost_nano_usd.map(|cost| i64::try_from(cost).unwrap_or(i64::MAX));
            let row = params![
                event.id.as_bytes(),
                event.request_id,
                event.time.as_micros(),
                event.phase.label(),
                event.verdict.label(),
                event.key.id,
                event.key.name,
                event.team,
                event.provider,
                model_of(event),
                event.status,
                cost,
                json,
            ];
            Ok::<i64, StoreError>(statement.query_row(row, |row| row.get(0))?)
        };
        events.iter().map(append_one).collect::<Result<_, _>>()?
    };
    transaction.commit()?;
    Ok(numbers)
}

pub(super) fn tip(db: &Connection) -> Result<i64, StoreError> {
    Ok(db.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))?)
}

pub(super) fn search(db: &mut Connection, query: &EventQuery) -> Result<Vec<StoredEvent>, StoreError> {
    let mut search = Search::default();
    search.filter(&query.filter);
    let order = search.order(query.order);
    let sql = format!("SELECT seq, time, json FROM events WHERE TRUE{} ORDER BY {order} LIMIT ?", search.conditions);
    search.values.push(Box::new(query.limit as i64));
    let deadline = Instant::now() + SEARCH_TIME_MAX;
    db.progress_handler(STEPS_PER_LOOK, Some(move || Instant::now() > deadline))?;
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(&search.values), stored)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The conditions of a search, and the values for their question marks.
#[derive(Default)]
struct Search {
    conditions: String,
    values: Vec<Box<dyn ToSql>>,
}

impl Search {
    fn filter(&mut self, filter: &EventFilter) {
        let EventFilter { since, key, team, model, provider, verdict, phase } = filter;
        if let Some(since) = since {
            self.add("time >= ?", since.as_micros());
        }
        match key {
            Some(EventKeyFilter::Id(id)) => self.add("key_id = ?", id.clone()),
            Some(EventKeyFilter::Name(name)) => self.add("key_name = ?", name.clone()),
            None => {}
        }
        for (condition, value) in [("team = ?", team), ("model = ?", model), ("provider = ?", provider)] {
            if let Some(value) = value {
                self.add(condition, value.clone());
            }
        }
        if let Some(verdict) = verdict {
            // Said twice, because the index of verdicts leaves out the usual one and SQLite has to see that
            // this search does not need it.
            if *verdict != Verdict::Pass {
                self.conditions.push_str(" AND verdict <> 'PASS'");
            }
            self.add("verdict = ?", verdict.label());
        }
        if let Some(phase) = phase {
            self.add("phase = ?", phase.label());
        }
    }

    fn order(&mut self, order: EventOrder) -> &'static str {
        match order {
            EventOrder::NewestFirst { before } => {
                if let Some(before) = before {
                    self.add_position("<", before);
                }
                "time DESC, seq DESC"
            }
            EventOrder::OldestFirst { after, tip } => {
                // The plus keeps SQLite from walking the table by number, which it would then have to sort.
                self.add("+seq <= ?", tip);
                if let Some(after) = after {
                    self.add_position(">", after);
                }
                "time, seq"
            }
            EventOrder::Appended { after } => {
                self.add("seq > ?", after);
                "seq"
            }
        }
    }

    fn add(&mut self, condition: &str, value: impl ToSql + 'static) {
        // Writing to a string cannot fail.
        let _ = write!(self.conditions, " AND {condition}");
        self.values.push(Box::new(value));
    }

    fn add_position(&mut self, side: &str, position: Position) {
        let _ = write!(self.conditions, " AND (time, seq) {side} (?, ?)");
        self.values.push(Box::new(position.time.as_micros()));
        self.values.push(Box::new(position.seq));
    }
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
    let position = Position { seq: row.get(0)?, time: Timestamp::from_micros(row.get(1)?) };
    let json = RawValue::from_string(row.get(2)?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, error.into()))?;
    Ok(StoredEvent { position, json })
}
