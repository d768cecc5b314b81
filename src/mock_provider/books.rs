//! The mock's own books: what arrived, what became of it, and the usage it reported.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;

use super::fault::Fault;
use super::request::{Request, headers_of};
use crate::domain::Tokens;

/// Requests that are remembered; older ones are forgotten.
const REQUESTS_MAX: usize = 10_000;

/// Bytes of heads and bodies that are remembered.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// Moments that are remembered of one answer.
const MOMENTS_MAX: usize = 1024;

/// A request as it arrived, and what became of it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    /// In the order and the spelling in which they arrived.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// When the request had arrived whole.
    pub arrived_at: Instant,
    /// The fault that its answer was to have.
    pub fault: Option<Fault>,
    /// `None` as long as no answer has begun, and if none ever did.
    pub status: Option<u16>,
    /// The body of the answer as far as it was sent. `None` while the answer is under way.
    pub answered: Option<Answered>,
    /// The usage figures of the answer, if it has any and was finished.
    pub reported: Option<Tokens>,
    /// When each event of a stream was handed to the socket; the first 1024 of them.
    pub sent_at: Vec<Instant>,
    /// How much of the body had been handed over with each of them.
    pub sent_bytes: Vec<u64>,
    /// The answer was sent to its end, without a fault that keeps it from its reader.
    pub finished: bool,
    /// The client closed the connection before the answer's end.
    pub client_gone: bool,
}

/// A body that was sent, before the framing of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    pub sha256: [u8; 32],
    pub length: u64,
}

/// Sums since the start; nothing is forgotten in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub connections: u64,
    pub requests: u64,
    /// Answers that were sent to their end, refusals included.
    pub finished: u64,
    /// Of `finished`, those that stated usage figures.
    pub reported: u64,
    /// The usage figures of those.
    pub tokens: Tokens,
}

#[derive(Default)]
pub(super) struct Books {
    recording: bool,
    kept: Mutex<Kept>,
    totals: Mutex<Totals>,
}

#[derive(Default)]
struct Kept {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

/// One request in the books.
pub(super) struct Entry {
    method: String,
    target: String,
    head: Bytes,
    body: Bytes,
    arrived_at: Instant,
    fault: Option<Fault>,
    outcome: Mutex<Outcome>,
}

#[derive(Default)]
struct Outcome {
    status: Option<u16>,
    answered: Option<Answered>,
    reported: Option<Tokens>,
    sent_at: Vec<Instant>,
    sent_bytes: Vec<u64>,
    finished: bool,
    client_gone: bool,
}

impl Seen {
    /// The first header of that name, in whatever spelling.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl Books {
    pub(super) fn new(recording: bool) -> Self {
        Self { recording, ..Self::default() }
    }

    pub(super) fn recording(&self) -> bool {
        self.recording
    }

    pub(super) fn connected(&self) {
        self.totals.lock().connections += 1;
    }

    /// Opens an entry for a request. Its bytes are shared with the buffer they arrived in, not copied.
    pub(super) fn enter(&self, request: &Request, fault: Option<Fault>) -> Arc<Entry> {
        self.totals.lock().requests += 1;
        let entry = Arc::new(Entry {
            method: request.method.clone(),
            target: request.target.clone(),
            head: request.head.clone(),
            body: request.body.clone(),
            arrived_at: Instant::now(),
            fault,
            outcome: Mutex::default(),
        });
        if self.recording {
            self.kept.lock().keep(entry.clone());
        }
        entry
    }

    /// Takes an answer as finished. It is called just before the last bytes are sent, so that whoever has read the
    /// end of an answer finds it here.
    pub(super) fn finish(&self, entry: &Entry, answered: Option<Answered>, reported: Option<Tokens>) {
        let mut outcome = entry.outcome.lock();
        (outcome.finished, outcome.answered, outcome.reported) = (true, answered, reported);
        let mut totals = self.totals.lock();
        totals.finished += 1;
        if let Some(tokens) = reported {
            totals.reported += 1;
            totals.tokens = totals.tokens.plus(tokens);
        }
    }

    /// Notes that the client went before the answer's end; a `finish` that proved premature is taken back.
    pub(super) fn client_gone(&self, entry: &Entry) {
        let mut outcome = entry.outcome.lock();
        outcome.client_gone = true;
        if !std::mem::take(&mut outcome.finished) {
            return;
        }
        let mut totals = self.totals.lock();
        totals.finished -= 1;
        if let Some(tokens) = outcome.reported.take() {
            totals.reported -= 1;
            totals.tokens = totals.tokens.minus(tokens);
        }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        let entries: Vec<_> = self.kept.lock().entries.iter().cloned().collect();
        entries.iter().map(|entry| entry.seen()).collect()
    }

    pub(super) fn totals(&self) -> Totals {
        *self.totals.lock()
    }
}

impl Kept {
    fn keep(&mut self, entry: Arc<Entry>) {
        self.bytes += entry.size();
        self.entries.push_back(entry);
        while self.entries.len() > REQUESTS_MAX || self.bytes > BYTES_MAX {
            match self.entries.pop_front() {
                Some(oldest) => self.bytes -= oldest.size(),
                None => break,
            }
        }
    }
}

impl Entry {
    fn size(&self) -> usize {
        self.head.len() + self.body.len()
    }

    pub(super) fn began(&self, status: u16) {
        self.outcome.lock().status = Some(status);
    }

    /// Notes that one event is handed to the socket now, and how much of the body that makes.
    pub(super) fn sends_event(&self, bytes: u64) {
        let mut outcome = self.outcome.lock();
        if outcome.sent_at.len() < MOMENTS_MAX {
            outcome.sent_at.push(Instant::now());
            outcome.sent_bytes.push(bytes);
        }
    }

    /// Notes how much was sent of an answer that ends without being finished.
    pub(super) fn broke_off(&self, answered: Option<Answered>) {
        self.outcome.lock().answered = answered;
    }

    fn seen(&self) -> Seen {
        let outcome = self.outcome.lock();
        Seen {
            method: self.method.clone(),
            target: self.target.clone(),
            headers: headers_of(&self.head),
            body: self.body.clone(),
            arrived_at: self.arrived_at,
            fault: self.fault,
            status: outcome.status,
            answered: outcome.answered,
            reported: outcome.reported,
            sent_at: outcome.sent_at.clone(),
            sent_bytes: outcome.sent_bytes.clone(),
            finished: outcome.finished,
            client_gone: outcome.client_gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::Headers;
    use super::*;

    fn request(body: &'static [u8]) -> Request {
        let head = Bytes::from_static(b"POST /v1/responses HTTP/1.1\r\nHost: mock\r\n\r\n");
        let headers = Headers::default();
        Request { method: "POST".into(), target: "/".into(), head, headers, body: Bytes::from_static(body) }
    }

    #[test]
    fn only_the_latest_requests_are_kept() {
        let books = Books::new(true);
        for _ in 0..REQUESTS_MAX {
            books.enter(&request(b""), None);
        }
        books.enter(&request(b"latest"), None);
        let seen = books.seen();
        assert_eq!((seen.len(), &seen[REQUESTS_MAX - 1].body[..]), (REQUESTS_MAX, &b"latest"[..]));
        assert_eq!(books.totals().requests, REQUESTS_MAX as u64 + 1);
    }

    #[test]
    fn large_requests_displace_older_ones() {
        static LARGE: [u8; BYTES_MAX / 2] = [0; BYTES_MAX / 2];
        let books = Books::new(true);
        for _ in 0..3 {
            books.enter(&request(&LARGE), None);
        }
        assert_eq!(books.seen().len(), 1);
    }

    #[test]
    fn a_premature_finish_is_taken_back() {
        let books = Books::new(true);
        let entry = books.enter(&request(b""), None);
        let before = books.totals();
        books.finish(&entry, None, Some(Tokens { input: 3, output: 4, ..Tokens::default() }));
        assert_eq!(books.totals().tokens.output, 4);
        books.client_gone(&entry);
        assert_eq!(books.totals(), before);
        let seen = books.seen();
        assert!(seen[0].client_gone && !seen[0].finished && seen[0].reported.is_none());
    }
}
