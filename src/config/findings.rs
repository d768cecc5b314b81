//! What is wrong or doubtful in a configuration, where it stands and what to do about it.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// One fault or warning, as a line for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    place: Place,
    text: String,
}

/// Everything that keeps a configuration from being used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<Finding>);

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The file as the operator named it, `environment` or `command line`.
    origin: Arc<str>,
    /// 0 where there are no lines, and for what is not written at all.
    line: usize,
    /// The setting's path, `providers.openai.base_url`; empty for a file as a whole.
    pub(super) setting: String,
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// Collects findings, so that the operator sees all of them at once.
pub(super) struct Report {
    origin: Arc<str>,
    faults: RefCell<Vec<Finding>>,
    warnings: RefCell<Vec<Finding>>,
    /// The names of all settings that were looked for: what the reference configuration must name.
    #[cfg(test)]
    known: RefCell<std::collections::BTreeSet<&'static str>>,
}

impl Finding {
    /// The setting's path; empty for a file as a whole.
    pub fn setting(&self) -> &str {
        &self.place.setting
    }

    /// The line in the file; 0 where there is none.
    pub fn line(&self) -> usize {
        self.place.line
    }
}

impl Faults {
    /// In the order of the file's lines.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter()
    }
}

impl Place {
    pub(super) fn command_line(setting: String) -> Self {
        Self { origin: "command line".into(), line: 0, setting }
    }

    /// The place on the same line where `setting` stands or would stand.
    pub(super) fn at(&self, setting: String) -> Self {
        Self { setting, ..self.clone() }
    }
}

impl Report {
    /// A report on `origin`: a file as the operator named it, or `environment`.
    pub(super) fn new(origin: &str) -> Self {
        Self {
            origin: origin.into(),
            faults: RefCell::default(),
            warnings: RefCell::default(),
            #[cfg(test)]
            known: RefCell::default(),
        }
    }

    pub(super) fn place(&self, line: usize, setting: &str) -> Place {
        Place { origin: self.origin.clone(), line, setting: setting.into() }
    }

    pub(super) fn fault(&self, place: &Place, text: impl Into<String>) {
        self.faults.borrow_mut().push(Finding { place: place.clone(), text: text.into() });
    }

    pub(super) fn warn(&self, place: &Place, text: impl Into<String>) {
        self.warnings.borrow_mut().push(Finding { place: place.clone(), text: text.into() });
    }

    #[cfg(test)]
    pub(super) fn note_known(&self, name: &'static str) {
        self.known.borrow_mut().insert(name);
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> std::collections::BTreeSet<&'static str> {
        self.known.borrow().clone()
    }

    /// Takes over what was found in another file.
    pub(super) fn absorb(&self, other: Self) {
        self.faults.borrow_mut().append(&mut other.faults.into_inner());
        self.warnings.borrow_mut().append(&mut other.warnings.into_inner());
    }

    /// The warnings, or the faults if there are any.
    pub(super) fn close(self) -> Result<Vec<Finding>, Faults> {
        let faults = self.sorted(self.faults.take());
        if faults.is_empty() { Ok(self.sorted(self.warnings.take())) } else { Err(Faults(faults)) }
    }

    /// By line; findings about other places follow those about this report's own.
    fn sorted(&self, mut findings: Vec<Finding>) -> Vec<Finding> {
        findings.sort_by_cached_key(|Finding { place, .. }| {
            (place.origin != self.origin, place.origin.clone(), place.line)
        });
        findings
    }
}

/// `conf/keeptrusts.yaml:12: providers.openai.base_ulr: unknown setting; did you mean base_url?`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { origin, line, setting } = &self.place;
        f.write_str(origin)?;
        if *line > 0 {
            write!(f, ":{line}")?;
        }
        if !setting.is_empty() {
            write!(f, ": {setting}")?;
        }
        write!(f, ": {}", self.text)
    }
}

/// One line a fault, and how many there are.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(f, "{fault}")?;
        }
        match self.0.len() {
            1 => f.write_str("1 fault in the configuration"),
            count => write!(f, "{count} faults in the configuration"),
        }
    }
}

impl std::error::Error for Faults {}
