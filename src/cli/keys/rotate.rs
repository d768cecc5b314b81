//! `kt keys rotate`

use std::time::Duration;

use clap::Args;

use crate::cli::client::Client;
use crate::cli::moment::span_or_none;
use crate::cli::{Error, output};
use crate::control::admin::v1::tokens::Token;
use crate::control::admin::v1::tokens::rotate::{RotateToken, RotatedToken};

use super::{SHOWN_ONCE, path};

#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[arg(value_name = "ID|NAME")]
    key: String,
    /// How long the old secret keeps working; 0 ends it at once
    #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = span_or_none)]
    overlap: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Rotate {
    pub(super) async fn run(self, client: &Client) -> Result<(), Error> {
        // Saying which text is to be replaced makes sure that nobody else replaces it at the same time.
        let known: Token = client.get(&path(&self.key)).await?;
        let expected = known.secrets.last().map(|secret| secret.id.clone());
        let asked = RotateToken { overlap_seconds: Some(self.overlap.as_secs()), expected };
        let rotated: RotatedToken = client.post(&format!("{}/rotate", path(&known.id)), &asked).await?;
        if self.json {
            return output::json(&rotated);
        }
        // The key alone on standard output, as `create` has it.
        output::line(&rotated.key)?;
        let old = match self.overlap.is_zero() {
            true => "the old secret no longer works".into(),
            false => format!("the old secret works until {} UTC", output::time(rotated.old_valid_until, false)),
        };
        output::hint(&format!("rotated {} ({}): {old}", rotated.name, rotated.id));
        output::hint(SHOWN_ONCE);
        Ok(())
    }
}
