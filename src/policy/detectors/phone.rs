//! Telephone numbers: international ones, and those of North America as they are written.

use super::runs::Run;
use super::scanner::{At, Text};

const DIGITS: std::ops::RangeInclusive<usize> = 8..=15;
/// How many characters may stand between two digits.
const GAP_MAX: usize = 2;

/// `d` is a digit, `2` one from 2 to 9.
const SHAPES: [&[u8]; 11] = [
    b"(2dd) 2dd-dddd",
    b"(2dd)2dd-dddd",
    b"(2dd) 2dd dddd",
    b"2dd-2dd-dddd",
    b"2dd.2dd.dddd",
    b"2dd 2dd dddd",
    b"1-2dd-2dd-dddd",
    b"1.2dd.2dd.dddd",
    b"1 2dd 2dd dddd",
    b"1 (2dd) 2dd-dddd",
    b"1 2dd-2dd-dddd",
];

/// Where a number may begin whose first digits are `run`.
pub fn candidate(bytes: &[u8], run: &Run) -> Option<usize> {
    if let Some(before) = run.start.checked_sub(1) {
        match bytes.get(before) {
            Some(b'+') => return Some(before),
            Some(b'(') if run.count == 3 && run.next == Some(b')') => return Some(before),
            _ => {}
        }
    }
    let is_begun = matches!((run.count, run.first), (3, b'2'..=b'9') | (1, b'1'));
    let is_parted = matches!(run.next, Some(b' ' | b'-' | b'.'));
    (is_begun && is_parted).then_some(run.start)
}

pub fn at(text: &Text<'_>, start: usize) -> At {
    if text.before(start).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+_".contains(&byte)) {
        return At::Nothing;
    }
    match text.get(start) {
        Some(b'+') => international(text, start),
        Some(b'(' | b'1'..=b'9') => {
            let is_part = text.before(start).is_some_and(|byte| b"-./".contains(&byte));
            if is_part { At::Nothing } else { written(text, start) }
        }
        _ => At::Nothing,
    }
}

fn international(text: &Text<'_>, start: usize) -> At {
    let (mut at, mut count, mut gap, mut end) = (start + 1, 0, 0, start + 1);
    loop {
        match text.get(at) {
            None if !text.is_whole => return At::Open,
            Some(b'0') if count == 0 => return At::Nothing,
            Some(byte) if byte.is_ascii_digit() => {
                (count, gap) = (count + 1, 0);
                end = at + 1;
                if count > *DIGITS.end() {
                    return At::Nothing;
                }
            }
            Some(b' ' | b'-' | b'.' | b'(' | b')') if count > 0 && gap < GAP_MAX => gap += 1,
            Some(byte) if gap == 0 && (byte.is_ascii_alphabetic() || byte == b'_') => return At::Nothing,
            _ if DIGITS.contains(&count) => return At::Match(end),
            _ => return At::Nothing,
        }
        at += 1;
    }
}

fn written(text: &Text<'_>, start: usize) -> At {
    let mut found = At::Nothing;
    for shape in SHAPES {
        match shaped(text, start, shape) {
            At::Open => return At::Open,
            At::Match(end) => found = At::Match(end),
            At::Nothing => {}
        }
    }
    found
}

fn shaped(text: &Text<'_>, start: usize, shape: &[u8]) -> At {
    for (at, shape) in shape.iter().enumerate() {
        let Some(byte) = text.get(start + at) else { return text.ended() };
        let fits = match shape {
            b'd' => byte.is_ascii_digit(),
            b'2' => (b'2'..=b'9').contains(&byte),
            other => byte == *other,
        };
        if !fits {
            return At::Nothing;
        }
    }
    text.match_before(start + shape.len(), |byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
