//! Whether a key and a prompt made for this show up anywhere they must not.
//!
//! The key is used in every way that is refused, so that no provider is asked and nothing is paid: wrong texts of it,
//! wrong places for it, requests that are no requests. Then everything is searched that the gateway has answered and
//! written since.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use memchr::memmem::Finder;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::Error;
use crate::cli::client::Client;
use crate::control::admin::v1::tokens::create::CreatedToken;

use super::{Findings, State, listeners};

/// The only model the key may use, which no provider has.
const MODEL: &str = "keeptrusts-doctor";
const CHAT: &str = "/v1/chat/completions";
/// Longer than events and the log take to be written.
const WRITTEN: Duration = Duration::from_secs(2);
/// Files' times may be coarser than the clock.
const TIMES_DIFFER: Duration = Duration::from_secs(2);
/// Of a larger file the end is searched: it has been written to since.
const SEARCHED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Where the gateway writes.
pub(super) struct Sinks {
    pub(super) data_dir: Option<PathBuf>,
    pub(super) log: Option<PathBuf>,
    pub(super) metrics: Option<SocketAddr>,
}

/// What must not be found.
struct Canary {
    key: String,
    prompt: String,
}

pub(super) async fn check(
    client: &Client,
    edge: Option<SocketAddr>,
    sinks: &Sinks,
    findings: &mut Findings,
) -> Result<(), Error> {
    let Some(edge) = edge else {
        findings.add("canary", State::Skipped, "the edge speaks TLS");
        return Ok(());
    };
    let begun = SystemTime::now();
    let name = format!("doctor-{}", Uuid::now_v7().simple());
    let asked = json!({"name": name, "permissions": {"models": [MODEL]}});
    let made: CreatedToken = client.post("/v1/tokens", &asked).await?;
    let canary = Canary { key: made.key, prompt: format!("canary-{}", Uuid::now_v7().simple()) };
    let sent = canary.fly(edge, findings).await;
    // Whatever came of it, the key does not stay.
    let _: Value = client.delete(&format!("/v1/tokens/{}?reason=kt%20doctor", made.id)).await?;
    let mut sent = sent.map_err(|error| Error::Failed(format!("the edge did not answer: {error}")))?;
    let revoked = listeners::exchange(edge, &canary.ask(&canary.key, &canary.body())).await;
    sent += usize::from(revoked.is_ok_and(|answer| canary.is_kept(&answer.bytes)));
    tokio::time::sleep(WRITTEN).await;
    let events: Value = client.get(&format!("/v1/events?key={}", made.id)).await?;
    let mut found = Vec::new();
    canary.look("the events", events.to_string().as_bytes(), &mut found);
    if let Some(metrics) = sinks.metrics {
        let exposition = listeners::get(metrics, "/metrics").await;
        let exposition = exposition.map_err(|error| Error::Failed(format!("no metrics: {error}")))?;
        canary.look("the metrics", &exposition.bytes, &mut found);
    }
    let since = begun.checked_sub(TIMES_DIFFER).unwrap_or(begun);
    for place in sinks.data_dir.iter().chain(&sinks.log) {
        // A data directory that systemd keeps is a link to it.
        fs::canonicalize(place)
            .and_then(|place| canary.search(&place, since, &mut found))
            .map_err(|error| Error::Failed(format!("{}: {error}", place.display())))?;
    }
    let without = if sinks.log.is_none() { "; say --log FILE to have the log searched as well" } else { "" };
    match found.as_slice() {
        [] => {
            findings.add("canary", State::Ok, format!("in none of {sent} answers, events, metrics and files{without}"))
        }
        found => found.iter().for_each(|place| findings.add("canary", State::Failed, format!("it is in {place}"))),
    }
    Ok(())
}

impl Canary {
    /// Asks in every way that is refused. How many answers did not show it.
    async fn fly(&self, edge: SocketAddr, findings: &mut Findings) -> io::Result<usize> {
        let (key, prompt) = (&self.key, &self.prompt);
        let mistyped = format!("{}!", &key[..key.len() - 1]);
        let asks = [
            ("a model the key may not use", 403, self.ask(key, &self.body().replace(MODEL, "gpt-4o"))),
            ("a body that is no JSON", 400, self.ask(key, &format!("{{\"model\": {prompt}"))),
            ("a mistyped key", 401, self.ask(&mistyped, &self.body())),
            ("a truncated key", 401, self.ask(&key[..key.len() - 4], &self.body())),
            ("a key in the query", 400, self.ask_at(&format!("{CHAT}?key={key}"), key, &self.body())),
            ("a key in the path", 404, self.ask_at(&format!("/v1/{key}/{prompt}"), key, &self.body())),
            ("a request that is none", 400, format!("GET  /v1/{prompt} HTTP/1.1\r\nX-Api-Key: {key}\r\n\r\n")),
            ("a broken header", 400, format!("GET /v1/models HTTP/1.1\r\nHost: kt\r\nX-Api-Key : {key}\r\n\r\n")),
        ];
        let mut kept = 0;
        for (what, status, request) in asks {
            let answer = listeners::exchange(edge, &request).await?;
            if !self.is_kept(&answer.bytes) {
                findings.add("canary", State::Failed, format!("it is in the answer to {what}"));
            } else if answer.status != status {
                findings.add("canary", State::Warning, format!("{what} was answered {}, not {status}", answer.status));
            } else {
                kept += 1;
            }
        }
        Ok(kept)
    }

    fn ask(&self, key: &str, body: &str) -> String {
        self.ask_at(CHAT, key, body)
    }

    fn ask_at(&self, target: &str, key: &str, body: &str) -> String {
        format!(
            "POST {target} HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn body(&self) -> String {
        json!({"model": MODEL, "messages": [{"role": "user", "content": self.prompt}]}).to_string()
    }

    fn is_kept(&self, bytes: &[u8]) -> bool {
        [&self.key, &self.prompt].iter().all(|secret| Finder::new(secret.as_bytes()).find(bytes).is_none())
    }

    fn look(&self, place: &str, bytes: &[u8], found: &mut Vec<String>) {
        if !self.is_kept(bytes) {
            found.push(place.into());
        }
    }

    /// Searches a file, or all files of a folder, written to since then.
    fn search(&self, path: &Path, since: SystemTime, found: &mut Vec<String>) -> io::Result<()> {
        let about = fs::symlink_metadata(path)?;
        if about.is_dir() {
            return fs::read_dir(path)?.try_for_each(|entry| self.search(&entry?.path(), since, found));
        }
        if !about.is_file() || about.modified()? < since {
            return Ok(());
        }
        let (mut file, mut bytes) = (File::open(path)?, Vec::new());
        file.seek(SeekFrom::Start(about.len().saturating_sub(SEARCHED_BYTES_MAX)))?;
        file.take(SEARCHED_BYTES_MAX).read_to_end(&mut bytes)?;
        self.look(&path.display().to_string(), &bytes, found);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_and_what_was_there_is_passed_by() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("events")).unwrap();
        fs::write(folder.path().join("events/1"), "a line\nthe prompt\n").unwrap();
        let canary = Canary { key: "the key".into(), prompt: "the prompt".into() };
        let search = |since| {
            let mut found = Vec::new();
            canary.search(folder.path(), since, &mut found).unwrap();
            found.len()
        };
        assert_eq!(search(SystemTime::UNIX_EPOCH), 1);
        assert_eq!(search(SystemTime::now() + Duration::from_secs(60)), 0);
    }
}
