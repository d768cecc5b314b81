//! Reading a request: the head with httparse, the body by its length or its chunks. Framing is read strictly, so that
//! a gateway that sends ambiguous requests is noticed.

use bytes::{Buf, Bytes, BytesMut};
use httparse::{EMPTY_HEADER, Status};

use super::wire::{Gone, SPARE_MIN, Wire};

const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 128;
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;
const CHUNK_LINE_BYTES_MAX: usize = 4096;

/// A request that has arrived whole.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    /// As it arrived, for those who want all headers.
    pub(super) head: Bytes,
    pub(super) headers: Headers,
    pub(super) body: Bytes,
}

/// The headers that matter here.
#[derive(Default)]
pub(super) struct Headers {
    pub(super) authorization: Option<String>,
    pub(super) x_api_key: Option<String>,
    pub(super) api_key: Option<String>,
    pub(super) x_goog_api_key: Option<String>,
    pub(super) anthropic_version: Option<String>,
    pub(super) mock_fault: Option<String>,
    pub(super) close: bool,
    expects_continue: bool,
    content_length: Option<u64>,
    chunked: bool,
}

/// Why no request could be read.
pub(super) enum ReadError {
    Gone,
    /// To be answered with this status; nothing after it on the connection can be understood.
    Bad(u16, &'static str),
}

impl From<Gone> for ReadError {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl Request {
    pub(super) async fn read(wire: &mut Wire) -> Result<Self, ReadError> {
        let mut request = loop {
            if let Some(request) = take_head(&mut wire.buffer)? {
                break request;
            }
            wire.fill().await?;
        };
        if request.headers.expects_continue && wire.buffer.is_empty() {
            wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        request.body = if request.headers.chunked {
            read_chunks(wire).await?
        } else {
            read_exactly(wire, request.headers.content_length.unwrap_or(0)).await?
        };
        Ok(request)
    }

    pub(super) fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    pub(super) fn has_query_named(&self, name: &str) -> bool {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query.split('&').any(|found| found.split_once('=').is_some_and(|(found, _)| found == name))
    }

    /// Whether the query has this parameter, `name=value`.
    pub(super) fn has_query(&self, parameter: &str) -> bool {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query.split('&').any(|found| found == parameter)
    }
}

/// All headers of a head, in order, their values made readable.
pub(super) fn headers_of(head: &[u8]) -> Vec<(String, String)> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    // The head has been parsed before; if it could not be, there would be no headers to show.
    let _ = parsed.parse(head);
    let shown = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    parsed.headers.iter().map(|header| (header.name.to_owned(), shown(header.value))).collect()
}

/// Takes the head off the buffer, once it is there whole.
fn take_head(buffer: &mut BytesMut) -> Result<Option<Request>, ReadError> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(buffer) {
        Ok(Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
        Ok(Status::Partial) if buffer.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(_) => return Err(ReadError::Bad(431, "the head of the request is too large")),
        Err(httparse::Error::TooManyHeaders) => return Err(ReadError::Bad(431, "the request has too many headers")),
        Err(_) => return Err(ReadError::Bad(400, "this is not HTTP/1.1")),
    };
    if parsed.version != Some(1) {
        return Err(ReadError::Bad(505, "only HTTP/1.1 is spoken here"));
    }
    let headers = Headers::read(parsed.headers)?;
    let method = parsed.method.unwrap_or_default().to_owned();
    let target = parsed.path.unwrap_or_default().to_owned();
    let head = buffer.split_to(length).freeze();
    Ok(Some(Request { method, target, head, headers, body: Bytes::new() }))
}

impl Headers {
    fn read(parsed: &[httparse::Header<'_>]) -> Result<Self, ReadError> {
        const FRAMING: ReadError = ReadError::Bad(400, "the length of the body is ambiguous");
        let mut headers = Self::default();
        for header in parsed {
            let text = || String::from_utf8_lossy(header.value).into_owned();
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                // `parse` alone would take a sign.
                let digits = Some(text()).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                let length = digits.and_then(|text| text.parse().ok()).ok_or(FRAMING)?;
                if headers.content_length.replace(length).is_some() {
                    return Err(FRAMING);
                }
            } else if is("transfer-encoding") {
                if headers.chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(FRAMING);
                }
                headers.chunked = true;
            } else if is("connection") {
                headers.close |= text().split(',').any(|option| option.trim().eq_ignore_ascii_case("close"));
            } else if is("expect") {
                headers.expects_continue |= header.value.eq_ignore_ascii_case(b"100-continue");
            } else if is("authorization") {
                headers.authorization = Some(text());
            } else if is("x-api-key") {
                headers.x_api_key = Some(text());
            } else if is("api-key") {
                headers.api_key = Some(text());
            } else if is("x-goog-api-key") {
                headers.x_goog_api_key = Some(text());
            } else if is("anthropic-version") {
                headers.anthropic_version = Some(text());
            } else if is("x-mock-fault") {
                headers.mock_fault = Some(text());
            }
        }
        if headers.chunked && headers.content_length.is_some() {
            return Err(FRAMING);
        }
        Ok(headers)
    }
}

const TOO_LARGE: ReadError = ReadError::Bad(413, "the body of the request is too large");
const BAD_CHUNK: ReadError = ReadError::Bad(400, "a chunk of the body is malformed");

async fn read_exactly(wire: &mut Wire, length: u64) -> Result<Bytes, ReadError> {
    if length > BODY_BYTES_MAX {
        return Err(TOO_LARGE);
    }
    let length = length as usize;
    // With room to spare, so that reading the last part does not move the whole.
    wire.buffer.reserve(length.saturating_sub(wire.buffer.len()) + SPARE_MIN);
    while wire.buffer.len() < length {
        wire.fill().await?;
    }
    Ok(wire.buffer.split_to(length).freeze())
}

async fn read_chunks(wire: &mut Wire) -> Result<Bytes, ReadError> {
    let mut body = BytesMut::new();
    loop {
        let size = read_chunk_size(wire).await?;
        if size == 0 {
            break;
        }
        if size > BODY_BYTES_MAX - body.len() as u64 {
            return Err(TOO_LARGE);
        }
        body.extend_from_slice(&read_exactly(wire, size).await?);
        if read_exactly(wire, 2).await? != b"\r\n"[..] {
            return Err(BAD_CHUNK);
        }
    }
    skip_trailers(wire).await?;
    Ok(body.freeze())
}

async fn read_chunk_size(wire: &mut Wire) -> Result<u64, ReadError> {
    loop {
        match httparse::parse_chunk_size(&wire.buffer) {
            Ok(Status::Complete((length, size))) => {
                wire.buffer.advance(length);
                return Ok(size);
            }
            Ok(Status::Partial) if wire.buffer.len() < CHUNK_LINE_BYTES_MAX => wire.fill().await?,
            _ => return Err(BAD_CHUNK),
        }
    }
}

async fn skip_trailers(wire: &mut Wire) -> Result<(), ReadError> {
    loop {
        if wire.buffer.starts_with(b"\r\n") {
            wire.buffer.advance(2);
            return Ok(());
        }
        let line = memchr::memchr(b'\n', &wire.buffer);
        match line {
            Some(end) if end < CHUNK_LINE_BYTES_MAX => wire.buffer.advance(end + 1),
            None if wire.buffer.len() < CHUNK_LINE_BYTES_MAX => wire.fill().await?,
            _ => return Err(BAD_CHUNK),
        }
    }
}
