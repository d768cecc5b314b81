//! How each provider is addressed and authenticated to: a closed enum, one file each.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use http::HeaderName;

use crate::domain::Secret;
use crate::protocol::Dialect;

mod base_url; // where a provider is: scheme, host, port, path prefix
mod anthropic; // api.anthropic.com
mod gemini; // generativelanguage.googleapis.com
mod openai; // api.openai.com
mod openai_compatible; // vLLM, Ollama, OpenRouter and whoever else speaks OpenAI's dialect

pub use base_url::{BaseUrl, BaseUrlError};

/// The kinds of provider the gateway knows how to talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    OpenAi,
    Anthropic,
    Gemini,
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
    pub const ALL: [Self; 4] = [Self::OpenAi, Self::Anthropic, Self::Gemini, Self::OpenAiCompatible];

    /// The word for this kind in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::OpenAiCompatible => "openai_compatible",
        }
    }

    /// The dialect that providers of this kind speak.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::OpenAi => openai::DIALECT,
            Self::Anthropic => anthropic::DIALECT,
            Self::Gemini => gemini::DIALECT,
            Self::OpenAiCompatible => openai_compatible::DIALECT,
        }
    }

    /// Whose models a provider of this kind serves, as the price table names them; `None` if anybody's.
    pub fn vendor(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some(openai::VENDOR),
            Self::Anthropic => Some(anthropic::VENDOR),
            Self::Gemini => Some(gemini::VENDOR),
            Self::OpenAiCompatible => None,
        }
    }

    /// Where the vendor's own servers are; `None` where there is no such place.
    pub fn base_url(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some(openai::BASE_URL),
            Self::Anthropic => Some(anthropic::BASE_URL),
            Self::Gemini => Some(gemini::BASE_URL),
            Self::OpenAiCompatible => None,
        }
    }
}

/// What a provider is asked for, as its target is made from it.
#[derive(Clone, Debug)]
pub struct Aim<'a> {
    /// The path as the caller wrote it, without the provider's name.
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// The model that the path names, a part of it; `None` where the body does.
    pub named: Option<&'a str>,
    /// The model that the provider is asked for.
    pub model: &'a str,
}

impl Provider {
    /// The request target: path and query, under this provider's prefix.
    pub fn target(&self, aim: &Aim<'_>) -> String {
        let path = renamed(aim);
        let path = match self.kind {
            Kind::Gemini => gemini::path(&path),
            Kind::OpenAi | Kind::Anthropic | Kind::OpenAiCompatible => path.into_owned(),
        };
        match aim.query {
            Some(query) => self.base_url.target(&format!("{path}?{query}")),
            None => self.base_url.target(&path),
        }
    }

    /// The header that carries the provider's credential, and its value; `None` if it asks for none.
    pub fn credential_header(&self) -> Option<(HeaderName, Secret)> {
        let credential = self.credential.as_ref()?;
        Some(match self.kind {
            Kind::OpenAi => openai::credential_header(credential),
            Kind::Anthropic => anthropic::credential_header(credential),
            Kind::Gemini => gemini::credential_header(credential),
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
        Provider { name: "p".into(), kind, base_url, credential: None }.target(aim)
    }

    #[test]
    fn a_model_in_the_path_is_renamed_there() {
        let path = "/v1beta/models/fast:generateContent";
        let aim = Aim { path, query: Some("alt=sse"), named: Some("fast"), model: "gemini-3.8 flash" };
        let expected = "/prefix/v1beta/models/gemini-3.8%20flash:generateContent?alt=sse";
        assert_eq!(target(Kind::Gemini, &aim), expected);
        let same = Aim { query: None, model: "fast", ..aim };
        assert_eq!(target(Kind::Gemini, &same), format!("/prefix{path}"));
    }

    #[test]
    fn gemini_s_version_is_added_where_it_was_left_to_the_base_url() {
        let aim = Aim { path: "/models/m:countTokens", query: None, named: Some("m"), model: "m" };
        assert_eq!(target(Kind::Gemini, &aim), "/prefix/v1beta/models/m:countTokens");
    }

    #[test]
    fn other_paths_stay_as_they_are() {
        let aim = Aim { path: "/v1/chat/completions", query: None, named: None, model: "gpt" };
        assert_eq!(target(Kind::OpenAi, &aim), "/prefix/v1/chat/completions");
    }
}
