//! E-mail addresses: found by their @, with no more before and behind it than an address may have.

use super::scanner::{At, Text};

const LOCAL_BYTES_MAX: usize = 64;
const DOMAIN_BYTES_MAX: usize = 253;
/// The longest address, and what ends it.
pub const BYTES_MAX: usize = LOCAL_BYTES_MAX + DOMAIN_BYTES_MAX + 2;

/// The first place at `at` or behind from which letters lead to an @.
pub fn candidate(bytes: &[u8], at: usize) -> Option<usize> {
    let mut from = at;
    loop {
        let sign = from + memchr::memchr(b'@', bytes.get(from..)?)?;
        let before = bytes.get(at.max(sign.saturating_sub(LOCAL_BYTES_MAX))..sign).unwrap_or_default();
        let local = before.iter().rev().take_while(|byte| is_local(**byte)).count();
        let first = bytes.get(sign - local..sign).unwrap_or_default().iter().position(u8::is_ascii_alphanumeric);
        if let Some(first) = first {
            return Some(sign - local + first);
        }
        from = sign + 1;
    }
}

pub fn at(text: &Text<'_>, start: usize) -> At {
    if !text.get(start).is_some_and(|byte| byte.is_ascii_alphanumeric()) {
        return At::Nothing;
    }
    let rest = text.bytes.get(start..).unwrap_or_default();
    let local = rest.iter().take(LOCAL_BYTES_MAX).take_while(|byte| is_local(**byte)).count();
    match rest.get(local) {
        None => return text.ended(),
        Some(b'@') => {}
        Some(_) => return At::Nothing,
    }
    let behind = rest.get(local + 1..).unwrap_or_default();
    let domain = behind.iter().take(DOMAIN_BYTES_MAX).take_while(|byte| is_domain(**byte)).count();
    if domain == behind.len() && domain < DOMAIN_BYTES_MAX && !text.is_whole {
        return At::Open;
    }
    match domain_end(behind.get(..domain).unwrap_or_default()) {
        Some(length) => At::Match(start + local + 1 + length),
        None => At::Nothing,
    }
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._%+-".contains(&byte)
}

fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-'
}

/// How much of `name` is a domain: at least two labels, the last one of letters.
fn domain_end(name: &[u8]) -> Option<usize> {
    let (mut end, mut best) = (0, None);
    for (number, label) in name.split(|byte| *byte == b'.').enumerate() {
        let edges = [label.first(), label.last()];
        if label.is_empty() || label.len() > 63 || edges.contains(&Some(&b'-')) {
            break;
        }
        end += label.len();
        let is_top = label.len() >= 2 && (label.iter().all(u8::is_ascii_alphabetic) || label.starts_with(b"xn--"));
        if number > 0 && is_top {
            best = Some(end);
        }
        end += 1;
    }
    best
}
