//! The pretend provider: what `kt mock-provider` runs, and what demos, tests, benches and load tests talk to.
//!
//! It speaks the dialects of OpenAI (`/v1/chat/completions`, `/v1/completions`, `/v1/responses`, `/v1/embeddings`,
//! `/v1/moderations`, `/v1/images/generations`, `/v1/audio/…`, `/v1/models`), also as Azure does
//! (`/openai/deployments/{deployment}/…?api-version=`, `/openai/v1/…`),
//! Anthropic (`/v1/messages`, `/v1/messages/count_tokens`, `/v1/models` with an `anthropic-version`) and Gemini
//! (`/v1beta/models/{model}:{verb}` for its five verbs, `/v1beta/models`) well enough for their SDKs, over HTTP/1.1 that it writes by hand, so that a [`Fault`] is exact to the byte. It keeps [books](Seen)
//! of what arrived and what it reported, to hold against a gateway's.
//!
//! **Usage** is a fixed function of the request, so that a test knows the true figures:
//! - input: the bytes of all message text, divided by 4, rounded up, at least 1. Message text is every string in
//!   `messages`, `system`, `instructions`, `input`, `prompt`, `contents`, `systemInstruction`, `content` and `requests` that is
//!   the value itself, an element of an array, or stands under `content`, `text`, `output` or `parts`; a token id in an embeddings request counts as 4 bytes.
//! - read from the cache, if the model's name contains `cached`: half of the input, rounded down to a multiple of 8;
//!   written to it, if the name contains `cachewrite`: as many. The long-lived part of what is written is half of
//!   that, again rounded down to a multiple of 8 (Chat Completions has no figure for it and reports none, Gemini has
//!   none for anything written).
//! - output: [`Settings::tokens`], or the request's own maximum if that is smaller; then the answer says that it was
//!   cut short. Text comes as one word a token.
//!   A picture is 1056 tokens; a transcript's input is a token for 64 bytes of its form. Of both only models called
//!   `gpt-…` report anything.
//! - reasoning, if the name contains `reason`: a quarter of the output, rounded down; these tokens carry no text.
//!
//! **Models** are whatever the request says, except that names beginning with `unknown` give the provider's 404. A
//! model whose name ends in `-tools` calls the first tool of a request that has tools.
//!
//! **Credentials**: OpenAI needs `authorization: Bearer …`, Azure `api-key`, Anthropic `x-api-key` or, as its newer SDKs send,
//! `authorization: Bearer …`, Gemini `x-goog-api-key`; without one the provider's 401 is given. So it is for a credential that begins with
//! `kt_`, wherever it stands: that is a gateway's key that should never have come here.
//!
//! **Faults** are written as [`Fault`] says, in `kt mock-provider --fault SPEC`, in [`MockProvider::script`], or in the
//! request header `x-mock-fault: SPEC`, which wins (`none` there means no fault). They strike before credentials and
//! model are looked at.
//!
//! What it deliberately does not do: TLS, HTTP/2 and HTTP/1.0; compression; any dialect but these three; checking a
//! request beyond what the above needs; more than one choice; refusing for rate or quota of its own accord.

mod fault; // what can go wrong on purpose, and how it is written
mod connection; // one client: requests in, answers out, one after the other
mod wire; // the bytes of a connection, and noticing that the client has gone
mod request; // reading a request: head, body, strict framing
mod dialect; // which dialect a request speaks, who may ask, and the answer composed
mod ask; // what a request asks for, and the tokens that this costs
mod words; // the text of every answer
mod openai; // the answers of OpenAI
mod anthropic; // the answers of Anthropic
mod gemini; // the answers of Gemini
mod answer; // an answer before any fault: headers, and a body or a stream of events
mod delivery; // sending an answer, as it is or with its fault
mod books; // what arrived, what became of it, what usage was reported
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

pub use books::{Answered, Seen, Totals};
pub use fault::{Fault, FaultError};

use books::Books;
use words::Words;

/// Clients that are served at a time; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 20_000;

#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: SocketAddr,
    /// Output tokens of an answer, unless the request wants fewer; at most 1 000 000.
    pub tokens: u32,
    /// From one event of a stream to the next; at most 10 minutes.
    pub interval: Duration,
    /// Before the first byte of an answer; at most 10 minutes.
    pub first: Duration,
    pub fault: Option<Fault>,
    /// Decides the text of answers, their ids and the numbers in embeddings.
    pub seed: u64,
    /// Only this credential is accepted; else any.
    pub expect_credential: Option<String>,
    /// Answers are made of ordinary words alone, each of them one token of a real vocabulary.
    pub plain_words: bool,
    /// Whether requests are remembered. Load tests turn it off; [`MockProvider::totals`] works either way.
    pub record: bool,
}

/// A running pretend provider. Dropping it closes its listener and its connections.
pub struct MockProvider {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// What all connections share.
struct Shared {
    seed: u64,
    expect_credential: Option<String>,
    words: Arc<Words>,
    books: Books,
    mood: Mutex<Mood>,
    /// Answers so far: what makes their ids differ.
    serial: AtomicU64,
}

/// What may be changed while it runs.
#[derive(Clone, Copy)]
struct Mood {
    tokens: u32,
    first: Duration,
    interval: Duration,
    fault: Option<Fault>,
    /// So many more requests have the fault; `None` means all.
    fault_times: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tokens: 16,
            interval: Duration::ZERO,
            first: Duration::ZERO,
            fault: None,
            seed: 0,
            expect_credential: None,
            plain_words: false,
            record: true,
        }
    }
}

impl MockProvider {
    /// Binds the address and serves from then on. Needs a tokio runtime.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(settings));
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { address, shared, accepting })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, without a path.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The fault of all following requests.
    pub fn script(&self, fault: Option<Fault>) {
        let mut mood = self.shared.mood.lock();
        (mood.fault, mood.fault_times) = (fault, None);
    }

    /// The fault of the next so many requests; those after them have none. Requests that bring their own fault do
    /// not count.
    pub fn script_next(&self, fault: Fault, times: u32) {
        let mut mood = self.shared.mood.lock();
        (mood.fault, mood.fault_times) = (Some(fault), Some(times));
    }

    /// The pace of all following answers.
    pub fn set_pace(&self, first: Duration, interval: Duration) {
        let mut mood = self.shared.mood.lock();
        (mood.first, mood.interval) = (first.min(wire::PATIENCE), interval.min(wire::PATIENCE));
    }

    /// The output tokens of all following answers.
    pub fn set_tokens(&self, tokens: u32) {
        self.shared.mood.lock().tokens = tokens;
    }

    /// What arrived whole, in order: the last 10 000 requests, or fewer if they are large (256 MiB in all).
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.books.seen()
    }

    pub fn totals(&self) -> Totals {
        self.shared.books.totals()
    }

    /// The text that an answer of so many visible tokens carries.
    pub fn text(&self, tokens: u32) -> String {
        self.shared.words.text(tokens)
    }
}

impl Drop for MockProvider {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn new(settings: Settings) -> Self {
        let Settings { listen: _, tokens, interval, first, fault, seed, expect_credential, plain_words, record } =
            settings;
        let (first, interval) = (first.min(wire::PATIENCE), interval.min(wire::PATIENCE));
        Self {
            seed,
            expect_credential,
            words: Arc::new(Words::new(seed, plain_words)),
            books: Books::new(record),
            mood: Mutex::new(Mood { tokens, first, interval, fault, fault_times: None }),
            serial: AtomicU64::new(0),
        }
    }

    fn mood(&self) -> Mood {
        *self.mood.lock()
    }

    /// The mood for one request. Its fault is used up by this, if it was scripted for so many requests only.
    fn take_mood(&self) -> Mood {
        let mut mood = self.mood.lock();
        if let Some(times) = &mut mood.fault_times {
            match times.checked_sub(1) {
                Some(fewer) => *times = fewer,
                None => mood.fault = None,
            }
        }
        *mood
    }

    /// Whether a new connection is to be refused; that uses the fault up as a request does.
    fn refuses(&self) -> bool {
        let refuses = self.mood().fault == Some(Fault::Refuse);
        refuses && self.take_mood().fault == Some(Fault::Refuse)
    }

    fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }
}

/// Serves until it is aborted, which drops the connections with their set.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    /// After a failure to accept, such as having no file descriptor left.
    const PAUSE: Duration = Duration::from_millis(50);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    shared.books.connected();
                    if !shared.refuses() {
                        connections.spawn(connection::serve(stream, shared.clone()));
                    }
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
