//! The listeners: those that a service manager holds for us, and new ones for the rest.

use std::net::{SocketAddr, TcpListener};

use crate::config::Listen;

use super::StartError;
use super::manager::Held;

/// The sockets, bound before anything else is done: a taken port is told at once.
pub(super) struct Sockets {
    pub(super) edge: TcpListener,
    pub(super) admin: TcpListener,
    pub(super) metrics: TcpListener,
}

impl Sockets {
    /// Those that a service manager holds for us, and new ones for the rest.
    pub(super) fn open(listen: &Listen) -> Result<Self, StartError> {
        let mut held = Held::take();
        let mut open = |what, name, address: SocketAddr| {
            let socket = held.socket(name).and_then(|held| held.map_or_else(|| TcpListener::bind(address), Ok));
            let opened = socket.and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            });
            opened.map_err(|error| StartError::Listen { what, address, error })
        };
        Ok(Self {
            edge: open("edge", "edge", listen.edge)?,
            admin: open("admin API", "admin", listen.admin)?,
            metrics: open("metrics", "metrics", listen.metrics)?,
        })
    }

    /// The same sockets once more.
    pub(super) fn copies(&self) -> Result<Self, StartError> {
        let copy = |listener: &TcpListener| listener.try_clone().map_err(StartError::Runtime);
        Ok(Self { edge: copy(&self.edge)?, admin: copy(&self.admin)?, metrics: copy(&self.metrics)? })
    }

    pub(super) fn addresses(&self, asked: &Listen) -> Listen {
        let actual = |listener: &TcpListener, asked: SocketAddr| listener.local_addr().unwrap_or(asked);
        Listen {
            edge: actual(&self.edge, asked.edge),
            admin: actual(&self.admin, asked.admin),
            metrics: actual(&self.metrics, asked.metrics),
        }
    }
}
