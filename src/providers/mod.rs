//! How each provider is addressed and authenticated to: a closed enum, one file each.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::domain::Secret;
use crate::protocol::{Dialect, Endpoint};

mod base_url; // where a provider is: scheme, host, port, path prefix
mod anthropic; // api.anthropic.com
mod gemini; // generativelanguage.googleapis.com
mod azure; // *.openai.azure.com
mod openai; // api.openai.com
mod openai_compatible; // vLLM, Ollama, OpenRouter and whoever else speaks OpenAI's dialect

pub use azure::Azure;
pub use base_url::{BaseUrl, BaseUrlError};

/// The kinds of provider the gateway knows how to talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    OpenAi,
    Anthropic,
    Gemini,
    Azure,
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
    /// For the kind `azure` alone.
    pub azure: Azure,
    /// How much it may be asked at once; `None` if that is not limited.
    pub capacity: Option<Capacity>,
}

/// How many requests a provider is asked at once, and how many may wait for that, how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub concurrency: usize,
    pub queue: usize,
    pub queue_time: Duration,
}

impl Capacity {
    pub const UNLIMITED: Self = Self { concurrency: usize::MAX, queue: usize::MAX, queue_time: Duration::MAX };
    /// Requests that may wait, and how long, where nothing else is said.
    pub const QUEUE: usize = 1000;
    pub const QUEUE_TIME: Duration = Duration::from_secs(30);
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::OpenAi, Self::Anthropic, Self::Gemini, Self::Azure, Self::OpenAiCompatible];

    /// The word for this kind in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Azure => "azure",
            Self::OpenAiCompatible => "openai_compatible",
        }
    }

    /// The dialect that providers of this kind speak.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::OpenAi => openai::DIALECT,
            Self::Anthropic => anthropic::DIALECT,
            Self::Gemini => gemini::DIALECT,
            Self::Azure => azure::DIALECT,
            Self::OpenAiCompatible => openai_compatible::DIALECT,
        }
    }

    /// Whose models a provider of this kind serves, as the price table names them; `None` if anybody's.
    pub fn vendor(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some(openai::VENDOR),
            Self::Anthropic => Some(anthropic::VENDOR),
            Self::Gemini => Some(gemini::VENDOR),
            Self::Azure | Self::OpenAiCompatible => None,
        }
    }

    /// Where the vendor's own servers are; `None` where there is no such place.
    pub fn base_url(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some(openai::BASE_URL),
            Self::Anthropic => Some(anthropic::BASE_URL),
            Self::Gemini => Some(gemini::BASE_URL),
            Self::Azure | Self::OpenAiCompatible => None,
        }
    }
}

/// What a provider is asked for, as its target is made from it.
#[derive(Clone, Debug)]
pub struct Aim<'a> {
    pub endpoint: Endpoint,
    /// The path as the caller wrote it, without the provider's name.
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// The model that the path names, a part of it; `None` where the body does.
    pub named: Option<&'a str>,
    /// The model that the provider is asked for, by the provider's own name.
    pub model: &'a str,
}

impl Provider {
    /// The request target: path and query, under this provider's prefix.
    pub fn target(&self, aim: &Aim<'_>) -> String {
        let path = match self.kind {
            Kind::Azure => azure::target(&self.azure, aim),
            Kind::Gemini => azure::with_query(&gemini::path(&renamed(aim)), aim.query),
            // The caller speaks as to Azure, but this is not Azure.
            Kind::OpenAi | Kind::OpenAiCompatible if aim.named.is_some() => {
                let path = format!("/v1/{}", aim.endpoint.label());
                azure::with_query(&path, aim.query.and_then(azure::plain_query).as_deref())
            }
            Kind::OpenAi | Kind::Anthropic | Kind::OpenAiCompatible => azure::with_query(aim.path, aim.query),
        };
        self.base_url.target(&path)
    }

    /// What this provider calls `model`.
    pub fn own_name(&self, model: &Arc<str>) -> Arc<str> {
        self.azure.deployments.get(&**model).unwrap_or(model).clone()
    }

    /// The header that carries the provider's credential, and its value; `None` if it asks for none.
    pub fn credential_header(&self) -> Option<(HeaderName, Secret)> {
        let credential = self.credential.as_ref()?;
        Some(match self.kind {
            Kind::OpenAi => openai::credential_header(credential),
            Kind::Anthropic => anthropic::credential_header(credential),
            Kind::Gemini => gemini::credential_header(credential),
            Kind::Azure => azure::credential_header(credential),
            Kind::OpenAiCompatible => openai_compatible::credential_header(credential),
        })
    }
}

/// The path, naming the model that the provider is asked for.
fn renamed<'a>(aim: &Aim<'a>) -> Cow<'a, str> {
    let Some(named) = aim.named.filter(|named| *named != aim.model) else { return Cow::Borrowed(aim.path) };
    let (start, end) = ("models/", ":");
    let Some((before, after)) = aim.path.split_once(&format!("{start}{named}{end}")) else {
        return Cow::Borrowed(aim.path);
    };
    Cow::Owned(format!("{before}{start}{}{end}{after}", escaped(aim.model)))
}

/// A name as it may stand in a path.
fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@:+/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: Kind, aim: &Aim<'_>) -> String {
        let base_url = BaseUrl::parse("https://host.example/prefix").unwrap();
        let azure = Azure { api_version: None, deployments: [("gpt-4o".to_owned(), "our-gpt".into())].into() };
        Provider { name: "p".into(), kind, base_url, credential: None, azure, capacity: None }.target(aim)
    }

    #[test]
    fn a_model_in_the_path_is_renamed_there() {
        let path = "/v1beta/models/fast:generateContent";
        let aim = Aim {
            endpoint: Endpoint::GenerateContent,
            path,
            query: Some("alt=sse"),
            named: Some("fast"),
            model: "gemini-3.8 flash",
        };
        let expected = "/prefix/v1beta/models/gemini-3.8%20flash:generateContent?alt=sse";
        assert_eq!(target(Kind::Gemini, &aim), expected);
        let same = Aim { query: None, model: "fast", ..aim };
        assert_eq!(target(Kind::Gemini, &same), format!("/prefix{path}"));
    }

    #[test]
    fn gemini_s_version_is_added_where_it_was_left_to_the_base_url() {
        let aim = Aim {
            endpoint: Endpoint::CountContentTokens,
            path: "/models/m:countTokens",
            query: None,
            named: Some("m"),
            model: "m",
        };
        assert_eq!(target(Kind::Gemini, &aim), "/prefix/v1beta/models/m:countTokens");
    }

    #[test]
    fn azure_is_asked_by_deployment_where_it_has_a_version() {
        let newer = Aim {
            endpoint: Endpoint::ChatCompletions,
            path: "/v1/chat/completions",
            query: None,
            named: None,
            model: "d",
        };
        assert_eq!(target(Kind::Azure, &newer), "/prefix/openai/v1/chat/completions");
        let path = "/openai/deployments/d/chat/completions";
        let older = Aim { path, query: Some("api-version=2024-10-21"), named: Some("d"), model: "our gpt", ..newer };
        let expected = "/prefix/openai/deployments/our%20gpt/chat/completions?api-version=2024-10-21";
        assert_eq!(target(Kind::Azure, &older), expected);
        assert_eq!(target(Kind::OpenAi, &older), "/prefix/v1/chat/completions");
        let versioned = Azure { api_version: Some("2025-01-01".into()), ..Azure::default() };
        let of = |aim: &Aim<'_>| azure::target(&versioned, aim);
        assert_eq!(of(&newer), "/openai/deployments/d/chat/completions?api-version=2025-01-01");
        assert_eq!(of(&older), expected.trim_start_matches("/prefix"));
        assert_eq!(of(&Aim { endpoint: Endpoint::Responses, ..newer }), "/openai/responses?api-version=2025-01-01");
    }

    #[test]
    fn other_paths_stay_as_they_are() {
        let aim = Aim {
            endpoint: Endpoint::ChatCompletions,
            path: "/v1/chat/completions",
            query: None,
            named: None,
            model: "gpt",
        };
        assert_eq!(target(Kind::OpenAi, &aim), "/prefix/v1/chat/completions");
    }
}
