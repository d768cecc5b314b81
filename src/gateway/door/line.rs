//! A client's connection, from which Pingora gets one request at a time and nothing that the gateway has not
//! understood itself: the head as it was checked, and from then on a body to its end and not a byte further.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem::{MaybeUninit, replace, take};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::protocol::framing::{BodyFraming, ChunkFault, Chunks, Fault, Head, HeadLimits, HeadScan};

use super::alarm::Alarm;
use super::gather::Gathered;
use super::patience::{Pace, Patience};
use super::silence::{Silence, SilentProvider};

/// What is read at once. Most requests' heads fit, with the beginning of the body.
const READ_BYTES: usize = 4096;
/// When so much of a body is here, or all of it, Pingora may read it: before it waits, it sets a buffer aside for as much as
/// was announced.
const WORTH_A_BUFFER: usize = 2048;
/// How a chunked body mostly ends.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";
/// What an HTTP/2 client says first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a client may send ahead of the answer to its last request. No client in use sends anything.
const AHEAD_BYTES_MAX: usize = 64 * 1024;
/// How long a connection that is closed under a client still takes what the client sends, so that the answer is not
/// lost to the reset that unread bytes cause (RFC 9112 §9.6), and how much of it.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A client's connection.
pub struct Line {
    stream: Stream,
    /// What has been read and not been handed on.
    ahead: BytesMut,
    body: Body,
    ended: bool,
    linger: Option<Linger>,
    silence: Silence,
    alarm: Alarm,
    gathered: Gathered,
    patience: Patience,
    /// Of a chunked body that is awaited: how far it has been looked at, and what it was there.
    looked: Option<Box<(usize, Chunks)>>,
}

/// A connection that is closed while its client is still sending.
struct Linger {
    deadline: Pin<Box<Sleep>>,
    taken: usize,
}

/// What Pingora may still read for the request under way.
#[derive(Debug, PartialEq)]
enum Body {
    /// So many bytes as they are.
    Length(u64),
    Chunked(Chunks),
    Through,
}

/// Why no head came.
#[derive(Debug)]
pub enum NoHead {
    /// The client closed, or its connection broke.
    Gone,
    /// Its time was up before it ended.
    Late,
    Faulty(Fault),
}

/// The body's chunks are broken.
#[derive(Debug)]
pub struct BrokenChunks;

impl Line {
    pub fn new(stream: Stream, pace: Pace) -> Self {
        Self {
            stream,
            ahead: BytesMut::new(),
            body: Body::Through,
            ended: false,
            linger: None,
            silence: Silence::new(),
            alarm: Alarm::default(),
            gathered: Gathered::default(),
            patience: Patience::new(pace),
            looked: None,
        }
    }

    /// How much of the body is here, if more of it should be before it is read.
    pub fn awaits(&self) -> Option<usize> {
        let whole = match &self.body {
            Body::Length(length) => self.ahead.len() as u64 >= *length,
            Body::Chunked(_) => self.ahead.ends_with(LAST_CHUNK),
            Body::Through => true,
        };
        (!whole && !self.ended && self.ahead.len() < WORTH_A_BUFFER).then_some(self.ahead.len())
    }

    /// Where the request under way says how long its provider may be silent.
    pub fn silence(&self) -> Silence {
        self.silence.clone()
    }

    /// How much patience there is with the client while it takes its next answer.
    pub fn bear(&mut self, pace: Pace) {
        self.patience.renew(pace);
    }

    /// Waits for the first byte of a request. It may be here already.
    pub async fn begun(&mut self, until: Instant) -> Result<(), NoHead> {
        while self.ahead.is_empty() {
            self.read_on(until).await?;
        }
        Ok(())
    }

    /// Reads the head of the next request, whose body is then what is read from this connection. `scan` shows afterwards
    /// what was seen of it, also of one that was refused. Where it is not here already, it has this much `time`.
    pub async fn next(&mut self, scan: &mut HeadScan, limits: &HeadLimits, time: Duration) -> Result<BytesMut, NoHead> {
        let mut until = None;
        loop {
            match scan.advance(&self.ahead, limits) {
                Ok(Some(head)) => {
                    return Ok(self.hand_on(&head));
                }
                Ok(None) => self.read_on(*until.get_or_insert_with(|| Instant::now() + time)).await?,
                Err(fault) => return Err(NoHead::Faulty(fault)),
            }
        }
    }

    /// Waits for the first words of HTTP/2, and lets everything through from there on.
    pub async fn preface(&mut self, until: Instant) -> Result<(), NoHead> {
        while self.ahead.len() < PREFACE.len() {
            self.read_on(until).await?;
            if !self.ahead.iter().zip(PREFACE).all(|(came, due)| came == due) {
                return Err(NoHead::Gone);
            }
        }
        self.body = Body::Length(u64::MAX);
        Ok(())
    }

    /// The bytes that were read ahead: of a head that was refused, what arrived of it.
    pub fn seen(&self) -> &[u8] {
        &self.ahead
    }

    /// Whether the last request was read to its end, so that what follows is the next.
    pub fn is_between_requests(&self) -> bool {
        self.body == Body::Through && !self.ended
    }

    /// Sends an answer of the gateway's own and closes.
    pub async fn close_with(&mut self, answer: &[u8]) {
        if self.stream.write_all(answer).await.is_ok() && self.stream.flush().await.is_ok() {
            // Whatever else the client sends is not read as a request.
            self.body = Body::Length(u64::MAX);
            let _ = AsyncWriteExt::shutdown(self).await;
        }
    }

    async fn read_on(&mut self, until: Instant) -> Result<(), NoHead> {
        let Self { stream, ahead, alarm, .. } = self;
        // Read on the stack: a connection that waits, or drips, holds no room for what has not come.
        let came = poll_fn(|cx| {
            let mut room = [MaybeUninit::uninit(); READ_BYTES];
            let mut piece = ReadBuf::uninit(&mut room);
            if Pin::new(&mut *stream).poll_read(cx, &mut piece)?.is_pending() {
                ready!(alarm.poll(|| Some(until), cx));
                return Poll::Ready(io::Result::Ok(None));
            }
            ahead.extend_from_slice(piece.filled());
            Poll::Ready(Ok(Some(piece.filled().len())))
        });
        match came.await {
            Ok(None) => Err(NoHead::Late),
            Ok(Some(0)) | Err(_) => {
                self.ended = true;
                Err(NoHead::Gone)
            }
            Ok(Some(_)) => Ok(()),
        }
    }

    /// The head's own bytes, after which its body comes from this connection.
    fn hand_on(&mut self, head: &Head) -> BytesMut {
        self.silence.is_over();
        self.looked = None;
        self.body = match head.body {
            BodyFraming::Length(0) => Body::Through,
            BodyFraming::Length(length) => Body::Length(length),
            BodyFraming::Chunked => Body::Chunked(Chunks::default()),
        };
        self.ahead.advance(head.bytes.start);
        // Where nothing came behind it, nothing is shared between the two.
        if self.ahead.len() == head.bytes.len() { take(&mut self.ahead) } else { self.ahead.split_to(head.bytes.len()) }
    }

    /// Whether the client may still be sending what nobody will read.
    fn is_sent_to(&self) -> bool {
        !self.ended && (self.body != Body::Through || !self.ahead.is_empty())
    }

    /// Takes what the client still sends. Whoever sends for longer has had its chance to read the answer.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let begin = || Linger { deadline: Box::pin(sleep(LINGER)), taken: 0 };
        let Linger { deadline, taken } = self.linger.get_or_insert_with(begin);
        let mut thrown_away = [0; READ_BYTES];
        while *taken < LINGER_BYTES_MAX {
            if deadline.as_mut().poll(cx).is_ready() {
                break;
            }
            let mut piece = ReadBuf::new(&mut thrown_away);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece)) {
                Ok(()) if !piece.filled().is_empty() => *taken += piece.filled().len(),
                _ => break,
            }
        }
        self.ended = true;
        Poll::Ready(())
    }

    /// Reads as much of the body as there is into `buf`; nothing if the client closed.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let most = match &self.body {
                Body::Length(length) => usize::try_from(*length).unwrap_or(usize::MAX),
                Body::Chunked(_) => usize::MAX,
                Body::Through => return Poll::Ready(Ok(())),
            };
            let filled = buf.filled().len();
            if self.ahead.is_empty() {
                ready!(Pin::new(&mut (&mut self.stream).take(most as u64)).poll_read(cx, buf))?;
            } else {
                let length = self.ahead.len().min(most).min(buf.remaining());
                buf.put_slice(&self.ahead[..length]);
                self.ahead.advance(length);
            }
            let piece = filled..buf.filled().len();
            if piece.is_empty() {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            let through = match &mut self.body {
                Body::Length(length) => {
                    *length -= piece.len() as u64;
                    *length == 0
                }
                Body::Chunked(chunks) => {
                    let left = pass(chunks, buf, piece).map_err(broken)?;
                    // What came behind the body in the same piece is the beginning of the next request.
                    if !left.is_empty() {
                        let behind = replace(&mut self.ahead, BytesMut::from(&left[..]));
                        self.ahead.unsplit(behind);
                    }
                    chunks.has_ended()
                }
                Body::Through => true,
            };
            if through {
                self.body = Body::Through;
            }
            // A piece of nothing but extensions or trailers leaves nothing, which must not look like the end.
            if buf.filled().len() > filled {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Keeps what comes of the body until reading it is worth while, and says so. Whatever is wrong shows when it is read.
    fn poll_gather(&mut self, cx: &mut Context<'_>) {
        while self.awaits().is_some() && !self.has_last_chunk() {
            let mut room = [MaybeUninit::uninit(); READ_BYTES];
            let mut piece = ReadBuf::uninit(&mut room);
            match Pin::new(&mut self.stream).poll_read(cx, &mut piece) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => self.ahead.extend_from_slice(piece.filled()),
                Poll::Ready(_) => self.ended = true,
            }
        }
        self.looked = None;
        self.silence.gather(false);
    }

    /// Whether the last chunk is here, or one that is broken. Looks at each byte once.
    fn has_last_chunk(&mut self) -> bool {
        let Body::Chunked(chunks) = &self.body else { return false };
        let (looked, chunks) = &mut **self.looked.get_or_insert_with(|| Box::new((0, chunks.clone())));
        let mut piece = self.ahead[*looked..].to_vec();
        *looked = self.ahead.len();
        chunks.pass(&mut piece).is_err() || chunks.has_ended()
    }

    /// Between the end of a request and that of its answer: whether the client is still there. What it sends is kept
    /// for later.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            // Nothing is expected before the answer has ended, and a stream may take long.
            self.ahead = BytesMut::new();
        }
        loop {
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if self.alarm.poll(|| self.silence.due(), cx).is_ready() {
                return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, SilentProvider)));
            }
            if self.ahead.len() >= AHEAD_BYTES_MAX {
                return Poll::Ready(Err(ErrorKind::ConnectionAborted.into()));
            }
            let mut room = [0; 512];
            let mut piece = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
            self.ended = piece.filled().is_empty();
            self.ahead.extend_from_slice(piece.filled());
        }
    }
}

/// Leaves in `buf` what is handed on of a piece of a chunked body; what stood behind the body is given back.
fn pass(chunks: &mut Chunks, buf: &mut ReadBuf<'_>, piece: Range<usize>) -> Result<Vec<u8>, ChunkFault> {
    let begin = piece.start;
    let bytes = &mut buf.filled_mut()[piece];
    let passed = chunks.pass(bytes)?;
    let left = bytes[passed.used..].to_vec();
    buf.set_filled(begin + passed.kept);
    Ok(left)
}

fn broken(_: ChunkFault) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, BrokenChunks)
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.silence.gathers() {
            this.poll_gather(cx);
            return Poll::Pending;
        }
        match this.body {
            Body::Length(_) | Body::Chunked(_) if !this.ended => this.poll_body(cx, buf),
            _ => this.poll_gone(cx),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, gathered, patience, .. } = self.get_mut();
        let written = gathered.poll_write(stream, cx, bytes);
        patience.poll(stream, written, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, gathered, patience, silence, .. } = self.get_mut();
        if silence.is_withdrawn() {
            gathered.forget();
        }
        let flushed = match gathered.poll_send(stream, cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut *stream).poll_flush(cx),
            unsent => unsent,
        };
        patience.poll(stream, flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        if self.is_sent_to() {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

/// Pingora leaves a connection on which it failed as it is; what came of the answer until then still goes out, as far as
/// there is room for it and it was not withdrawn.
impl Drop for Line {
    fn drop(&mut self) {
        let Self { stream, gathered, silence, .. } = self;
        if silence.is_withdrawn() {
            return;
        }
        let cx = &mut Context::from_waker(Waker::noop());
        if gathered.poll_send(stream, cx).is_ready() {
            let _ = Pin::new(stream).poll_flush(cx);
        }
    }
}

#[async_trait]
impl Shutdown for Line {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Line {
    fn id(&self) -> i32 {
        self.stream.id()
    }
}

impl Ssl for Line {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for Line {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }
}

impl GetProxyDigest for Line {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for Line {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

impl Peek for Line {}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never what was read: it may be anybody's credential.
        f.debug_struct("Line").field("body", &self.body).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl fmt::Display for BrokenChunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken chunks")
    }
}

impl std::error::Error for BrokenChunks {}
