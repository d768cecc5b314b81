//! What a request carries from room to room.

use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pingora::proxy::Session;
use uuid::Uuid;

use crate::catalog::{Catalog, Credential, Settings};
use crate::domain::{ModelPrice, Timestamp};
use crate::journal;
use crate::policy::Hit;
use crate::protocol::{Dialect, client};

use super::admit::Admission;
use super::door::Silence;
use super::relay::Commitment;
use super::report::Barred;
use super::route::Plan;

/// The longest request id that is taken over from a caller, in characters.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// One request on its way through the gateway.
pub struct Journey {
    pub stage: Stage,
    /// What the request is judged by, until it is.
    pub catalog: Option<Arc<Catalog>>,
    /// What holds for the request to its end, whatever is configured meanwhile.
    pub settings: Arc<Settings>,
    /// The caller's dialect and the request's id, once known: what answers of our own are shaped by.
    pub dialect: Option<Dialect>,
    pub request_id: Option<Arc<str>>,
    /// How long the provider may be silent, once it has been asked; of requests over HTTP/1.
    pub silence: Option<Silence>,
    /// What is to be recorded of a request whose caller is not let in, once its answer is out: Pingora drops the journey
    /// after it has sent what was written.
    pub barred: Option<Box<Barred>>,
    /// The connection on which the provider is asked, once there is one.
    pub provider_connection: Option<RawFd>,
    _under_way: Arc<()>,
}

/// Counts the requests under way, from their header's arrival to the end of their answer: what a shutdown
/// waits for.
#[derive(Clone, Debug, Default)]
pub struct UnderWay(Arc<Counted>);

/// However many look on, they share one of these, so that the count is that of the requests.
#[derive(Debug, Default)]
struct Counted {
    one_each: Arc<()>,
}

impl UnderWay {
    /// How many requests are under way.
    pub fn count(&self) -> usize {
        Arc::strong_count(&self.0.one_each) - 1
    }
}

impl Journey {
    pub fn new(catalog: Arc<Catalog>, under_way: &UnderWay) -> Self {
        let settings = catalog.settings.clone();
        let (stage, dialect, request_id, silence, barred, provider_connection) = Default::default();
        Self {
            stage,
            catalog: Some(catalog),
            settings,
            dialect,
            request_id,
            silence,
            barred,
            provider_connection,
            _under_way: under_way.0.one_each.clone(),
        }
    }

    /// From now on the provider may be silent for so long.
    pub fn wait(&self, limit: Duration) {
        if let Some(silence) = &self.silence {
            silence.may_last(limit);
        }
    }
}

/// How far a request has come. Money-like things live inside the stage that owns them, so that leaving a
/// stage without accounting for them does not compile, and dropping one accounts for it.
#[derive(Default)]
pub enum Stage {
    /// Not judged yet.
    #[default]
    Arrived,
    /// Allowed to go, and nothing has been sent to a provider yet.
    Admitted(Box<Admission>, Box<Plan>),
    /// The provider has been asked: from here on it may cost money.
    Relaying(Box<Commitment>, Box<Plan>),
    /// Answered, refused or settled.
    Ended,
}

/// What is known about a request before it is judged; its record is made from this.
#[derive(Clone)]
pub struct Facts {
    pub request_id: Arc<str>,
    pub started: Instant,
    pub started_at: Timestamp,
    pub client: &'static str,
    pub address: Option<IpAddr>,
    pub dialect: Dialect,
    pub endpoint: &'static str,
    pub credential: Credential,
    pub organization: Arc<str>,
    /// What kind of credential the account was found by, and the fingerprint of a key of the caller's own.
    pub kind: journal::Credential,
    pub fingerprint: Option<Arc<str>>,
    pub provider: Option<Arc<str>>,
    pub model: Option<Arc<str>>,
    pub price: Option<Arc<ModelPrice>>,
    pub stream: bool,
    pub request_bytes: u64,
    /// The policies that found something in the body.
    pub policies: Vec<Hit>,
    /// How long was waited for others, the client's body and the provider's turn: that is no overhead of ours.
    pub waited: Duration,
}

/// What is known about a request the moment it arrives.
pub struct Arrival {
    pub request_id: Arc<str>,
    pub started: Instant,
    pub started_at: Timestamp,
    pub client: &'static str,
    pub address: Option<IpAddr>,
}

impl Arrival {
    pub fn of(session: &Session) -> Self {
        let headers = &session.req_header().headers;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let address = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
        Self {
            request_id: request_id(text("x-request-id")),
            started: Instant::now(),
            started_at: now(),
            client: client::name(text("user-agent")),
            address,
        }
    }
}

/// The wall clock, for stamps; durations are measured with [`Instant`].
pub fn now() -> Timestamp {
    SystemTime::now().into()
}

/// The caller's request id if it is sane, else a new one.
fn request_id(offered: Option<&str>) -> Arc<str> {
    let sane = |id: &&str| {
        (1..=REQUEST_ID_CHARS_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    match offered.filter(sane) {
        Some(id) => id.into(),
        None => Arc::from(&*Uuid::now_v7().hyphenated().encode_lower(&mut Uuid::encode_buffer())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_taken_over_only_if_it_is_harmless() {
        assert_eq!(&*request_id(Some("abc-1.2_3")), "abc-1.2_3");
        for odd in [None, Some(""), Some("a b"), Some("a\"b"), Some("é"), Some(&*"x".repeat(129))] {
            assert_eq!(request_id(odd).len(), 36, "{odd:?}");
        }
    }
}
