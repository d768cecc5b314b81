//! `kt keys`: access keys for people and programs, gateway keys for gateways.

use std::io::{self, BufRead, IsTerminal, Read};
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use zeroize::Zeroize;

use crate::control::admin::v1::revocations::{RevokeTokens, RevokedTokens};
use crate::control::admin::v1::tokens::create::{CreateToken, CreatedToken};
use crate::control::admin::v1::tokens::list::TokenList;
use crate::control::admin::v1::tokens::revoke::RevokedToken;
use crate::control::admin::v1::tokens::rotate::{RotateToken, RotatedToken};
use crate::control::admin::v1::tokens::update::{UpdateToken, UpdatedToken};
use crate::control::admin::v1::tokens::{Token, TokenKind, TokenState};
use crate::domain::{KeyText, Timestamp};

use super::client::{Client, Gateway, escaped, with_query};
use super::limits::Limited;
use super::moment::{Moment, span_or_none};
use super::permissions::{Allowed, List};
use super::{Error, output};

/// The most of standard input that is read as a key.
const INPUT_BYTES_MAX: u64 = 4096;

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
    List(Listing),
    /// Show one key, and when each of its texts was used; never the texts
    Show {
        #[arg(value_name = "ID|NAME")]
        key: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Change a key; what is not named stays
    Update(Update),
    /// Give a key a new text and print it, this once; the old one goes on for a while
    Rotate {
        #[arg(value_name = "ID|NAME")]
        key: String,
        /// How long the old text goes on; 0 ends it at once
        #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = span_or_none)]
        overlap: Duration,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Revoke keys at once, for running requests too
    Revoke(Revoke),
    /// Read a key from standard input and say whether it is well-formed; asks no gateway
    Check,
}

#[derive(Debug, Args)]
struct Listing {
    /// Only keys of this type
    #[arg(long = "type", value_name = "TYPE", value_parser = kind)]
    kind: Option<TokenKind>,
    /// Only keys of this team
    #[arg(long, value_name = "ID|NAME")]
    team: Option<String>,
    /// Only keys in this state: active, rotated, expiring, expired or revoked
    #[arg(long, value_parser = state)]
    state: Option<TokenState>,
    /// Only keys that were made before and not used since: a span such as 90d, or a time
    #[arg(long, value_name = "SPAN|TIME", value_parser = Moment::parse)]
    unused_since: Option<Moment>,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Update {
    #[arg(value_name = "ID|NAME")]
    key: String,
    /// Another name
    #[arg(long)]
    name: Option<String>,
    /// Another team
    #[arg(long, value_name = "ID|NAME", conflicts_with = "no_team")]
    team: Option<String>,
    /// No team any more
    #[arg(long)]
    no_team: bool,
    /// Another expiry: a span such as 90d, or a time
    #[arg(long, value_name = "SPAN|TIME", value_parser = Moment::parse, conflicts_with = "no_expiry")]
    expires: Option<Moment>,
    /// No expiry any more
    #[arg(long)]
    no_expiry: bool,
    #[command(flatten)]
    allowed: Allowed,
    #[command(flatten)]
    limited: Limited,
    /// Restrictions to lift
    #[arg(long, value_name = "LIST,…", value_delimiter = ',')]
    lift: Vec<List>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Revoke {
    #[arg(value_name = "ID|NAME", required_unless_present = "team", conflicts_with = "team")]
    keys: Vec<String>,
    /// Instead: every key of this team
    #[arg(long, value_name = "ID|NAME")]
    team: Option<String>,
    /// Why, for the audit record
    #[arg(long)]
    reason: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
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
    #[command(flatten)]
    allowed: Allowed,
    #[command(flatten)]
    limited: Limited,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Keys {
    pub(super) async fn run(self) -> Result<(), Error> {
        if let Command::Check = self.command {
            return check();
        }
        let client = self.gateway.client()?;
        match self.command {
            Command::Create(create) => create.run(&client).await,
            Command::List(listing) => listing.run(&client).await,
            Command::Show { key, json } => {
                let key: Token = client.get(&path(&key)).await?;
                if json { output::json(&key) } else { show(&key) }
            }
            Command::Update(update) => update.run(&client).await,
            Command::Rotate { key, overlap, json } => rotate(&client, &key, overlap, json).await,
            Command::Revoke(revoke) => revoke.run(&client).await,
            Command::Check => Ok(()),
        }
    }
}

impl Update {
    async fn run(self, client: &Client) -> Result<(), Error> {
        let now = Timestamp::from(SystemTime::now());
        let permissions = self.allowed.change(&self.lift).map(Some);
        let asked = UpdateToken {
            name: self.name,
            team: self.team.map(Some).or(self.no_team.then_some(None)),
            expires_at: self.expires.map(|moment| Some(moment.ahead_of(now))).or(self.no_expiry.then_some(None)),
            permissions,
            limits: self.limited.change(),
        };
        let UpdateToken { name, team, expires_at, permissions, limits } = &asked;
        let unchanged = name.is_none() && team.is_none() && expires_at.is_none();
        if unchanged && permissions.is_none() && limits.is_none() {
            return Err(Error::Usage("name what is to change: --name, --team, --expires, --models, --rpm, …".into()));
        }
        let updated: UpdatedToken = client.patch(&path(&self.key), &asked).await?;
        super::permissions::warn(&updated.warnings);
        if self.json { output::json(&updated) } else { show(&updated.token) }
    }
}

impl Revoke {
    async fn run(self, client: &Client) -> Result<(), Error> {
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
        let (count, gateways) = (done.revoked.len(), gateways(done.gateways));
        output::line(&format!("revoked {count} keys{already}: applied by {gateways} in {:.1} ms", done.applied_ms))
    }
}

async fn rotate(client: &Client, key: &str, overlap: Duration, json: bool) -> Result<(), Error> {
    // Saying which text is to be replaced makes sure that nobody else replaces it at the same time.
    let known: Token = client.get(&path(key)).await?;
    let expected = known.secrets.last().map(|secret| secret.id.clone());
    let asked = RotateToken { overlap_seconds: Some(overlap.as_secs()), expected };
    let rotated: RotatedToken = client.post(&format!("{}/rotate", path(&known.id)), &asked).await?;
    if json {
        return output::json(&rotated);
    }
    // The key alone on standard output, as `create` has it.
    output::line(&rotated.key)?;
    let old = match overlap.is_zero() {
        true => "the old text has ended".into(),
        false => format!("the old text goes on until {} UTC", output::time(rotated.old_valid_until, false)),
    };
    output::hint(&format!("rotated {} ({}): {old}", rotated.name, rotated.id));
    output::hint("The key is shown this once and kept nowhere: store it now.");
    Ok(())
}

/// Reads one line, so that the key stands in no list of processes and in no shell's history.
fn check() -> Result<(), Error> {
    if io::stdin().is_terminal() {
        output::hint("Paste the key and press return:");
    }
    let mut text = String::new();
    let read = io::stdin().lock().take(INPUT_BYTES_MAX).read_line(&mut text);
    read.map_err(|error| Error::Failed(format!("failed to read standard input: {error}")))?;
    let checked = KeyText::check(text.trim_end_matches(['\r', '\n']));
    text.zeroize();
    match checked {
        Ok(kind) => {
            output::line(&format!("well-formed {} key; only a gateway knows whether it is accepted", kind.label()))
        }
        Err(error) => Err(Error::Failed(error.to_string())),
    }
}

impl Create {
    async fn run(self, client: &Client) -> Result<(), Error> {
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
        super::permissions::warn(&created.warnings);
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

fn state(text: &str) -> Result<TokenState, String> {
    let known = || TokenState::ALL.map(TokenState::label).join(", ");
    TokenState::ALL.into_iter().find(|state| state.label() == text).ok_or_else(|| format!("one of {}", known()))
}

impl Listing {
    async fn run(self, client: &Client) -> Result<(), Error> {
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

fn path(key: &str) -> String {
    format!("/v1/tokens/{}", escaped(key))
}

fn print(keys: &[Token]) -> Result<(), Error> {
    if keys.is_empty() {
        output::hint("no such keys: make one with `kt keys create --name NAME`");
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
    facts.extend(super::permissions::facts(&key.permissions));
    facts.extend(super::limits::facts(&key.limits));
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
    let headings = ["TEXT", "CREATED (UTC)", "ENDS (UTC)", "LAST USED (UTC)", "CLIENT", "ADDRESS"];
    output::table(headings, &rows.collect::<Vec<_>>())
}

fn what_was_revoked(revoked: &RevokedToken) -> String {
    let Token { name, id, revoked_at, .. } = &revoked.token;
    if revoked.already_revoked {
        let since = revoked_at.map(|time| format!(" since {} UTC", output::time(time, false))).unwrap_or_default();
        return format!("{name} ({id}) was already revoked{since}; nothing was changed");
    }
    let gateways = gateways(revoked.gateways);
    format!("revoked {name} ({id}): applied by {gateways} in {:.1} ms", revoked.applied_ms)
}

fn gateways(count: u32) -> String {
    if count == 1 { "1 gateway".into() } else { format!("{count} gateways") }
}
