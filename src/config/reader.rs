//! Reads a section of settings: each by its name, each checked, and nothing left over.
//!
//! Faults are reported and reading goes on. A section reports the names nobody asked for when its reader is
//! done, so what is known is what the code reads, and there is no second list to keep.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use super::findings::{Place, Placed, Report};
use super::yaml::{Member, Node, Value};

/// Values longer than this are not repeated in a fault: they might be credentials in the wrong place.
const SHOWN_CHARS_MAX: usize = 24;

/// Settings under one name.
pub(super) struct Section<'a> {
    report: &'a Report,
    place: Place,
    line: usize,
    /// False for a section that was not written, or not as one: nothing is then required of it.
    present: bool,
    /// Its content may be a credential, so that not even names are repeated.
    secret: bool,
    members: &'a [Member],
    known: RefCell<Vec<&'static str>>,
    /// The operator chooses the names here.
    open_names: Cell<bool>,
}

/// Reads the settings of a whole file.
pub(super) fn read<T>(report: &Report, root: &Node, reader: impl FnOnce(&Section<'_>) -> T) -> T {
    let section = Section::open(report, report.place(1, ""), 1, Some(root), "expected settings, `name: value`");
    section.read(reader)
}

impl<'a> Section<'a> {
    pub(super) fn is_present(&self) -> bool {
        self.present
    }

    /// Where the section stands.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn report(&self) -> &'a Report {
        self.report
    }

    /// A setting that may be left out. `parse` says what it expects if the text is something else.
    pub(super) fn optional<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        let member = self.find(name)?;
        self.parse_scalar(&member.node, self.place_of(member.line, name), parse)
    }

    /// A setting that must be there; `expected` says what to write.
    pub(super) fn required<T>(
        &self,
        name: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        let found = self.optional(name, parse);
        if self.present && !self.has(name) {
            self.report.fault(&self.place_of(self.line, name), format!("missing; {expected}"));
        }
        found
    }

    /// A section within this one. One that is not there reads as empty.
    pub(super) fn section<T>(&self, name: &'static str, reader: impl FnOnce(&Section<'_>) -> T) -> T {
        self.open_member(name, "expected settings, `name: value`").read(reader)
    }

    /// Like [`Section::section`], for one whose content is never repeated in a fault. `expected` is said where
    /// a plain value stands instead.
    pub(super) fn secret_section<T>(
        &self,
        name: &'static str,
        expected: &str,
        reader: impl FnOnce(&Section<'_>) -> T,
    ) -> T {
        let mut section = self.open_member(name, expected);
        section.secret = true;
        section.read(reader)
    }

    /// Sections that the operator named.
    pub(super) fn entries<T>(&self, name: &'static str, reader: impl FnMut(Placed<&str>, &Section<'_>) -> T) -> Vec<T> {
        self.section(name, |section| section.own_entries(reader))
    }

    /// The sections within this one, all named by the operator.
    pub(super) fn own_entries<T>(&self, mut reader: impl FnMut(Placed<&str>, &Section<'_>) -> T) -> Vec<T> {
        self.open_names.set(true);
        let read_entry = |member: &Member| {
            let place = self.place_of(member.line, &member.name);
            let name = Placed { value: member.name.as_str(), place: place.clone() };
            let node = Some(&member.node);
            let section = Section::open(self.report, place, member.line, node, "expected settings, `{name: value}`");
            section.read(|section| reader(name, section))
        };
        let mut seen = HashSet::new();
        self.members.iter().filter(|member| seen.insert(&member.name)).map(read_entry).collect()
    }

    /// The texts within this section, by names that are the operator's.
    pub(super) fn own_texts<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Vec<(String, Placed<T>)> {
        self.open_names.set(true);
        let mut seen = HashSet::new();
        let members = self.members.iter().filter(|member| seen.insert(&member.name));
        let read = |member: &Member| {
            let place = self.place_of(member.line, &member.name);
            Some((member.name.clone(), self.parse_scalar(&member.node, place, &parse)?))
        };
        members.filter_map(read).collect()
    }

    /// The plain value of a setting, whatever it means.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        match &self.members.iter().find(|member| member.name == name)?.node.value {
            Value::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// A list of sections.
    pub(super) fn items<T>(&self, name: &'static str, mut reader: impl FnMut(&Section<'_>) -> T) -> Vec<T> {
        let read_item = |(place, node): (Place, &Node)| {
            Section::open(self.report, place, node.line, Some(node), "expected settings, `{name: value}`")
                .read(&mut reader)
        };
        self.list(name).unwrap_or_default().into_iter().map(read_item).collect()
    }

    /// A list of at least one text; `expected` says what to write.
    pub(super) fn required_texts(&self, name: &'static str, expected: &str) -> Vec<Placed<String>> {
        let list = self.list(name);
        let missing = !self.has(name) || list.as_ref().is_some_and(Vec::is_empty);
        if self.present && missing {
            self.report.fault(&self.place_of(self.line, name), format!("missing; {expected}"));
        }
        let read_text = |(place, node): (Place, &Node)| self.parse_scalar(node, place, |text| Ok(text.to_owned()));
        list.unwrap_or_default().into_iter().filter_map(read_text).collect()
    }

    /// A list of texts that may be left out; one that is written may be empty.
    pub(super) fn texts<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<Placed<T>>> {
        let list = self.list(name)?;
        Some(list.into_iter().filter_map(|(place, node)| self.parse_scalar(node, place, &parse)).collect())
    }

    /// Whether settings were written under `name`, and not one value.
    pub(super) fn is_section(&self, name: &str) -> bool {
        let member = self.members.iter().find(|member| member.name == name);
        member.is_some_and(|member| matches!(member.node.value, Value::Mapping(_)))
    }

    /// Whether something was written under `name`, right or wrong.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|member| member.name == name)
    }

    fn open(report: &'a Report, place: Place, line: usize, node: Option<&'a Node>, expected: &str) -> Self {
        let members = match node.map(|node| &node.value) {
            Some(Value::Mapping(members)) => members.as_slice(),
            None | Some(Value::Null | Value::Refused) => &[],
            Some(Value::Scalar(_) | Value::Sequence(_)) => {
                report.fault(&place, expected);
                &[]
            }
        };
        let present = matches!(node.map(|node| &node.value), Some(Value::Mapping(_) | Value::Null));
        Self {
            report,
            place,
            line,
            present,
            secret: false,
            members,
            known: RefCell::default(),
            open_names: Cell::new(false),
        }
    }

    fn open_member(&self, name: &'static str, expected: &str) -> Section<'_> {
        let member = self.find(name);
        let line = member.map_or(self.line, |member| member.line);
        Section::open(self.report, self.place_of(line, name), line, member.map(|member| &member.node), expected)
    }

    fn read<T>(self, reader: impl FnOnce(&Section<'_>) -> T) -> T {
        let value = reader(&self);
        self.report_doubles();
        self.report_unknown();
        value
    }

    /// The first member of a name is read; further ones are faults.
    fn report_doubles(&self) {
        let mut first_lines = HashMap::with_capacity(self.members.len());
        for member in self.members {
            let first = *first_lines.entry(&member.name).or_insert(member);
            if !std::ptr::eq(first, member) {
                let text = format!("set twice; it was set on line {} already", first.line);
                self.report.fault(&self.place_of_unchecked(member), text);
            }
        }
    }

    fn report_unknown(&self) {
        if self.open_names.get() {
            return;
        }
        let known = self.known.borrow();
        for member in self.members.iter().filter(|member| !known.contains(&member.name.as_str())) {
            let hint = match nearest(&member.name, known.iter().copied()) {
                Some(near) => format!("unknown setting; did you mean {near}?"),
                None => format!("unknown setting; known here: {}", known.join(", ")),
            };
            self.report.fault(&self.place_of_unchecked(member), hint);
        }
    }

    fn find(&self, name: &'static str) -> Option<&'a Member> {
        self.known.borrow_mut().push(name);
        #[cfg(test)]
        self.report.note_known(name);
        self.members.iter().find(|member| member.name == name)
    }

    /// `None` if it is not there or no list, the latter of which is reported.
    fn list(&self, name: &'static str) -> Option<Vec<(Place, &'a Node)>> {
        let member = self.find(name)?;
        match &member.node.value {
            Value::Sequence(items) => {
                let place = |(at, node): (usize, &'a Node)| (self.place_of(node.line, &format!("{name}[{at}]")), node);
                Some(items.iter().enumerate().map(place).collect())
            }
            Value::Null => Some(Vec::new()),
            Value::Refused => None,
            Value::Scalar(_) | Value::Mapping(_) => {
                self.report
                    .fault(&self.place_of(member.line, name), "expected a list, `[…]` or a line with - for each");
                None
            }
        }
    }

    fn parse_scalar<T>(
        &self,
        node: &Node,
        place: Place,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        let fault = match &node.value {
            Value::Scalar(text) => match parse(text) {
                Ok(value) => return Some(Placed { value, place }),
                Err(fault) => fault,
            },
            Value::Null => "no value; give one, or remove the line for the default".into(),
            Value::Sequence(_) => "expected one value, found a list".into(),
            Value::Mapping(_) => "expected one value, found settings".into(),
            Value::Refused => return None,
        };
        self.report.fault(&place, fault);
        None
    }

    /// Where a member stands that may not be a setting at all.
    fn place_of_unchecked(&self, member: &Member) -> Place {
        match self.secret {
            true => self.report.place(member.line, &self.place.setting),
            false => self.place_of(member.line, &member.name),
        }
    }

    fn place_of(&self, line: usize, name: &str) -> Place {
        match self.place.setting.as_str() {
            "" => self.report.place(line, name),
            around => self.report.place(line, &format!("{around}.{name}")),
        }
    }
}

/// The name among `known` that was probably meant.
pub(super) fn nearest<'k>(written: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_', ' '], "");
    let written = plain(written);
    let distance = |name: &str| strsim::damerau_levenshtein(&written, &plain(name));
    let near = |name: &str, distance: usize| distance <= (name.chars().count() / 3).max(1);
    let (name, distance) = known.map(|name| (name, distance(name))).min_by_key(|(_, distance)| *distance)?;
    near(name, distance).then_some(name)
}

/// `text` as a fault may repeat it: not if it might be a credential.
pub(super) fn shown(text: &str) -> String {
    let short = text.chars().count() <= SHOWN_CHARS_MAX;
    let credential = ["sk-", "kt_"].iter().any(|prefix| text.contains(prefix));
    if short && !credential { format!("{text:?}") } else { "a text that is not shown here".into() }
}
