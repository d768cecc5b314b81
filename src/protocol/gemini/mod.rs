//! The shapes of Gemini's dialect: one file a kind of message.

pub(crate) mod generate; // generated content, plain and streamed
pub(crate) mod embeddings; // embeddings, one or many
mod usage; // the figures both report
pub(crate) mod error; // errors, as an answer and inside a stream
pub(crate) mod models; // the list of models
