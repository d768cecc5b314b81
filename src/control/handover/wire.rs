//! What the two processes say to each other: one JSON object a line, over a socket that only they have.

use std::marker::PhantomData;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::catalog::Hit;
use crate::domain::{Spending, Timestamp};

/// Changes with every change of these messages: processes that do not speak the same do not hand over.
pub(super) const PROTOCOL: u32 = 1;

/// What the successor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToPredecessor {
    /// Everything is prepared that does not need the data directory.
    Ready { protocol: u32, version: String, data_dir: PathBuf },
    /// It cannot take over.
    Refused { why: String },
    /// Requests are taken.
    Serving,
    /// Everything of a batch is on disk.
    Written { batch: u64 },
    /// To what was asked.
    Answer { ask: u64, answer: Answer },
    /// To be in force when it is answered.
    Changes { number: u64, changes: Vec<Change> },
    /// Running requests are to be ended.
    Hurry,
}

/// What the predecessor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToSuccessor {
    Yours(Estate),
    Records { batch: u64, records: Vec<Passed> },
    Ask { ask: u64, number: i64, asked: Asked },
    GiveBack { number: i64 },
    Changed { number: u64 },
}

/// What the predecessor leaves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Estate {
    pub(super) pid: u32,
    /// Until when it lets its requests run.
    pub(super) until: Timestamp,
    /// What running requests may still spend, by the numbers of their INPUT events; of those that limits concern.
    pub(super) reserved: Vec<(i64, Spending)>,
}

/// A record on its way into the successor's log.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Passed {
    /// The request's: that of its INPUT event if it is in the log, else one below zero; 0 of what was refused.
    pub(super) number: i64,
    /// What it may still spend of budgets, if limits concern it.
    pub(super) reserved: Option<Spending>,
    pub(super) event: Box<RawValue>,
}

/// What a request asks of limits that are counted here.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Asked {
    Take { key: String, model: Option<String>, input_tokens: u64, output_tokens: u64, bound: Spending },
    Cover { spending: Spending },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Granted,
    Refused(Option<Box<Hit>>),
}

/// What running requests have to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::control) enum Change {
    Revoked { key: String },
    Expires { key: String, at: Option<Timestamp> },
    TextEnds { digest: [u8; 32], at: Option<Timestamp> },
    Suspended { team: String, is_suspended: bool },
}

/// Reads messages.
pub(super) struct Reader<M> {
    lines: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    message: PhantomData<M>,
}

/// Both directions of a socket: messages that come, and where to post those that go. What is posted is sent by a task of
/// its own, so that whoever posts need not wait.
pub(super) fn both<In: DeserializeOwned, Out: Serialize + Send + 'static>(
    stream: UnixStream,
) -> (Reader<In>, mpsc::UnboundedSender<Out>) {
    let (read, write) = stream.into_split();
    let (post, posted) = mpsc::unbounded_channel();
    tokio::spawn(send(write, posted));
    (Reader { lines: BufReader::new(read).lines(), message: PhantomData }, post)
}

async fn send<M: Serialize>(mut write: OwnedWriteHalf, mut posted: mpsc::UnboundedReceiver<M>) {
    while let Some(message) = posted.recv().await {
        let Some(line) = line(&message) else { continue };
        if write.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// A message as it is sent.
pub(super) fn line(message: &impl Serialize) -> Option<Vec<u8>> {
    let mut line =
        serde_json::to_vec(message).inspect_err(|error| log::error!("a message has no form: {error}")).ok()?;
    line.push(b'\n');
    Some(line)
}

impl<M: DeserializeOwned> Reader<M> {
    /// The next message; `None` when the other process is gone, or says what makes no sense.
    pub(super) async fn next(&mut self) -> Option<M> {
        let line = self.lines.next_line().await.ok()??;
        serde_json::from_str(&line).inspect_err(|error| log::error!("the other process says nonsense: {error}")).ok()
    }
}
