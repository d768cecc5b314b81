//! `kt keys`: access keys for people and programs, gateway keys for gateways. One file a subcommand.

use clap::{Args, Subcommand};

use crate::control::admin::v1::tokens::TokenKind;

use super::Error;
use super::client::{Gateway, escaped};

mod create;
mod list;
mod show;
mod update;
mod rotate;
mod revoke;
mod check;

/// What is told beside a key that is printed.
const SHOWN_ONCE: &str = "This is the only time the key is shown. Store it now.";

#[derive(Debug, Args)]
pub(super) struct Keys {
    #[command(flatten)]
    gateway: Gateway,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a key and print it; it is never shown again
    Create(create::Create),
    /// List keys, without their secrets
    List(list::List),
    /// Show one key, and when each of its secrets was last used
    Show(show::Show),
    /// Change a key; whatever is not given stays as it is
    Update(update::Update),
    /// Give a key a new secret and print it; the old one keeps working for a while
    Rotate(rotate::Rotate),
    /// Revoke keys at once; running requests are ended too
    Revoke(revoke::Revoke),
    /// Read a key from standard input and say whether it is well-formed; no gateway is asked
    Check,
}

impl Keys {
    pub(super) async fn run(self) -> Result<(), Error> {
        let client = || self.gateway.client();
        match self.command {
            Command::Create(create) => create.run(&client()?).await,
            Command::List(list) => list.run(&client()?).await,
            Command::Show(show) => show.run(&client()?).await,
            Command::Update(update) => update.run(&client()?).await,
            Command::Rotate(rotate) => rotate.run(&client()?).await,
            Command::Revoke(revoke) => revoke.run(&client()?).await,
            Command::Check => check::check(),
        }
    }
}

fn path(key: &str) -> String {
    format!("/v1/tokens/{}", escaped(key))
}

fn kind(text: &str) -> Result<TokenKind, String> {
    TokenKind::ALL.into_iter().find(|kind| kind.label() == text).ok_or_else(|| "a type is access or gateway".into())
}
