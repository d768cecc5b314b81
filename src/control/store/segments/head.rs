//! What the log is known to reach, kept apart from it: a log that ends before its head was cut off.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::line::Chain;

const FILE: &str = "head.json";
const SCHEMA: &str = "keeptrusts.head/1";
/// The file is overwritten in place, in one piece and always of this size: it needs no room on a disk that is full.
const BYTES: usize = 256;

/// An event that is on disk, and its seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) chain: Chain,
}

#[derive(Serialize, Deserialize)]
struct Written {
    schema: String,
    seq: i64,
    chain: Chain,
}

/// The open file.
#[derive(Debug)]
pub(super) struct HeadFile(File);

impl HeadFile {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(folder.join(FILE))?;
        Ok(Self(file))
    }

    pub(super) fn write(&self, head: Head) -> io::Result<()> {
        let mut text = serde_json::to_vec(&Written { schema: SCHEMA.into(), seq: head.seq, chain: head.chain })?;
        text.resize(BYTES - 1, b' ');
        text.push(b'\n');
        self.0.write_all_at(&text, 0)?;
        self.0.sync_data()
    }
}

/// The head of the log in `folder`; `None` if it has none or none that can be read.
pub(super) fn read(folder: &Path) -> io::Result<Option<Head>> {
    let text = match std::fs::read(folder.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let written: Option<Written> = serde_json::from_slice(&text).ok();
    Ok(written.map(|written| Head { seq: written.seq, chain: written.chain }))
}
