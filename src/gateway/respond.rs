//! Answers of the gateway's own: refusals in the caller's dialect, model lists, health.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{OrErr, Result};

use crate::catalog::Binding;
use crate::protocol::{Dialect, error};

use super::refusal::Refusal;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const VERDICT: HeaderName = HeaderName::from_static("x-keeptrusts-verdict");
pub const POLICIES: HeaderName = HeaderName::from_static("x-keeptrusts-policies");
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// OpenAI's and Anthropic's SDKs, Claude Code and Copilot obey it: whether sending the same again makes sense.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

const REQUESTS_LIMIT: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS_LIMIT: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// The longest unread body that is read and thrown away to keep the connection; beyond it the connection is
/// closed, which costs the client less than sending the rest.
const DRAINED_BYTES_MAX: u64 = 1024 * 1024;
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Refuses a request.
pub async fn refuse(
    session: &mut Session,
    refusal: &Refusal,
    dialect: Option<Dialect>,
    request_id: &str,
) -> Result<()> {
    let row = refusal.row();
    let facts = error::ErrorFacts {
        kind: row.kind,
        status: row.status.as_u16(),
        code: row.code,
        message: &refusal.to_string(),
        request_id,
    };
    let body = error::body(dialect.unwrap_or(Dialect::OpenAi), &facts);
    let mut head = head(row.status, "application/json", body.len(), request_id)?;
    head.insert_header(VERDICT, refusal.verdict().label())?;
    if !row.retry {
        head.insert_header(SHOULD_RETRY, "false")?;
    }
    if let Some(seconds) = refusal.retry_after() {
        head.insert_header(header::RETRY_AFTER, seconds)?;
    }
    match refusal {
        Refusal::Limited(hit) => show_limits(&mut head, &hit.binding())?,
        Refusal::PolicyBlocked { fired, .. } => head.insert_header(POLICIES, fired.as_str())?,
        Refusal::MethodNotAllowed { allow } => head.insert_header(header::ALLOW, *allow)?,
        // RFC 9110 §15.5.22: says what to upgrade to, were it supported.
        Refusal::WebsocketUnsupported => head.insert_header(header::UPGRADE, "websocket")?,
        _ => {}
    }
    if *refusal == Refusal::BodyTimeout {
        // Waiting for the rest is what has just been given up.
        return send(session, head, body.into(), Unread::Left).await;
    }
    write(session, head, body.into()).await
}

/// A refusal as it stands on the wire, for a connection that ends with it before a request was understood.
pub fn last_word(refusal: &Refusal, dialect: Dialect, request_id: &str) -> Vec<u8> {
    let row = refusal.row();
    let facts = error::ErrorFacts {
        kind: row.kind,
        status: row.status.as_u16(),
        code: row.code,
        message: &refusal.to_string(),
        request_id,
    };
    let body = error::body(dialect, &facts);
    let mut head = format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\ncache-control: no-store\r\n{REQUEST_ID}: \
         {request_id}\r\n{VERDICT}: {}\r\nconnection: close\r\n",
        row.status,
        body.len(),
        refusal.verdict().label()
    );
    if !row.retry {
        head += &format!("{SHOULD_RETRY}: false\r\n");
    }
    if let Some(seconds) = refusal.retry_after() {
        head += &format!("retry-after: {seconds}\r\n");
    }
    if let Refusal::MethodNotAllowed { allow } = refusal {
        head += &format!("allow: {allow}\r\n");
    }
    [head.as_bytes(), b"\r\n", body.as_ref()].concat()
}

/// Tells how the tightest limits on requests and tokens stand, in the form OpenAI's clients know.
pub fn show_limits(head: &mut ResponseHeader, binding: &Binding) -> Result<()> {
    for (bucket, [limit, remaining, reset]) in [(binding.requests, &REQUESTS_LIMIT), (binding.tokens, &TOKENS_LIMIT)] {
        let Some(bucket) = bucket else { continue };
        head.insert_header(limit, bucket.limit)?;
        head.insert_header(remaining, bucket.remaining)?;
        head.insert_header(reset, span(bucket.reset))?;
    }
    Ok(())
}

/// A span of time as OpenAI writes it: `120ms`, `1.5s`, `6m0s`.
fn span(time: Duration) -> String {
    let millis = time.as_nanos().div_ceil(1_000_000);
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let seconds = rest as f64 / 1000.0;
    match (minutes, rest) {
        (0, 0..1000) => format!("{rest}ms"),
        (0, _) => format!("{seconds}s"),
        _ => format!("{minutes}m{seconds}s"),
    }
}

/// Answers with a body of the gateway's own.
pub async fn answer(
    session: &mut Session,
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
    request_id: &str,
) -> Result<()> {
    let head = head(status, content_type, body.len(), request_id)?;
    write(session, head, body).await
}

fn head(status: StatusCode, content_type: &'static str, length: usize, request_id: &str) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(status, Some(8))?;
    head.insert_header(header::CONTENT_TYPE, content_type)?;
    head.insert_header(header::CONTENT_LENGTH, length)?;
    head.insert_header(header::CACHE_CONTROL, "no-store")?;
    head.insert_header(REQUEST_ID, request_id)?;
    Ok(head)
}

/// Sends head and body. An unread request body is drained first if it is small, because closing the connection
/// under a client that is still sending can cost it the answer; otherwise the connection ends with the answer.
async fn write(session: &mut Session, head: ResponseHeader, body: Bytes) -> Result<()> {
    let unread = if drained(session).await { Unread::Nothing } else { Unread::Left };
    send(session, head, body, unread).await
}

/// What is left of the request's body.
#[derive(PartialEq)]
enum Unread {
    Nothing,
    Left,
}

async fn send(session: &mut Session, mut head: ResponseHeader, body: Bytes, unread: Unread) -> Result<()> {
    if unread == Unread::Left {
        session.set_keepalive(None);
        head.insert_header(header::CONNECTION, "close")?;
    }
    let no_body = session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(head), no_body).await?;
    if !no_body {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

async fn drained(session: &mut Session) -> bool {
    if session.is_body_done() {
        return true;
    }
    let headers = &session.req_header().headers;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if headers.contains_key(header::EXPECT) || length.is_none_or(|length| length > DRAINED_BYTES_MAX) {
        return false;
    }
    matches!(tokio::time::timeout(DRAIN_DEADLINE, session.drain_request_body()).await, Ok(Ok(())))
}

/// Ends a stream that has begun with the dialect's error event.
pub async fn end_stream(session: &mut Session, event: Vec<u8>) -> Result<()> {
    session
        .write_response_body(Some(event.into()), true)
        .await
        .or_err(pingora::ErrorType::WriteError, "ending a stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_openai_writes_them() {
        let spans = [0, 1, 120, 1000, 1500, 59_999, 60_000, 366_000].map(|ms| span(Duration::from_millis(ms)));
        assert_eq!(spans, ["0ms", "1ms", "120ms", "1s", "1.5s", "59.999s", "1m0s", "6m6s"]);
    }
}
