//! `kt keys`: access keys for people and programs, gateway keys for gateways.

use std::time::SystemTime;

use clap::{Args, Subcommand};

use crate::control::admin::v1::tokens::create::{CreateToken, CreatedToken};
use crate::control::admin::v1::tokens::list::TokenList;
use crate::control::admin::v1::tokens::revoke::RevokedToken;
use crate::control::admin::v1::tokens::{Token, TokenKind};
use crate::domain::Timestamp;

use super::client::{Client, Gateway, escaped, with_query};
use super::moment::Moment;
use super::{Error, output};

#[derive(Debug, Args)]
pub(super) struct Keys {
    #[command(flatten)]
    gateway: Gateway,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key and print it, this once
    Create(Create),
    /// List keys; never their text
    List {
        /// Only keys of this type
        #[arg(long = "type", value_name = "TYPE", value_parser = kind)]
        kind: Option<TokenKind>,
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show one key; never its text
    Show {
        #[arg(value_name = "ID|NAME")]
        key: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key at once, for running requests too
    Revoke {
        #[arg(value_name = "ID|NAME")]
        key: String,
        /// Why, for the audit record
        #[arg(long)]
        reason: Option<String>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// What the key is called in events and metrics; unique among live keys
    #[arg(long)]
    name: String,
    /// The team it belongs to
    #[arg(long)]
    team: Option<String>,
    /// `access` authorises traffic, `gateway` a gateway process towards a control plane
    #[arg(long = "type", value_name = "TYPE", default_value = "access", value_parser = kind)]
    kind: TokenKind,
    /// When it stops working: a span such as 90d, or a time such as 2026-12-31T00:00:00Z [default: never]
    #[arg(long, value_name = "SPAN|TIME", value_parser = Moment::parse)]
    expires: Option<Moment>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Keys {
    pub(super) async fn run(self) -> Result<(), Error> {
        let client = self.gateway.client()?;
        match self.command {
            Command::Create(create) => create.run(&client).await,
            Command::List { kind, json } => {
                let keys = all(&client, kind).await?;
                if json { output::json(&keys) } else { print(&keys) }
            }
            Command::Show { key, json } => {
                let key: Token = client.get(&path(&key)).await?;
                if json { output::json(&key) } else { show(&key) }
            }
            Command::Revoke { key, reason, json } => {
                let revoked: RevokedToken = client.delete(&with_query(&path(&key), [("reason", reason)])).await?;
                if json { output::json(&revoked) } else { output::line(&what_was_revoked(&revoked)) }
            }
        }
    }
}

impl Create {
    async fn run(self, client: &Client) -> Result<(), Error> {
        let now = Timestamp::from(SystemTime::now());
        let expires_at = self.expires.map(|expires| expires.ahead_of(now));
        let asked =
            CreateToken { name: self.name, team: self.team, kind: self.kind, expires_at, ..CreateToken::default() };
        let created: CreatedToken = client.post("/v1/tokens", &asked).await?;
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
        output::hint("The key is shown this once and kept nowhere: store it now.");
        Ok(())
    }
}

fn kind(text: &str) -> Result<TokenKind, String> {
    TokenKind::ALL.into_iter().find(|kind| kind.label() == text).ok_or_else(|| "a type is access or gateway".into())
}

async fn all(client: &Client, kind: Option<TokenKind>) -> Result<Vec<Token>, Error> {
    let mut keys = Vec::new();
    let mut cursor = None;
    loop {
        let kind = kind.map(|kind| kind.label().to_owned());
        let cursor_text = cursor.map(|cursor: i64| cursor.to_string());
        let query = [("type", kind), ("limit", Some("1000".into())), ("cursor", cursor_text)];
        let page: TokenList = client.get(&with_query("/v1/tokens", query)).await?;
        keys.extend(page.tokens);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(keys);
        }
    }
}

fn path(key: &str) -> String {
    format!("/v1/tokens/{}", escaped(key))
}

fn print(keys: &[Token]) -> Result<(), Error> {
    if keys.is_empty() {
        output::hint("no keys yet: make one with `kt keys create --name NAME`");
        return Ok(());
    }
    let headings = ["NAME", "ID", "TYPE", "TEAM", "STATE", "KEY", "CREATED (UTC)", "EXPIRES (UTC)"];
    let rows = keys.iter().map(|key| {
        [
            key.name.clone(),
            key.id.clone(),
            key.kind.label().into(),
            key.team.clone().unwrap_or_else(|| output::NOTHING.into()),
            key.state.label().into(),
            format!("{}…", key.shown),
            output::time(key.created_at, false),
            key.expires_at.map_or_else(|| "never".into(), |time| output::time(time, false)),
        ]
    });
    output::table(headings, &rows.collect::<Vec<_>>())
}

fn show(key: &Token) -> Result<(), Error> {
    let time = |time: Timestamp| format!("{} UTC", output::time(time, false));
    let mut facts = vec![
        ("name", key.name.clone()),
        ("id", key.id.clone()),
        ("type", key.kind.label().into()),
        ("team", key.team.clone().unwrap_or_else(|| output::NOTHING.into())),
        ("state", key.state.label().into()),
        ("key", format!("{}…", key.shown)),
        ("created", time(key.created_at)),
        ("expires", key.expires_at.map_or_else(|| "never".into(), time)),
    ];
    facts.extend(key.revoked_at.map(|revoked_at| ("revoked", time(revoked_at))));
    facts.extend(key.revoke_reason.clone().map(|reason| ("reason", reason)));
    facts.iter().try_for_each(|(name, value)| output::line(&format!("{name:8} {value}")))
}

fn what_was_revoked(revoked: &RevokedToken) -> String {
    let Token { name, id, revoked_at, .. } = &revoked.token;
    if revoked.already_revoked {
        let since = revoked_at.map(|time| format!(" since {} UTC", output::time(time, false))).unwrap_or_default();
        return format!("{name} ({id}) was already revoked{since}; nothing was changed");
    }
    let gateways = if revoked.gateways == 1 { "1 gateway".into() } else { format!("{} gateways", revoked.gateways) };
    format!("revoked {name} ({id}): applied by {gateways} in {:.1} ms", revoked.applied_ms)
}
