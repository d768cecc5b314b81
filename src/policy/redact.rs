//! A whole body → the edits it gets.

use std::sync::Arc;

use bytes::Bytes;

use crate::protocol::ask::Edit;
use crate::protocol::json::escape::{Unescaped, escape};
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
    /// The first policy that does not let it pass.
    pub blocked_by: Option<Arc<str>>,
    pub placeholders: Placeholders,
}

/// Looks at every text of `json`.
pub fn inspect(active: &Active, json: &Bytes, body: Body) -> Inspected {
    let mut inspected = Inspected::default();
    let (mut tally, mut is_blocked) = (Tally::default(), false);
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
            is_blocked = true;
        }
    }
    inspected.hits = active.hits(&tally);
    if is_blocked {
        inspected.edits.clear();
        inspected.blocked_by = inspected.hits.last().map(|hit| hit.policy.clone());
    }
    inspected
}

/// Looks at a text by itself: what becomes of it, and what was found.
pub fn try_text(active: &Active, text: &str) -> (String, Inspected) {
    let (raw, mut tally, mut out) = (escape(text), Tally::default(), String::new());
    let mut inspected = Inspected::default();
    let mut notes = Notes { tally: &mut tally, placeholders: Some((&mut inspected.placeholders, text.as_bytes())) };
    let judged = Text::whole(Form::Plain, active, &raw, &mut notes, |part| part.write(&mut out));
    inspected.hits = active.hits(&tally);
    if judged == Err(Blocked) {
        inspected.blocked_by = inspected.hits.last().map(|hit| hit.policy.clone());
    }
    (Unescaped::of(&out, true).text.into_owned(), inspected)
}
