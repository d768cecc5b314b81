//! The signals that ask a process to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, from the moment this is made. Each that comes is told once.
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
    pub(super) fn come_again(&mut self) {
        self.is_due = true;
    }
}
