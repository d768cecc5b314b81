//! The installation's pepper: the secret that key digests are made under.
//!
//! It lives in a file of its own, so that a copy of the database alone opens nothing. The store keeps a check
//! value of it: with another pepper every key would silently be unknown, so such a start is refused.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fmt, str};

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::domain::{KeyDigest, Pepper};

const FILE: &str = "pepper";
const BYTES: usize = Pepper::BYTES_MIN;
/// What the check value is the digest of. No key is written like this.
const CHECK_LABEL: &str = "keeptrusts pepper check 1";

/// Why the pepper cannot be used.
#[derive(Debug)]
pub enum PepperError {
    Io { path: PathBuf, error: io::Error },
    Exposed { path: PathBuf, mode: u32 },
    Malformed(PathBuf),
    Missing(PathBuf),
    Replaced(PathBuf),
    Random(getrandom::Error),
}

/// The pepper that the stored keys were made under, of which `check` is the check value.
pub(super) fn load_known(data_dir: &Path, given: Option<&Path>, check: &KeyDigest) -> Result<Pepper, PepperError> {
    let path = given.map_or_else(|| data_dir.join(FILE), Path::to_owned);
    let pepper = load(&path, given.is_some())?.ok_or_else(|| PepperError::Missing(path.clone()))?;
    if bool::from(check_value(&pepper).0.ct_eq(&check.0)) { Ok(pepper) } else { Err(PepperError::Replaced(path)) }
}

/// The pepper of a store that has no keys yet.
pub(super) fn load_or_create(data_dir: &Path, given: Option<&Path>) -> Result<Pepper, PepperError> {
    if let Some(path) = given {
        return load(path, true)?.ok_or_else(|| PepperError::Missing(path.into()));
    }
    let path = data_dir.join(FILE);
    if let Some(pepper) = load(&path, false)? {
        return Ok(pepper);
    }
    create(&path)?;
    load(&path, false)?.ok_or(PepperError::Missing(path))
}

/// Tells whether a pepper is the same one later, and nothing else about it.
pub(super) fn check_value(pepper: &Pepper) -> KeyDigest {
    pepper.digest(CHECK_LABEL)
}

/// What `is_guarded` by a service manager has the modes that it gives.
fn load(path: &Path, is_guarded: bool) -> Result<Option<Pepper>, PepperError> {
    let in_path = |error| PepperError::Io { path: path.into(), error };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(in_path(error)),
    };
    let mode = file.metadata().map_err(in_path)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 && !is_guarded {
        return Err(PepperError::Exposed { path: path.into(), mode });
    }
    let mut hex = Zeroizing::new(Vec::with_capacity(4 * BYTES));
    file.take(4 * BYTES as u64).read_to_end(&mut hex).map_err(in_path)?;
    let secret = decode(hex.trim_ascii()).ok_or_else(|| PepperError::Malformed(path.into()))?;
    Pepper::new(&secret[..]).map(Some).ok_or_else(|| PepperError::Malformed(path.into()))
}

/// Writes a new pepper. It is complete and on disk before it has its name, so that a crash leaves a whole one
/// or none; and it never replaces one.
fn create(path: &Path) -> Result<(), PepperError> {
    let in_path = |error| PepperError::Io { path: path.into(), error };
    let mut secret = Zeroizing::new([0; BYTES]);
    getrandom::fill(&mut secret[..]).map_err(PepperError::Random)?;
    let mut hex = Zeroizing::new(String::with_capacity(2 * BYTES + 1));
    for byte in &secret[..] {
        hex.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
    }
    hex.push('\n');
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(in_path(error)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(in_path)?;
    file.write_all(hex.as_bytes()).and_then(|()| file.sync_all()).map_err(in_path)?;
    fs::hard_link(&unfinished, path).map_err(in_path)?;
    fs::remove_file(&unfinished).map_err(in_path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(in_path)
}

fn decode(hex: &[u8]) -> Option<Zeroizing<[u8; BYTES]>> {
    let mut secret = Zeroizing::new([0; BYTES]);
    if hex.len() != 2 * BYTES {
        return None;
    }
    for (byte, digits) in secret.iter_mut().zip(hex.chunks_exact(2)) {
        let digits = str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()));
        let Some(value) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            secret.zeroize();
            return None;
        };
        *byte = value;
    }
    Some(secret)
}

impl fmt::Display for PepperError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "failed to use the pepper {}: {error}", path.display()),
            Self::Exposed { path, mode } => write!(
                f,
                "others can read the pepper {0} (mode {mode:04o}), which protects the stored keys: run `chmod 600 {0}`",
                path.display()
            ),
            Self::Malformed(path) => write!(
                f,
                "the pepper {} is damaged: it must be {BYTES} bytes in hexadecimal; restore it from a backup",
                path.display()
            ),
            Self::Missing(path) => write!(
                f,
                "the pepper {} is missing, without which no stored key can be recognised: restore it from a backup",
                path.display()
            ),
            Self::Replaced(path) => write!(
                f,
                "the pepper {} is not the one the stored keys were made under, so none of them would be recognised: \
                 restore the right one from a backup",
                path.display()
            ),
            Self::Random(error) => write!(f, "failed to get random bytes from the operating system: {error}"),
        }
    }
}

impl std::error::Error for PepperError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let made = load_or_create(dir.path(), None).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(&path).unwrap().len(), 65);
        let loaded = load_or_create(dir.path(), None).unwrap();
        assert_eq!(check_value(&made).0, check_value(&loaded).0);
        assert!(load_known(dir.path(), None, &check_value(&made)).is_ok());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path(), None).unwrap();
        fs::set_permissions(dir.path().join(FILE), fs::Permissions::from_mode(0o640)).unwrap();
        let error = load_or_create(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains("mode 0640") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn one_that_is_missing_replaced_or_damaged_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let check = check_value(&load_or_create(dir.path(), None).unwrap());
        fs::remove_file(dir.path().join(FILE)).unwrap();
        assert!(matches!(load_known(dir.path(), None, &check), Err(PepperError::Missing(_))));
        load_or_create(dir.path(), None).unwrap();
        assert!(matches!(load_known(dir.path(), None, &check), Err(PepperError::Replaced(_))));
        for damaged in ["", "00", &"+1".repeat(32), &"é".repeat(32)] {
            fs::write(dir.path().join(FILE), damaged).unwrap();
            assert!(matches!(load_known(dir.path(), None, &check), Err(PepperError::Malformed(_))), "{damaged}");
        }
    }
}
