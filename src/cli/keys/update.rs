//! `kt keys update`

use std::time::SystemTime;

use clap::Args;

use crate::cli::client::Client;
use crate::cli::limits::Limited;
use crate::cli::moment::Moment;
use crate::cli::permissions::{self, Allowed, List};
use crate::cli::{Error, output};
use crate::control::admin::v1::tokens::update::{UpdateToken, UpdatedToken};
use crate::domain::Timestamp;

use super::path;
use super::show::show;

#[derive(Debug, Args)]
pub(super) struct Update {
    #[arg(value_name = "ID|NAME")]
    key: String,
    /// The new name
    #[arg(long)]
    name: Option<String>,
    /// The new team
    #[arg(long, value_name = "ID|NAME", conflicts_with = "no_team")]
    team: Option<String>,
    /// Take the key out of its team
    #[arg(long)]
    no_team: bool,
    /// The new expiry: a span such as 90d, or a time
    #[arg(long, value_name = "SPAN|TIME", value_parser = Moment::parse, conflicts_with = "no_expiry")]
    expires: Option<Moment>,
    /// Let the key never expire
    #[arg(long)]
    no_expiry: bool,
    #[command(flatten)]
    allowed: Allowed,
    #[command(flatten)]
    limited: Limited,
    /// Restrictions to remove
    #[arg(long, value_name = "LIST,…", value_delimiter = ',')]
    lift: Vec<List>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Update {
    pub(super) async fn run(self, client: &Client) -> Result<(), Error> {
        let now = Timestamp::from(SystemTime::now());
        let asked = UpdateToken {
            name: self.name,
            team: self.team.map(Some).or(self.no_team.then_some(None)),
            expires_at: self.expires.map(|moment| Some(moment.ahead_of(now))).or(self.no_expiry.then_some(None)),
            permissions: self.allowed.change(&self.lift).map(Some),
            limits: self.limited.change(),
        };
        let UpdateToken { name, team, expires_at, permissions, limits } = &asked;
        let unchanged = name.is_none() && team.is_none() && expires_at.is_none();
        if unchanged && permissions.is_none() && limits.is_none() {
            return Err(Error::Usage("nothing to change: give --name, --team, --expires, --models, --rpm, …".into()));
        }
        let updated: UpdatedToken = client.patch(&path(&self.key), &asked).await?;
        permissions::warn(&updated.warnings);
        if self.json { output::json(&updated) } else { show(&updated.token) }
    }
}
