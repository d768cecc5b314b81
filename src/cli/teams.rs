//! `kt teams`: who keys belong to.

use clap::{Args, Subcommand};

use crate::control::admin::v1::teams::Team;
use crate::control::admin::v1::teams::create::CreateTeam;
use crate::control::admin::v1::teams::list::TeamList;

use super::client::{Client, Gateway, with_query};
use super::{Error, output};

#[derive(Debug, Args)]
pub(super) struct Teams {
    #[command(flatten)]
    gateway: Gateway,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a team
    Create {
        /// What the team is called in keys, events and metrics
        #[arg(long)]
        name: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// List teams
    List {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
}

impl Teams {
    pub(super) async fn run(self) -> Result<(), Error> {
        let client = self.gateway.client()?;
        match self.command {
            Command::Create { name, json } => {
                let team: Team = client.post("/v1/teams", &CreateTeam { name, ..CreateTeam::default() }).await?;
                if json {
                    output::json(&team)
                } else {
                    output::line(&format!("created team {} ({})", team.name, team.id))
                }
            }
            Command::List { json } => {
                let teams = all(&client).await?;
                if json { output::json(&teams) } else { print(&teams) }
            }
        }
    }
}

async fn all(client: &Client) -> Result<Vec<Team>, Error> {
    let mut teams = Vec::new();
    let mut cursor = None;
    loop {
        let query = [("limit", Some("1000".into())), ("cursor", cursor.map(|cursor: i64| cursor.to_string()))];
        let page: TeamList = client.get(&with_query("/v1/teams", query)).await?;
        teams.extend(page.teams);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(teams);
        }
    }
}

fn print(teams: &[Team]) -> Result<(), Error> {
    if teams.is_empty() {
        output::hint("no teams yet: make one with `kt teams create --name NAME`");
        return Ok(());
    }
    let rows = teams.iter().map(|team| [team.name.clone(), team.id.clone(), output::time(team.created_at, false)]);
    output::table(["NAME", "ID", "CREATED (UTC)"], &rows.collect::<Vec<_>>())
}
