//! generativelanguage.googleapis.com: the credential in `x-goog-api-key`, the model in the path.

use http::HeaderName;

use crate::domain::Secret;
use crate::protocol::Dialect;

pub(super) const DIALECT: Dialect = Dialect::Gemini;
pub(super) const VENDOR: &str = "gemini";
pub(super) const BASE_URL: &str = "https://generativelanguage.googleapis.com";

pub(super) fn credential_header(credential: &Secret) -> (HeaderName, Secret) {
    (HeaderName::from_static("x-goog-api-key"), credential.clone())
}

/// The path with its version, which some clients leave to the base URL.
pub(super) fn path(path: &str) -> String {
    let version = if path.starts_with("/models/") { "/v1beta" } else { "" };
    format!("{version}{path}")
}
