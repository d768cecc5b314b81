//! `kt keys check`

use std::io::{self, BufRead, IsTerminal, Read};

use zeroize::Zeroize;

use crate::cli::{Error, output};
use crate::domain::KeyText;

/// The most of standard input that is read as a key.
const INPUT_BYTES_MAX: u64 = 4096;

/// Reads one line, so that the key stands in no list of processes and in no shell's history.
pub(super) fn check() -> Result<(), Error> {
    if io::stdin().is_terminal() {
        output::hint("Paste the key and press return:");
    }
    let mut text = String::new();
    let read = io::stdin().lock().take(INPUT_BYTES_MAX).read_line(&mut text);
    read.map_err(|error| Error::Failed(format!("failed to read standard input: {error}")))?;
    let checked = KeyText::check(text.trim_end_matches(['\r', '\n']));
    text.zeroize();
    match checked {
        Ok(kind) => {
            output::line(&format!("well-formed {} key; only a gateway knows whether it is accepted", kind.label()))
        }
        Err(error) => Err(Error::Failed(error.to_string())),
    }
}
