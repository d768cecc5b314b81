//! The service manager, if there is one: sockets it holds for the process, and what it is told in return.
//!
//! systemd holds listening sockets while a process stops and the next one starts, so connections wait instead of being
//! refused. It is told when requests are taken, when the process stops, and, as its watchdog, that it still works.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use std::{env, io};

use listenfd::ListenFd;
use log::{debug, warn};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

/// Sockets that the service manager holds, by their names (`FileDescriptorName=`).
pub(super) struct Held {
    sockets: ListenFd,
    names: Vec<String>,
}

impl Held {
    /// Takes over what was passed to this process. Children of it do not inherit it again.
    pub(super) fn take() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self { sockets: ListenFd::from_env(), names: names.split(':').map(str::to_owned).collect() }
    }

    /// The socket called `name`, if one is held.
    pub(super) fn socket(&mut self, name: &str) -> io::Result<Option<TcpListener>> {
        let Some(at) = self.names.iter().position(|held| held == name).filter(|at| *at < self.sockets.len()) else {
            return Ok(None);
        };
        self.sockets.take_tcp_listener(at)
    }
}

/// Requests are taken from now on.
pub(super) fn ready() {
    tell("READY=1\nSTATUS=requests are taken");
}

/// The process stops; running requests come to their end.
pub(super) fn stopping() {
    tell("STOPPING=1\nSTATUS=running requests come to their end");
}

/// The process `pid` is the service from now on.
pub(super) fn handed_over(pid: u32) {
    tell(&format!("MAINPID={pid}\nSTATUS=requests are taken"));
}

/// Tells the watchdog that the process works, for as long as it does: the edge's threads run what they are given, and
/// so do the office's, which this runs on. Returns at once if nobody watches. An heir is not listened to before its
/// predecessor has told who is the service now, and has time for that.
pub(super) async fn keep_watchdog_quiet(edge: Handle, is_heir: bool) {
    let asked = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
    let is_ours = asked("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let Some(period) = asked("WATCHDOG_USEC").filter(|_| is_ours).map(Duration::from_micros) else { return };
    let pause = period / 3;
    if is_heir {
        sleep(pause / 2).await;
    }
    loop {
        match timeout(pause, edge.spawn(async {})).await {
            Ok(Ok(())) => tell("WATCHDOG=1"),
            Ok(Err(_stopped)) => return,
            Err(_elapsed) => warn!("the edge's threads have not run a task for {pause:?}"),
        }
        sleep(pause).await;
    }
}

fn tell(state: &str) {
    let Some(address) = env::var_os("NOTIFY_SOCKET") else { return };
    let sent = address.to_str().ok_or(io::ErrorKind::InvalidInput.into()).and_then(|address| {
        let address = match address.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(error) = sent {
        debug!("the service manager could not be told: {error}");
    }
}
