//! A whole body → the edits it gets.

use bytes::Bytes;

use crate::protocol::ask::Edit;
use crate::protocol::texts::{self, Body, TextKind};

use super::reversible::Placeholders;
use super::scan::{Active, Hit, Tally};
use super::text::{Blocked, Form, Notes, Part, Text};

/// What was found in a body.
#[derive(Debug, Default)]
pub struct Inspected {
    /// In ascending order; none if it is blocked.
    pub edits: Vec<Edit>,
    pub hits: Vec<Hit>,
    pub is_blocked: bool,
    pub placeholders: Placeholders,
}

/// Looks at every text of `json`.
pub fn inspect(active: &Active, json: &Bytes, body: Body) -> Inspected {
    let mut inspected = Inspected::default();
    let mut tally = Tally::default();
    for found in texts::texts(json, body) {
        let Some(Ok(raw)) = json.get(found.range.clone()).map(std::str::from_utf8) else { continue };
        let form = match found.is {
            TextKind::Plain => Form::Plain,
            TextKind::Json => Form::Json,
        };
        let Inspected { edits, placeholders, .. } = &mut inspected;
        let placeholders = (body == Body::Request).then_some((placeholders, json.as_ref()));
        let mut notes = Notes { tally: &mut tally, placeholders };
        let mut at = found.range.start;
        let judged = Text::whole(form, active, raw, &mut notes, |part| match part {
            Part::Kept(kept) => at += kept.len(),
            Part::Replaced(replaced, text) => {
                edits.push(Edit { range: at..at + replaced.len(), text });
                at += replaced.len();
            }
        });
        if judged == Err(Blocked) {
            inspected.is_blocked = true;
        }
    }
    if inspected.is_blocked {
        inspected.edits.clear();
    }
    inspected.hits = active.hits(&tally);
    inspected
}
