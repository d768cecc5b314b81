//! International bank account numbers.

use super::runs::Run;
use super::scanner::{At, Text};

/// The countries and how long their numbers are (SWIFT's registry).
const LENGTHS: [(&[u8; 2], usize); 77] = [
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NL", 18),
    (b"NO", 15),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"XK", 20),
];

/// Where a number may begin whose check digits are at the beginning of `run`.
pub fn candidate(bytes: &[u8], run: &Run) -> Option<usize> {
    let start = run.start.checked_sub(2)?;
    let is_country = bytes.get(start..run.start)?.iter().all(u8::is_ascii_uppercase);
    (is_country && run.count >= 2).then_some(start)
}

pub fn at(text: &Text<'_>, start: usize) -> At {
    if text.before(start).is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return At::Nothing;
    }
    let Some(first) = text.get(start).filter(u8::is_ascii_uppercase) else { return At::Nothing };
    let Some(second) = text.get(start + 1) else {
        return if LENGTHS.iter().any(|(country, _)| country[0] == first) { text.ended() } else { At::Nothing };
    };
    let Some((_, length)) = LENGTHS.iter().find(|(country, _)| **country == [first, second]) else {
        return At::Nothing;
    };
    let (mut at, mut count, mut rest) = (start + 2, 2, Rest::default());
    while count < *length {
        match text.get(at) {
            None => return text.ended(),
            Some(b' ') if count % 4 == 0 && text.before(at) != Some(b' ') => {}
            Some(byte) if byte.is_ascii_digit() || (count >= 4 && byte.is_ascii_uppercase()) => {
                if count >= 4 {
                    rest.push(byte);
                }
                count += 1;
            }
            _ => return At::Nothing,
        }
        at += 1;
    }
    let checks = text.bytes.get(start + 2..start + 4).unwrap_or_default();
    [first, second].iter().chain(checks).for_each(|byte| rest.push(*byte));
    match rest.0 {
        1 => text.match_before(at, |byte| byte.is_ascii_alphanumeric() || byte == b'_'),
        _ => At::Nothing,
    }
}

/// The rest of a division by 97, of a number that is written with letters for 10 to 35.
#[derive(Default)]
struct Rest(u32);

impl Rest {
    fn push(&mut self, byte: u8) {
        let (value, places) = match byte.is_ascii_digit() {
            true => (u32::from(byte - b'0'), 10),
            false => (u32::from(byte - b'A') + 10, 100),
        };
        self.0 = (self.0 * places + value) % 97;
    }
}
