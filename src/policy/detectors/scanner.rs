//! What all hand-written detectors have in common.
//!
//! Each is asked whether a match begins at one place, and looks no further than its longest match. With nothing
//! else known, text is either a match there, none, or *open*: it ends before that can be said. Whoever searches
//! leaps to the places where a match could begin: all but addresses of mail are known by their first digits, and one
//! pass over the digits of a text serves all of them.

use super::runs::{Run, Runs};
use super::{card, email, iban, ip, phone, ssn};

/// What was found at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Nothing,
    /// A match that ends here.
    Match(usize),
    /// More text could make a match, or a longer one.
    Open,
}

/// A hand-written detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanner {
    Email,
    Phone,
    PaymentCard,
    Iban,
    Ssn,
    IpAddress,
}

impl Scanner {
    /// The first place, at `from` or behind, where more text could begin or lengthen a match.
    fn open(self, bytes: &[u8], from: usize) -> usize {
        let text = Text { bytes, is_whole: false };
        let from = from.max(bytes.len().saturating_sub(self.bytes_max()));
        (from..bytes.len()).find(|&start| self.at(&text, start) == At::Open).unwrap_or(bytes.len())
    }

    fn at(self, text: &Text<'_>, start: usize) -> At {
        match self {
            Self::Email => email::at(text, start),
            Self::Phone => phone::at(text, start),
            Self::PaymentCard => card::at(text, start),
            Self::Iban => iban::at(text, start),
            Self::Ssn => ssn::at(text, start),
            Self::IpAddress => ip::at(text, start),
        }
    }

    /// Where a match may begin whose first digits are `run`, unless a glance rules it out.
    fn candidate(self, bytes: &[u8], run: &Run) -> Option<usize> {
        let start = match self {
            Self::Email => None,
            Self::Phone => phone::candidate(bytes, run),
            Self::PaymentCard => card::candidate(run),
            Self::Iban => iban::candidate(bytes, run),
            Self::Ssn => ssn::candidate(run),
            Self::IpAddress => ip::candidate(bytes, run),
        }?;
        let is_inside = start > 0 && bytes.get(start - 1).is_some_and(u8::is_ascii_alphanumeric);
        (!is_inside).then_some(start)
    }

    /// The longest text that can be open.
    fn bytes_max(self) -> usize {
        match self {
            Self::Email => email::BYTES_MAX,
            _ => 64,
        }
    }
}

/// The hand-written detectors of a policy, each with the number of its rule.
#[derive(Debug, Default)]
pub struct Scanners(Vec<(usize, Scanner)>);

impl Scanners {
    pub fn add(&mut self, rule: usize, scanner: Scanner) {
        self.0.push((rule, scanner));
    }

    /// Calls `each` for every match in `text`, as if the text ended there: with the rule, and where the match begins
    /// and ends. `from` is where each rule begins to look. One pass over the text serves all that begin with digits.
    pub fn find(&self, text: &str, from: impl Fn(usize) -> usize, mut each: impl FnMut(usize, usize, usize)) {
        let text = Text { bytes: text.as_bytes(), is_whole: true };
        let (emails, digits): (Vec<_>, Vec<_>) = self.0.iter().partition(|(_, scanner)| *scanner == Scanner::Email);
        for (rule, scanner) in emails {
            let mut at = from(rule);
            while let Some(start) = email::candidate(text.bytes, at) {
                at = start + 1;
                if let At::Match(end) = scanner.at(&text, start) {
                    each(rule, start, end);
                    at = end;
                }
            }
        }
        let mut digits: Vec<_> = digits.into_iter().map(|(rule, scanner)| (rule, scanner, from(rule))).collect();
        let Some(first) = digits.iter().map(|(_, _, from)| *from).min() else { return };
        Runs::of(text.bytes, first).for_each(|run| {
            for (rule, scanner, from) in &mut digits {
                let Some(start) = scanner.candidate(text.bytes, &run).filter(|start| start >= from) else { continue };
                *from = start + 1;
                if let At::Match(end) = scanner.at(&text, start) {
                    each(*rule, start, end);
                    *from = end;
                }
            }
        });
    }

    /// The first place, at `from` or behind, where more text could begin or lengthen a match of any.
    pub fn open(&self, text: &str, from: usize) -> usize {
        let opens = self.0.iter().map(|(_, scanner)| scanner.open(text.as_bytes(), from));
        opens.min().unwrap_or(text.len())
    }
}

/// A text in which a match is looked for.
pub struct Text<'a> {
    pub bytes: &'a [u8],
    /// Nothing follows.
    pub is_whole: bool,
}

impl Text<'_> {
    pub fn get(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    /// The byte before `at`, if any.
    pub fn before(&self, at: usize) -> Option<u8> {
        at.checked_sub(1).and_then(|at| self.get(at))
    }

    /// What it means that the text ends where more is needed.
    pub fn ended(&self) -> At {
        if self.is_whole { At::Nothing } else { At::Open }
    }

    /// A match that ends at `end`, if what follows may follow.
    pub fn match_before(&self, end: usize, may_not_follow: impl Fn(u8) -> bool) -> At {
        match self.get(end) {
            Some(byte) if may_not_follow(byte) => At::Nothing,
            None if !self.is_whole => At::Open,
            _ => At::Match(end),
        }
    }
}
