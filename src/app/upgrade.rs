//! An upgrade: the installed program is started beside this process and takes over, and this process serves what it has
//! begun. Until the new one says that it is ready, nothing changes here; whatever is wrong with it is told.

use std::cell::Cell;
use std::env;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use log::{error, info, warn};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::control::{Candidate, Heir, ProcessDocument, Successor, Upgrade, UpgradeBegun};
use crate::domain::Timestamp;

use super::{App, DRAIN_POLL, EDGE_DEADLINE, FAREWELL, OFFICE_DEADLINE, Sockets, VERSION, drained, manager};

/// Tells a process which one it is to take over from. It is at the other end of standard input.
const PREDECESSOR: &str = "KEEPTRUSTS_PREDECESSOR";
/// Tells it that it is the one to do so, and not the one that starts it.
const IS_HEIR: &str = "KEEPTRUSTS_IS_HEIR";
/// Where the listeners' descriptors are looked for in a new process, at least.
const DESCRIPTORS_FROM: RawFd = 64;
const DESCRIPTORS_TRIES: usize = 100;
/// How long the predecessor may take to tell the rest, when its requests are ended.
const PREDECESSOR_DEADLINE: Duration = Duration::from_secs(5);

/// How the wait of a running gateway ends.
enum Wanted {
    Stop,
    Upgrade(Option<Upgrade>),
}

/// The signals that ask a process to end, from the moment this is made.
pub(super) struct Ends {
    term: Signal,
    int: Signal,
    /// One came that was not acted upon.
    is_due: bool,
}

impl Ends {
    /// Must be called inside a tokio runtime.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())?, is_due: false })
    }

    pub(super) async fn come(&mut self) {
        if !std::mem::take(&mut self.is_due) {
            tokio::select! { _ = self.term.recv() => {}, _ = self.int.recv() => {} }
        }
    }

    /// Has the one that came last come once more.
    fn come_again(&mut self) {
        self.is_due = true;
    }
}

/// The process before this one, if this one was started to take over from it.
pub fn heir() -> io::Result<Option<Heir>> {
    let Some(predecessor) = env::var(PREDECESSOR).ok().and_then(|pid| pid.parse::<i32>().ok()) else { return Ok(None) };
    let way = io::stdin().as_fd().try_clone_to_owned()?;
    // Whoever finds the variable by chance has nobody there.
    let is_meant = getsockopt(&way, PeerCredentials).is_ok_and(|peer| peer.pid() == predecessor);
    Ok(is_meant.then(|| Heir::new(UnixStream::from(way), VERSION)))
}

/// Whether this process has only started the heir, and is to end. systemd waits for its own children alone, and kills what
/// it takes over from others; nobody's child becomes its own.
pub fn is_midwife(heir: &mut Heir) -> io::Result<bool> {
    if env::var_os(IS_HEIR).is_some() {
        return Ok(false);
    }
    let child = program()?.env(IS_HEIR, "").spawn()?;
    heir.is(child.id())?;
    Ok(true)
}

/// This process's program, as it is installed now, with the same arguments.
fn program() -> io::Result<Command> {
    let mut arguments = env::args_os();
    let mut command = Command::new(match arguments.next() {
        Some(program) => program,
        None => env::current_exe()?.into(),
    });
    command.args(arguments);
    Ok(command)
}

impl App {
    /// Serves until the process is asked to end, by SIGTERM or SIGINT, or another has taken over; and then until its last
    /// request has ended.
    pub fn run(mut self) -> io::Result<()> {
        loop {
            match self.wanted() {
                Wanted::Stop => {
                    info!("stopping: waiting for running requests; a second signal ends them");
                    self.stop(Self::second_signal());
                    return Ok(());
                }
                Wanted::Upgrade(asker) => {
                    let prepared = self.prepare();
                    let begun = prepared.as_ref().map(begun);
                    match &begun {
                        Ok(begun) => info!("process {} is ready, and takes over", begun.to.pid),
                        Err(why) => error!("the upgrade has changed nothing: {why}"),
                    }
                    // Whoever asked may have left.
                    if let Some(asker) = asker {
                        let _ = asker.send(begun.map_err(String::clone));
                    }
                    if let Ok(candidate) = prepared {
                        return self.hand_over(candidate);
                    }
                }
            }
        }
    }

    fn wanted(&mut self) -> Wanted {
        let Self { office, upgrades, asked, ends, .. } = self;
        office.block_on(async {
            tokio::select! {
                biased;
                () = ends.come() => Wanted::Stop,
                _ = asked.recv() => Wanted::Upgrade(None),
                Some(upgrade) = upgrades.recv() => Wanted::Upgrade(Some(upgrade)),
            }
        })
    }

    /// Starts the program and waits until it is ready to take over.
    fn prepare(&mut self) -> Result<Candidate, String> {
        if let Some(until) = self.predecessor.as_ref().and_then(|predecessor| predecessor.serves_until()) {
            return Err(format!(
                "the process before this one still serves requests it had begun, until {until} at most: try again then, \
                 or restart the gateway, which waits for them"
            ));
        }
        let (mut midwife, stream) =
            start(&self.sockets).map_err(|error| format!("the program does not start: {error}"))?;
        let Self { office, leaving, ends, .. } = self;
        let met = office.block_on(async {
            tokio::select! {
                met = Candidate::meet(stream, leaving) => met,
                () = ends.come() => {
                    ends.come_again();
                    Err("the gateway was asked to stop".into())
                }
            }
        });
        // It has ended, or is of no use to anybody.
        let _ = midwife.kill().and_then(|()| midwife.wait());
        met
    }

    /// Gives everything durable to `candidate` and serves what is left to its end.
    fn hand_over(self, candidate: Candidate) -> io::Result<()> {
        let Self { stop_edge, under_way, connections, catalog, edge, metrics, ledger, admin, office, leaving, .. } =
            self;
        let (watchdog, heir) = (self.watchdog, candidate.pid);
        let mut ends = self.ends;
        drop(self.sockets);
        let drain = catalog.load().settings.timeouts.drain;
        let deadline = Instant::now() + drain;
        let given = office.block_on(async {
            // The edge goes on meanwhile: what runs here may be a long search.
            tokio::join!(admin.close(), metrics.close());
            stop_edge.send_replace(true);
            last_call(|| under_way.count(), || connections.count()).await;
            let until = Timestamp::from(std::time::SystemTime::now()).saturating_add(drain);
            let successor = leaving.give(ledger, candidate, until).await?;
            let serves = serves(&successor, heir, &mut ends).await;
            // Whoever serves feeds it, or nobody.
            watchdog.abort();
            if serves {
                manager::handed_over(heir);
                info!("process {heir} serves; {} requests come to their end here", under_way.count());
            } else {
                error!("process {heir} did not come to serve: requests are ended, to be recorded by the next");
                // It may hang, with the data directory in its hands.
                successor.kill();
            }
            let hurry = async {
                tokio::select! { () = ends.come() => {}, () = successor.hurries() => {} }
            };
            let patience = deadline.saturating_duration_since(Instant::now());
            let left = drained(&under_way, &connections, patience, hurry).await;
            io::Result::Ok((successor, serves, left))
        });
        if let Ok((_, _, left @ 1..)) = &given {
            warn!("{left} requests were still running and are cut off");
        }
        // Dropping the requests that are left settles and records them.
        edge.shutdown_timeout(EDGE_DEADLINE);
        let (successor, serves) = match given {
            Ok((successor, serves, _)) => (successor, serves),
            Err(error) => {
                // Something may hang that nobody can end.
                office.shutdown_timeout(OFFICE_DEADLINE);
                return Err(error);
            }
        };
        office.block_on(successor.finish(OFFICE_DEADLINE));
        office.shutdown_timeout(OFFICE_DEADLINE);
        info!("stopped, after handing over");
        if serves { Ok(()) } else { Err(io::Error::other("the process that was to take over did not come to serve")) }
    }

    /// Waits for the requests under way here and in the process before this one. How many are left here.
    pub(super) async fn drained_with_predecessor(&self, drain: Duration, hurry: impl Future<Output = ()>) -> usize {
        let Some(predecessor) = &self.predecessor else {
            return drained(&self.under_way, &self.connections, drain, hurry).await;
        };
        let begun = Instant::now();
        let hurried = Cell::new(false);
        let hurry = async {
            hurry.await;
            hurried.set(true);
        };
        let left = drained(&self.under_way, &self.connections, drain, hurry).await;
        // It has been at it for longer.
        let rest = drain.saturating_sub(begun.elapsed());
        let is_gone = async { timeout(rest, predecessor.gone()).await.is_ok() };
        let is_gone = !hurried.get() && tokio::select! { gone = is_gone => gone, () = Self::second_signal() => false };
        if !is_gone {
            predecessor.hurry();
        }
        if timeout(PREDECESSOR_DEADLINE, predecessor.gone()).await.is_err() {
            warn!("the process before this one has not ended; its requests will be taken for crashed");
        }
        left
    }
}

/// Waits until the successor serves. Whoever asks this process to stop meanwhile means both: the new one is asked as soon as
/// it can stop, and at the second time not waited for.
async fn serves(successor: &Successor, heir: u32, ends: &mut Ends) -> bool {
    let mut serves = pin!(successor.serves());
    tokio::select! {
        serves = &mut serves => return serves,
        () = ends.come() => {
            info!("stopping, as soon as process {heir} serves; a second signal ends both");
            successor.stop();
        }
    }
    tokio::select! { serves = serves => serves, () = ends.come() => false }
}

fn begun(candidate: &Candidate) -> UpgradeBegun {
    let process = |pid, version: &str| ProcessDocument { pid, version: version.into() };
    UpgradeBegun { from: process(std::process::id(), VERSION), to: process(candidate.pid, &candidate.version) }
}

/// Waits until clients that may be about to ask have asked, or know that they are to ask elsewhere. New connections wait
/// meanwhile, so it is no longer than it must.
async fn last_call(under_way: impl Fn() -> usize, connections: impl Fn() -> usize) {
    let begun = Instant::now();
    while begun.elapsed() < FAREWELL && connections() > under_way() {
        sleep(DRAIN_POLL).await;
    }
}

/// Starts the program that starts the heir, with the listeners and a way to this process.
fn start(sockets: &Sockets) -> io::Result<(Child, UnixStream)> {
    let (own, theirs) = UnixStream::pair()?;
    let inherited = Inherited::of([&sockets.edge, &sockets.admin, &sockets.metrics])?;
    let child = program()?
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .env(PREDECESSOR, std::process::id().to_string())
        .env_remove(IS_HEIR)
        .env("LISTEN_FDS", inherited.0.len().to_string())
        .env("LISTEN_FDS_FIRST_FD", inherited.0.first().copied().unwrap_or(DESCRIPTORS_FROM).to_string())
        .env("LISTEN_FDNAMES", "edge:admin:metrics")
        .env_remove("LISTEN_PID")
        // The watchdog watches whoever is the service.
        .env_remove("WATCHDOG_PID")
        .spawn()?;
    Ok((child, own))
}

/// Descriptors next to each other that a process which is started now has as well. No other is open in it: all are closed
/// when a program begins unless it is said otherwise.
struct Inherited(Vec<RawFd>);

impl Inherited {
    fn of(listeners: [&TcpListener; 3]) -> io::Result<Self> {
        let mut from = DESCRIPTORS_FROM;
        for _ in 0..DESCRIPTORS_TRIES {
            let mut inherited = Self(Vec::with_capacity(listeners.len()));
            for listener in listeners {
                let least = inherited.0.last().map_or(from, |last| last + 1);
                inherited.0.push(fcntl(listener, FcntlArg::F_DUPFD(least))?);
            }
            if inherited.0.windows(2).all(|pair| pair[0] + 1 == pair[1]) {
                return Ok(inherited);
            }
            from = inherited.0.last().map_or(from, |last| last + 1);
        }
        Err(io::Error::other("no free descriptors next to each other"))
    }
}

impl Drop for Inherited {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|descriptor| _ = nix::unistd::close(descriptor));
    }
}
