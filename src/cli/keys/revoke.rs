//! `kt keys revoke`

use clap::Args;

use crate::cli::client::{Client, with_query};
use crate::cli::{Error, output};
use crate::control::admin::v1::revocations::{RevokeTokens, RevokedTokens};
use crate::control::admin::v1::tokens::Token;
use crate::control::admin::v1::tokens::revoke::RevokedToken;

use super::path;

#[derive(Debug, Args)]
pub(super) struct Revoke {
    #[arg(value_name = "ID|NAME", required_unless_present = "team", conflicts_with = "team")]
    keys: Vec<String>,
    /// Revoke every key of this team instead
    #[arg(long, value_name = "ID|NAME")]
    team: Option<String>,
    /// The reason, for the audit record
    #[arg(long)]
    reason: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Revoke {
    pub(super) async fn run(self, client: &Client) -> Result<(), Error> {
        let Self { mut keys, team, reason, json } = self;
        if let (None, [_]) = (&team, &keys[..]) {
            let key = keys.remove(0);
            let revoked: RevokedToken = client.delete(&with_query(&path(&key), [("reason", reason)])).await?;
            return if json { output::json(&revoked) } else { output::line(&what_was_revoked(&revoked)) };
        }
        let done: RevokedTokens = client.post("/v1/revocations", &RevokeTokens { tokens: keys, team, reason }).await?;
        if json {
            return output::json(&done);
        }
        let already = match done.already_revoked {
            0 => String::new(),
            already => format!(" ({already} were revoked before)"),
        };
        let keys = counted(done.revoked.len() as u64, "key");
        let gateways = counted(done.gateways.into(), "gateway");
        output::line(&format!("revoked {keys}{already}: applied by {gateways} in {:.1} ms", done.applied_ms))
    }
}

fn what_was_revoked(revoked: &RevokedToken) -> String {
    let Token { name, id, revoked_at, .. } = &revoked.token;
    if revoked.already_revoked {
        let since = revoked_at.map(|time| format!(" since {} UTC", output::time(time, false))).unwrap_or_default();
        return format!("{name} ({id}) was already revoked{since}; nothing was changed");
    }
    let gateways = counted(revoked.gateways.into(), "gateway");
    format!("revoked {name} ({id}): applied by {gateways} in {:.1} ms", revoked.applied_ms)
}

fn counted(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}
