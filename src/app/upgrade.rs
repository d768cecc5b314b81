//! An upgrade: the installed program is started beside this process and takes over, and this process serves what it has
//! begun. Until the new one says that it is ready, nothing changes here; whatever is wrong with it is told.

use std::io;
use std::pin::pin;
use std::time::Instant;

use log::{error, info, warn};
use tokio::time::sleep;

use crate::control::{Candidate, ProcessDocument, Successor, Upgrade, UpgradeBegun};
use crate::domain::Timestamp;

use super::launch::start_launcher;
use super::{App, DRAIN_POLL, EDGE_DEADLINE, Ends, FAREWELL, OFFICE_DEADLINE, VERSION, drained, manager};

/// How the wait of a running gateway ends.
enum Wanted {
    Stop,
    Upgrade(Option<Upgrade>),
}

impl App {
    /// Serves until the process is asked to end, by SIGTERM or SIGINT, or another has taken over; and then until its last
    /// request has ended.
    pub fn run(mut self) -> io::Result<()> {
        loop {
            match self.wanted() {
                Wanted::Stop => {
                    info!("stopping: waiting for running requests; a second signal ends them");
                    self.stop();
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
        let (mut launcher, stream) =
            start_launcher(&self.sockets).map_err(|error| format!("the program does not start: {error}"))?;
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
        let _ = launcher.kill().and_then(|()| launcher.wait());
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
