//! The command line: one file a command. To add one: a file, its line in `Command` and its line in `run`.

use std::fmt;
use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod gateway; // kt gateway run|upgrade
mod keys; // kt keys create|list|show|update|rotate|revoke|check
mod teams; // kt teams create|list|show|update|suspend|resume|delete
mod admin_tokens; // kt admin-tokens create|list|revoke
mod explain; // kt explain
mod usage; // kt usage
mod prices; // kt prices list|import
mod events; // kt events tail|list|export|verify
mod config; // kt config check|show|running|reload
mod policy; // kt policy test
mod doctor; // kt doctor
mod demo; // kt demo
mod mock_provider; // kt mock-provider
mod completions; // kt completions
mod client; // the running gateway's admin API, by its socket or by URL
mod trust; // whom a command believes to be the gateway, over TLS
mod output; // tables, JSON and times on standard output
mod limits; // --rpm, --tpm, --budget: how much may be used
mod permissions; // what a key or a team may use, as options and as facts
mod requests; // --key, --team, --provider: whose requests
mod moment; // `90d`, `15m` and times as people write them

/// An edge gateway for AI traffic: access keys, metering, audit events and metrics
#[derive(Debug, Parser)]
#[command(name = "kt", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    #[command(arg_required_else_help = true)]
    Gateway(gateway::Gateway),
    /// Create, list, show, update, rotate and revoke access keys and gateway keys
    #[command(visible_alias = "tokens", arg_required_else_help = true)]
    Keys(keys::Keys),
    /// Create, list, show, update, suspend and delete teams
    #[command(arg_required_else_help = true)]
    Teams(teams::Teams),
    /// Create, list and revoke the tokens that open the admin API over TCP
    #[command(arg_required_else_help = true)]
    AdminTokens(admin_tokens::AdminTokens),
    /// Explain which rule would admit or refuse a request
    Explain(explain::Explain),
    /// Show who used how much, and what it cost
    Usage(usage::Usage),
    /// Show what models cost, or import prices from LiteLLM
    #[command(arg_required_else_help = true)]
    Prices(prices::Prices),
    /// Read the audit log, or follow it live
    #[command(arg_required_else_help = true)]
    Events(events::Events),
    /// Check, show or reload the configuration
    #[command(subcommand, arg_required_else_help = true)]
    Config(config::Command),
    /// Try out the policies of a configuration
    #[command(subcommand, arg_required_else_help = true)]
    Policy(policy::Command),
    /// Check an installation: process, configuration, listeners and files
    Doctor(doctor::Doctor),
    /// Try everything on this machine; no provider account needed
    Demo(demo::Demo),
    /// Run a pretend provider, for demos and tests
    MockProvider(mock_provider::Mock),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}

/// Why a command did not do as told.
#[derive(Debug)]
pub enum Error {
    /// It was used wrongly. Exit code 2.
    Usage(String),
    /// It was refused, or it failed. Exit code 1.
    Failed(String),
    /// Whoever read the output has read enough (`| head`), which is no failure.
    OutputClosed,
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    // Clap itself exits with 2 on wrong usage and with 0 after help.
    match Cli::parse().run() {
        Ok(()) | Err(Error::OutputClosed) => ExitCode::SUCCESS,
        Err(error) => {
            // Written by hand, because a closed standard error is no reason to panic.
            let _ = io::Write::write_all(&mut io::stderr(), format!("kt: {error}\n").as_bytes());
            ExitCode::from(if matches!(error, Error::Usage(_)) { 2 } else { 1 })
        }
    }
}

impl Cli {
    fn run(self) -> Result<(), Error> {
        match self.command {
            Command::Keys(keys) => block_on(keys.run()),
            Command::Teams(teams) => block_on(teams.run()),
            Command::AdminTokens(tokens) => block_on(tokens.run()),
            Command::Explain(explain) => block_on(explain.run()),
            Command::Usage(usage) => block_on(usage.run()),
            Command::Prices(prices) => block_on(prices.run()),
            Command::Events(events) => block_on(events.run()),
            Command::Gateway(gateway) => gateway.run(),
            Command::Config(config) => block_on(config.run()),
            Command::Policy(policy) => policy.run(),
            Command::Doctor(doctor) => block_on(doctor.run()),
            Command::Demo(demo) => demo.run(),
            Command::MockProvider(mock) => block_on(mock.run()),
            Command::Completions(completions) => completions.run(),
        }
    }
}

/// Runs a command that only talks to a gateway.
fn block_on(command: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Error::Failed(format!("failed to start: {error}")))?.block_on(command)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Failed(text) => f.write_str(text),
            Self::OutputClosed => f.write_str("the output was closed"),
        }
    }
}

impl std::error::Error for Error {}

/// Errors of standard output, which is all that commands write to.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!("failed to write the output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests;
