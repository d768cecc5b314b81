//! How each provider is addressed and authenticated to: a closed enum, one file each.

use std::sync::Arc;

use http::HeaderName;

use crate::domain::Secret;
use crate::protocol::Dialect;

mod base_url; // where a provider is: scheme, host, port, path prefix
mod anthropic; // api.anthropic.com
mod openai; // api.openai.com
mod openai_compatible; // vLLM, Ollama, OpenRouter and whoever else speaks OpenAI's dialect

pub use base_url::{BaseUrl, BaseUrlError};

/// The kinds of provider the gateway knows how to talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    OpenAi,
    Anthropic,
    OpenAiCompatible,
}

/// One provider as the operator configured it.
#[derive(Debug)]
pub struct Provider {
    /// The name in routes, events and metrics.
    pub name: Arc<str>,
    pub kind: Kind,
    pub base_url: BaseUrl,
    /// Absent for servers that ask for none, such as a vLLM on the same machine.
    pub credential: Option<Secret>,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::OpenAi, Self::Anthropic, Self::OpenAiCompatible];

    /// The word for this kind in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::OpenAiCompatible => "openai_compatible",
        }
    }

    /// The dialect that providers of this kind speak.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::OpenAi => openai::DIALECT,
            Self::Anthropic => anthropic::DIALECT,
            Self::OpenAiCompatible => openai_compatible::DIALECT,
        }
    }

    /// Whose models a provider of this kind serves, as the price table names them; `None` if anybody's.
    pub fn vendor(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some(openai::VENDOR),
            Self::Anthropic => Some(anthropic::VENDOR),
            Self::OpenAiCompatible => None,
        }
    }
}

impl Provider {
    /// The header that carries the provider's credential, and its value; `None` if it asks for none.
    pub fn credential_header(&self) -> Option<(HeaderName, Secret)> {
        let credential = self.credential.as_ref()?;
        Some(match self.kind {
            Kind::OpenAi => openai::credential_header(credential),
            Kind::Anthropic => anthropic::credential_header(credential),
            Kind::OpenAiCompatible => openai_compatible::credential_header(credential),
        })
    }
}
