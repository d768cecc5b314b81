//! api.anthropic.com: the credential in `x-api-key`.

use http::HeaderName;

use crate::domain::Secret;
use crate::protocol::Dialect;

pub(super) const DIALECT: Dialect = Dialect::Anthropic;
pub(super) const VENDOR: &str = "anthropic";
pub(super) const BASE_URL: &str = "https://api.anthropic.com";

pub(super) fn credential_header(credential: &Secret) -> (HeaderName, Secret) {
    (HeaderName::from_static("x-api-key"), credential.clone())
}
