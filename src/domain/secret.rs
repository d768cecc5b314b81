//! A text that no log line, error or `Debug` output can show.

use std::fmt;

use zeroize::ZeroizeOnDrop;

/// A credential or other secret. Wiped from memory when dropped; [`Secret::expose`] is the only way in.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_output_hides_it() {
        assert_eq!(format!("{:?}", Some(Secret::new("canary".into()))), "Some((secret))");
    }
}
