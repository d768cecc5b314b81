//! What keys, teams and providers may be called.

use std::fmt;
use std::sync::Arc;

/// Names that mean something in metric labels and can therefore not be given to anything.
const RESERVED: [&str; 3] = ["none", "other", "passthrough"];

/// A name a person gave to a key, a team or a provider.
///
/// 1 to 64 characters: letters and digits of any script, and `. _ - @ +` after the first. Spaces and
/// control characters are refused because names stand unquoted in event lines, and `none`, `other` and
/// `passthrough` because metrics use them for "no such thing", "too many to tell apart" and "no key of ours".
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// Why a text is no [`Name`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    Empty,
    TooLong,
    Reserved,
    Character(char),
}

impl Name {
    /// The longest name, in characters.
    pub const CHARS_MAX: usize = 64;

    /// Checks `text` against the rules above.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let first = text.chars().next().ok_or(NameError::Empty)?;
        if text.chars().count() > Self::CHARS_MAX {
            return Err(NameError::TooLong);
        }
        if !first.is_alphanumeric() {
            return Err(NameError::Character(first));
        }
        if let Some(odd) = text.chars().find(|&c| !c.is_alphanumeric() && !"._-@+".contains(c)) {
            return Err(NameError::Character(odd));
        }
        if RESERVED.contains(&text) {
            return Err(NameError::Reserved);
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, shared.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a name cannot be empty"),
            Self::TooLong => write!(f, "a name has at most {} characters", Name::CHARS_MAX),
            Self::Reserved => f.write_str("the names \"none\", \"other\" and \"passthrough\" are reserved for metrics"),
            Self::Character(c) => {
                write!(f, "a name has letters and digits, and . _ - @ + after the first; found {:?}", c)
            }
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_pass() {
        for text in ["jane-vscode", "j.doe@acme.example", "7", "équipe", "a+b_c"] {
            assert_eq!(Name::parse(text).map(|n| n.to_string()), Ok(text.to_string()));
        }
    }

    #[test]
    fn names_that_would_break_a_line_or_a_label_are_refused() {
        assert_eq!(Name::parse(""), Err(NameError::Empty));
        assert_eq!(Name::parse("other"), Err(NameError::Reserved));
        assert_eq!(Name::parse("a b"), Err(NameError::Character(' ')));
        assert_eq!(Name::parse("a\nb"), Err(NameError::Character('\n')));
        assert_eq!(Name::parse("-a"), Err(NameError::Character('-')));
        assert_eq!(Name::parse(&"x".repeat(65)), Err(NameError::TooLong));
        assert!(Name::parse(&"é".repeat(64)).is_ok());
    }
}
