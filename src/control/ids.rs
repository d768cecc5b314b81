//! Short random ids, which are no secrets.

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// About 59 bits: two of a million ids are the same once in a million installations, and the store would
/// then refuse the second.
const RANDOM_CHARS: usize = 10;

/// `prefix` and ten random base62 characters.
pub(super) fn short_id(prefix: &str) -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    let mut rest = u128::from_le_bytes(bytes);
    let mut id = String::with_capacity(prefix.len() + RANDOM_CHARS);
    id.push_str(prefix);
    for _ in 0..RANDOM_CHARS {
        id.push(char::from(ALPHABET[(rest % 62) as usize]));
        rest /= 62;
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_differ_and_keep_their_prefix() {
        let [one, two] = [0, 1].map(|_| super::short_id("ak_").unwrap());
        assert!(one.starts_with("ak_") && one.len() == 13, "{one}");
        assert_ne!(one, two);
    }
}
