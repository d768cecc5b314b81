//! The new process: what it inherits, and the way to the one before.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use parking_lot::Mutex;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::catalog::CurrentCatalog;
use crate::control::OpenError;
use crate::control::data_dir::DataDir;
use crate::control::store::{EventStore, StoreError};
use crate::domain::Timestamp;
use crate::journal::Journal;

use super::held::Held;
use super::records::Clerk;
use super::spool;
use super::wire::{self, Change, Estate, POSTED_MAX, PROTOCOL, Passed, Post, Reader, ToPredecessor, ToSuccessor};

/// How long the predecessor may take to put a change in force. Its own wait for last words is shorter.
const OBEY_PATIENCE: Duration = Duration::from_secs(1);
/// How long a killed process may take to be gone.
const GONE_PATIENCE: Duration = Duration::from_secs(2);
/// Batches of records that wait to be written. There is one at a time.
const BATCHES_MAX: usize = 4;

/// A process that was started to take over from another.
pub struct Heir {
    stream: std::os::unix::net::UnixStream,
    version: &'static str,
}

/// What an heir has got.
pub(in crate::control) struct Inheritance {
    estate: Estate,
    /// What was said before.
    early: Vec<ToSuccessor>,
    reader: Reader<ToSuccessor>,
    post: Post<ToPredecessor>,
}

/// The process before this one, which still serves what it had begun.
#[derive(Clone)]
pub struct Predecessor(Arc<Way>);

struct Way {
    pid: u32,
    until: Timestamp,
    post: Post<ToPredecessor>,
    change: AtomicU64,
    changing: Mutex<HashMap<u64, oneshot::Sender<()>>>,
    is_gone: watch::Receiver<bool>,
}

impl Heir {
    /// `stream` is the way to the process that started this one.
    pub fn new(stream: std::os::unix::net::UnixStream, version: &'static str) -> Self {
        Self { stream, version }
    }

    /// Another way to say no, for whoever does not know yet whether this process can take over.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()?, version: self.version })
    }

    /// Tells the process to be replaced that `pid` is to take over.
    pub fn is(&mut self, pid: u32) -> std::io::Result<()> {
        self.say(&ToPredecessor::Begun { pid })
    }

    /// Tells the process to be replaced that this one cannot take over.
    pub fn refuse(mut self, why: &str) {
        // It waits, unless it is gone.
        let _ = self.say(&ToPredecessor::Refused { why: why.into() });
    }

    fn say(&mut self, message: &ToPredecessor) -> std::io::Result<()> {
        self.stream.set_nonblocking(false)?;
        self.stream.write_all(&wire::line(message).unwrap_or_default())
    }

    /// Says that everything is ready, and waits until `data_dir` is this process's.
    pub(in crate::control) async fn inherit(self, data_dir: &Path) -> std::io::Result<Inheritance> {
        self.stream.set_nonblocking(true)?;
        let (mut reader, post) = wire::both(UnixStream::from_std(self.stream)?);
        let (version, data_dir) = (self.version.into(), data_dir.into());
        post.say(ToPredecessor::Ready { protocol: PROTOCOL, pid: std::process::id(), version, data_dir });
        let mut early = Vec::new();
        while let Some(message) = reader.next().await {
            match message {
                ToSuccessor::Yours(estate) => return Ok(Inheritance { estate, early, reader, post }),
                // Requests ask to be counted here from the moment at which they are not counted there any more.
                message if early.len() < POSTED_MAX => early.push(message),
                _ => break,
            }
        }
        Err(std::io::Error::other("the process that started this one did not hand over"))
    }
}

impl Inheritance {
    /// The process that left it.
    pub(in crate::control) fn pid(&self) -> u32 {
        self.estate.pid
    }

    /// Begins to write down what the predecessor still has to say.
    pub(in crate::control) async fn accept(
        self,
        journal: Journal,
        catalog: Arc<CurrentCatalog>,
        events: &dyn EventStore,
        data_dir: Arc<DataDir>,
    ) -> Result<Predecessor, StoreError> {
        let Self { estate: Estate { pid, until, reserved }, early, reader, post } = self;
        let held = Arc::new(Held::new(catalog));
        let clerk = Clerk::begin(journal, held.clone(), events, &reserved).await?;
        log::info!("process {pid} has handed over, and still serves {} requests", clerk.running());
        let (gone, is_gone) = watch::channel(false);
        let way = Arc::new(Way { pid, until, post, change: AtomicU64::new(0), changing: Mutex::default(), is_gone });
        let (bring, brought) = mpsc::channel(BATCHES_MAX);
        tokio::spawn(listen(way.clone(), early, reader, held, bring));
        tokio::spawn(write(way.clone(), clerk, brought, data_dir, gone));
        Ok(Predecessor(way))
    }
}

impl Predecessor {
    /// Says that requests are taken.
    pub fn serving(&self) {
        self.say(ToPredecessor::Serving);
    }

    /// Has it end its requests at once.
    pub fn hurry(&self) {
        self.say(ToPredecessor::Hurry);
    }

    /// Until when it serves at most; `None` if it has ended.
    pub fn serves_until(&self) -> Option<Timestamp> {
        (!*self.0.is_gone.borrow()).then_some(self.0.until)
    }

    /// Waits until it has ended, and everything it had to say is written.
    pub async fn gone(&self) {
        let mut is_gone = self.0.is_gone.clone();
        // Whoever would tell it is gone as well.
        let _ = is_gone.wait_for(|gone| *gone).await.map(drop);
    }

    /// Puts changes in force there, in the order of these calls. The answer returns when they are.
    pub(in crate::control) fn tell(&self, changes: Vec<Change>) -> impl Future<Output = ()> + use<> {
        let way = self.0.clone();
        let number = way.change.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        let is_needed = !changes.is_empty() && !*way.is_gone.borrow();
        if is_needed {
            way.changing.lock().insert(number, tell);
            self.say(ToPredecessor::Changes { number, changes });
        }
        let own = self.clone();
        async move {
            if !is_needed || timeout(OBEY_PATIENCE, told).await.is_ok() {
                return;
            }
            log::error!("process {} does not do as it is told, and is killed", way.pid);
            if !*way.is_gone.borrow() {
                wire::signal(way.pid, Signal::SIGKILL);
            }
            let _ = timeout(GONE_PATIENCE, own.gone()).await;
        }
    }

    fn say(&self, message: ToPredecessor) {
        self.0.post.say(message);
    }
}

/// Hears the predecessor until it is gone.
async fn listen(
    way: Arc<Way>,
    early: Vec<ToSuccessor>,
    mut reader: Reader<ToSuccessor>,
    held: Arc<Held>,
    bring: mpsc::Sender<(u64, Vec<Passed>)>,
) {
    let mut early = early.into_iter();
    loop {
        let message = match early.next() {
            Some(message) => Some(message),
            None => reader.next().await,
        };
        let Some(message) = message else { break };
        match message {
            ToSuccessor::Ask { ask, number, asked } => {
                let answer = held.answer(number, &asked);
                way.post.say(ToPredecessor::Answer { ask, answer });
            }
            ToSuccessor::GiveBack { number } => held.give_back(number),
            ToSuccessor::Changed { number } => _ = way.changing.lock().remove(&number).map(|tell| tell.send(())),
            ToSuccessor::Records { batch, records } => {
                if bring.send((batch, records)).await.is_err() {
                    return;
                }
            }
            ToSuccessor::Yours(_) => {}
        }
    }
    // Nothing more goes out of a process that is gone: whatever it was told holds.
    way.changing.lock().drain().for_each(|(_, tell)| _ = tell.send(()));
}

/// Writes what it says, then what it could not say, and closes what has no end.
async fn write(
    way: Arc<Way>,
    mut clerk: Clerk,
    mut brought: mpsc::Receiver<(u64, Vec<Passed>)>,
    data_dir: Arc<DataDir>,
    gone: watch::Sender<bool>,
) {
    while let Some((batch, records)) = brought.recv().await {
        clerk.write(records).await;
        way.post.say(ToPredecessor::Written { batch });
    }
    let (path, pid) = (data_dir.path().to_owned(), way.pid);
    let left = tokio::task::spawn_blocking(move || spool::left_by(&path, pid)).await;
    match left.map_err(std::io::Error::other).and_then(|left| left) {
        Ok(left) => {
            clerk.write(left).await;
            spool::remove(data_dir.path(), pid);
        }
        Err(error) => log::error!("what process {pid} could not tell cannot be read: {error}"),
    }
    match clerk.close().await {
        0 => log::info!("process {pid}, which had handed over, has ended"),
        left => log::warn!("process {pid} ended with {left} requests running; their events say `crashed`"),
    }
    gone.send_replace(true);
}

impl From<std::io::Error> for OpenError {
    fn from(error: std::io::Error) -> Self {
        Self::Handover(error)
    }
}
