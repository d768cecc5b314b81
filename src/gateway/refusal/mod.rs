//! Every reason to say no: the one table of statuses, codes and sentences.
//!
//! A row's code and status are what users may rely on (`docs/REFUSALS.md` is compared with this table). The
//! sentence says what to do next and never repeats a credential.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::catalog::{Denial, Hit, Lapse, Named, Scope, Wait, What};
use crate::domain::{KeyTextError, Verdict};
use crate::protocol::error::ErrorKind;
use crate::providers::Capacity;

use super::heat::COOLS_IN_SECONDS;

mod sentence; // what the caller reads

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

fn not_allowed_code(what: What) -> &'static str {
    match what {
        What::Address => "address_not_allowed",
        What::Endpoint => "endpoint_not_allowed",
        What::Model => "model_not_allowed",
        What::Provider => "provider_not_allowed",
    }
}
