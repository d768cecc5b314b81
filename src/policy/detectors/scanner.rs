//! What all hand-written detectors have in common.
//!
//! Each is asked whether a match begins at one place, and looks no further than its longest match. With nothing
//! else known, text is either a match there, none, or *open*: it ends before that can be said. Whoever searches
//! leaps to the places where a match could begin.

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
    /// The first match in `text` that begins at `at` or behind, as if the text ended there.
    pub fn next(self, text: &str, at: usize) -> Option<(usize, usize)> {
        let bytes = text.as_bytes();
        let mut at = at;
        loop {
            let start = self.candidate(bytes, at)?;
            if let At::Match(end) = self.at(&Text { bytes, is_whole: true }, start) {
                return Some((start, end));
            }
            at = start + 1;
        }
    }

    /// The first place, at `from` or behind, where more text could begin or lengthen a match.
    pub fn open(self, text: &str, from: usize) -> usize {
        let bytes = text.as_bytes();
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

    /// The first place, at `at` or behind, where a match may begin. All but addresses of mail are known by their
    /// first digit.
    fn candidate(self, bytes: &[u8], at: usize) -> Option<usize> {
        if self == Self::Email {
            return email::candidate(bytes, at);
        }
        let mut from = at;
        loop {
            let digit = next_digit(bytes, from)?;
            let back = |count: usize, may: fn(u8) -> bool| {
                let before = bytes.get(at..digit).unwrap_or_default();
                digit - before.iter().rev().take(count).take_while(|byte| may(**byte)).count()
            };
            let start = match self {
                Self::Phone => back(1, |byte| byte == b'+' || byte == b'('),
                Self::Iban => back(2, |byte| byte.is_ascii_uppercase()),
                Self::IpAddress => back(3, |byte| byte.is_ascii_hexdigit()),
                Self::Email | Self::PaymentCard | Self::Ssn => digit,
            };
            let is_inside = start > 0 && bytes.get(start - 1).is_some_and(u8::is_ascii_alphanumeric);
            if !is_inside {
                return Some(start);
            }
            from = digit + 1;
        }
    }

    /// The longest text that can be open.
    fn bytes_max(self) -> usize {
        match self {
            Self::Email => email::BYTES_MAX,
            _ => 64,
        }
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

/// The first digit at `at` or behind; many bytes at a time, because most text has few.
fn next_digit(bytes: &[u8], at: usize) -> Option<usize> {
    const BLOCK: usize = 32;
    let rest = bytes.get(at..)?;
    let mut passed = 0;
    for block in rest.chunks_exact(BLOCK) {
        let any = block.iter().fold(0, |any, byte| any | u8::from(byte.wrapping_sub(b'0') < 10));
        if any != 0 {
            break;
        }
        passed += BLOCK;
    }
    let found = rest.get(passed..)?.iter().position(u8::is_ascii_digit)?;
    Some(at + passed + found)
}
