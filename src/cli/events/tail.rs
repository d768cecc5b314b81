//! `kt events tail`: the log as it grows.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

use crate::cli::client::{CallError, Client, with_query};
use crate::cli::{Error, output};
use crate::control::admin::ProblemDocument;

use super::Choice;

/// A gateway sends something every 15 seconds; a connection silent for longer than this is dead.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// The pauses between attempts to come back: doubled from the first to the last.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(250);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// The longest message of the stream. Events are a few kilobytes.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A live view of the log that misses nothing, also when the connection breaks.
pub(super) struct Tail {
    choice: Choice,
    limit: Option<u64>,
    client: Client,
    /// The number of the last event that was considered: where to come back to.
    position: Option<String>,
}

impl Tail {
    pub(super) fn new(choice: Choice, limit: Option<u64>, client: Client) -> Self {
        Self { choice, limit, client, position: None }
    }

    pub(super) async fn run(mut self) -> Result<(), Error> {
        let mut body = self.client.open(&self.path()).await?;
        loop {
            let why = self.print_all(&mut body).await?;
            output::hint(&format!("kt: {why}; reconnecting"));
            body = self.reconnect().await?;
            output::hint(match self.position {
                Some(_) => "kt: reconnected; what was recorded meanwhile follows, nothing was missed",
                None => "kt: reconnected; starting over",
            });
        }
    }

    fn path(&self) -> String {
        let follow = [("follow", Some("true".into()))];
        match &self.position {
            // What was printed before the interruption is not asked for again.
            Some(position) => {
                let filters = self.choice.filter.query().filter(|(name, _)| *name != "since");
                let after = [("after", Some(position.clone()))];
                with_query("/v1/events", filters.chain(follow).chain(after))
            }
            None => {
                let limit = [("limit", self.limit.map(|limit| limit.to_string()))];
                with_query("/v1/events", self.choice.filter.query().chain(follow).chain(limit))
            }
        }
    }

    /// Prints until the connection ends, and says why it did.
    async fn print_all(&mut self, body: &mut Incoming) -> Result<String, Error> {
        let mut messages = Messages::default();
        loop {
            let frame = match timeout(SILENCE_MAX, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Ok(format!("the connection broke off ({error})")),
                Ok(None) => return Ok("the gateway ended the stream".into()),
                Err(_) => return Ok("the gateway has gone silent".into()),
            };
            let Ok(bytes) = frame.into_data() else { continue };
            messages.push(&bytes)?;
            while let Some(message) = messages.next() {
                self.take(message)?;
            }
        }
    }

    fn take(&mut self, message: Message) -> Result<(), Error> {
        let garbled = |error: serde_json::Error| Error::Failed(format!("the gateway's stream makes no sense: {error}"));
        match message.name.as_str() {
            "" => self.choice.print(&serde_json::from_str::<Box<RawValue>>(&message.data).map_err(garbled)?)?,
            "problem" => {
                let problem: ProblemDocument = serde_json::from_str(&message.data).map_err(garbled)?;
                return Err(Error::Failed(format!("{} ({})", problem.detail, problem.code)));
            }
            // `ready`, and whatever a newer gateway may say.
            _ => {}
        }
        self.position = message.id.or(self.position.take());
        Ok(())
    }

    async fn reconnect(&self) -> Result<Incoming, Error> {
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            sleep(pause).await;
            match self.client.open(&self.path()).await {
                Ok(body) => return Ok(body),
                Err(CallError::Unreachable(_)) => pause = (pause * 2).min(RETRY_PAUSE_MAX),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Server-sent events as our gateway writes them: lines that end in `\n`, one `data` a message.
#[derive(Default)]
struct Messages {
    bytes: Vec<u8>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    name: String,
    id: Option<String>,
    data: String,
}

impl Messages {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.bytes.len() + bytes.len() > MESSAGE_BYTES_MAX {
            return Err(Error::Failed("the gateway's stream makes no sense: a message without end".into()));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole message. Comments, which only show that the connection lives, are none.
    fn next(&mut self) -> Option<Message> {
        loop {
            let end = memchr::memmem::find(&self.bytes, b"\n\n")?;
            let text: Vec<u8> = self.bytes.drain(..end + 2).collect();
            let mut message = Message::default();
            for line in String::from_utf8_lossy(&text).lines() {
                match line.split_once(':').map(|(field, value)| (field, value.trim_start_matches(' '))) {
                    Some(("event", value)) => message.name = value.into(),
                    Some(("id", value)) => message.id = Some(value.into()),
                    Some(("data", value)) => message.data = value.into(),
                    _ => {}
                }
            }
            if !message.data.is_empty() {
                return Some(message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_however_they_are_cut() {
        let stream = ": alive\n\nevent: ready\nid: 7\ndata: {}\n\nid: 8\ndata: {\"a\":\"b: c\"}\n\n:\n\nid: 9\ndata: x";
        for size in 1..stream.len() {
            let mut messages = Messages::default();
            let mut read = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                messages.push(piece).unwrap();
                read.extend(std::iter::from_fn(|| messages.next()));
            }
            let message = |name: &str, id: &str, data: &str| Message {
                name: name.into(),
                id: Some(id.into()),
                data: data.into(),
            };
            assert_eq!(read, [message("ready", "7", "{}"), message("", "8", "{\"a\":\"b: c\"}")], "{size}");
        }
    }

    #[test]
    fn an_endless_message_is_refused() {
        let mut messages = Messages::default();
        assert!(messages.push(&vec![b'x'; MESSAGE_BYTES_MAX]).is_ok());
        assert!(messages.push(b"x").is_err());
    }
}
