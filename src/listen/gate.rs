//! Connections of one listener, encrypted if it has an identity.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use super::CurrentIdentity;

/// A listener and its identity of the moment.
pub struct Gate {
    listener: TcpListener,
    identity: Arc<CurrentIdentity>,
}

/// A connection. Its greeting is a part of reading from it, so that nobody else waits while a client is slow, and the
/// time a client has for its request's head is also all it has for the greeting.
pub enum Connection {
    Plain(TcpStream),
    Greeting(Box<Accept<TcpStream>>),
    Private(Box<TlsStream<TcpStream>>),
}

impl Gate {
    pub fn new(listener: TcpListener, identity: Arc<CurrentIdentity>) -> Self {
        Self { listener, identity }
    }

    pub fn identity(&self) -> &Arc<CurrentIdentity> {
        &self.identity
    }
}

impl Listener for Gate {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let connection = match self.identity.load() {
            None => Connection::Plain(stream),
            Some(identity) => Connection::Greeting(Box::new(TlsAcceptor::from(identity.tls()).accept(stream))),
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connection {
    /// Goes on with the greeting, if it is not over.
    fn poll_greeted(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Self::Greeting(accept) = self {
            *self = Self::Private(Box::new(ready!(Pin::new(&mut **accept).poll(context))?));
        }
        Poll::Ready(Ok(()))
    }

    fn greeted(&mut self) -> io::Result<Pin<&mut dyn Duplex>> {
        match self {
            Self::Plain(stream) => Ok(Pin::new(stream)),
            Self::Private(stream) => Ok(Pin::new(&mut **stream)),
            Self::Greeting(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Both directions in one name.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_greeted(context))?;
        self.greeted()?.poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_greeted(context))?;
        self.greeted()?.poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_greeted(context))?;
        self.greeted()?.poll_flush(context)
    }

    /// A connection that was never greeted has nothing to say goodbye with.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.greeted() {
            Ok(stream) => stream.poll_shutdown(context),
            Err(_greeting) => Poll::Ready(Ok(())),
        }
    }
}
