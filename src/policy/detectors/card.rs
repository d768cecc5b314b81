//! Payment cards: an issuer's first digits, a length it issues, and the check digit.

use super::runs::Run;
use super::scanner::{At, Text};

const DIGITS_MIN: usize = 13;
const DIGITS_MAX: usize = 19;
/// All groups but the last have at least so many digits, or lists of numbers would be cards.
const GROUP_MIN: usize = 4;

/// Where a number may begin whose first digits are `run`.
pub fn candidate(run: &Run) -> Option<usize> {
    let is_long = run.count >= DIGITS_MIN || (run.count >= GROUP_MIN && matches!(run.next, Some(b' ' | b'-')));
    (is_long && (b'2'..=b'6').contains(&run.first)).then_some(run.start)
}

pub fn at(text: &Text<'_>, start: usize) -> At {
    let is_inside = text.before(start).is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_');
    if is_inside || !text.get(start).is_some_and(|byte| (b'2'..=b'6').contains(&byte)) {
        return At::Nothing;
    }
    let (mut digits, mut count, mut group) = ([0_u8; DIGITS_MAX], 0, 0);
    let (mut at, mut best) = (start, At::Nothing);
    loop {
        match text.get(at) {
            None if !text.is_whole => return At::Open,
            Some(byte) if byte.is_ascii_digit() => {
                let Some(place) = digits.get_mut(count) else { return best };
                *place = byte - b'0';
                count += 1;
                group += 1;
                at += 1;
                continue;
            }
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' => return best,
            _ => {}
        }
        if is_card(digits.get(..count).unwrap_or_default()) {
            best = At::Match(at);
        }
        let is_parted = matches!(text.get(at), Some(b' ' | b'-'));
        if !is_parted || group < GROUP_MIN {
            return best;
        }
        match text.get(at + 1) {
            None if !text.is_whole => return At::Open,
            Some(byte) if byte.is_ascii_digit() => (at, group) = (at + 1, 0),
            _ => return best,
        }
    }
}

fn is_card(digits: &[u8]) -> bool {
    let first = |count: usize| digits.iter().take(count).fold(0_u32, |value, digit| value * 10 + u32::from(*digit));
    let length = digits.len();
    let is_issued = match (first(1), first(2), first(3), first(4)) {
        (4, ..) => matches!(length, 13 | 16 | 19),
        (_, 51..=55, ..) | (_, _, _, 2221..=2720) => length == 16,
        (_, 34 | 37, ..) => length == 15,
        (_, 36, ..) | (_, _, 300..=305, _) => (14..=19).contains(&length),
        (_, 38 | 39, ..) | (_, 62 | 65, ..) | (_, _, 644..=649, _) => (16..=19).contains(&length),
        (_, _, _, 6011 | 3528..=3589) => (16..=19).contains(&length),
        (_, _, _, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763) => (13..=19).contains(&length),
        _ => false,
    };
    is_issued && luhn(digits)
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let doubled = if place % 2 == 1 { digit * 2 } else { *digit };
            u32::from(if doubled > 9 { doubled - 9 } else { doubled })
        })
        .sum();
    sum.is_multiple_of(10)
}
