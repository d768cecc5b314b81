//! US social security numbers, as they are written.

use super::runs::Run;
use super::scanner::{At, Text};

const SHAPE: &[u8; 11] = b"ddd-dd-dddd";

/// Where a number may begin whose first digits are `run`.
pub fn candidate(run: &Run) -> Option<usize> {
    (run.count == 3 && run.next == Some(b'-')).then_some(run.start)
}

pub fn at(text: &Text<'_>, start: usize) -> At {
    if text.before(start).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return At::Nothing;
    }
    for (at, shape) in SHAPE.iter().enumerate() {
        match (text.get(start + at), shape) {
            (None, _) => return text.ended(),
            (Some(byte), b'd') if byte.is_ascii_digit() => {}
            (Some(b'-'), b'-') => {}
            _ => return At::Nothing,
        }
    }
    let part = |at: usize, length: usize| text.bytes.get(start + at..start + at + length).unwrap_or_default();
    let (area, group, serial) = (part(0, 3), part(4, 2), part(7, 4));
    if matches!(area, b"000" | b"666") || area.first() == Some(&b'9') || group == b"00" || serial == b"0000" {
        return At::Nothing;
    }
    text.match_before(start + SHAPE.len(), |byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
