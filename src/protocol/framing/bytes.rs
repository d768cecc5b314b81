//! Which bytes belong where, as tables: one look-up a byte.

type Set = [bool; 256];

const fn set(also: &[u8]) -> Set {
    let mut set = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        set[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < also.len() {
        set[also[at] as usize] = true;
        at += 1;
    }
    set
}

/// Names of header fields and methods (RFC 9110 §5.6.2).
static TOKEN: Set = set(b"!#$%&'*+-.^_`|~");
/// A path and a query (RFC 3986 §3.3, §3.4); `%` only with what is checked beside it.
static TARGET: Set = set(b"-._~!$&'()*+,;=:@/?%");
/// A registered name (RFC 3986 §3.2.2), as far as name servers know any.
static HOST: Set = set(b"-._~");

pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| TOKEN[usize::from(byte)])
}

pub fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

pub fn is_target(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| TARGET[usize::from(byte)])
}

pub fn is_host(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| HOST[usize::from(byte)])
}

/// A field's value (RFC 9110 §5.5): no control characters but the tab. Without a way out of the loop, it compares
/// many bytes at once.
pub fn is_field_value(bytes: &[u8]) -> bool {
    !bytes.iter().fold(false, |odd, &byte| odd | is_control(byte))
}

pub fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') | (byte == 0x7f)
}
