//! Answers of the gateway's own: refusals in the caller's dialect, model lists, health.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{OrErr, Result};

use crate::protocol::{Dialect, error};

use super::headers::{Added, POLICIES, REQUEST_ID, VERDICT};
use super::refusal::Refusal;

/// OpenAI's and Anthropic's SDKs, Claude Code and Copilot obey it: whether sending the same again makes sense.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

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
    let mut added = Added::new();
    added.text(REQUEST_ID, request_id);
    added.text(VERDICT, refusal.verdict().label());
    if !row.retry {
        added.text(SHOULD_RETRY, "false");
    }
    if let Some(seconds) = refusal.retry_after() {
        added.text(header::RETRY_AFTER, &seconds.to_string());
    }
    match refusal {
        Refusal::Limited(hit) => added.limits(&hit.binding()),
        Refusal::PolicyBlocked { fired, .. } => added.text(POLICIES, fired),
        Refusal::MethodNotAllowed { allow } => added.text(header::ALLOW, allow),
        // RFC 9110 §15.5.22: says what to upgrade to, were it supported.
        Refusal::WebsocketUnsupported => added.text(header::UPGRADE, "websocket"),
        _ => {}
    }
    let head = head(row.status, "application/json", body.len(), added)?;
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

/// Answers with a body of the gateway's own.
pub async fn answer(
    session: &mut Session,
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
    request_id: &str,
) -> Result<()> {
    let mut added = Added::new();
    added.text(REQUEST_ID, request_id);
    let head = head(status, content_type, body.len(), added)?;
    write(session, head, body).await
}

fn head(status: StatusCode, content_type: &'static str, length: usize, added: Added) -> Result<ResponseHeader> {
    let mut head = http::Response::new(()).into_parts().0;
    head.status = status;
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    head.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    added.insert_into(&mut head.headers)?;
    Ok(ResponseHeader::from(head))
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
