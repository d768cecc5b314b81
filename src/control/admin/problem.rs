//! Every reason to say no, as RFC 9457 has it.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::office::OfficeError;
use crate::control::store::StoreError;

/// The form of every error that the admin API answers with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemDocument {
    /// `urn:keeptrusts:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for every problem of this code.
    pub title: String,
    pub status: u16,
    /// What was wrong this time, and what to do.
    pub detail: String,
    /// What programs may rely on.
    pub code: String,
}

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into() }
    }

    pub(super) fn route_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "route_unknown", "there is nothing at this path: the admin API is under /v1")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the path exists, but not with this method")
    }

    /// The request is not in the form that HTTP or JSON has.
    pub(super) fn request_malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request_malformed", detail)
    }

    /// The request is well-formed, but asks for something that does not make sense.
    pub(super) fn request_invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "request_invalid", detail)
    }

    pub(super) fn body_too_large(bytes_max: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", format!("a body has at most {bytes_max} bytes"))
    }

    pub(super) fn body_too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "the request's body did not arrive in time")
    }

    pub(super) fn media_type_unsupported() -> Self {
        let detail = "send JSON, with `content-type: application/json`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type_unsupported", detail)
    }

    pub(super) fn token_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "token_unknown", OfficeError::KeyUnknown.to_string())
    }

    pub(super) fn unauthorized(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    pub(super) fn role_insufficient() -> Self {
        let detail = "this admin token has the role viewer, which may only read";
        Self::new(StatusCode::FORBIDDEN, "role_insufficient", detail)
    }

    pub(super) fn team_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "team_unknown", OfficeError::TeamMissing.to_string())
    }

    pub(super) fn upgrade_refused(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "upgrade_refused", detail)
    }

    pub(super) fn host_not_allowed() -> Self {
        let detail = "the Host header names neither this machine's loopback nor the address the admin API listens on";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "host_not_allowed", detail)
    }

    /// The document itself.
    pub(super) fn document(&self) -> ProblemDocument {
        ProblemDocument {
            kind: format!("urn:keeptrusts:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Problem").into(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            code: self.code.into(),
        }
    }
}

impl From<OfficeError> for Problem {
    fn from(error: OfficeError) -> Self {
        let detail = error.to_string();
        let invalid = |code| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail.clone());
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, detail.clone());
        match error {
            OfficeError::Name(_) | OfficeError::NamePrefix(_) => invalid("name_invalid"),
            OfficeError::NameTaken(_) => conflict("name_taken"),
            OfficeError::TeamUnknown => invalid("team_unknown"),
            OfficeError::TeamMissing => Self::team_unknown(),
            OfficeError::TeamInUse(_) => conflict("team_in_use"),
            OfficeError::ExpiryPast => invalid("expiry_past"),
            OfficeError::ExpiryFar => invalid("expiry_far"),
            OfficeError::Overlap => invalid("overlap_invalid"),
            OfficeError::Permissions(_) => invalid("permissions_invalid"),
            OfficeError::Limits(_) => invalid("limits_invalid"),
            OfficeError::TooMany => invalid("tokens_invalid"),
            OfficeError::KeyRevoked => conflict("token_revoked"),
            OfficeError::KeyExpired => conflict("token_expired"),
            OfficeError::RotationConflict => conflict("rotation_conflict"),
            OfficeError::AdminTokenUnknown => Self::new(StatusCode::NOT_FOUND, "admin_token_unknown", detail),
            OfficeError::AdminTokenLast => conflict("admin_token_last"),
            OfficeError::AdminTokensMax => conflict("admin_tokens_max"),
            OfficeError::Configuration(_) => invalid("config_faulty"),
            OfficeError::Reason => invalid("reason_invalid"),
            OfficeError::KeyUnknown => Self::token_unknown(),
            OfficeError::Random(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "random_failed", detail),
            OfficeError::Store(error) => error.into(),
            OfficeError::RevocationNotKept(error) => {
                log::error!("a revocation holds, but could not be kept: {error}");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail)
            }
            OfficeError::Stopping => Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        log::error!("the admin API could not use its store: {error}");
        let detail = match error {
            StoreError::DiskFull => error.to_string(),
            // The particulars name files and are for the operator's log alone.
            _ => "the store failed; the gateway's log says why".into(),
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.document()).unwrap_or_default();
        let headers = [(header::CONTENT_TYPE, "application/problem+json"), (header::CACHE_CONTROL, "no-store")];
        let mut response = (self.status, headers, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static("Bearer realm=\"keeptrusts admin\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
