//! `kt keys show`

use clap::Args;

use crate::cli::client::Client;
use crate::cli::{Error, limits, output, permissions};
use crate::control::admin::v1::tokens::Token;
use crate::domain::Timestamp;

use super::path;

#[derive(Debug, Args)]
pub(super) struct Show {
    #[arg(value_name = "ID|NAME")]
    key: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) async fn run(self, client: &Client) -> Result<(), Error> {
        let key: Token = client.get(&path(&self.key)).await?;
        if self.json { output::json(&key) } else { show(&key) }
    }
}

pub(super) fn show(key: &Token) -> Result<(), Error> {
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
    facts.extend(permissions::facts(&key.permissions));
    facts.extend(limits::facts(&key.limits));
    facts.iter().try_for_each(|(name, value)| output::line(&format!("{name:9} {value}")))?;
    let rows = key.secrets.iter().map(|text| {
        let or_nothing = |text: Option<String>| text.unwrap_or_else(|| output::NOTHING.into());
        [
            format!("{}…", text.shown),
            output::time(text.created_at, false),
            text.valid_until.map_or_else(|| "with the key".into(), |end| output::time(end, false)),
            text.last_used_at.map_or_else(|| "never".into(), |used| output::time(used, false)),
            or_nothing(text.last_client.clone()),
            or_nothing(text.last_address.map(|address| address.to_string())),
        ]
    });
    output::line("")?;
    let headings = ["SECRET", "CREATED (UTC)", "ENDS (UTC)", "LAST USED (UTC)", "CLIENT", "ADDRESS"];
    output::table(headings, &rows.collect::<Vec<_>>())
}
