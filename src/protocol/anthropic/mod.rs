//! The shapes of Anthropic's dialect: one file a kind of message.

pub(crate) mod messages; // messages, plain and streamed
pub(crate) mod error; // errors, as an answer and inside a stream
pub(crate) mod models; // the list of models
