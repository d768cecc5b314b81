//! IP addresses of either version.

use std::net::Ipv6Addr;

use super::runs::Run;
use super::scanner::{At, Text};

/// The longest address of version 6, without one of version 4 in it.
const V6_BYTES_MAX: usize = 39;

/// Where an address may begin in whose first part the digits `run` are.
pub fn candidate(bytes: &[u8], run: &Run) -> Option<usize> {
    let goes_on = run.next.is_some_and(|next| matches!(next, b'.' | b':' | b'a'..=b'f' | b'A'..=b'F'));
    if run.count > 4 || !goes_on {
        return None;
    }
    let before = bytes.get(..run.start).unwrap_or_default();
    let letters = before.iter().rev().take(3).take_while(|byte| byte.is_ascii_hexdigit()).count();
    Some(run.start - letters)
}

pub fn at(text: &Text<'_>, start: usize) -> At {
    if text.before(start).is_some_and(|byte| byte.is_ascii_alphanumeric() || b".:_-".contains(&byte)) {
        return At::Nothing;
    }
    match (version_4(text, start), version_6(text, start)) {
        (At::Match(end), _) | (_, At::Match(end)) => At::Match(end),
        (At::Open, _) | (_, At::Open) => At::Open,
        _ => At::Nothing,
    }
}

fn version_4(text: &Text<'_>, start: usize) -> At {
    let mut octets = [0_u32; 4];
    let mut at = start;
    for (number, octet) in octets.iter_mut().enumerate() {
        if number > 0 {
            match text.get(at) {
                None => return text.ended(),
                Some(b'.') => at += 1,
                Some(_) => return At::Nothing,
            }
        }
        let digits = text.bytes.get(at..).unwrap_or_default();
        let count = digits.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
        let digits = digits.get(..count).unwrap_or_default();
        *octet = digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
        if *octet > 255 || (count > 1 && digits.first() == Some(&b'0')) {
            return At::Nothing;
        }
        at += count;
        if count == 0 {
            return if text.get(at).is_none() { text.ended() } else { At::Nothing };
        }
    }
    let is_nobodys = octets[0] == 127 || octets == [0; 4] || octets == [255; 4];
    let continues = match (text.get(at), text.get(at + 1)) {
        (None, _) | (Some(b'.'), None) if !text.is_whole => return At::Open,
        (Some(b'.'), Some(next)) => next.is_ascii_digit(),
        (Some(byte), _) => byte.is_ascii_alphanumeric() || byte == b'_',
        (None, _) => false,
    };
    if is_nobodys || continues { At::Nothing } else { At::Match(at) }
}

fn version_6(text: &Text<'_>, start: usize) -> At {
    let rest = text.bytes.get(start..).unwrap_or_default();
    let is_part = |byte: &&u8| byte.is_ascii_hexdigit() || **byte == b':';
    let length = rest.iter().take(V6_BYTES_MAX + 1).take_while(is_part).count();
    let run = rest.get(..length).unwrap_or_default();
    let first = run.split(|byte| *byte == b':').next().unwrap_or_default();
    let is_begun = first.len() < length;
    if !(1..=4).contains(&first.len()) || (is_begun && !first.iter().any(u8::is_ascii_digit)) || length > V6_BYTES_MAX {
        return At::Nothing;
    }
    if length == rest.len() && !text.is_whole {
        return At::Open;
    }
    if rest.get(length).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
        return At::Nothing;
    }
    let run = if run.ends_with(b"::") { run } else { run.strip_suffix(b":").unwrap_or(run) };
    let is_address = run.contains(&b':') && std::str::from_utf8(run).is_ok_and(|run| run.parse::<Ipv6Addr>().is_ok());
    if is_address { At::Match(start + run.len()) } else { At::Nothing }
}
