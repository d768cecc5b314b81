//! What travels on the wire, bytes in and facts out.
//!
//! Pure: nothing here does I/O, waits or knows a configuration. Bodies are parsed to be read and never
//! serialised again to be sent; an edit is a splice of byte ranges.

pub mod framing; // where a request's head and body begin and end, in one way only
pub mod route; // method and path → what is asked, in which dialect
pub mod client; // user-agent → one of a few names
pub mod ask; // the head of a request body: model, stream, limits; and the edits it may get
pub mod texts; // where text stands in a body: messages, prompts, arguments, results
pub mod coding; // a compressed body → what it was made of
pub mod sse; // a stream of bytes → whole events
pub mod elements; // a stream of bytes that is one array → its elements
pub mod meter; // an answer, as it passes → tokens, text seen, whether it ended well
pub mod estimate; // tokens, where the provider did not get to say
pub mod error; // what went wrong, in the caller's dialect; before the answer or inside it
pub mod models; // a list of models, in the caller's dialect
mod event; // events of our own: whole, or made of one that was left torn
mod openai; // the shapes of OpenAI's chat completions, responses, embeddings, errors, models
mod anthropic; // the shapes of Anthropic's messages, errors, models
mod gemini; // the shapes of Gemini's generated content, embeddings, errors, models
#[cfg(test)]
mod whatwg; // an independent reader of event streams, for tests
pub(crate) mod json; // reading figures that may be wrong, splicing, closing what was torn

/// The shape in which a client speaks and expects its answers and errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
}

/// What a request asks for, apart from where it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    ChatCompletions,
    Completions,
    Responses,
    Embeddings,
    Moderations,
    ImageGenerations,
    ImageEdits,
    ImageVariations,
    Speech,
    Transcriptions,
    Translations,
    Messages,
    CountTokens,
    GenerateContent,
    StreamGenerateContent,
    /// Gemini's; Anthropic's is `CountTokens`.
    CountContentTokens,
    EmbedContent,
    BatchEmbedContents,
    Models,
}

impl Dialect {
    pub fn label(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }

    /// The name as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "OpenAI",
            Self::Anthropic => "Anthropic",
            Self::Gemini => "Gemini",
        }
    }
}

impl Endpoint {
    pub const ALL: [Self; 19] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Responses,
        Self::Embeddings,
        Self::Moderations,
        Self::ImageGenerations,
        Self::ImageEdits,
        Self::ImageVariations,
        Self::Speech,
        Self::Transcriptions,
        Self::Translations,
        Self::Messages,
        Self::CountTokens,
        Self::GenerateContent,
        Self::StreamGenerateContent,
        Self::CountContentTokens,
        Self::EmbedContent,
        Self::BatchEmbedContents,
        Self::Models,
    ];

    /// The dialect whose endpoint it is; all have a list of models.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::ChatCompletions
            | Self::Completions
            | Self::Responses
            | Self::Embeddings
            | Self::Moderations
            | Self::ImageGenerations
            | Self::ImageEdits
            | Self::ImageVariations
            | Self::Speech
            | Self::Transcriptions
            | Self::Translations
            | Self::Models => Dialect::OpenAi,
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
            Self::GenerateContent
            | Self::StreamGenerateContent
            | Self::CountContentTokens
            | Self::EmbedContent
            | Self::BatchEmbedContents => Dialect::Gemini,
        }
    }

    /// Pictures and sound, whose use cannot be estimated where the provider does not report it.
    pub fn is_media(self) -> bool {
        matches!(
            self,
            Self::ImageGenerations
                | Self::ImageEdits
                | Self::ImageVariations
                | Self::Speech
                | Self::Transcriptions
                | Self::Translations
        )
    }

    /// Whether a request may come as a form with files in it.
    pub fn takes_forms(self) -> bool {
        matches!(self, Self::ImageEdits | Self::ImageVariations | Self::Transcriptions | Self::Translations)
    }

    /// The model that answers a request which names none.
    pub fn default_model(self) -> Option<&'static str> {
        match self {
            Self::Moderations => Some("omni-moderation-latest"),
            Self::ImageGenerations | Self::ImageEdits => Some("dall-e-2"),
            _ => None,
        }
    }

    /// Whether a request to it costs nothing.
    pub fn is_free(self) -> bool {
        matches!(self, Self::CountTokens | Self::CountContentTokens | Self::Moderations | Self::Models)
    }

    /// The name in events, permissions and metrics: the path without its version, or Gemini's verb.
    pub fn label(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat/completions",
            Self::Completions => "completions",
            Self::Moderations => "moderations",
            Self::ImageGenerations => "images/generations",
            Self::ImageEdits => "images/edits",
            Self::ImageVariations => "images/variations",
            Self::Speech => "audio/speech",
            Self::Transcriptions => "audio/transcriptions",
            Self::Translations => "audio/translations",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Messages => "messages",
            Self::CountTokens => "messages/count_tokens",
            Self::GenerateContent => "generateContent",
            Self::StreamGenerateContent => "streamGenerateContent",
            Self::CountContentTokens => "countTokens",
            Self::EmbedContent => "embedContent",
            Self::BatchEmbedContents => "batchEmbedContents",
            Self::Models => "models",
        }
    }
}
