//! `kt_ak_…`: how a key is written, checked and digested.
//!
//! A key is its prefix, 26 random base62 characters and 6 more that are the CRC-32 of all before them, so
//! that a truncated or mistyped key is told from an unknown one without a look-up.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroize;

use super::Secret;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_CHARS: usize = 26;
const CHECKSUM_CHARS: usize = 6;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Authorises a developer's or application's traffic.
    Access,
    /// Authorises a gateway process towards the control plane; never traffic.
    Gateway,
    /// Authorises calls of the admin API.
    Admin,
}

/// The clear text of a key whose form has been checked. It may still be unknown, expired or revoked.
#[derive(Clone)]
pub struct KeyText {
    kind: KeyKind,
    text: Secret,
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTextError {
    /// It does not begin like one of our keys.
    Foreign,
    /// It begins like one, but with spaces or quotes around it.
    Padded,
    /// Too short or too long for its kind.
    Length { found: usize, expected: usize },
    /// A character is not one of `0-9 A-Z a-z`.
    Character,
    /// The last six characters do not fit the rest.
    Checksum,
}

/// The digest under which a key is stored and looked up: HMAC-SHA256 under the installation's [`Pepper`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest(pub [u8; 32]);

/// The installation's secret that keeps a stolen key table useless. Its key schedule is computed once.
#[derive(Clone)]
pub struct Pepper(Hmac<Sha256>);

impl KeyKind {
    pub const ALL: [Self; 3] = [Self::Access, Self::Gateway, Self::Admin];

    pub fn prefix(self) -> &'static str {
        match self {
            Self::Access => "kt_ak_",
            Self::Gateway => "kt_gk_",
            Self::Admin => "kt_admin_",
        }
    }

    /// How commands and the admin API call this kind.
    pub fn label(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Gateway => "gateway",
            Self::Admin => "admin",
        }
    }
}

impl KeyText {
    /// Characters of the clear text that lists may show.
    pub const SHOWN_CHARS: usize = 10;

    /// Makes a new key. `fill` must fill its argument from the operating system's random source.
    pub fn mint<E>(kind: KeyKind, mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        // Bytes from 248 on are drawn again: 248 = 4 × 62, so that every character is equally likely.
        const UNBIASED: u8 = 248;
        let mut text = String::with_capacity(kind.prefix().len() + RANDOM_CHARS + CHECKSUM_CHARS);
        text.push_str(kind.prefix());
        let mut pool = [0u8; 64];
        while text.len() < kind.prefix().len() + RANDOM_CHARS {
            fill(&mut pool)?;
            let missing = kind.prefix().len() + RANDOM_CHARS - text.len();
            let drawn = pool.iter().filter(|&&byte| byte < UNBIASED).take(missing);
            text.extend(drawn.map(|&byte| char::from(ALPHABET[usize::from(byte % 62)])));
        }
        pool.zeroize();
        let checksum = checksum(&text);
        text.extend(checksum.iter().map(|&byte| char::from(byte)));
        Ok(Self { kind, text: Secret::new(text) })
    }

    /// Checks the form of `text`; no look-up is needed to tell a damaged key from an unknown one.
    pub fn parse(text: &str) -> Result<Self, KeyTextError> {
        let kind = Self::check(text)?;
        Ok(Self { kind, text: Secret::new(text.to_owned()) })
    }

    /// Like [`KeyText::parse`], without a copy of the text.
    pub fn check(text: &str) -> Result<KeyKind, KeyTextError> {
        let Some(kind) = KeyKind::ALL.into_iter().find(|kind| text.starts_with(kind.prefix())) else {
            let bare = text.trim_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'' || c == '`');
            let padded = KeyKind::ALL.iter().any(|kind| bare.starts_with(kind.prefix()));
            return Err(if padded { KeyTextError::Padded } else { KeyTextError::Foreign });
        };
        let body = &text.as_bytes()[kind.prefix().len()..];
        if !body.iter().all(u8::is_ascii_alphanumeric) {
            let trailing = body.last().is_some_and(|b| b.is_ascii_whitespace() || b"\"'`".contains(b));
            return Err(if trailing { KeyTextError::Padded } else { KeyTextError::Character });
        }
        let expected = kind.prefix().len() + RANDOM_CHARS + CHECKSUM_CHARS;
        if text.len() != expected {
            return Err(KeyTextError::Length { found: text.len(), expected });
        }
        let (signed, found) = text.split_at(expected - CHECKSUM_CHARS);
        if checksum(signed) == found.as_bytes() { Ok(kind) } else { Err(KeyTextError::Checksum) }
    }

    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The clear text, for the one moment it is shown to its owner.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    /// The part of the clear text that lists may show.
    pub fn shown(&self) -> &str {
        &self.text.expose()[..Self::SHOWN_CHARS]
    }
}

fn checksum(signed: &str) -> [u8; CHECKSUM_CHARS] {
    let mut rest = crc32fast::hash(signed.as_bytes());
    let mut written = [b'0'; CHECKSUM_CHARS];
    for place in written.iter_mut().rev() {
        *place = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    written
}

impl Pepper {
    /// The shortest pepper, in bytes: as long as the digest, as RFC 2104 §3 advises.
    pub const BYTES_MIN: usize = 32;

    /// `None` if `secret` is shorter than [`Pepper::BYTES_MIN`].
    pub fn new(secret: &[u8]) -> Option<Self> {
        if secret.len() < Self::BYTES_MIN {
            return None;
        }
        Hmac::new_from_slice(secret).ok().map(Self)
    }

    pub fn digest(&self, text: &str) -> KeyDigest {
        let mut mac = self.0.clone();
        mac.update(text.as_bytes());
        KeyDigest(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(secret)", self.kind.prefix())
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(secret)")
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(…)")
    }
}

/// A sentence that says what is wrong and what to do; it never repeats the text.
impl fmt::Display for KeyTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("not a Keeptrusts key: an access key begins with kt_ak_"),
            Self::Padded => f.write_str("the key has spaces or quotes around it: paste it without them"),
            Self::Length { found, expected } if found < expected => {
                write!(f, "the key has {found} characters instead of {expected}: it was cut off, copy it again")
            }
            Self::Length { found, expected } => {
                write!(
                    f,
                    "the key has {found} characters instead of {expected}: it was pasted together with something else"
                )
            }
            Self::Character => f.write_str("the key holds a character that no key has: copy it again"),
            Self::Checksum => f.write_str("the key's checksum does not fit: a character was mistyped, copy it again"),
        }
    }
}

impl std::error::Error for KeyTextError {}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn minted(kind: KeyKind) -> String {
        let mut next = 0u8;
        let fill = |pool: &mut [u8]| {
            for byte in pool {
                next = next.wrapping_mul(167).wrapping_add(13);
                *byte = next;
            }
            Ok::<_, Infallible>(())
        };
        KeyText::mint(kind, fill).unwrap().expose().to_owned()
    }

    #[test]
    fn a_minted_key_is_well_formed() {
        for kind in KeyKind::ALL {
            let text = minted(kind);
            assert_eq!(text.len(), kind.prefix().len() + 32);
            assert_eq!(KeyText::parse(&text).map(|key| key.kind()), Ok(kind));
        }
    }

    #[test]
    fn every_single_mistyped_character_is_noticed() {
        let text = minted(KeyKind::Access);
        for at in "kt_ak_".len()..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(KeyText::check(std::str::from_utf8(&bytes).unwrap()), Err(KeyTextError::Checksum));
        }
    }

    #[test]
    fn damage_is_named() {
        let text = minted(KeyKind::Access);
        let check = |text: &str| KeyText::check(text).unwrap_err();
        assert_eq!(check(&text[..30]), KeyTextError::Length { found: 30, expected: 38 });
        assert_eq!(check(&format!("{text}{text}")), KeyTextError::Character);
        assert_eq!(check(&format!("{text}0")), KeyTextError::Length { found: 39, expected: 38 });
        for padded in [format!(" {text}"), format!("\"{text}\""), format!("{text} "), format!("'{text}")] {
            assert_eq!(check(&padded), KeyTextError::Padded, "{padded}");
        }
        assert_eq!(check("sk-proj-abc"), KeyTextError::Foreign);
        assert_eq!(check(""), KeyTextError::Foreign);
        assert_eq!(check(&text.replace(&text[10..12], "é")), KeyTextError::Character);
    }

    #[test]
    fn debug_output_hides_the_text() {
        let key = KeyText::parse(&minted(KeyKind::Gateway)).unwrap();
        assert_eq!(format!("{key:?}"), "kt_gk_(secret)");
    }

    #[test]
    fn a_short_pepper_is_refused() {
        assert!(Pepper::new(&[7; 31]).is_none());
        let digest = |text| Pepper::new(&[7; 32]).map(|pepper| pepper.digest(text).0);
        assert_eq!(digest("a"), digest("a"));
        assert_ne!(digest("a"), digest("b"));
    }
}
