//! JSON strings, whole or in pieces → what is left of them.
//!
//! A [`Text`] is one logical text: the content of one message, the arguments of one call, as bytes of a JSON string.
//! Bytes that nothing was found in keep their spelling. Text that is JSON itself is taken apart at its own quotes,
//! and unescaped twice, so that no spelling hides a match and no match reaches beyond the string it is in.

use crate::protocol::json::escape::{Unescaped, escape};

use super::reversible::Placeholders;
use super::rules::Action;
use super::scan::{Active, Finding, Tally};

/// The most of a text, in bytes, that is held because a match in it may not have ended. Beyond it the text is judged
/// as it stands.
const HELD_BYTES_MAX: usize = 16 << 10;
/// How much is kept of what has passed, for what asks what stands before a match: one character, spelled out.
const BEFORE_BYTES: usize = 4;

/// How a text is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The content of a JSON string.
    Plain,
    /// The content of a JSON string that is JSON itself.
    Json,
}

/// A policy ended it: nothing more of this text may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked;

/// What is counted and remembered about the texts of one request or answer.
pub(super) struct Notes<'a> {
    pub(super) tally: &'a mut Tally,
    /// Where placeholders are made, and the body they may not occur in.
    pub(super) placeholders: Option<(&'a mut Placeholders, &'a [u8])>,
}

/// What becomes of a part of a text.
pub(super) enum Part<'a> {
    /// These bytes of the input stay as they are.
    Kept(&'a str),
    /// These bytes of the input become that text, which is escaped already.
    Replaced(&'a str, String),
}

/// One text that comes in pieces.
#[derive(Debug)]
pub struct Text {
    form: Form,
    segment: Segment,
    /// Of JSON: the present segment is inside of a string of it.
    is_inside: bool,
    /// Of JSON: the last character was a backslash inside of a string.
    is_escaping: bool,
    /// The beginning of an escape that has not ended, at the level of the outer string.
    begun: String,
}

/// A run of text that matches do not reach out of.
#[derive(Debug, Default)]
struct Segment {
    /// What has come and is not gone, and a little before it.
    raw: String,
    /// Up to where `raw` was passed on or replaced.
    passed: usize,
    /// Up to where `raw` is decided.
    decided: usize,
    /// Where each rule goes on looking.
    from: Vec<usize>,
    /// Up to where `raw` is needed no more.
    before: usize,
}

/// How the text of a segment is spelled in the outer string.
#[derive(Clone, Copy, PartialEq)]
enum Spelling {
    Once,
    Twice,
    /// Outside of any string of JSON: what is put there becomes a string.
    Bare,
}

impl Text {
    pub fn new(form: Form) -> Self {
        Self { form, segment: Segment::default(), is_inside: false, is_escaping: false, begun: String::new() }
    }

    /// Whether anything is held.
    pub fn holds(&self) -> bool {
        self.segment.raw.len() > self.segment.passed || !self.begun.is_empty()
    }

    /// Takes the next piece and adds to `out` what of the text may be shown now.
    pub fn push(&mut self, active: &Active, piece: &str, tally: &mut Tally, out: &mut String) -> Result<(), Blocked> {
        let notes = &mut Notes { tally, placeholders: None };
        self.take(active, piece, false, notes, &mut |part| part.write(out))
    }

    /// Ends the text and adds to `out` what is left of it. What comes after that is a new text.
    pub fn end(&mut self, active: &Active, tally: &mut Tally, out: &mut String) -> Result<(), Blocked> {
        let notes = &mut Notes { tally, placeholders: None };
        let ended = self.take(active, "", true, notes, &mut |part| part.write(out));
        *self = Self::new(self.form);
        ended
    }

    /// The whole of a text at once.
    pub(super) fn whole(
        form: Form,
        active: &Active,
        raw: &str,
        notes: &mut Notes<'_>,
        mut each: impl FnMut(Part<'_>),
    ) -> Result<(), Blocked> {
        Self::new(form).take(active, raw, true, notes, &mut each)
    }

    fn take(
        &mut self,
        active: &Active,
        piece: &str,
        is_end: bool,
        notes: &mut Notes<'_>,
        each: &mut impl FnMut(Part<'_>),
    ) -> Result<(), Blocked> {
        match self.form {
            Form::Plain => self.segment.take(active, piece, Spelling::Once, is_end, notes, each),
            Form::Json => self.take_json(active, piece, is_end, notes, each),
        }
    }

    /// Takes a piece of JSON apart at its quotes.
    fn take_json(
        &mut self,
        active: &Active,
        piece: &str,
        is_end: bool,
        notes: &mut Notes<'_>,
        each: &mut impl FnMut(Part<'_>),
    ) -> Result<(), Blocked> {
        let joined = match self.begun.is_empty() {
            true => std::borrow::Cow::Borrowed(piece),
            false => std::borrow::Cow::Owned(std::mem::take(&mut self.begun) + piece),
        };
        let read = Unescaped::of(&joined, is_end);
        let mut start = 0;
        for (place, char) in read.text.char_indices() {
            let is_escaped = std::mem::take(&mut self.is_escaping);
            match char {
                '\\' if self.is_inside && !is_escaped => self.is_escaping = true,
                '"' if !is_escaped => {
                    let (quote, behind) = (read.raw(place), read.raw(place + 1));
                    let before = joined.get(start..quote).unwrap_or_default();
                    self.segment.take(active, before, self.spelling(), true, notes, each)?;
                    self.segment = Segment::default();
                    each(Part::Kept(joined.get(quote..behind).unwrap_or_default()));
                    self.is_inside = !self.is_inside;
                    start = behind;
                }
                _ => {}
            }
        }
        self.begun = joined.get(read.read..).unwrap_or_default().to_owned();
        let rest = joined.get(start..read.read).unwrap_or_default();
        self.segment.take(active, rest, self.spelling(), is_end, notes, each)
    }

    fn spelling(&self) -> Spelling {
        if self.is_inside { Spelling::Twice } else { Spelling::Bare }
    }
}

impl Part<'_> {
    pub(super) fn write(&self, out: &mut String) {
        out.push_str(match self {
            Self::Kept(kept) => kept,
            Self::Replaced(_, text) => text,
        });
    }
}

impl Segment {
    fn take(
        &mut self,
        active: &Active,
        piece: &str,
        spelling: Spelling,
        is_end: bool,
        notes: &mut Notes<'_>,
        each: &mut impl FnMut(Part<'_>),
    ) -> Result<(), Blocked> {
        if self.raw.is_empty() && is_end {
            // Whole texts are not copied.
            let mut segment = Self::default();
            return segment.judge(piece, active, spelling, true, notes, each);
        }
        let mut raw = std::mem::take(&mut self.raw);
        raw.push_str(piece);
        let judged = self.judge(&raw, active, spelling, is_end, notes, each);
        // What has passed goes, but for what stands right before the rest.
        raw.drain(..self.before);
        self.raw = raw;
        self.passed -= self.before;
        self.decided -= self.before;
        self.from.iter_mut().for_each(|from| *from = from.saturating_sub(self.before));
        judged
    }

    /// Passes on what of `raw` is decided.
    fn judge(
        &mut self,
        raw: &str,
        active: &Active,
        spelling: Spelling,
        is_end: bool,
        notes: &mut Notes<'_>,
        each: &mut impl FnMut(Part<'_>),
    ) -> Result<(), Blocked> {
        self.before = 0;
        let view = View::of(raw, spelling, is_end);
        let text = view.text();
        let decided = view.place(self.decided);
        let open = if is_end { text.len() } else { active.open(text, decided) };
        let is_too_long = text.len() - open > HELD_BYTES_MAX;
        let open = if is_too_long { text.len() } else { open };
        let from: Vec<usize> = self.from.iter().map(|raw| view.place(*raw)).collect();
        let mut findings = Vec::new();
        active.find(text, &from, &mut findings);
        self.from.resize(active.rules(), self.decided);
        for finding in findings.iter().filter(|finding| finding.start < open) {
            self.apply(finding, raw, &view, active, spelling, notes, each)?;
        }
        let open = if is_end { raw.len() } else { view.raw(open) };
        let rest = raw.get(self.passed..open).unwrap_or_default();
        if !rest.is_empty() {
            each(Part::Kept(rest));
        }
        self.passed = self.passed.max(open);
        self.decided = open;
        self.from.iter_mut().for_each(|from| *from = (*from).max(open));
        let gone = view.place(self.decided.min(self.passed)).saturating_sub(BEFORE_BYTES);
        self.before = view.raw(text.floor_char_boundary(gone));
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `judge`, which has them all")]
    fn apply(
        &mut self,
        finding: &Finding,
        raw: &str,
        view: &View<'_>,
        active: &Active,
        spelling: Spelling,
        notes: &mut Notes<'_>,
        each: &mut impl FnMut(Part<'_>),
    ) -> Result<(), Blocked> {
        let (start, end) = (view.raw(finding.start), view.raw(finding.end));
        let found = view.text().get(finding.start..finding.end).unwrap_or_default();
        let replacement = match finding.policy {
            None => active.restored().and_then(|placeholders| placeholders.original(found)).unwrap_or(found).to_owned(),
            Some(number) => {
                let Some(policy) = active.policies().get(number) else { return Ok(()) };
                let first_rule: usize = active.policies().iter().take(number).map(|policy| policy.rules.len()).sum();
                if let Some(from) = self.from.get_mut(first_rule + finding.rule) {
                    *from = end;
                }
                notes.tally.add(number);
                match policy.action {
                    Action::Observe => return Ok(()),
                    Action::Block => {
                        if let Some(before) = raw.get(self.passed..start).filter(|before| !before.is_empty()) {
                            each(Part::Kept(before));
                        }
                        return Err(Blocked);
                    }
                    Action::Redact => policy.replacement(finding.rule, found, &mut notes.placeholders),
                }
            }
        };
        if end <= self.passed {
            return Ok(());
        }
        if let Some(before) = raw.get(self.passed..start).filter(|before| !before.is_empty()) {
            each(Part::Kept(before));
        }
        let replaced = raw.get(start.max(self.passed)..end).unwrap_or_default();
        each(Part::Replaced(replaced, spelling.spell(&replacement)));
        self.passed = end;
        Ok(())
    }
}

/// A text as it is looked at, and the way back to how it is spelled.
struct View<'a> {
    outer: Unescaped<'a>,
    /// Where it is spelled twice, and differs.
    inner: Option<Unescaped<'static>>,
}

impl<'a> View<'a> {
    fn of(raw: &'a str, spelling: Spelling, is_whole: bool) -> Self {
        let outer = Unescaped::of(raw, is_whole);
        let is_twice = spelling == Spelling::Twice && outer.text.contains('\\');
        let inner = is_twice.then(|| Unescaped::of(&outer.text, is_whole).into_owned());
        Self { outer, inner }
    }

    fn text(&self) -> &str {
        self.inner.as_ref().map_or(&self.outer.text, |inner| &inner.text)
    }

    fn raw(&self, place: usize) -> usize {
        self.outer.raw(self.inner.as_ref().map_or(place, |inner| inner.raw(place)))
    }

    fn place(&self, raw: usize) -> usize {
        let place = self.outer.text_place(raw);
        self.inner.as_ref().map_or(place, |inner| inner.text_place(place))
    }
}

impl Spelling {
    fn spell(self, text: &str) -> String {
        match self {
            Self::Once => escape(text),
            Self::Twice => escape(&escape(text)),
            Self::Bare => escape(&format!("\"{}\"", escape(text))),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
