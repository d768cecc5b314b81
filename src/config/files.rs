//! Files and paths that a configuration consists of and names.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The largest YAML file, in bytes.
pub(super) const YAML_BYTES_MAX: u64 = 1024 * 1024;

/// Reads a file of at most `bytes_max` bytes.
pub(super) fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("larger than {bytes_max} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(valid).filter(|&&byte| byte == b'\n').count() + 1;
        io::Error::other(format!("not UTF-8 in line {line}"))
    })
}

/// The permission bits of a file, links followed.
pub(super) fn mode(path: &Path) -> Option<u32> {
    Some(path.metadata().ok()?.permissions().mode())
}

/// `text` as a path; relative ones begin at `directory`.
pub(super) fn path_from(directory: &Path, text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("expected a path".into());
    }
    if text.starts_with('~') {
        return Err("~ is not expanded here; write the whole path".into());
    }
    Ok(directory.join(text))
}
