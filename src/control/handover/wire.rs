//! What the two processes say to each other: one JSON object a line, over a socket that only they have.

use std::marker::PhantomData;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::catalog::Hit;
use crate::domain::{Spending, Timestamp};

/// Changes with every change of these messages: processes that do not speak the same do not hand over.
pub(super) const PROTOCOL: u32 = 1;
/// Messages that wait to be sent. A running request has one or two under way, so only a process that does not read any more
/// leaves so many.
pub(super) const POSTED_MAX: usize = 64 * 1024;
/// The longest message: what a hundred thousand running requests hold, and room.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What the successor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToPredecessor {
    /// Another process than the one that was started will do it.
    Begun { pid: u32 },
    /// Everything is prepared that does not need the data directory.
    Ready { protocol: u32, pid: u32, version: String, data_dir: PathBuf },
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
    read: BufReader<OwnedReadHalf>,
    /// Of a message that has not come whole yet.
    line: Vec<u8>,
    message: PhantomData<M>,
}

/// Takes messages that are to be sent.
#[derive(Debug)]
pub(super) struct Post<M>(mpsc::Sender<M>);

/// Both directions of a socket: messages that come, and where to post those that go. What is posted is sent by a task of
/// its own, so that whoever posts need not wait.
pub(super) fn both<In: DeserializeOwned, Out: Serialize + Send + 'static>(
    stream: UnixStream,
) -> (Reader<In>, Post<Out>) {
    let (read, write) = stream.into_split();
    let (post, posted) = mpsc::channel(POSTED_MAX);
    tokio::spawn(send(write, posted));
    (Reader { read: BufReader::new(read), line: Vec::new(), message: PhantomData }, Post(post))
}

async fn send<M: Serialize>(mut write: OwnedWriteHalf, mut posted: mpsc::Receiver<M>) {
    while let Some(message) = posted.recv().await {
        let Some(line) = line(&message) else { continue };
        if write.write_all(&line).await.is_err() {
            return;
        }
    }
}

impl<M> Post<M> {
    /// Sends it when those before it are sent. Whether it is heard shows in what is answered: one that is gone hears
    /// nothing, and neither does one that has stopped reading for so long that there is no more room.
    pub(super) fn say(&self, message: M) {
        let _ = self.0.try_send(message);
    }
}

/// Signals the other process.
pub(super) fn signal(pid: u32, signal: Signal) {
    // One that is gone needs none.
    let _ = i32::try_from(pid).map(|pid| kill(Pid::from_raw(pid), signal));
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
        let room = LINE_BYTES_MAX.saturating_sub(self.line.len() as u64);
        (&mut self.read).take(room).read_until(b'\n', &mut self.line).await.ok()?;
        let line = std::mem::take(&mut self.line);
        // It ended, perhaps in the middle of a word.
        line.ends_with(b"\n").then_some(())?;
        serde_json::from_slice(&line).inspect_err(|error| log::error!("the other process says nonsense: {error}")).ok()
    }
}
