//! What is written to a client, gathered until it is flushed.
//!
//! Pingora 0.9.1 writes the head of an answer and its body one after the other, and its own buffer has room for one
//! packet of a common network. Head and body of a short answer would go out as two packets, and wake the client twice.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pingora::protocols::Stream;
use tokio::io::AsyncWrite;

/// So much is gathered; what is larger goes out as it comes.
const BYTES_MAX: usize = 8 * 1024;
/// What a connection that waits may keep for the next answer.
const BYTES_KEPT: usize = 2 * 1024;

/// What was written and not flushed, and how much of it has been sent.
#[derive(Default)]
pub struct Gathered {
    bytes: Vec<u8>,
    sent: usize,
}

impl Gathered {
    /// Keeps `bytes`, or sends what is here and then them.
    pub fn poll_write(&mut self, stream: &mut Stream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.bytes.len() + bytes.len() <= BYTES_MAX {
            self.bytes.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_send(stream, cx))?;
        Pin::new(stream).poll_write(cx, bytes)
    }

    /// Throws away what is here.
    pub fn forget(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }

    /// Sends what is here.
    pub fn poll_send(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            let sent = ready!(Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.sent = 0;
        self.bytes.clear();
        self.bytes.shrink_to(BYTES_KEPT);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::super::line::Line;
    use super::super::patience::Pace;
    use super::*;

    const PACE: Pace = Pace { patience: Duration::from_secs(60), rate_min: 1024 };

    #[tokio::test]
    async fn head_and_body_of_a_short_answer_go_out_together() {
        let (mut client, stream) = duplex(64 * 1024);
        let mut line = Line::new(Box::new(stream), PACE);
        let mut room = [0; 64];
        line.write_all(b"head,").await.unwrap();
        line.write_all(b"body").await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(10), client.read(&mut room)).await.is_err());
        line.flush().await.unwrap();
        assert_eq!(client.read(&mut room).await.unwrap(), 9);
        assert_eq!(&room[..9], b"head,body");
    }

    #[tokio::test]
    async fn what_came_of_an_answer_that_broke_off_goes_out() {
        let (mut client, stream) = duplex(64 * 1024);
        let mut line = Line::new(Box::new(stream), PACE);
        line.write_all(b"head, and half a bo").await.unwrap();
        drop(line);
        let mut seen = Vec::new();
        client.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"head, and half a bo");
    }

    #[tokio::test]
    async fn what_came_of_an_answer_that_was_withdrawn_does_not() {
        let (mut client, stream) = duplex(64 * 1024);
        let mut line = Line::new(Box::new(stream), PACE);
        line.write_all(b"head, and half a bo").await.unwrap();
        line.silence().withdraw();
        line.flush().await.unwrap();
        drop(line);
        let mut seen = Vec::new();
        client.read_to_end(&mut seen).await.unwrap();
        assert!(seen.is_empty(), "{}", seen.escape_ascii());
    }

    #[tokio::test]
    async fn what_is_gathered_has_a_limit_and_keeps_its_order() {
        let (mut client, stream) = duplex(1024);
        let mut line = Line::new(Box::new(stream), PACE);
        let long: Vec<u8> = (0..4 * BYTES_MAX).map(|place| place as u8).collect();
        let expected = [&b"head"[..], &long, b"tail"].concat();
        let reads = tokio::spawn(async move {
            let mut seen = Vec::new();
            client.read_to_end(&mut seen).await.unwrap();
            seen
        });
        for piece in [&b"head"[..], &long, b"tail"] {
            line.write_all(piece).await.unwrap();
        }
        line.flush().await.unwrap();
        drop(line);
        assert_eq!(reads.await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_connection_that_waits_keeps_little() {
        let (_client, stream) = duplex(64 * 1024);
        let (mut stream, mut gathered): (Stream, _) = (Box::new(stream), Gathered::default());
        let piece = vec![0; BYTES_MAX];
        std::future::poll_fn(|cx| gathered.poll_write(&mut stream, cx, &piece)).await.unwrap();
        assert_eq!(gathered.bytes.len(), BYTES_MAX);
        std::future::poll_fn(|cx| gathered.poll_send(&mut stream, cx)).await.unwrap();
        assert!(gathered.bytes.is_empty() && gathered.bytes.capacity() <= BYTES_KEPT);
    }
}
