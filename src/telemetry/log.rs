//! Lines for people or for machines, on standard error.
//!
//! Requests are not logged here: they are events. Pingora writes request headers at its debug level, and
//! those hold credentials; its modules therefore stay at `info` whatever level is asked for.

use std::io::Write;

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

/// Starts the log. Later calls change nothing.
pub fn start_log(format: Format, level: LevelFilter) {
    let mut log = env_logger::Builder::new();
    log.filter_level(level);
    for library in ["pingora", "pingora_core", "pingora_proxy", "pingora_http", "h2", "hyper", "rustls"] {
        log.filter_module(library, level.min(LevelFilter::Info));
    }
    log.format(move |out, record| {
        let time = Timestamp::from(std::time::SystemTime::now());
        match format {
            Format::Text => writeln!(out, "{time} {:5} {}", record.level(), Line(record)),
            Format::Json => {
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
    // A second start, as in tests, keeps the first one's settings.
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
