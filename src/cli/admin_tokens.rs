//! `kt admin-tokens`: who may call the admin API over TCP.

use clap::{Args, Subcommand};

use crate::control::admin::v1::admin_tokens::create::{CreateAdminToken, CreatedAdminToken};
use crate::control::admin::v1::admin_tokens::list::AdminTokenList;
use crate::control::admin::v1::admin_tokens::{AdminRole, AdminToken};

use super::client::{Gateway, escaped};
use super::{Error, output};

#[derive(Debug, Args)]
pub(super) struct AdminTokens {
    #[command(flatten)]
    gateway: Gateway,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create an admin token and print it; it is never shown again
    Create {
        /// What the token is called; unique among admin tokens
        #[arg(long)]
        name: String,
        /// `admin` may do everything, `viewer` may only read
        #[arg(long, value_parser = role)]
        role: AdminRole,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// List admin tokens, without their secrets
    List {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Revoke an admin token at once; the last one with the role admin stays
    Revoke {
        #[arg(value_name = "ID|NAME")]
        which: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

impl AdminTokens {
    pub(super) async fn run(self) -> Result<(), Error> {
        let client = self.gateway.client()?;
        match self.command {
            Command::Create { name, role, json } => {
                let asked = CreateAdminToken { name, role };
                let created: CreatedAdminToken = client.post("/v1/admin-tokens", &asked).await?;
                if json {
                    return output::json(&created);
                }
                // The token alone on standard output, for scripts.
                output::line(&created.token)?;
                let AdminToken { name, id, role, .. } = created.admin_token;
                output::hint(&format!("created admin token {name} ({id}), role {}", role.label()));
                output::hint("This is the only time the token is shown. Store it now.");
                Ok(())
            }
            Command::List { json } => {
                let list: AdminTokenList = client.get("/v1/admin-tokens").await?;
                if json { output::json(&list.admin_tokens) } else { print(&list.admin_tokens) }
            }
            Command::Revoke { which, json } => {
                let revoked: AdminToken = client.delete(&format!("/v1/admin-tokens/{}", escaped(&which))).await?;
                match json {
                    true => output::json(&revoked),
                    false => output::line(&format!("revoked admin token {} ({})", revoked.name, revoked.id)),
                }
            }
        }
    }
}

fn role(text: &str) -> Result<AdminRole, String> {
    AdminRole::ALL.into_iter().find(|role| role.label() == text).ok_or_else(|| "a role is admin or viewer".into())
}

fn print(tokens: &[AdminToken]) -> Result<(), Error> {
    let rows = tokens.iter().map(|token| {
        [
            token.name.clone(),
            token.id.clone(),
            token.role.label().into(),
            format!("{}…", token.shown),
            output::time(token.created_at, false),
        ]
    });
    output::table(["NAME", "ID", "ROLE", "TOKEN", "CREATED (UTC)"], &rows.collect::<Vec<_>>())
}
