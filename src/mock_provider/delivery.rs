//! Sending one answer, as it is or with its fault. All bytes of HTTP are written here.

use std::fmt::Write;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::answer::{Answer, Body, Stream, reason};
use super::books::{Answered, Books, Entry};
use super::fault::Fault;
use super::wire::{Gone, PATIENCE, Wire};
use crate::domain::Tokens;

/// What the connection is good for after an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum After {
    NextRequest,
    Close,
}

pub(super) struct Delivery<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) books: &'a Books,
    pub(super) entry: &'a Entry,
    pub(super) first: Duration,
    pub(super) interval: Duration,
    /// The request was a HEAD.
    pub(super) bodiless: bool,
    /// The client wants the connection closed.
    pub(super) closing: bool,
    pub(super) meter: Meter,
}

/// Measures the body as it is sent.
pub(super) struct Meter {
    /// `None` if nobody will ask.
    sha256: Option<Sha256>,
    length: u64,
}

/// How an answer ends that is not to be sent whole.
#[derive(Clone, Copy)]
enum Break {
    Cut,
    Eof,
    MidEvent,
    Stall,
    Reset,
    ErrorEvent,
}

enum Framing {
    Length(usize),
    Chunked,
    /// 204 and 304 have no body to frame.
    None,
}

/// By how much the fault `length` exaggerates.
const LENGTH_EXCESS: usize = 1000;

impl Delivery<'_> {
    /// Sends the answer. Status, HTML and the errors of plain answers have been put in its place before.
    pub(super) async fn run(self, answer: Answer, fault: Option<Fault>) -> Result<After, Gone> {
        self.wire.wait_until(Instant::now() + self.first).await?;
        match fault {
            Some(Fault::Refuse) => Ok(After::Close),
            Some(Fault::Garbage) => self.garbage().await,
            Some(Fault::Length) => self.too_long(answer).await,
            Some(Fault::Stall(None)) => self.stall().await,
            Some(Fault::Reset(None)) => {
                self.wire.reset().await;
                Ok(After::Close)
            }
            _ => self.answer(answer, fault).await,
        }
    }

    async fn answer(self, answer: Answer, fault: Option<Fault>) -> Result<After, Gone> {
        self.entry.began(answer.status);
        let split = fault == Some(Fault::Split);
        let broken = match fault {
            Some(Fault::Cut(events)) => Some((events, Break::Cut)),
            Some(Fault::Eof(events)) => Some((events, Break::Eof)),
            Some(Fault::MidEvent(events)) => Some((events, Break::MidEvent)),
            Some(Fault::Stall(Some(events))) => Some((events, Break::Stall)),
            Some(Fault::Reset(Some(events))) => Some((events, Break::Reset)),
            Some(Fault::ErrorEvent(events)) => Some((events, Break::ErrorEvent)),
            _ => None,
        };
        match (&answer.body, broken) {
            // What became an error already needs no other fault.
            (Body::Plain(body), Some((_, broken))) if !matches!(broken, Break::ErrorEvent) => {
                self.half(&answer, body, broken).await
            }
            (Body::Plain(body), _) => self.plain(&answer, body, split).await,
            (Body::Stream(stream), broken) => self.stream(&answer, stream, broken, split).await,
        }
    }

    async fn plain(mut self, answer: &Answer, body: &str, split: bool) -> Result<After, Gone> {
        let bodiless = self.bodiless || matches!(answer.status, 204 | 304);
        let framing = if matches!(answer.status, 204 | 304) { Framing::None } else { Framing::Length(body.len()) };
        let mut bytes = self.head(answer, framing);
        let cut = bytes.len() + split_point(body.as_bytes());
        if !bodiless {
            self.meter.count(body.as_bytes());
            bytes.extend_from_slice(body.as_bytes());
        }
        self.finish(answer.reported);
        self.send(&bytes, split.then_some(cut)).await?;
        Ok(self.after())
    }

    /// Half of a plain answer, and then the break.
    async fn half(mut self, answer: &Answer, body: &str, broken: Break) -> Result<After, Gone> {
        let (half, _) = body.as_bytes().split_at(body.len() / 2);
        let promised = if matches!(broken, Break::Eof) { half.len() } else { body.len() };
        let mut bytes = self.head(answer, Framing::Length(promised));
        bytes.extend_from_slice(half);
        self.meter.count(half);
        self.broken(broken, bytes).await
    }

    async fn stream(
        mut self,
        answer: &Answer,
        stream: &Stream,
        broken: Option<(u32, Break)>,
        split: bool,
    ) -> Result<After, Gone> {
        let count = stream.len();
        let (whole, broken) = match broken {
            Some((after, broken)) if after < count => (after, Some(broken)),
            _ => (count, None),
        };
        let begun = Instant::now();
        let mut bytes = self.head(answer, Framing::Chunked);
        let mut event = String::new();
        for index in 0..whole {
            self.wire.wait_until(begun + self.interval * index).await?;
            event.clear();
            stream.push(index, &mut event);
            self.meter.count(event.as_bytes());
            let cut = push_chunk(event.as_bytes(), &mut bytes) + split_point(event.as_bytes());
            if index + 1 == count {
                bytes.extend_from_slice(LAST_CHUNK);
                self.finish(answer.reported);
            }
            self.entry.sends_event(self.meter.length);
            self.send(&bytes, split.then_some(cut)).await?;
            bytes.clear();
        }
        let Some(broken) = broken else { return Ok(self.after()) };
        self.wire.wait_until(begun + self.interval * whole).await?;
        event.clear();
        stream.push(whole, &mut event);
        match broken {
            Break::MidEvent => {
                let (half, _) = event.as_bytes().split_at(split_point(event.as_bytes()));
                push_chunk(half, &mut bytes);
                self.meter.count(half);
            }
            Break::ErrorEvent => {
                push_chunk(stream.error.as_bytes(), &mut bytes);
                self.meter.count(stream.error.as_bytes());
                self.entry.sends_event(self.meter.length);
                bytes.extend_from_slice(LAST_CHUNK);
            }
            Break::Eof => bytes.extend_from_slice(LAST_CHUNK),
            Break::Cut | Break::Stall | Break::Reset => {}
        }
        self.broken(broken, bytes).await
    }

    /// Sends what is still to be sent, and ends the answer the way the break says.
    async fn broken(mut self, broken: Break, bytes: Vec<u8>) -> Result<After, Gone> {
        let answered = self.meter.answered();
        self.entry.broke_off(answered);
        self.wire.write(&bytes).await?;
        match broken {
            Break::Cut | Break::MidEvent => Ok(After::Close),
            Break::Eof | Break::ErrorEvent => Ok(self.after()),
            Break::Stall => self.stall().await,
            Break::Reset => {
                self.wire.reset().await;
                Ok(After::Close)
            }
        }
    }

    async fn stall(self) -> Result<After, Gone> {
        self.wire.wait_until(Instant::now() + PATIENCE).await?;
        Ok(After::Close)
    }

    async fn garbage(self) -> Result<After, Gone> {
        self.wire.write(b"\x15\x03\x01\x00\x02\x02\x46 this is no HTTP\n").await?;
        Ok(After::Close)
    }

    async fn too_long(mut self, answer: Answer) -> Result<After, Gone> {
        self.entry.began(answer.status);
        let body = match &answer.body {
            Body::Plain(body) => body.clone(),
            Body::Stream(stream) => {
                let mut events = String::new();
                (0..stream.len()).for_each(|index| stream.push(index, &mut events));
                events
            }
        };
        let mut bytes = self.head(&answer, Framing::Length(body.len() + LENGTH_EXCESS));
        bytes.extend_from_slice(body.as_bytes());
        self.meter.count(body.as_bytes());
        self.broken(Break::Cut, bytes).await
    }

    fn head(&self, answer: &Answer, framing: Framing) -> Vec<u8> {
        let mut head = String::with_capacity(1024);
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&jiff::Timestamp::now());
        // Writing to a String cannot fail.
        let _ = write!(
            head,
            "HTTP/1.1 {} {}\r\ndate: {}\r\ncontent-type: {}\r\n{}",
            answer.status,
            reason(answer.status),
            date.unwrap_or_default(),
            answer.content_type,
            answer.headers
        );
        let _ = match framing {
            Framing::Length(length) => write!(head, "content-length: {length}\r\n"),
            Framing::Chunked => write!(head, "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n"),
            Framing::None => Ok(()),
        };
        head.push_str(if self.closing { "connection: close\r\n\r\n" } else { "\r\n" });
        head.into_bytes()
    }

    /// Writes at once, or in two writes that cannot arrive as one.
    async fn send(&mut self, bytes: &[u8], cut: Option<usize>) -> Result<(), Gone> {
        const APART: Duration = Duration::from_millis(2);
        let Some((one, other)) = cut.and_then(|cut| bytes.split_at_checked(cut)) else {
            return self.wire.write(bytes).await;
        };
        self.wire.write(one).await?;
        self.wire.wait_until(Instant::now() + APART).await?;
        self.wire.write(other).await
    }

    fn finish(&mut self, reported: Option<Tokens>) {
        let answered = self.meter.answered();
        self.books.finish(self.entry, answered, reported);
    }

    fn after(&self) -> After {
        if self.closing { After::Close } else { After::NextRequest }
    }
}

impl Meter {
    pub(super) fn new(recording: bool) -> Self {
        Self { sha256: recording.then(Sha256::new), length: 0 }
    }

    fn count(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
    }

    fn answered(&mut self) -> Option<Answered> {
        let sha256 = self.sha256.take()?.finalize().into();
        Some(Answered { sha256, length: self.length })
    }
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends one chunk and tells where in `out` its content begins.
fn push_chunk(content: &[u8], out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(format!("{:x}\r\n", content.len()).as_bytes());
    let begin = out.len();
    out.extend_from_slice(content);
    out.extend_from_slice(b"\r\n");
    begin
}

/// The most awkward place to cut: within a character, else within an escape, else in the middle.
fn split_point(bytes: &[u8]) -> usize {
    let wide = bytes.iter().position(|byte| !byte.is_ascii());
    wide.or_else(|| memchr::memchr(b'\\', bytes)).map_or(bytes.len() / 2, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_is_in_the_most_awkward_place() {
        assert_eq!(split_point("ab\\n é".as_bytes()), 6);
        assert_eq!(split_point(b"ab\\n"), 3);
        assert_eq!(split_point(b"abcd"), 2);
    }
}
