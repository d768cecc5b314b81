//! Lines for people or for machines, on standard error.
//!
//! Requests are not logged here: they are events. Pingora writes request headers at its debug level, and
//! those hold credentials; its modules therefore stay at `info` whatever level is asked for.

use std::io::Write;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use log::{LevelFilter, Record};

use crate::domain::Timestamp;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

impl Format {
    pub const ALL: [Self; 2] = [Self::Text, Self::Json];

    /// The word for this format in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Whether lines are for machines; what is in force can change while the log runs.
static JSON: AtomicBool = AtomicBool::new(false);

/// Starts the log, or changes how it goes on.
pub fn start_log(format: Format, level: LevelFilter) {
    JSON.store(format == Format::Json, Ordering::Relaxed);
    static STARTED: Once = Once::new();
    STARTED.call_once(install);
    log::set_max_level(level);
}

/// Lets through what the level of the moment does, which `log` itself looks after.
fn install() {
    let mut log = env_logger::Builder::new();
    log.filter_level(LevelFilter::Trace);
    for library in ["pingora", "pingora_core", "pingora_proxy", "pingora_http", "h2", "hyper"] {
        log.filter_module(library, LevelFilter::Info);
    }
    // They tell of what strangers do, who could fill the log with it: greetings that fail, and those of HTTP/2 that end
    // early or ask for nothing sound.
    log.filter_module("rustls", LevelFilter::Error);
    log.filter_module("pingora_core::apps", LevelFilter::Off);
    log.filter_module("pingora_core::protocols::http::v2::server", LevelFilter::Off);
    log.format(|out, record| {
        let time = Timestamp::from(std::time::SystemTime::now());
        match JSON.load(Ordering::Relaxed) {
            false => writeln!(out, "{time} {:5} {}", record.level(), Line(record)),
            true => {
                let line = serde_json::json!({
                    "time": time.to_string(),
                    "level": record.level().as_str().to_ascii_lowercase(),
                    "target": record.target(),
                    "message": record.args().to_string(),
                });
                writeln!(out, "{line}")
            }
        }
    });
    // Whoever started another log first keeps it.
    let _ = log.try_init();
}

/// A message kept to one line, so that nobody can forge a second one.
struct Line<'a>(&'a Record<'a>);

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let message = self.0.args().to_string();
        f.write_str(&message.replace('\n', " | ").replace('\r', ""))
    }
}
