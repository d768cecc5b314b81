//! The old process, once it has handed over: what it still serves is counted by its successor and written down there, and
//! ends where the successor says so.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use nix::sys::signal::Signal;
use parking_lot::Mutex;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{interval, timeout};

use crate::catalog::{Demand, Elsewhere, Hit};
use crate::control::data_dir::DataDir;
use crate::control::ledger::Ledger;
use crate::control::now;
use crate::control::office::Office;
use crate::control::publish::Publisher;
use crate::domain::{Spending, Timestamp};

use super::obey;
use super::outlet::Outlet;
use super::spool::Spool;
use super::wire::{self, Answer, Asked, Estate, PROTOCOL, Post, Reader, ToPredecessor, ToSuccessor};

/// How long a new process may take to read its configuration and be ready.
const READY_PATIENCE: Duration = Duration::from_secs(20);
/// How long the disk may take to show that it works: afterwards there is no way back.
const DISK_PATIENCE: Duration = Duration::from_secs(5);
/// How long the last records may take to be on disk, and the log to be closed. Nobody is served meanwhile.
const LEAVE_PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take from having the data directory to serving. Keys are loaded, and what a new version changes about
/// the databases.
const SERVING_PATIENCE: Duration = Duration::from_secs(300);
/// How long a request waits for its successor's answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// How often running requests are told what expired.
const TICK_PERIOD: Duration = Duration::from_millis(500);

/// What a process needs to hand over.
pub struct Leaving {
    pub(in crate::control) data_dir: Arc<DataDir>,
    pub(in crate::control) publisher: Arc<Publisher>,
    pub(in crate::control) gateway: Arc<str>,
    pub(in crate::control) webhook: JoinHandle<()>,
    pub(in crate::control) office: Office,
}

/// A process that is ready to take over.
pub struct Candidate {
    reader: Reader<ToPredecessor>,
    post: Post<ToSuccessor>,
    spool: Spool,
    pub pid: u32,
    /// What it calls its version.
    pub version: String,
}

/// A process that is tried, and ended when this is dropped.
struct Trial(Option<u32>);

/// The process that has taken over.
pub struct Successor {
    pid: u32,
    line: Arc<Line>,
    serving: watch::Receiver<bool>,
    outlet: Outlet,
}

/// The way to it.
#[derive(Debug)]
pub(super) struct Line {
    post: Post<ToSuccessor>,
    asks: Mutex<HashMap<u64, SyncSender<Answer>>>,
    ask: AtomicU64,
    number: AtomicI64,
    /// The batch that was written last.
    written: Mutex<Option<SyncSender<u64>>>,
    is_gone: watch::Sender<bool>,
    is_to_hurry: watch::Sender<bool>,
}

impl Candidate {
    /// Waits until the process at the other end of `stream` is ready to take over `leaving`, or says why it is not.
    pub async fn meet(stream: std::os::unix::net::UnixStream, leaving: &Leaving) -> Result<Self, String> {
        let stream = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
        let (mut reader, post) = wire::both(stream.map_err(|error| error.to_string())?);
        let mut trial = Trial(None);
        let first = async {
            loop {
                match reader.next().await {
                    Some(ToPredecessor::Begun { pid }) => trial.0 = Some(pid),
                    other => return other,
                }
            }
        };
        let first = timeout(READY_PATIENCE, first).await;
        let first = first.map_err(|_| format!("it was not ready within {} seconds", READY_PATIENCE.as_secs()))?;
        match first {
            None => {
                // It has ended, and its number may be another's.
                trial.0 = None;
                Err("it ended without saying why (the gateway's log may), or does not know how to take over".into())
            }
            Some(ToPredecessor::Ready { protocol, version, .. }) if protocol != PROTOCOL => {
                Err(format!("version {version} takes over in another way: restart the gateway instead"))
            }
            Some(ToPredecessor::Ready { data_dir, .. }) if data_dir != leaving.data_dir.path() => Err(format!(
                "its data directory would be {}, not {}: restart the gateway instead",
                data_dir.display(),
                leaving.data_dir.path().display()
            )),
            Some(ToPredecessor::Ready { pid, version, .. }) => {
                let spool = spool(leaving.data_dir.path()).await;
                let spool = spool.map_err(|error| format!("the data directory cannot be written to: {error}"))?;
                trial.0 = None;
                Ok(Self { reader, post, spool, pid, version })
            }
            Some(ToPredecessor::Refused { why }) => Err(why),
            Some(_) => Err("it said what makes no sense here".into()),
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.0.into_iter().for_each(|pid| wire::signal(pid, Signal::SIGKILL));
    }
}

/// Opens the file for what cannot be told, as a look at whether the disk works.
async fn spool(data_dir: &Path) -> io::Result<Spool> {
    let data_dir = data_dir.to_owned();
    let opened = timeout(DISK_PATIENCE, spawn_blocking(move || Spool::open(&data_dir))).await;
    opened.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer"))??
}

impl Leaving {
    /// Lets go of everything durable and gives it to `candidate`. The listeners are closed by now; requests go on until
    /// `until`. There is no way back.
    pub async fn give(self, ledger: Ledger, candidate: Candidate, until: Timestamp) -> io::Result<Successor> {
        let Self { data_dir, publisher, gateway, webhook, office } = self;
        let Candidate { reader, post, spool, pid, version: _ } = candidate;
        let line = Arc::new(Line {
            post,
            asks: Mutex::default(),
            ask: AtomicU64::new(0),
            number: AtomicI64::new(0),
            written: Mutex::default(),
            is_gone: watch::channel(false).0,
            is_to_hurry: watch::channel(false).0,
        });
        publisher.catalog().load().payer.counting.moves(line.clone());
        webhook.abort();
        // One that is durable and not yet in force would be a revoked key that the successor does not know as such.
        let closed = timeout(LEAVE_PATIENCE, office.close()).await;
        closed.map_err(|_| io::Error::other("a change of keys does not come to its end"))?;
        let left = timeout(LEAVE_PATIENCE, ledger.leave()).await;
        let left = left.map_err(|_| io::Error::other("the disk does not take the last records"))?;
        let left = left.ok_or_else(|| io::Error::other("the ledger's thread broke"))?;
        data_dir.release()?;
        let estate = Estate { pid: std::process::id(), until, reserved: left.reserved };
        line.say(ToSuccessor::Yours(estate));
        let (serve, serving) = watch::channel(false);
        tokio::spawn(listen(line.clone(), reader, serve, publisher.clone()));
        tokio::spawn(tick(publisher));
        let outlet = Outlet::start(left.records, left.taken, &gateway, line.clone(), spool)?;
        Ok(Successor { pid, line, serving, outlet })
    }
}

impl Successor {
    /// Waits until it serves; `false` if it ended before, or takes too long.
    pub async fn serves(&self) -> bool {
        let mut serving = self.serving.clone();
        let served = timeout(SERVING_PATIENCE, serving.wait_for(|serving| *serving)).await;
        served.is_ok_and(|served| served.is_ok())
    }

    /// Asks it to stop as the service manager would.
    pub fn stop(&self) {
        wire::signal(self.pid, Signal::SIGTERM);
    }

    pub fn kill(&self) {
        if !self.line.is_gone() {
            wire::signal(self.pid, Signal::SIGKILL);
        }
    }

    /// Returns when running requests are to be ended: the successor says so, or is gone.
    pub fn hurries(&self) -> impl Future<Output = ()> + use<> {
        let mut hurry = self.line.is_to_hurry.subscribe();
        async move {
            let _ = hurry.wait_for(|hurry| *hurry).await.map(drop);
        }
    }

    /// Waits until every record is told, when no request is left; but no longer than `patience`.
    pub async fn finish(self, patience: Duration) {
        if timeout(patience, self.outlet.ended()).await.is_err() {
            log::warn!("records were left that could not be told in time; their requests will be taken for crashed");
        }
    }
}

impl Line {
    pub(super) fn say(&self, message: ToSuccessor) {
        self.post.say(message);
    }

    pub(super) fn is_gone(&self) -> bool {
        *self.is_gone.borrow()
    }

    /// A number for a request that is not in the log.
    pub(super) fn number(&self) -> i64 {
        self.number.fetch_sub(1, Ordering::Relaxed) - 1
    }

    pub(super) fn report_written_to(&self, written: SyncSender<u64>) {
        *self.written.lock() = Some(written);
    }

    /// Asks and waits; `None` if there is no answer.
    fn ask(&self, number: i64, asked: Asked) -> Option<Answer> {
        let (tell, told) = sync_channel(1);
        let ask = self.ask.fetch_add(1, Ordering::Relaxed);
        self.asks.lock().insert(ask, tell);
        if self.is_gone() {
            return None;
        }
        self.say(ToSuccessor::Ask { ask, number, asked });
        let answer = told.recv_timeout(ANSWER_PATIENCE);
        self.asks.lock().remove(&ask);
        if matches!(answer, Err(RecvTimeoutError::Timeout)) {
            log::warn!("the successor does not answer");
        }
        answer.ok()
    }
}

impl Elsewhere for Line {
    fn take(&self, key: &str, demand: &Demand<'_>) -> Result<i64, Box<Hit>> {
        let number = self.number();
        let Demand { model, input_tokens, output_tokens, bound } = *demand;
        let asked =
            Asked::Take { key: key.into(), model: model.map(str::to_owned), input_tokens, output_tokens, bound };
        match self.ask(number, asked) {
            Some(Answer::Refused(Some(hit))) => Err(hit),
            // Without a successor this process is about to end.
            Some(Answer::Granted | Answer::Refused(None)) | None => Ok(number),
        }
    }

    fn cover(&self, number: i64, spending: Spending) -> bool {
        matches!(self.ask(number, Asked::Cover { spending }), Some(Answer::Granted))
    }

    fn give_back(&self, number: i64) {
        self.say(ToSuccessor::GiveBack { number });
    }
}

/// Hears the successor until it is gone.
async fn listen(
    line: Arc<Line>,
    mut reader: Reader<ToPredecessor>,
    serve: watch::Sender<bool>,
    publisher: Arc<Publisher>,
) {
    while let Some(message) = reader.next().await {
        match message {
            ToPredecessor::Serving => _ = serve.send_replace(true),
            ToPredecessor::Written { batch } => {
                let written = line.written.lock().clone();
                // There is one batch at a time.
                written.into_iter().for_each(|written| _ = written.try_send(batch));
            }
            ToPredecessor::Answer { ask, answer } => {
                if let Some(told) = line.asks.lock().remove(&ask) {
                    // Whoever asked may have given up.
                    let _ = told.try_send(answer);
                }
            }
            ToPredecessor::Changes { number, changes } => {
                let (line, publisher) = (line.clone(), publisher.clone());
                tokio::spawn(async move {
                    obey::obey(&publisher, changes, now()).await;
                    line.say(ToSuccessor::Changed { number });
                });
            }
            ToPredecessor::Hurry => _ = line.is_to_hurry.send_replace(true),
            ToPredecessor::Begun { .. } | ToPredecessor::Ready { .. } | ToPredecessor::Refused { .. } => {}
        }
    }
    line.is_gone.send_replace(true);
    line.asks.lock().clear();
    line.is_to_hurry.send_replace(true);
}

/// Lets what ends by itself end for running requests.
async fn tick(publisher: Arc<Publisher>) {
    let mut ticks = interval(TICK_PERIOD);
    loop {
        ticks.tick().await;
        publisher.tick(now());
    }
}
