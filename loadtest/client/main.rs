//! The load client beside k6: it measures what k6 cannot see (the true time to the first event and the gaps between
//! events) and what k6 is too heavy for (tens of thousands of requests a second from a core it shares).
//!
//! HTTP/1.1 on loopback only, on one thread. Each measurement is one line of JSON; `table` makes one table of many.

mod connection; // one connection: a request out, an answer in
mod process; // what a process has used
mod requests; // a closed loop: each connection asks again as soon as it is answered
mod slow; // thousands of connections that hardly do anything
mod steady; // so many requests a second, whatever else goes on
mod streams; // paced streams: first events and gaps
mod table; // medians of many measurements, set against the goals

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use connection::Ask;

#[derive(Parser)]
#[command(about = "Load on loopback, measured")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print ports that are free now
    Ports { count: usize },
    /// Ask on N connections, each again as soon as it is answered
    Requests {
        #[command(flatten)]
        load: Load,
        #[arg(long, default_value_t = 64)]
        connections: usize,
    },
    /// Ask a steady number of times a second on each of N connections
    Steady {
        #[command(flatten)]
        load: Load,
        #[arg(long, default_value_t = 8)]
        connections: u32,
        /// Requests a second on each
        #[arg(long, default_value_t = 50.0)]
        rate: f64,
    },
    /// Open connections that hardly do anything, and see when they are closed
    Slow(slow::Slow),
    /// Keep N streams open, each asked for again when it has ended
    Streams {
        #[command(flatten)]
        load: Load,
        #[arg(long, default_value_t = 500)]
        streams: usize,
    },
    /// Print a process's resident memory in KiB, its children's included
    Memory { pid: u32 },
    /// Make one table of files of measurements
    Table { files: Vec<PathBuf> },
}

/// What is asked, of whom, and for how long.
#[derive(Args, Clone)]
struct Load {
    /// Name of what is measured, for the table
    #[arg(long)]
    target: String,
    /// Name of the measurement, for the table
    #[arg(long)]
    scenario: String,
    /// Where the requests go
    #[arg(long)]
    to: SocketAddr,
    /// The process whose CPU and memory are measured, with its children
    #[arg(long)]
    pid: Option<u32>,
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds before anything is measured
    #[arg(long, default_value_t = 0.5)]
    warmup: f64,
    /// The credential that is sent
    #[arg(long, env = "KEY", hide_env_values = true, default_value = "sk-load")]
    key: String,
    /// Bytes of the prompt
    #[arg(long, default_value_t = 200)]
    prompt: usize,
    /// Tokens that the answer may have; the mock provider then gives so many
    #[arg(long, default_value_t = 125)]
    tokens: usize,
}

impl Load {
    fn ask(&self, stream: bool) -> Ask {
        Ask::new(self.to, &self.key, self.prompt, self.tokens, stream)
    }

    fn window(&self) -> (Duration, Duration) {
        (Duration::from_secs_f64(self.warmup), Duration::from_secs_f64(self.seconds))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match Arguments::parse().command {
        Command::Ports { count } => {
            let listeners: Result<Vec<_>, _> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
            for listener in listeners? {
                println!("{}", listener.local_addr()?.port());
            }
        }
        Command::Requests { load, connections } => println!("{}", runtime.block_on(requests::run(&load, connections))?),
        Command::Steady { load, connections, rate } => {
            println!("{}", runtime.block_on(steady::run(&load, connections, rate))?);
        }
        Command::Slow(slow) => println!("{}", runtime.block_on(slow::run(slow))?),
        Command::Streams { load, streams } => println!("{}", runtime.block_on(streams::run(&load, streams))?),
        Command::Memory { pid } => println!("{}", process::memory_kib(pid)?),
        Command::Table { files } => print!("{}", table::of(&files)?),
    }
    Ok(())
}
