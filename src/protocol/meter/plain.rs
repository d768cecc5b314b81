//! An answer as one document: its chunks are kept and read when it has ended.

use bytes::Bytes;

use crate::protocol::{Endpoint, anthropic, gemini, openai};

use crate::protocol::json::torn::{Closing, closing, whole_members};

use super::Metered;

/// The largest document that is read; of a larger one there are no figures.
const DOCUMENT_BYTES_MAX: usize = 32 << 20;

/// So many chunks are kept as they are; then they are joined, so that tiny ones cannot cost more than they hold.
const CHUNKS_MAX: usize = 4096;

#[derive(Debug)]
pub(crate) struct Plain {
    document: fn(&[u8], &mut Metered),
    has_text: bool,
    chunks: Vec<Bytes>,
    bytes: usize,
}

impl Plain {
    /// `None` if answers of `endpoint` are not metered.
    pub(crate) fn new(endpoint: Endpoint) -> Option<Self> {
        let document = match endpoint {
            Endpoint::ChatCompletions | Endpoint::Completions => openai::chat::document,
            Endpoint::Responses => openai::responses::document,
            Endpoint::Embeddings => openai::embeddings::document,
            Endpoint::Messages => anthropic::messages::document,
            Endpoint::GenerateContent | Endpoint::StreamGenerateContent => gemini::generate::document,
            Endpoint::EmbedContent | Endpoint::BatchEmbedContents => gemini::embeddings::document,
            Endpoint::ImageGenerations | Endpoint::ImageEdits | Endpoint::ImageVariations => openai::media::pictures,
            Endpoint::Transcriptions | Endpoint::Translations => openai::media::transcript,
            Endpoint::Speech => openai::media::speech,
            Endpoint::CountTokens | Endpoint::CountContentTokens | Endpoint::Moderations | Endpoint::Models => {
                return None;
            }
        };
        let is_embedding =
            matches!(endpoint, Endpoint::Embeddings | Endpoint::EmbedContent | Endpoint::BatchEmbedContents);
        let has_text = !is_embedding && !endpoint.is_media();
        Some(Self { document, has_text, chunks: Vec::new(), bytes: 0 })
    }

    pub(crate) fn take(&mut self, chunk: Bytes, metered: &mut Metered) -> Bytes {
        self.bytes = self.bytes.saturating_add(chunk.len());
        if self.bytes > DOCUMENT_BYTES_MAX {
            self.chunks = Vec::new();
            // Too large to be read: a token for four bytes.
            metered.text_weight = if self.has_text { self.bytes as u64 * 250 } else { 0 };
            return chunk;
        }
        self.chunks.push(chunk.clone());
        if self.chunks.len() == CHUNKS_MAX {
            self.chunks = vec![self.joined()];
        }
        chunk
    }

    pub(crate) fn end(&mut self, metered: &mut Metered) {
        if self.bytes <= DOCUMENT_BYTES_MAX {
            (self.document)(&self.joined(), metered);
        }
        self.chunks = Vec::new();
    }

    /// Reads what has come of a document that broke off. Figures that came whole are the provider's last word: it has only
    /// one. Without them there is the text.
    pub(crate) fn read_torn(&self, metered: &mut Metered) {
        let part = self.joined();
        let mut read = Metered::default();
        if let Some(whole) = whole_members(&part) {
            (self.document)(&[whole, b"}"].concat(), &mut read);
        }
        if read.tokens.is_some() {
            *metered = Metered { is_final: true, complete: false, ..read };
            return;
        }
        let Some(Closing { mut bytes, needs_comma: _ }) = closing(&part).filter(|_| self.has_text) else { return };
        bytes.push(b'}');
        let mut read = Metered::default();
        (self.document)(&[&part, bytes.as_slice()].concat(), &mut read);
        *metered = Metered { is_final: false, complete: false, ..read };
    }

    fn joined(&self) -> Bytes {
        match self.chunks.as_slice() {
            [only] => only.clone(),
            chunks => Bytes::from(chunks.concat()),
        }
    }
}
