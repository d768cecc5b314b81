//! How far the receiver has been told, kept in `<data-dir>/webhook.json`.
//!
//! It is written after a delivery and never synced: after a power cut, what was delivered last may be delivered again,
//! which receivers must expect anyway.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::fs::{self, OpenOptions};
use tokio::io::AsyncWriteExt;

const FILE: &str = "webhook.json";

/// The file, and what it says.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    /// The last event that the receiver was told, or never will be.
    pub(super) seq: i64,
}

#[derive(Serialize, Deserialize)]
struct Written {
    seq: i64,
}

impl Checkpoint {
    /// What was kept; without that, a checkpoint at the present end of the log. One beyond the end stood in a log that
    /// has lost its end.
    pub(super) async fn load(data_dir: &Path, tip: i64) -> io::Result<Self> {
        let path = data_dir.join(FILE);
        let written: Option<Written> = match fs::read(&path).await {
            Ok(text) => Some(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut checkpoint = Self { path, seq: tip };
        match written {
            Some(written) => checkpoint.seq = written.seq.clamp(0, tip),
            None => checkpoint.move_to(tip).await?,
        }
        Ok(checkpoint)
    }

    pub(super) async fn move_to(&mut self, seq: i64) -> io::Result<()> {
        self.seq = seq;
        let unfinished = self.path.with_extension("new");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished).await?;
        file.write_all(&serde_json::to_vec(&Written { seq })?).await?;
        file.flush().await?;
        fs::rename(unfinished, &self.path).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_begins_with_the_present_and_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut checkpoint = Checkpoint::load(dir.path(), 7).await.unwrap();
        assert_eq!(checkpoint.seq, 7);
        assert_eq!(Checkpoint::load(dir.path(), 9).await.unwrap().seq, 7);
        checkpoint.move_to(12).await.unwrap();
        assert_eq!(Checkpoint::load(dir.path(), 20).await.unwrap().seq, 12);
        assert_eq!(Checkpoint::load(dir.path(), 10).await.unwrap().seq, 10);
        fs::write(dir.path().join(FILE), "?").await.unwrap();
        assert!(Checkpoint::load(dir.path(), 20).await.is_err());
    }
}
