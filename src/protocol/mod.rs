//! What travels on the wire, bytes in and facts out.
//!
//! Pure: nothing here does I/O, waits or knows a configuration. Bodies are parsed to be read and never
//! serialised again to be sent; an edit is a splice of byte ranges.

/// The shape in which a client speaks and expects its answers and errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    OpenAi,
    Anthropic,
}

/// What a request asks for, apart from where it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    ChatCompletions,
    Responses,
    Embeddings,
    Messages,
    CountTokens,
    Models,
}

impl Dialect {
    pub fn label(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}

impl Endpoint {
    /// The name in events, permissions and metrics: the path without its version.
    pub fn label(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat/completions",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Messages => "messages",
            Self::CountTokens => "messages/count_tokens",
            Self::Models => "models",
        }
    }
}
