//! The shapes of OpenAI's dialect: one file a kind of message.

pub(crate) mod chat; // chat completions, plain and streamed
pub(crate) mod responses; // responses, plain and streamed
pub(crate) mod embeddings; // embeddings
pub(crate) mod media; // pictures, speech and transcripts
mod usage; // the figures all three report
pub(crate) mod error; // errors, as an answer and inside a stream
pub(crate) mod models; // the list of models
