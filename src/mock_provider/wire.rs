//! One client's connection: reading what comes, writing what goes, noticing that the client has gone.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

/// No wait lasts longer: for the next request, for the rest of one, for a client to take what it is sent, and the
/// fault `stall`.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

/// Bytes of following requests that are taken in while an answer is under way.
const READ_AHEAD_MAX: usize = 64 * 1024;

const READ_BUFFER: usize = 16 * 1024;

/// With less room than this, the buffer grows before it is read into.
pub(super) const SPARE_MIN: usize = 4 * 1024;

/// The client has closed the connection, or it has lost its patience or we ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

pub(super) struct Wire {
    stream: TcpStream,
    /// What has been read and not yet been used.
    pub(super) buffer: BytesMut,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::with_capacity(READ_BUFFER) })
    }

    /// Reads at least one more byte.
    pub(super) async fn fill(&mut self) -> Result<(), Gone> {
        if self.buffer.capacity() - self.buffer.len() < SPARE_MIN {
            self.buffer.reserve(READ_BUFFER);
        }
        match timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await {
            Ok(Ok(1..)) => Ok(()),
            _ => Err(Gone),
        }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        if bytes.is_empty() {
            return Ok(());
        }
        // Nearly always the socket takes all at once, and no timer is needed.
        let written = match self.stream.try_write(bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return Err(Gone),
        };
        match bytes.get(written..) {
            None | Some([]) => Ok(()),
            Some(rest) => match timeout(PATIENCE, self.stream.write_all(rest)).await {
                Ok(Ok(())) => Ok(()),
                _ => Err(Gone),
            },
        }
    }

    /// Waits, unless the client goes first.
    pub(super) async fn wait_until(&mut self, deadline: Instant) -> Result<(), Gone> {
        if deadline <= Instant::now() {
            return Ok(());
        }
        let sleep = sleep_until(deadline);
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                () = &mut sleep => return Ok(()),
                read = self.stream.read_buf(&mut self.buffer), if self.buffer.len() < READ_AHEAD_MAX => match read {
                    Ok(1..) => {}
                    _ => return Err(Gone),
                },
            }
        }
    }

    /// Makes the end of the connection a RST. What was sent before is given a moment to be read: it is lost if the
    /// RST overtakes it.
    pub(super) async fn reset(&mut self) {
        const MOMENT: Duration = Duration::from_millis(20);
        tokio::time::sleep(MOMENT).await;
        // A failure means that the connection has ended already.
        let _ = self.stream.set_zero_linger();
    }
}
