//! Reads the request body once, lends it to the rooms and hands it upstream, also again for another attempt.
//!
//! Pingora chooses a provider before it reads a body; we must read first, because the body names the model.
//! Pingora 0.9.1 will still forward a body that was read before, if its own retry buffer holds something: it
//! then passes that buffer, at most 64 KiB, through `request_body_filter`, where ours is put in its place.
//! So the buffer is switched on *late*, for the tail of the body alone, or filled with something else. This relies on
//! internals: the version is pinned, and `tests/e2e` holds the boundary at 65 535, 65 536, 65 537 and 131 073 bytes.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Version, header};
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error, ErrorType};
use tokio::time::{Instant, timeout_at};

use super::door::{self, BrokenChunks};
use super::pressure::Held;
use super::refusal::Refusal;

/// What Pingora's retry buffer holds at most (`BODY_BUF_LIMIT` in its HTTP/1 and HTTP/2 servers).
const RETRY_BUFFER_BYTES: usize = 64 * 1024;
/// A body of HTTP/1 that is larger is stood in for: its tail would be copied three times, which takes longer.
const TAIL_KEPT_MAX: u64 = 32 * 1024;
/// What must have come of a body before room is set aside for all of it, on its sender's word: one that drips takes what
/// it has brought.
const TRUSTED_BYTES_MIN: usize = 16 * 1024;
/// What is set aside at most; a larger body grows the buffer as it arrives.
const RESERVED_BYTES_MAX: usize = 1024 * 1024;

/// Why a body could not be had.
pub enum BodyError {
    Refused(Refusal),
    /// The client went away; there is nobody to answer.
    Client(Box<Error>),
}

/// What a body may be, and how long it may take.
pub struct Limits {
    pub bytes_max: usize,
    /// For the whole body, and one second more for every `rate_min` bytes of it that have come.
    pub patience: Duration,
    pub rate_min: usize,
}

impl Limits {
    /// When a body's time is up of which so much has come. A client that stalls is not given what it has saved.
    fn deadline(&self, begun: Instant, came: usize) -> Instant {
        let earned = Duration::from_secs_f64(came as f64 / self.rate_min.max(1) as f64);
        (begun + self.patience + earned).min(Instant::now() + self.patience)
    }
}

/// Reads the whole body, which is counted in `held` as it comes.
pub async fn read(session: &mut Session, limits: &Limits, held: Held<'_>) -> Result<Bytes, BodyError> {
    let announced = announced_length(session)?;
    if announced.is_some_and(|length| length > limits.bytes_max as u64) {
        return Err(BodyError::Refused(Refusal::BodyTooLarge { limit: limits.bytes_max as u64, scope: None }));
    }
    if expects_continue(session) {
        session.write_continue_response().await.map_err(client)?;
    }
    let body = read_announced(session, announced, limits, held).await;
    if body.is_err() {
        // What could not be read would be taken for the next request.
        session.set_keepalive(None);
    }
    body
}

async fn read_announced(
    session: &mut Session,
    announced: Option<u64>,
    limits: &Limits,
    mut held: Held<'_>,
) -> Result<Bytes, BodyError> {
    let mut begun = beginning(session, limits).await?;
    let is_stood_in = is_http1(session) && announced.is_some_and(|length| length > TAIL_KEPT_MAX);
    let mut body = BytesMut::new();
    loop {
        let rest = announced.map(|length| (length as usize).saturating_sub(body.len()));
        if !is_stood_in && rest.is_none_or(|rest| rest <= RETRY_BUFFER_BYTES) {
            session.enable_retry_buffering();
        }
        let mut piece = pin!(session.read_request_body());
        // Mostly it is here already, and needs no deadline.
        let piece = match poll_fn(|cx| Poll::Ready(piece.as_mut().poll(cx))).await {
            Poll::Ready(piece) => piece,
            Poll::Pending => {
                let begun = *begun.get_or_insert_with(Instant::now);
                let piece = timeout_at(limits.deadline(begun, body.len()), piece).await;
                piece.map_err(|_elapsed| BodyError::Refused(Refusal::BodyTimeout))?
            }
        };
        let Some(piece) = piece.map_err(client)? else { break };
        if body.len() + piece.len() > limits.bytes_max {
            return Err(BodyError::Refused(Refusal::BodyTooLarge { limit: limits.bytes_max as u64, scope: None }));
        }
        held.grow(piece.len()).map_err(BodyError::Refused)?;
        if body.capacity() < TRUSTED_BYTES_MIN && body.len() + piece.len() >= TRUSTED_BYTES_MIN {
            body.reserve(
                announced.map_or(0, |length| RESERVED_BYTES_MAX.min(length as usize).saturating_sub(body.len())),
            );
        }
        body.extend_from_slice(&piece);
    }
    if !body.is_empty() && session.get_retry_buffer().is_none() {
        // Apart, so that those who wait for a body have no room for it.
        Box::pin(stand_in(session)).await?;
    }
    Ok(body.freeze())
}

/// Waits for the beginning of a body that is not here yet: since when, if it had to be waited for.
async fn beginning(session: &mut Session, limits: &Limits) -> Result<Option<Instant>, BodyError> {
    let Some(mut came) = door::awaited(session) else { return Ok(None) };
    let begun = Instant::now();
    while timeout_at(limits.deadline(begun, came), door::gather(session)).await.is_err() {
        // What came meanwhile may have put the end off.
        let Some(still) = door::awaited(session) else { break };
        if still == came {
            return Err(BodyError::Refused(Refusal::BodyTimeout));
        }
        came = still;
    }
    Ok(Some(begun))
}

/// The retry buffer holds nothing of a large body: it was left out, or a chunked one has overflowed it. A request of one
/// byte is parsed in the body's place so that the buffer holds something, and the real header is put back.
async fn stand_in(session: &mut Session) -> Result<(), BodyError> {
    if !is_http1(session) {
        let why = "an HTTP/2 request body of more than 64 KiB needs a content-length".to_owned();
        return Err(BodyError::Refused(Refusal::RequestMalformed(why)));
    }
    let header = session.req_header().clone();
    let keepalive = session.get_keepalive();
    session.set_pipelined_prefix(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"[..].into());
    session.read_request().await.map_err(client)?;
    session.enable_retry_buffering();
    while session.read_request_body().await.map_err(client)?.is_some() {}
    *session.req_header_mut() = header;
    session.set_keepalive(keepalive);
    Ok(())
}

fn is_http1(session: &Session) -> bool {
    matches!(session.downstream_session.as_ref(), ServerSession::H1(_))
}

/// What goes upstream when Pingora offers a piece of its retry buffer: nothing yet, or at the end the body.
/// Never `None` before the end, which would end the upstream's body.
pub fn forward(body: &Bytes, piece: &mut Option<Bytes>, end_of_stream: bool) {
    *piece = Some(if end_of_stream { body.clone() } else { Bytes::new() });
}

/// Whether the client waits for a word before it sends its body. HTTP/1.0 does not know that word.
fn expects_continue(session: &Session) -> bool {
    let head = session.req_header();
    let expect = head.headers.get(header::EXPECT);
    head.version != Version::HTTP_10 && expect.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn announced_length(session: &Session) -> Result<Option<u64>, BodyError> {
    let Some(value) = session.req_header().headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    let malformed = || BodyError::Refused(Refusal::RequestMalformed("its content-length is no number".into()));
    length.map(Some).ok_or_else(malformed)
}

fn client(error: Box<Error>) -> BodyError {
    let cause = error.root_cause().downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match error.etype() {
        _ if cause.is_some_and(|cause| cause.is::<BrokenChunks>()) => {
            BodyError::Refused(Refusal::RequestMalformed("the chunks of its body are broken".into()))
        }
        // Whoever breaks the framing is still there to be told.
        ErrorType::Custom("InvalidChunk" | "InvalidTrailerEnd") => {
            BodyError::Refused(Refusal::RequestMalformed("the chunks of its body are broken".into()))
        }
        ErrorType::HTTPStatus(_) => BodyError::Client(error),
        _ => BodyError::Client(error.into_down()),
    }
}
