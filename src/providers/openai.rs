//! api.openai.com: a bearer credential.

use http::{HeaderName, header};

use crate::domain::Secret;
use crate::protocol::Dialect;

pub(super) const DIALECT: Dialect = Dialect::OpenAi;
pub(super) const VENDOR: &str = "openai";
pub(super) const BASE_URL: &str = "https://api.openai.com";

pub(super) fn credential_header(credential: &Secret) -> (HeaderName, Secret) {
    (header::AUTHORIZATION, Secret::new(format!("Bearer {}", credential.expose())))
}
