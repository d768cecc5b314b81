//! An answer as it passes: looked at, redacted, ended where a policy blocks it.
//!
//! A stream is looked at event by event (or element by element of an array), and each of its texts by itself. What
//! could still become a match is taken out of its event and comes with the next one of the same text, or in an event of
//! its own before the text ends; the events themselves keep their number and order. A plain answer is held until it is
//! whole.

use std::sync::Arc;

use bytes::Bytes;

use crate::protocol::Endpoint;
use crate::protocol::ask::{Edit, splice};
use crate::protocol::json::range_in;
use crate::protocol::sse;
use crate::protocol::texts::{Body, TextKind, texts};

use super::scan::{Active, Hit, Tally};
use super::text::{Blocked, Form, Notes, Part, Text};

mod deltas; // which pieces of which texts an event brings, in each dialect

use deltas::{Delta, Ends, Reading, Shape, TextId};

/// How many texts of one stream may be under way. In further ones nothing could be held; the stream is ended.
const TEXTS_MAX: usize = 256;

/// Looks at one answer.
#[derive(Debug)]
pub struct Guard {
    active: Active,
    shape: Shape,
    tally: Tally,
    texts: Vec<(TextId, Text)>,
    /// The last event's data, to make one like it.
    last: String,
    has_begun: bool,
    /// How many events were put in, by which the numbers of the others grow.
    added: u64,
    is_blocked: bool,
}

/// What becomes of an event's data.
#[derive(Default)]
struct Rewritten {
    /// Events that come before it.
    before: Vec<(Option<String>, String)>,
    edits: Vec<Edit>,
}

impl Guard {
    pub fn new(active: Active, endpoint: Endpoint) -> Self {
        Self {
            active,
            shape: Shape::of(endpoint),
            tally: Tally::default(),
            texts: Vec::new(),
            last: String::new(),
            has_begun: false,
            added: 0,
            is_blocked: false,
        }
    }

    /// The policies that found something so far.
    pub fn hits(&self) -> Vec<Hit> {
        self.active.hits(&self.tally)
    }

    /// A policy blocks the answer: nothing more of it may be sent.
    pub fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// The policy that blocks the answer.
    pub fn blocked_by(&self) -> Option<Arc<str>> {
        self.hits().last().filter(|_| self.is_blocked).map(|hit| hit.policy.clone())
    }

    /// Nothing of the answer can be looked at any more, so nothing more may be sent.
    pub fn block(&mut self) {
        self.is_blocked = true;
    }

    /// Takes a whole event and adds to `out` what is to be sent now.
    pub fn event(&mut self, event: &[u8], out: &mut Vec<u8>) {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let Some(data) = sse::data(event, is_first) else { return out.extend_from_slice(event) };
        let Ok(text) = std::str::from_utf8(&data) else { return self.block() };
        if text.trim_ascii() == "[DONE]" {
            self.finish(out);
            return out.extend_from_slice(event);
        }
        let rewritten = self.rewrite(text);
        for (name, data) in &rewritten.before {
            write_event(name.as_deref(), data, out);
        }
        if rewritten.edits.is_empty() {
            return out.extend_from_slice(event);
        }
        let edited = splice(&Bytes::copy_from_slice(text.as_bytes()), &rewritten.edits);
        match range_in(event, &data).filter(|_| matches!(data, std::borrow::Cow::Borrowed(_))) {
            Some(range) => {
                out.extend_from_slice(event.get(..range.start).unwrap_or_default());
                out.extend_from_slice(&edited);
                out.extend_from_slice(event.get(range.end..).unwrap_or_default());
            }
            None => {
                for line in sse::lines(event).filter(|line| sse::data_value(line).is_none() && !line.is_empty()) {
                    out.extend_from_slice(line);
                    out.push(b'\n');
                }
                let one_line: Vec<u8> = edited.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
                out.extend_from_slice(&[b"data: ", one_line.as_slice(), b"\n\n"].concat());
            }
        }
    }

    /// Takes a whole element of an array of events and adds to `out` what is to be sent now.
    pub fn element(&mut self, element: &[u8], out: &mut Vec<u8>) {
        let Ok(text) = std::str::from_utf8(element) else { return self.block() };
        let rewritten = self.rewrite(text);
        for (_, data) in &rewritten.before {
            out.extend_from_slice(data.as_bytes());
            out.push(b',');
        }
        match rewritten.edits.as_slice() {
            [] => out.extend_from_slice(element),
            edits => out.extend_from_slice(&splice(&Bytes::copy_from_slice(element), edits)),
        }
    }

    /// Ends all texts: what was held of them goes out in events of its own.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        for (name, data) in self.rest() {
            write_event(name.as_deref(), &data, out);
        }
    }

    /// The same behind the last element of an array.
    pub fn finish_array(&mut self, out: &mut Vec<u8>) {
        for (_, data) in self.rest() {
            out.push(b',');
            out.extend_from_slice(data.as_bytes());
        }
    }

    /// Ends all texts, and gives the events that bring what was held of them.
    fn rest(&mut self) -> Vec<(Option<String>, String)> {
        let mut rewritten = Rewritten::default();
        let last = std::mem::take(&mut self.last);
        if self.end_texts(&Ends::All, None, &last, &mut rewritten).is_err() {
            self.block();
        }
        rewritten.before
    }

    /// Looks at a whole answer. `None` if it is blocked.
    pub fn document(&mut self, document: &Bytes, notice: &str) -> Bytes {
        let mut edits = Vec::new();
        let found = texts(document, Body::Answer);
        let mut judged = Ok(());
        for text in &found {
            let Some(Ok(raw)) = document.get(text.range.clone()).map(std::str::from_utf8) else { continue };
            let at = text.range.start;
            judged = judged.and(look(&self.active, &mut self.tally, form(text.is), raw, at, &mut edits));
        }
        if judged.is_err() {
            self.block();
            // Every text goes; the first one says why.
            let mut first = Some(notice);
            edits = found
                .into_iter()
                .map(|text| Edit {
                    range: text.range,
                    text: first.take().unwrap_or("[keeptrusts: policy_blocked]").to_owned(),
                })
                .collect();
        }
        splice(document, &edits)
    }

    fn rewrite(&mut self, data: &str) -> Rewritten {
        let mut rewritten = Rewritten::default();
        let Reading { deltas, ends } = self.shape.read(data);
        let judged = self.take(data, &deltas, &ends, &mut rewritten);
        if judged.is_err() {
            self.block();
            // What else the event says is not shown.
            for found in texts(data.as_bytes(), Body::Answer) {
                let range = found.range;
                let is_edited =
                    rewritten.edits.iter().any(|edit| edit.range.start < range.end && range.start < edit.range.end);
                if !is_edited && !range.is_empty() {
                    rewritten.edits.push(Edit { range, text: String::new() });
                }
            }
        }
        self.renumber(data, &mut rewritten.edits);
        rewritten.edits.sort_by_key(|edit| edit.range.start);
        if self.texts.iter().any(|(_, text)| text.holds()) {
            self.last.clear();
            self.last.push_str(data);
        }
        rewritten
    }

    fn take(&mut self, data: &str, deltas: &[Delta], ends: &Ends, rewritten: &mut Rewritten) -> Result<(), Blocked> {
        for delta in deltas {
            if self.shape != Shape::Responses && !delta.range.is_empty() {
                self.end_others(&delta.id, data, rewritten)?;
            }
            let raw = data.get(delta.range.clone()).unwrap_or_default();
            let mut out = String::new();
            let ended = match ends {
                Ends::All => true,
                Ends::Of(outers) => outers.contains(&delta.id.outer),
                Ends::Nothing => false,
            };
            // The last piece of a text in this event takes what is left of it along.
            let is_last =
                deltas.iter().rfind(|other| other.id == delta.id).is_some_and(|last| last.range == delta.range);
            let text = match self.texts.iter().position(|(id, _)| *id == delta.id) {
                Some(at) => at,
                None if self.texts.len() >= TEXTS_MAX => return Err(Blocked),
                None => {
                    self.texts.push((delta.id.clone(), Text::new(delta.form)));
                    self.texts.len() - 1
                }
            };
            let Some((_, text)) = self.texts.get_mut(text) else { return Err(Blocked) };
            let mut judged = text.push(&self.active, raw, &mut self.tally, &mut out);
            if judged.is_ok() && ended && is_last {
                judged = text.end(&self.active, &mut self.tally, &mut out);
            }
            if out != raw || judged.is_err() {
                rewritten.edits.push(Edit { range: delta.range.clone(), text: out });
            }
            judged?;
        }
        self.end_texts(ends, None, data, rewritten)?;
        // Texts that come whole. Responses repeats what it streamed, which is not counted again.
        let mut scratch = Tally::default();
        for found in texts(data.as_bytes(), Body::Answer) {
            if deltas.iter().any(|delta| delta.range == found.range) {
                continue;
            }
            let raw = data.get(found.range.clone()).unwrap_or_default();
            let tally = if self.shape == Shape::Responses { &mut scratch } else { &mut self.tally };
            let judged = look(&self.active, tally, form(found.is), raw, found.range.start, &mut rewritten.edits);
            if judged.is_err() {
                let blocked = std::mem::take(&mut scratch);
                if self.tally.is_empty() {
                    self.tally = blocked;
                }
                rewritten.edits.retain(|edit| edit.range.start < found.range.start || edit.range.end > found.range.end);
                rewritten.edits.push(Edit { range: found.range.clone(), text: String::new() });
                return judged;
            }
        }
        Ok(())
    }

    /// Ends the texts of the same choice that are of another kind: whoever thought or spoke has gone on to the next.
    fn end_others(&mut self, id: &TextId, data: &str, rewritten: &mut Rewritten) -> Result<(), Blocked> {
        let is_other =
            self.texts.iter().any(|(other, text)| other.outer == id.outer && other.kind != id.kind && text.holds());
        if !is_other {
            return Ok(());
        }
        self.end_texts(&Ends::Of(vec![id.outer]), Some(&id.kind), data, rewritten)
    }

    /// Ends texts, but for those of the kind `but`; what was held of them comes in events before this one.
    fn end_texts(
        &mut self,
        ends: &Ends,
        but: Option<&str>,
        data: &str,
        rewritten: &mut Rewritten,
    ) -> Result<(), Blocked> {
        let is_ended = |id: &TextId| match ends {
            Ends::Nothing => false,
            Ends::Of(outers) => outers.contains(&id.outer) && but != Some(id.kind.as_str()),
            Ends::All => true,
        };
        if *ends == Ends::Nothing {
            return Ok(());
        }
        for (id, text) in self.texts.iter_mut().filter(|(id, _)| is_ended(id)) {
            let mut rest = String::new();
            let judged = text.end(&self.active, &mut self.tally, &mut rest);
            if !rest.is_empty() {
                let number = number(data).map_or(0, |(_, number)| number) + self.added;
                rewritten.before.push(self.shape.written(id, &rest, data, number));
                self.added += u64::from(self.shape == Shape::Responses);
            }
            judged?;
        }
        self.texts.retain(|(id, _)| !is_ended(id));
        Ok(())
    }

    /// Gives an event of Responses the number that it has among those that were added.
    fn renumber(&self, data: &str, edits: &mut Vec<Edit>) {
        if self.shape == Shape::Responses
            && self.added > 0
            && let Some((range, number)) = number(data)
        {
            edits.push(Edit { range, text: (number + self.added).to_string() });
        }
    }
}

/// Where the number of an event of Responses stands.
fn number(data: &str) -> Option<(std::ops::Range<usize>, u64)> {
    #[derive(serde::Deserialize)]
    struct Numbered<'a> {
        #[serde(borrow)]
        sequence_number: &'a serde_json::value::RawValue,
    }
    let numbered: Numbered<'_> = serde_json::from_str(data).ok()?;
    let text = numbered.sequence_number.get();
    Some((range_in(data.as_bytes(), text.as_bytes())?, text.parse().ok()?))
}

fn form(is: TextKind) -> Form {
    match is {
        TextKind::Plain => Form::Plain,
        TextKind::Json => Form::Json,
    }
}

/// Looks at a text that stands whole at `at`.
fn look(
    active: &Active,
    tally: &mut Tally,
    form: Form,
    raw: &str,
    at: usize,
    edits: &mut Vec<Edit>,
) -> Result<(), Blocked> {
    let mut at = at;
    let mut notes = Notes { tally, placeholders: None };
    Text::whole(form, active, raw, &mut notes, |part| match part {
        Part::Kept(kept) => at += kept.len(),
        Part::Replaced(replaced, text) => {
            edits.push(Edit { range: at..at + replaced.len(), text });
            at += replaced.len();
        }
    })
}

fn write_event(name: Option<&str>, data: &str, out: &mut Vec<u8>) {
    if let Some(name) = name {
        out.extend_from_slice(format!("event: {name}\n").as_bytes());
    }
    out.extend_from_slice(format!("data: {data}\n\n").as_bytes());
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod random;
