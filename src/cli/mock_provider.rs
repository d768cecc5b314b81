//! `kt mock-provider`: a pretend provider for demos, tests and load tests.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use crate::config;
use crate::mock_provider::{Fault, MockProvider, Settings};

use super::Error;

#[derive(Debug, Args)]
pub(super) struct Mock {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:41010")]
    listen: SocketAddr,
    /// Output tokens of an answer
    #[arg(long, value_name = "N", default_value_t = Settings::default().tokens)]
    tokens: u32,
    /// Pause between two events of a stream, such as 20ms
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = config::duration)]
    interval: Duration,
    /// Pause before an answer begins
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = config::duration)]
    first: Duration,
    /// What goes wrong with every answer: status:503, cut:4, stall, garbage, …; a request's x-mock-fault header wins
    #[arg(long, value_name = "SPEC")]
    fault: Option<Fault>,
    /// Chooses the text of the answers
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl Mock {
    /// Runs until SIGTERM or SIGINT.
    pub(super) async fn run(self) -> Result<(), Error> {
        let Self { listen, tokens, interval, first, fault, seed } = self;
        let settings = Settings { listen, tokens, interval, first, fault, seed, record: false, ..Settings::default() };
        let started = MockProvider::start(settings).await;
        let provider = started.map_err(|error| Error::Failed(format!("cannot listen on {listen}: {error}")))?;
        println!("{}", provider.base_url());
        ended().await.map_err(|error| Error::Failed(format!("cannot wait for signals: {error}")))
    }
}

async fn ended() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    Ok(())
}
