//! Every reason to say no: the one table of statuses, codes and sentences.
//!
//! A row's code and status are what users may rely on (`docs/REFUSALS.md` is compared with this table). The
//! sentence says what to do next and never repeats a credential.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::catalog::{Denial, Hit, Lapse, Named, Scope, Unit, Wait, What};
use crate::domain::{KeyTextError, NanoUsd, Verdict};
use crate::protocol::error::ErrorKind;
use crate::providers::Capacity;

use super::heat::COOLS_IN_SECONDS;

/// Why a request is not answered by a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    RequestMalformed(String),
    RequestAmbiguous(String),
    ConflictingCredentials,
    KeyMissing,
    KeyMalformed(KeyTextError),
    KeyUnknown,
    Lapsed(Lapse),
    KeyWrongKind(&'static str),
    PassthroughDisabled,
    TooManyFailures,
    NotAllowed(Denial),
    RouteUnknown,
    ModelUnknown(String),
    PriceUnknown,
    MethodNotAllowed {
        allow: &'static str,
    },
    /// `scope` says whose limit it is; nobody's is the gateway's own.
    BodyTooLarge {
        limit: u64,
        scope: Option<Scope>,
    },
    OutputTooLarge {
        wanted: u64,
        limit: u64,
        scope: Scope,
    },
    Limited(Box<Hit>),
    /// It was sent again `limit` times after an answer to it had ended badly.
    Repeated {
        limit: u32,
        seconds: u32,
    },
    /// While the answer was running.
    BudgetExhausted,
    BodyTimeout,
    HeaderTimeout,
    HeadersTooLarge {
        bytes: usize,
        fields: usize,
    },
    TargetTooLong {
        limit: usize,
    },
    MethodUnknown,
    VersionUnsupported,
    /// The gateway does as much as it may; the text completes “the gateway …”.
    Overloaded(&'static str),
    /// The provider is asked as many requests as it may be, and as many wait as may, or this one has waited enough.
    ProviderBusy(Box<Busy>),
    WebsocketUnsupported,
    /// By this policy; the names are those of all that found something.
    PolicyBlocked {
        policy: Arc<str>,
        fired: String,
    },
    AuditUnavailable,
    NoProvider(String),
    UpstreamFailed(&'static str),
    UpstreamTimeout,
}

/// What a busy provider is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    pub provider: Arc<str>,
    pub capacity: Capacity,
    /// Whether the request waited for as long as it may, rather than found the queue full.
    pub waited: bool,
    /// After which it makes sense to try again.
    pub seconds: u32,
}

/// One row of the table.
pub struct Row {
    pub status: StatusCode,
    pub code: &'static str,
    /// The error type of the caller's dialect; clients decide by it whether to try again.
    pub kind: ErrorKind,
    /// Whether the same request may work in a moment. Where not, clients are told so.
    pub retry: bool,
}

impl Refusal {
    /// One refusal for each row of the table, for reference tests and documentation.
    pub fn examples() -> Vec<Self> {
        vec![
            Self::RequestMalformed(String::new()),
            Self::RequestAmbiguous(String::new()),
            Self::ConflictingCredentials,
            Self::KeyMissing,
            Self::KeyMalformed(KeyTextError::Checksum),
            Self::KeyUnknown,
            Self::Lapsed(Lapse::Expired),
            Self::Lapsed(Lapse::Revoked),
            Self::Lapsed(Lapse::Rotated),
            Self::Lapsed(Lapse::TeamSuspended),
            Self::KeyWrongKind("gateway"),
            Self::PassthroughDisabled,
            Self::NotAllowed(Denial { scope: Scope::Key, what: What::Address }),
            Self::NotAllowed(Denial { scope: Scope::Team, what: What::Endpoint }),
            Self::NotAllowed(Denial { scope: Scope::Key, what: What::Model }),
            Self::NotAllowed(Denial { scope: Scope::Organization, what: What::Provider }),
            Self::TooManyFailures,
            Self::RouteUnknown,
            Self::ModelUnknown(String::new()),
            Self::PriceUnknown,
            Self::MethodNotAllowed { allow: "POST" },
            Self::BodyTimeout,
            Self::HeaderTimeout,
            Self::HeadersTooLarge { bytes: 0, fields: 0 },
            Self::TargetTooLong { limit: 0 },
            Self::MethodUnknown,
            Self::VersionUnsupported,
            Self::Overloaded(""),
            Self::BodyTooLarge { limit: 0, scope: None },
            Self::OutputTooLarge { wanted: 2, limit: 1, scope: Scope::Key },
            Self::Limited(Box::new(Hit::example(Named::Requests, Wait::For(Duration::from_secs(1))))),
            Self::Limited(Box::new(Hit::example(Named::Tokens, Wait::For(Duration::from_secs(1))))),
            Self::Limited(Box::new(Hit::example(Named::Concurrency, Wait::Running))),
            Self::Limited(Box::new(Hit::example(Named::Budget, Wait::Window))),
            Self::Limited(Box::new(Hit::example(Named::Budget, Wait::Running))),
            Self::Repeated { limit: 20, seconds: 10 },
            Self::BudgetExhausted,
            Self::WebsocketUnsupported,
            Self::PolicyBlocked { policy: "".into(), fired: String::new() },
            Self::UpstreamFailed("connect"),
            Self::AuditUnavailable,
            Self::NoProvider(String::new()),
            Self::UpstreamTimeout,
        ]
    }

    pub fn row(&self) -> Row {
        use ErrorKind::*;
        let row = |status, code, kind| Row { status, code, kind, retry: false };
        let may_retry = |status, code, kind| Row { status, code, kind, retry: true };
        match self {
            Self::RequestMalformed(_) => row(StatusCode::BAD_REQUEST, "request_malformed", InvalidRequest),
            Self::RequestAmbiguous(_) => row(StatusCode::BAD_REQUEST, "request_ambiguous", InvalidRequest),
            Self::ConflictingCredentials => row(StatusCode::BAD_REQUEST, "conflicting_credentials", InvalidRequest),
            Self::KeyMissing => row(StatusCode::UNAUTHORIZED, "key_missing", Authentication),
            Self::KeyMalformed(_) => row(StatusCode::UNAUTHORIZED, "key_malformed", Authentication),
            Self::KeyUnknown => row(StatusCode::UNAUTHORIZED, "key_unknown", Authentication),
            Self::Lapsed(Lapse::Expired | Lapse::Rotated) => {
                row(StatusCode::UNAUTHORIZED, "key_expired", Authentication)
            }
            Self::Lapsed(Lapse::Revoked) => row(StatusCode::UNAUTHORIZED, "key_revoked", Authentication),
            Self::Lapsed(Lapse::TeamSuspended) => row(StatusCode::FORBIDDEN, "team_suspended", Permission),
            Self::KeyWrongKind(_) => row(StatusCode::UNAUTHORIZED, "key_wrong_kind", Authentication),
            Self::PassthroughDisabled => row(StatusCode::FORBIDDEN, "passthrough_disabled", Permission),
            Self::NotAllowed(Denial { what, .. }) => row(StatusCode::FORBIDDEN, not_allowed_code(*what), Permission),
            Self::TooManyFailures => row(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", RateLimit),
            Self::RouteUnknown => row(StatusCode::NOT_FOUND, "route_unknown", NotFound),
            Self::ModelUnknown(_) => row(StatusCode::NOT_FOUND, "model_unknown", NotFound),
            Self::PriceUnknown => row(StatusCode::FORBIDDEN, "price_unknown", Permission),
            Self::MethodNotAllowed { .. } => row(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", InvalidRequest),
            Self::BodyTimeout => row(StatusCode::REQUEST_TIMEOUT, "body_timeout", InvalidRequest),
            Self::BodyTooLarge { .. } => row(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", InvalidRequest),
            Self::HeaderTimeout => may_retry(StatusCode::REQUEST_TIMEOUT, "header_timeout", InvalidRequest),
            Self::HeadersTooLarge { .. } => {
                row(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", InvalidRequest)
            }
            Self::TargetTooLong { .. } => row(StatusCode::URI_TOO_LONG, "target_too_long", InvalidRequest),
            Self::MethodUnknown => row(StatusCode::NOT_IMPLEMENTED, "method_unknown", InvalidRequest),
            Self::VersionUnsupported => {
                row(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "version_unsupported", InvalidRequest)
            }
            Self::Overloaded(_) | Self::ProviderBusy(_) => {
                may_retry(StatusCode::SERVICE_UNAVAILABLE, "overloaded", Overloaded)
            }
            Self::OutputTooLarge { .. } => row(StatusCode::BAD_REQUEST, "output_too_large", InvalidRequest),
            Self::Limited(hit) => limited_row(hit),
            Self::Repeated { .. } => row(StatusCode::TOO_MANY_REQUESTS, "repeats_limited", RateLimit),
            Self::BudgetExhausted => row(StatusCode::PAYMENT_REQUIRED, "budget_exceeded", Billing),
            Self::WebsocketUnsupported => row(StatusCode::UPGRADE_REQUIRED, "websocket_unsupported", InvalidRequest),
            Self::PolicyBlocked { .. } => row(StatusCode::FORBIDDEN, "policy_blocked", Permission),
            Self::UpstreamFailed(_) => may_retry(StatusCode::BAD_GATEWAY, "upstream_failed", Api),
            Self::AuditUnavailable => may_retry(StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable", Overloaded),
            Self::NoProvider(_) => row(StatusCode::SERVICE_UNAVAILABLE, "no_provider", Overloaded),
            Self::UpstreamTimeout => may_retry(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", Timeout),
        }
    }

    /// The verdict events show.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::UpstreamFailed(_)
            | Self::UpstreamTimeout
            | Self::AuditUnavailable
            | Self::Overloaded(_)
            | Self::ProviderBusy(_)
            | Self::NoProvider(_) => Verdict::Error,
            Self::PolicyBlocked { .. } => Verdict::Block,
            _ => Verdict::Deny,
        }
    }

    /// Seconds after which trying again makes sense, where that is known.
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::AuditUnavailable | Self::Overloaded(_) => Some(1),
            Self::ProviderBusy(busy) => Some(busy.seconds),
            Self::Limited(hit) => match hit.wait {
                Wait::For(wait) => Some(u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)),
                Wait::Running => Some(1),
                Wait::Window | Wait::Never => None,
            },
            Self::Repeated { seconds, .. } => Some(*seconds),
            Self::TooManyFailures => Some(COOLS_IN_SECONDS),
            _ => None,
        }
    }
}

/// What passes by itself may be tried again; what needs a smaller request, or more budget, may not.
fn limited_row(hit: &Hit) -> Row {
    let (status, kind) = match (hit.standing.named, hit.passes()) {
        (Named::Budget, false) => (StatusCode::PAYMENT_REQUIRED, ErrorKind::Billing),
        _ => (StatusCode::TOO_MANY_REQUESTS, ErrorKind::RateLimit),
    };
    Row { status, code: hit.code(), kind, retry: hit.passes() }
}

fn limited(hit: &Hit, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Hit { standing, asked, wait } = hit;
    let amount = |figure| match standing.unit {
        Unit::Money => format!("${}", NanoUsd(figure).dollars()),
        unit => format!("{figure} {}", unit.label()),
    };
    match (standing.named, wait) {
        (Named::Budget, Wait::Never) => write!(
            f,
            "This request may cost up to {}, which is more than {standing} allows at all. Ask for fewer output tokens, or \
             send less.",
            amount(*asked)
        ),
        (Named::Budget, Wait::Window) => {
            let left = amount(standing.remaining);
            write!(f, "Of {standing}, {left} is left, and this request may cost up to {}. ", amount(*asked))?;
            match standing.resets_at {
                Some(at) => write!(f, "It begins anew at {at}; whoever sets it can raise it before."),
                None => f.write_str("Whoever sets it can raise it."),
            }
        }
        (Named::Budget, _) => write!(
            f,
            "What is left of {standing} is held for requests that are running ({}). Try again shortly: what they do not \
             use is given back.",
            amount(standing.reserved)
        ),
        (_, Wait::Never) => write!(
            f,
            "This request alone may use {}, which is more than {standing} allows at once. Ask for fewer output tokens, or \
             send less.",
            amount(*asked)
        ),
        (Named::Concurrency, _) => write!(f, "As many requests are running as {standing} allows. Wait for one to end."),
        (_, Wait::For(time)) => {
            write!(f, "This exceeds {standing}. Try again in {:.1} seconds.", time.as_secs_f64().max(0.1))
        }
        (_, Wait::Window | Wait::Running) => write!(f, "This exceeds {standing}. Try again shortly."),
    }
}

fn not_allowed_code(what: What) -> &'static str {
    match what {
        What::Address => "address_not_allowed",
        What::Endpoint => "endpoint_not_allowed",
        What::Model => "model_not_allowed",
        What::Provider => "provider_not_allowed",
    }
}

fn whose(scope: Scope) -> &'static str {
    match scope {
        Scope::Key => "this key's",
        Scope::Team => "its team's",
        Scope::Organization => "the organization's",
    }
}

/// The sentence the caller reads.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestMalformed(what) => write!(f, "The request cannot be read: {what}."),
            Self::RequestAmbiguous(what) => write!(f, "The request can be read in two ways: {what}."),
            Self::ConflictingCredentials => f.write_str(
                "The request carries two different Keeptrusts keys. Send one access key; if your client has two \
                 settings for a key, set only one of them.",
            ),
            Self::KeyMissing => f.write_str(
                "No access key was sent. Set your client's API key to your Keeptrusts access key (kt_ak_…); it is \
                 read from Authorization: Bearer, x-api-key, api-key or x-goog-api-key.",
            ),
            Self::KeyMalformed(error) => write!(f, "The access key cannot be right: {error}."),
            Self::KeyUnknown => f.write_str(
                "This access key is well-formed but not known here. Check that it was made for this installation, \
                 or ask whoever runs it for a new one.",
            ),
            Self::Lapsed(Lapse::Expired) => {
                f.write_str("This access key has expired. Ask whoever issued it for a new one.")
            }
            Self::Lapsed(Lapse::Rotated) => f.write_str(
                "This access key was rotated, and its old text has ended. Use the new text, or ask whoever rotated it.",
            ),
            Self::Lapsed(Lapse::Revoked) => {
                f.write_str("This access key was revoked. Ask whoever issued it for a new one.")
            }
            Self::Lapsed(Lapse::TeamSuspended) => {
                f.write_str("The team of this access key is suspended. Ask whoever runs this gateway.")
            }
            Self::KeyWrongKind(kind) => {
                write!(f, "This is a {kind} key, which cannot be used for traffic. Use an access key (kt_ak_…).")
            }
            Self::PassthroughDisabled => f.write_str(
                "This looks like a provider's own key, and this gateway does not pass those through. Set your \
                 client's API key to your Keeptrusts access key (kt_ak_…).",
            ),
            Self::NotAllowed(denial @ Denial { what, .. }) => write!(
                f,
                "This access key may not use this {}: {denial} do not name it. GET /keeptrusts/me shows what the key \
                 may use; whoever issued it can change that.",
                what.label()
            ),
            Self::TooManyFailures => write!(
                f,
                "Too many requests without a valid access key came from this address. Check the key, and wait \
                 {COOLS_IN_SECONDS} seconds before trying again; requests with a valid key are not concerned.",
            ),
            Self::RouteUnknown => f.write_str(
                "The gateway has no such path. Check the base URL: OpenAI clients use …/v1, Anthropic clients the \
                 address alone.",
            ),
            Self::ModelUnknown(why) => f.write_str(why),
            Self::PriceUnknown => f.write_str(
                "This gateway passes no requests for models whose price it does not know. Ask for another model, or \
                 ask whoever runs the gateway to give this one a price (`kt prices`).",
            ),
            Self::MethodNotAllowed { allow } => {
                write!(f, "This path exists, but takes only {allow}: check the request's method.")
            }
            Self::BodyTooLarge { limit, scope } => {
                let whose = scope.map_or("this gateway's", whose);
                write!(f, "The request body is larger than {whose} limit of {limit} bytes. Send a smaller one.")
            }
            Self::OutputTooLarge { wanted, limit, scope } => write!(
                f,
                "The request asks for up to {wanted} output tokens, and {} limit is {limit} for a request. Ask for fewer \
                 (max_tokens).",
                whose(*scope)
            ),
            Self::Limited(hit) => limited(hit, f),
            Self::Repeated { limit, seconds } => write!(
                f,
                "This same request was sent more than {limit} times within ten seconds after its answer had been cut or had \
                 broken off. Whatever sends it seems to go on without end: stop it and look at what the last answer said, \
                 or wait {seconds} seconds."
            ),
            Self::BudgetExhausted => f.write_str(
                "A budget ran out while this answer was being written. GET /keeptrusts/me shows which one and when it \
                 begins anew; whoever sets it can raise it.",
            ),
            Self::BodyTimeout => f.write_str("The request body did not arrive in time. Send the request again."),
            Self::HeaderTimeout => f.write_str("The request's head did not arrive in time. Send the request again."),
            Self::HeadersTooLarge { bytes, fields } => write!(
                f,
                "The request's head is larger than this gateway takes ({bytes} bytes, {fields} header fields). Send \
                 fewer or shorter headers."
            ),
            Self::TargetTooLong { limit } => {
                write!(f, "The request's path and query are longer than this gateway takes ({limit} bytes).")
            }
            Self::MethodUnknown => f.write_str("The request's method is none this gateway knows. Check its spelling."),
            Self::VersionUnsupported => {
                f.write_str("This gateway speaks HTTP/1.1, and HTTP/2 over TLS. Send the request in one of them.")
            }
            Self::ProviderBusy(busy) => {
                let Busy { provider, capacity: Capacity { concurrency, queue, queue_time }, waited, seconds } = &**busy;
                write!(f, "The provider {provider} is asked at most {concurrency} requests at once, and ")?;
                match waited {
                    true => write!(f, "this one has waited {} seconds for its turn.", queue_time.as_secs_f64())?,
                    false => write!(f, "{queue} wait already.")?,
                }
                write!(f, " Try again in {seconds} seconds.")
            }
            Self::Overloaded(what) => write!(f, "The gateway {what} at the moment. Try again shortly."),
            Self::WebsocketUnsupported => f.write_str(
                "This gateway takes no WebSocket connections. Send the request as an HTTP POST; clients that try \
                 WebSockets first fall back to it by themselves.",
            ),
            Self::PolicyBlocked { policy, .. } => write!(
                f,
                "The policy {policy} does not let this pass. Take out what it is about and send the rest; whoever runs \
                 this gateway can say what that is.",
            ),
            Self::AuditUnavailable => f.write_str(
                "The gateway cannot record requests at the moment and therefore takes none. Try again shortly.",
            ),
            Self::NoProvider(why) => f.write_str(why),
            Self::UpstreamFailed(_) => {
                f.write_str("The provider could not be reached or broke off its answer. Try again shortly.")
            }
            Self::UpstreamTimeout => f.write_str("The provider did not answer in time. Try again shortly."),
        }
    }
}
