//! Credentials: the configuration says where one is, never what it is.
//!
//! No fault repeats anything that was written under `api_key` unless it can only be a reference: the
//! classic mistake is to paste the credential itself.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::Secret;

use super::environment::Environment;
use super::files;
use super::findings::Placed;
use super::reader::Section;

/// More than any provider's credential, service accounts in JSON included.
const BYTES_MAX: u64 = 64 * 1024;

const EXPECTED: &str =
    "expected where the key is, not the key itself: {env: NAME}, {file: PATH} or {credential: NAME} (systemd)";

/// Where a credential is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Environment(String),
    File(PathBuf),
    /// A file in the directory that systemd makes for `LoadCredential=`.
    Systemd(String),
}

/// Reads `api_key` of `provider`.
pub(super) fn reference(provider: &Section<'_>, directory: &Path) -> Option<Placed<Reference>> {
    reference_at(provider, "api_key", EXPECTED, directory)
}

/// Reads where something secret is that `name` stands for; `expected` is said where it is written wrongly.
pub(super) fn reference_at(
    section: &Section<'_>,
    name: &'static str,
    expected: &str,
    directory: &Path,
) -> Option<Placed<Reference>> {
    section.secret_section(name, expected, |api_key| {
        let written = ["env", "file", "credential"].map(|name| api_key.has(name));
        let found = [
            api_key.optional("env", variable_name).map(|name| name.value),
            api_key
                .optional("file", |path| files::path_from(directory, path).map(Reference::File))
                .map(|path| path.value),
            api_key.optional("credential", credential_name).map(|name| name.value),
        ];
        if api_key.is_present() && written.into_iter().filter(|&written| written).count() != 1 {
            api_key.report().fault(api_key.place(), expected);
            return None;
        }
        let reference = found.into_iter().flatten().next()?;
        Some(Placed { value: reference, place: api_key.place().clone() })
    })
}

impl Reference {
    /// The credential itself, and a warning if it is not kept well.
    pub(super) fn resolve(&self, environment: &dyn Environment) -> Result<(Secret, Option<&'static str>), String> {
        let (text, warning) = self.text(environment)?;
        Ok((checked(&text)?, warning))
    }

    /// What is there, as it is, and a warning if it is not kept well.
    pub(super) fn text(&self, environment: &dyn Environment) -> Result<(Secret, Option<&'static str>), String> {
        let (value, warning) = match self {
            Self::Environment(name) => (variable(environment, name)?, None),
            Self::File(path) => {
                let value = read(path)?;
                let open = files::mode(path).is_some_and(|mode| mode & 0o004 != 0);
                (value, open.then_some("every user of this machine can read the key's file; chmod o-r it"))
            }
            Self::Systemd(name) => {
                let directory = environment.variable("CREDENTIALS_DIRECTORY").ok_or(
                    "CREDENTIALS_DIRECTORY is not set; systemd sets it for a unit with LoadCredential= or SetCredential=",
                )?;
                (read(&Path::new(&directory).join(name))?, None)
            }
        };
        Ok((Secret::new(value), warning))
    }
}

fn variable_name(text: &str) -> Result<Reference, String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(word) {
        return Err("not the name of an environment variable: letters, digits and _".into());
    }
    Ok(Reference::Environment(text.into()))
}

fn credential_name(text: &str) -> Result<Reference, String> {
    if text.is_empty() || text.starts_with('.') || text.contains('/') {
        return Err("not the name of a credential: it is the ID in systemd's LoadCredential=ID:PATH".into());
    }
    Ok(Reference::Systemd(text.into()))
}

fn variable(environment: &dyn Environment, name: &str) -> Result<String, String> {
    // Gemini's credentials, among others, could pass for the name of a variable.
    let usual = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let called = if usual { format!("the environment variable {name}") } else { "the environment variable".into() };
    let value =
        environment.variable(name).ok_or_else(|| format!("{called} is not set; export it, or point at a file"))?;
    OsString::into_string(value).map_err(|_| format!("{called} is not UTF-8"))
}

fn read(path: &Path) -> Result<String, String> {
    files::read_text(path, BYTES_MAX).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no file at the path; relative paths begin where the configuration is".into()
        }
        _ => format!("failed to read the key's file: {error}"),
    })
}

/// `text` as a header can carry it. The line end that editors and `echo` leave is not part of a credential.
fn checked(text: &Secret) -> Result<Secret, String> {
    let trimmed = text.expose().trim_end_matches(['\r', '\n']);
    if trimmed.is_empty() {
        return Err("the key is empty".into());
    }
    if trimmed.starts_with(['"', '\'']) {
        return Err("the key has quotes around it; remove them where it is kept".into());
    }
    if !trimmed.chars().all(|c| c.is_ascii_graphic()) {
        return Err("the key holds a space, a control character or one that is not ASCII; copy it again".into());
    }
    Ok(Secret::new(trimmed.into()))
}

/// What may be shown of a credential.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "(from env {name})"),
            Self::File(path) => write!(f, "(from file {})", path.display()),
            Self::Systemd(name) => write!(f, "(from systemd credential {name})"),
        }
    }
}
