//! Servers that speak OpenAI's dialect under an address of their own: vLLM, Ollama, OpenRouter, …

use http::HeaderName;

use crate::domain::Secret;
use crate::protocol::Dialect;

use super::openai;

pub(super) const DIALECT: Dialect = openai::DIALECT;

pub(super) fn credential_header(credential: &Secret) -> (HeaderName, Secret) {
    openai::credential_header(credential)
}
