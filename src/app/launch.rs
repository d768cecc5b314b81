//! How a process starts the one that is to take over, and what that one finds.
//!
//! Between the two stands a launcher: the same program, which only starts the heir and ends, so that the heir is nobody's
//! child. systemd waits for its own children alone, and kills what it takes over from others; nobody's child becomes its own.

use std::env;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::control::Heir;

use super::{Sockets, VERSION};

/// Tells a process which one it is to take over from. It is at the other end of standard input.
const PREDECESSOR: &str = "KEEPTRUSTS_PREDECESSOR";
/// Tells it that it is the one to do so, and not the launcher.
const IS_HEIR: &str = "KEEPTRUSTS_IS_HEIR";
/// Where the listeners' descriptors are looked for in a new process, at least.
const DESCRIPTORS_FROM: RawFd = 64;
const DESCRIPTORS_TRIES: usize = 100;

/// Starts the launcher, with the listeners and a way to this process.
pub(super) fn start_launcher(sockets: &Sockets) -> io::Result<(Child, UnixStream)> {
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

/// The process before this one, if this one was started to take over from it.
pub fn heir() -> io::Result<Option<Heir>> {
    let Some(predecessor) = env::var(PREDECESSOR).ok().and_then(|pid| pid.parse::<i32>().ok()) else { return Ok(None) };
    let way = io::stdin().as_fd().try_clone_to_owned()?;
    // Whoever finds the variable by chance has nobody there.
    let is_meant = getsockopt(&way, PeerCredentials).is_ok_and(|peer| peer.pid() == predecessor);
    Ok(is_meant.then(|| Heir::new(UnixStream::from(way), VERSION)))
}

/// Whether this process is only to launch the heir.
pub fn is_launcher() -> bool {
    env::var_os(IS_HEIR).is_none()
}

/// Starts the process that takes over, and says which it is.
pub fn launch(mut heir: Heir) -> io::Result<()> {
    let child = program()?.env(IS_HEIR, "").spawn()?;
    heir.is(child.id())
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
