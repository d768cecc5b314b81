//! The form of a line. Every line is one JSON object whose last member seals it to the line before:
//!
//! ```text
//! {"schema":"keeptrusts.event/1","seq":7,"time":"2026-01-15T10:30:12.250Z", … ,"chain":"5f0c…"}
//! ```
//!
//! `chain` is SHA-256, in hexadecimal, over the 32 bytes of the chain of the line before and the text of this line
//! before `,"chain"`. A line cannot be changed, taken out, put in or moved without every later line telling.

use std::fmt;

use memchr::memchr;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

const HEX: &[u8; 16] = b"0123456789abcdef";
const CHAIN_NAME: &[u8] = b",\"chain\":\"";
const CHAIN_CHARS: usize = 64;
/// What follows the sealed text: name, chain, quote and brace.
const SEAL_BYTES: usize = CHAIN_NAME.len() + CHAIN_CHARS + 2;
/// How a line that is an event begins; its number follows.
const EVENT_START: &[u8] = b"{\"schema\":\"keeptrusts.event/1\",\"seq\":";
const TIME_NAME: &[u8] = b",\"time\":\"";
/// `2026-01-15T10:30:12.250Z`
const TIME_CHARS: usize = 24;

/// The seal of a line, which holds everything before it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Chain([u8; 32]);

impl Chain {
    /// What the first line of a log is sealed to.
    pub(super) const START: Self = Self([0; 32]);

    /// The seal of `text` after a line with this one.
    fn over(self, text: &[u8]) -> Self {
        Self(Sha256::new().chain_update(self.0).chain_update(text).finalize().into())
    }

    fn hex(self) -> [u8; CHAIN_CHARS] {
        let mut hex = [0; CHAIN_CHARS];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        hex
    }

    fn parse(hex: &[u8]) -> Option<Self> {
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let mut chain = [0; 32];
        for (byte, pair) in chain.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        (hex.len() == CHAIN_CHARS).then_some(Self(chain))
    }
}

/// Appends an object as a sealed line; its seal.
pub(super) fn seal(lines: &mut Vec<u8>, object: &[u8], previous: Chain) -> Chain {
    let text = object.strip_suffix(b"}").unwrap_or(object);
    let chain = previous.over(text);
    lines.extend_from_slice(text);
    lines.extend_from_slice(CHAIN_NAME);
    lines.extend_from_slice(&chain.hex());
    lines.extend_from_slice(b"\"}\n");
    chain
}

/// What a line without its line break says its seal is.
pub(super) fn chain_of(line: &[u8]) -> Option<Chain> {
    let (_, seal) = line.split_at_checked(line.len().checked_sub(SEAL_BYTES)?)?;
    Chain::parse(seal.strip_prefix(CHAIN_NAME)?.strip_suffix(b"\"}")?)
}

/// Whether a line is what was written after a line with the seal `previous`.
pub(super) fn holds(line: &[u8], previous: Chain) -> bool {
    chain_of(line).is_some_and(|chain| chain == previous.over(&line[..line.len() - SEAL_BYTES]))
}

/// The number of the event in a line.
pub(super) fn seq_of(line: &[u8]) -> Option<i64> {
    let rest = line.strip_prefix(EVENT_START)?;
    let digits = &rest[..memchr(b',', rest)?];
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The time of the event in a line, as it is written: of two such texts the later time is the greater one.
pub(super) fn time_of(line: &[u8]) -> Option<&[u8]> {
    let rest = line.get(EVENT_START.len()..)?;
    let rest = rest[memchr(b',', rest)?..].strip_prefix(TIME_NAME)?;
    rest.get(..TIME_CHARS)
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Chain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(text.as_bytes()).ok_or_else(|| de::Error::custom("expected 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_line_is_json_that_tells_its_number_time_and_seal() {
        let object = br#"{"schema":"keeptrusts.event/1","seq":7,"time":"2026-01-15T10:30:12.250Z","x":1}"#;
        let mut lines = Vec::new();
        let chain = seal(&mut lines, object, Chain::START);
        let line = lines.strip_suffix(b"\n").unwrap();
        let json: serde_json::Value = serde_json::from_slice(line).unwrap();
        assert_eq!((&json["x"], &json["chain"]), (&1.into(), &chain.to_string().into()));
        assert_eq!((seq_of(line), time_of(line)), (Some(7), Some(&b"2026-01-15T10:30:12.250Z"[..])));
        assert_eq!(chain_of(line), Some(chain));
        assert!(holds(line, Chain::START) && !holds(line, chain));
        let mut changed = line.to_vec();
        changed[40] ^= 1;
        assert!(!holds(&changed, Chain::START));
        assert_eq!((chain_of(b"{}"), seq_of(b"{}"), time_of(b"{}")), (None, None, None));
    }
}
