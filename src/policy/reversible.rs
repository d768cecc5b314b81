//! Placeholders, and what they stand for.
//!
//! A placeholder such as `<EMAIL_1>` stands for the same text wherever that occurs in a request, and for no other.
//! What it stands for is wiped from memory with the request.

use std::collections::HashMap;
use std::fmt;

use memchr::memmem;
use zeroize::{Zeroize, Zeroizing};

/// How many different texts of one request get a placeholder of their own; further ones are redacted for good.
const PLACEHOLDERS_MAX: usize = 10_000;

/// What was replaced in one request.
#[derive(Default)]
pub struct Placeholders {
    /// Placeholders and what they stand for.
    made: Vec<(String, Zeroizing<String>)>,
    /// Their numbers, by themselves.
    numbers: HashMap<String, usize>,
    /// Their numbers, by label and text.
    known: HashMap<String, usize>,
    counts: HashMap<String, usize>,
    longest: usize,
}

impl Placeholders {
    pub fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// The placeholder for `text`, which `body` does not hold yet. `None` if there are too many.
    pub(super) fn of(&mut self, label: &str, text: &str, body: &[u8]) -> Option<&str> {
        let known = Zeroizing::new(format!("{label}\0{text}"));
        let number = match self.known.get(known.as_str()) {
            Some(number) => *number,
            None => {
                if self.made.len() == PLACEHOLDERS_MAX {
                    return None;
                }
                let count = self.counts.entry(label.to_owned()).or_default();
                let placeholder = loop {
                    *count += 1;
                    let candidate = format!("<{label}_{count}>");
                    if memmem::find(body, candidate.as_bytes()).is_none() {
                        break candidate;
                    }
                };
                self.longest = self.longest.max(placeholder.len());
                let number = self.made.len();
                self.made.push((placeholder.clone(), Zeroizing::new(text.to_owned())));
                self.numbers.insert(placeholder, number);
                self.known.insert(known.to_string(), number);
                number
            }
        };
        self.made.get(number).map(|(placeholder, _)| placeholder.as_str())
    }

    /// What a placeholder stands for.
    pub(super) fn original(&self, placeholder: &str) -> Option<&str> {
        self.made.get(*self.numbers.get(placeholder)?).map(|(_, original)| original.as_str())
    }

    /// Calls `each` for the placeholders in `text`.
    pub(super) fn find(&self, text: &str, mut each: impl FnMut(usize, usize)) {
        for start in memchr::memchr_iter(b'<', text.as_bytes()) {
            let window = text.as_bytes().get(start..).unwrap_or_default();
            let window = window.get(..self.longest).unwrap_or(window);
            let Some(end) = memchr::memchr(b'>', window).map(|length| start + length + 1) else { continue };
            if text.get(start..end).is_some_and(|placeholder| self.original(placeholder).is_some()) {
                each(start, end);
            }
        }
    }

    /// Where the first placeholder begins that `text` only holds the beginning of.
    pub(super) fn open(&self, text: &str, from: usize) -> usize {
        let from = from.max(text.len().saturating_sub(self.longest));
        let rest = text.as_bytes().get(from..).unwrap_or_default();
        let begins = |start: &usize| {
            let beginning = text.as_bytes().get(*start..).unwrap_or_default();
            self.made.iter().any(|(made, _)| made.len() > beginning.len() && made.as_bytes().starts_with(beginning))
        };
        memchr::memchr_iter(b'<', rest).map(|at| from + at).find(begins).unwrap_or(text.len())
    }
}

impl Drop for Placeholders {
    fn drop(&mut self) {
        self.known.drain().for_each(|(mut known, _)| known.zeroize());
    }
}

/// Says how many there are, and nothing of what they stand for.
impl fmt::Debug for Placeholders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} placeholders", self.made.len())
    }
}
