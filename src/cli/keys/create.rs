//! `kt keys create`

use std::time::SystemTime;

use clap::Args;

use crate::cli::client::Client;
use crate::cli::limits::Limited;
use crate::cli::moment::Moment;
use crate::cli::permissions::{self, Allowed};
use crate::cli::{Error, output};
use crate::control::admin::v1::tokens::TokenKind;
use crate::control::admin::v1::tokens::create::{CreateToken, CreatedToken};
use crate::domain::Timestamp;

use super::{SHOWN_ONCE, kind};

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What the key is called in events and metrics; unique among live keys
    #[arg(long)]
    name: String,
    /// The team it belongs to
    #[arg(long)]
    team: Option<String>,
    /// `access` for traffic, `gateway` for a gateway that connects to a control plane
    #[arg(long = "type", value_name = "TYPE", default_value = "access", value_parser = kind)]
    kind: TokenKind,
    /// When it stops working: a span such as 90d, or a time such as 2026-12-31T00:00:00Z [default: never]
    #[arg(long, value_name = "SPAN|TIME", value_parser = Moment::parse)]
    expires: Option<Moment>,
    #[command(flatten)]
    allowed: Allowed,
    #[command(flatten)]
    limited: Limited,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Create {
    pub(super) async fn run(self, client: &Client) -> Result<(), Error> {
        let now = Timestamp::from(SystemTime::now());
        let expires_at = self.expires.map(|expires| expires.ahead_of(now));
        let asked = CreateToken {
            name: self.name,
            team: self.team,
            kind: self.kind,
            expires_at,
            permissions: self.allowed.permissions(),
            limits: self.limited.limits()?,
        };
        let created: CreatedToken = client.post("/v1/tokens", &asked).await?;
        permissions::warn(&created.warnings);
        if self.json {
            return output::json(&created);
        }
        // The key alone on standard output, so that `KEY=$(kt keys create …)` holds it and nothing else.
        output::line(&created.key)?;
        let team = created.team.map(|team| format!(", team {team}")).unwrap_or_default();
        let expiry = created.expires_at.map(|time| format!("expires {} UTC", output::time(time, false)));
        let expiry = expiry.unwrap_or_else(|| "never expires".into());
        output::hint(&format!(
            "created {} key {} ({}){team}, {expiry}",
            created.kind.label(),
            created.name,
            created.id
        ));
        output::hint(SHOWN_ONCE);
        Ok(())
    }
}
