//! `kt teams`: who keys belong to.

use clap::{Args, Subcommand};

use crate::control::admin::v1::teams::create::CreateTeam;
use crate::control::admin::v1::teams::list::TeamList;
use crate::control::admin::v1::teams::update::UpdateTeam;
use crate::control::admin::v1::teams::{ChangedTeam, Team};

use super::client::{Client, Gateway, escaped, with_query};
use super::limits::Limited;
use super::permissions::{Allowed, List};
use super::{Error, output, permissions};

#[derive(Debug, Args)]
pub(super) struct Teams {
    #[command(flatten)]
    gateway: Gateway,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a team
    Create {
        /// What the team is called in keys, events and metrics
        #[arg(long)]
        name: String,
        #[command(flatten)]
        allowed: Allowed,
        #[command(flatten)]
        limited: Limited,
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
    /// Show one team
    Show(Which),
    /// Change what a team may use, and how much; whatever is not given stays as it is
    Update {
        #[arg(value_name = "ID|NAME")]
        team: String,
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
    },
    /// Refuse all requests of the team's keys until it is resumed; running ones are ended
    Suspend(Which),
    /// Admit requests of the team's keys again
    Resume(Which),
    /// Delete a team that has no keys other than revoked ones
    Delete(Which),
}

#[derive(Debug, Args)]
struct Which {
    #[arg(value_name = "ID|NAME")]
    team: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Teams {
    pub(super) async fn run(self) -> Result<(), Error> {
        let client = self.gateway.client()?;
        match self.command {
            Command::Create { name, allowed, limited, json } => {
                let asked = CreateTeam { name, permissions: allowed.permissions(), limits: limited.limits()? };
                let made: ChangedTeam = client.post("/v1/teams", &asked).await?;
                permissions::warn(&made.warnings);
                told("created", &made.team, json)
            }
            Command::List { json } => {
                let teams = all(&client).await?;
                if json { output::json(&teams) } else { print(&teams) }
            }
            Command::Show(Which { team, json }) => {
                let team: Team = client.get(&path(&team)).await?;
                if json { output::json(&team) } else { show(&team) }
            }
            Command::Update { team, allowed, limited, lift, json } => {
                let (permissions, limits) = (allowed.change(&lift), limited.change());
                if permissions.is_none() && limits.is_none() {
                    return Err(Error::Usage("nothing to change: give --models, --lift models, --rpm, …".into()));
                }
                let asked = UpdateTeam { permissions: permissions.map(Some), limits };
                let changed: ChangedTeam = client.patch(&path(&team), &asked).await?;
                permissions::warn(&changed.warnings);
                told("updated", &changed.team, json)
            }
            Command::Suspend(Which { team, json }) => {
                let team = client.post(&format!("{}/suspend", path(&team)), &()).await?;
                told("suspended", &team, json)
            }
            Command::Resume(Which { team, json }) => {
                let team = client.post(&format!("{}/resume", path(&team)), &()).await?;
                told("resumed", &team, json)
            }
            Command::Delete(Which { team, json }) => told("deleted", &client.delete(&path(&team)).await?, json),
        }
    }
}

fn path(team: &str) -> String {
    format!("/v1/teams/{}", escaped(team))
}

/// Prints what was done to a team.
fn told(done: &str, team: &Team, json: bool) -> Result<(), Error> {
    if json { output::json(team) } else { output::line(&format!("{done} team {} ({})", team.name, team.id)) }
}

fn show(team: &Team) -> Result<(), Error> {
    let time = |time| format!("{} UTC", output::time(time, false));
    let mut facts = vec![("name", team.name.clone()), ("id", team.id.clone()), ("created", time(team.created_at))];
    facts.extend(team.suspended_at.map(|since| ("suspended", format!("since {}", time(since)))));
    facts.extend(permissions::facts(&team.permissions));
    facts.extend(super::limits::facts(&team.limits));
    facts.iter().try_for_each(|(name, value)| output::line(&format!("{name:9} {value}")))
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
        output::hint("no teams yet: create one with `kt teams create --name NAME`");
        return Ok(());
    }
    let state = |team: &Team| if team.suspended_at.is_some() { "suspended" } else { "active" };
    let rows = teams
        .iter()
        .map(|team| [team.name.clone(), team.id.clone(), state(team).into(), output::time(team.created_at, false)]);
    output::table(["NAME", "ID", "STATE", "CREATED (UTC)"], &rows.collect::<Vec<_>>())
}
