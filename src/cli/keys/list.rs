//! `kt keys list`

use std::time::SystemTime;

use clap::Args;

use crate::cli::client::{Client, with_query};
use crate::cli::moment::Moment;
use crate::cli::{Error, output};
use crate::control::admin::v1::tokens::list::TokenList;
use crate::control::admin::v1::tokens::{Token, TokenKind, TokenState};
use crate::domain::Timestamp;

use super::kind;

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only keys of this type
    #[arg(long = "type", value_name = "TYPE", value_parser = kind)]
    kind: Option<TokenKind>,
    /// Only keys of this team
    #[arg(long, value_name = "ID|NAME")]
    team: Option<String>,
    /// Only keys in this state: active, rotated, expiring, expired or revoked
    #[arg(long, value_parser = state)]
    state: Option<TokenState>,
    /// Only keys created before this and not used since: a span such as 90d, or a time
    #[arg(long, value_name = "SPAN|TIME", value_parser = Moment::parse)]
    unused_since: Option<Moment>,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) async fn run(self, client: &Client) -> Result<(), Error> {
        let keys = self.all(client).await?;
        if self.json { output::json(&keys) } else { print(&keys) }
    }

    async fn all(&self, client: &Client) -> Result<Vec<Token>, Error> {
        let now = Timestamp::from(SystemTime::now());
        let mut keys = Vec::new();
        let mut cursor = None;
        loop {
            let query = [
                ("type", self.kind.map(|kind| kind.label().to_owned())),
                ("team", self.team.clone()),
                ("state", self.state.map(|state| state.label().to_owned())),
                ("unused_since", self.unused_since.map(|moment| moment.before(now).to_string())),
                ("limit", Some("1000".into())),
                ("cursor", cursor.map(|cursor: i64| cursor.to_string())),
            ];
            let page: TokenList = client.get(&with_query("/v1/tokens", query)).await?;
            keys.extend(page.tokens);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(keys);
            }
        }
    }
}

fn print(keys: &[Token]) -> Result<(), Error> {
    if keys.is_empty() {
        output::hint("no such keys: create one with `kt keys create --name NAME`");
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

fn state(text: &str) -> Result<TokenState, String> {
    let known = || TokenState::ALL.map(TokenState::label).join(", ");
    TokenState::ALL.into_iter().find(|state| state.label() == text).ok_or_else(|| format!("one of {}", known()))
}
