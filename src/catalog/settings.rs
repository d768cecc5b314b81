//! What the operator can set about the path of a request. A request keeps the settings it began with.

use std::sync::Arc;
use std::time::Duration;

use crate::policy::Policy;
use crate::protocol::framing::HeadLimits;

use super::webhook::Webhook;

/// Limits and deadlines of the request path.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The largest request body, in bytes. The gateway holds a whole body in memory until it is sent on.
    pub body_bytes_max: usize,
    /// What a large body must keep up with, in bytes per second, to be given more than `timeouts.body`.
    pub body_rate_min: usize,
    /// What a client must keep up with, in bytes per second, to be given more than `timeouts.write` for its answer.
    pub answer_rate_min: usize,
    /// Connections to providers that are kept for the next request, in all.
    pub upstream_connections_kept: usize,
    pub door: Doorway,
    pub overload: Overload,
    pub access: Access,
    pub cut: CutForm,
    /// Whether a running stream ends when what has passed of it has used up a hard budget.
    pub cut_streams: bool,
    /// How often a request may be sent again within ten seconds after its answer has ended badly; `None` for any number.
    pub repeats: Option<u32>,
    pub audit: Audit,
    /// Where events are sent as they are recorded.
    pub webhook: Option<Arc<Webhook>>,
    pub timeouts: Timeouts,
    /// What may be said, in the operator's order.
    pub policies: Arc<[Arc<Policy>]>,
}

/// How much of a request's head is taken, and how many connections.
#[derive(Clone, Copy, Debug)]
pub struct Doorway {
    pub head: HeadLimits,
    /// Clients' connections, in all and from one address (of IPv6: one /64 network).
    pub connections_max: usize,
    pub connections_per_address_max: usize,
}

/// Beyond what new work is refused, so that what was admitted can be served.
#[derive(Clone, Copy, Debug)]
pub struct Overload {
    /// Requests under way.
    pub requests_max: usize,
    /// What the process may keep in memory; a part of what there is if nothing is set.
    pub memory_bytes_max: Option<usize>,
}

/// How callers are told from strangers.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Whether callers may send their own key for the provider, instead of an access key or beside one.
    pub provider_key_passthrough: bool,
    /// Failed authentications from one address in a minute, beyond which it is told to wait. Callers with a
    /// valid key are not concerned.
    pub failures_per_minute: u32,
}

/// How a stream ends that the gateway cuts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CutForm {
    /// With a notice in the text and the dialect's ordinary end, after which no client asks again.
    #[default]
    Notice,
    /// With the dialect's error event.
    Error,
}

/// What is promised of events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Audit {
    pub durability: Durability,
    pub on_failure: OnFailure,
    pub retention: Retention,
}

/// When a request's INPUT event is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Within milliseconds, whatever else happens in them.
    #[default]
    Batched,
    /// On disk before a provider is asked.
    BeforeForward,
}

/// What becomes of a request that cannot be recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is refused.
    #[default]
    Refuse,
    /// It is served, and counted in `journal_dropped_total`.
    Drop,
}

/// How long events are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Events that are all older than this are removed, a segment at a time.
    pub age: Option<Duration>,
    /// The oldest segments are removed rather than let the log become larger.
    pub bytes_max: Option<u64>,
}

/// How long each part of a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a request's whole head to arrive; a new connection has as long to begin.
    pub header: Duration,
    /// For the whole request body to arrive.
    pub body: Duration,
    /// For a connection to the provider to be made, TLS included.
    pub connect: Duration,
    /// How long the provider may be silent before its answer begins.
    pub first_byte: Duration,
    /// How long it may be silent between two pieces of its answer.
    pub idle: Duration,
    /// How long what is sent of an answer may wait for its client, in all.
    pub write: Duration,
    /// How long a client's connection is kept between two requests.
    pub keepalive: Duration,
    /// For running requests to end after SIGTERM.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_bytes_max: 32 * 1024 * 1024,
            upstream_connections_kept: 1024,
            body_rate_min: 32 * 1024,
            answer_rate_min: 1024,
            door: Doorway::default(),
            overload: Overload { requests_max: 20_000, memory_bytes_max: None },
            access: Access::default(),
            cut: CutForm::default(),
            cut_streams: true,
            repeats: Some(20),
            audit: Audit::default(),
            webhook: None,
            timeouts: Timeouts::default(),
            policies: Arc::default(),
        }
    }
}

impl Default for Doorway {
    fn default() -> Self {
        Self {
            head: HeadLimits { bytes: 32 * 1024, fields: 100, target_bytes: 8 * 1024 },
            connections_max: 20_000,
            connections_per_address_max: 20_000,
        }
    }
}

impl CutForm {
    pub const ALL: [Self; 2] = [Self::Notice, Self::Error];

    /// The word for this form in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Error => "error",
        }
    }
}

impl Durability {
    pub const ALL: [Self; 2] = [Self::Batched, Self::BeforeForward];

    /// The word in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::Batched => "batched",
            Self::BeforeForward => "before_forward",
        }
    }
}

impl OnFailure {
    pub const ALL: [Self; 2] = [Self::Refuse, Self::Drop];

    /// The word in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Drop => "drop",
        }
    }
}

impl Default for Access {
    fn default() -> Self {
        Self { provider_key_passthrough: false, failures_per_minute: 30 }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            header: seconds(10),
            body: seconds(60),
            connect: seconds(5),
            first_byte: seconds(120),
            idle: seconds(120),
            write: seconds(60),
            keepalive: seconds(75),
            drain: seconds(30 * 60),
        }
    }
}
