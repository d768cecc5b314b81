//! Why a request body cannot be understood.

use std::fmt;

use super::MODEL_BYTES_MAX;

/// Why a request body cannot be understood. Nothing here holds any of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskError {
    Empty,
    /// A byte order mark, which JSON on the wire may not have.
    ByteOrderMark,
    /// The first byte that is not UTF-8.
    NotUtf8 {
        offset: usize,
    },
    /// Where JSON ends to be JSON.
    NotJson {
        line: usize,
        column: usize,
    },
    NotAnObject,
    ModelMissing,
    ModelNotText,
    ModelEmpty,
    ModelTooLong,
    ModelHasControls,
    /// The body names another model than the path does.
    ModelsDiffer,
    /// No form that can be read in one way only.
    NotAForm,
    StreamNotBool,
    /// A member that decides something stands there twice; each parser would pick its own.
    Ambiguous {
        member: &'static str,
    },
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the request body is empty; send a JSON object"),
            Self::ByteOrderMark => f.write_str("the request body begins with a byte order mark; send plain UTF-8"),
            Self::NotUtf8 { offset } => write!(f, "the request body is not UTF-8 at byte {offset}"),
            Self::NotJson { line, column } => {
                write!(f, "the request body is not valid JSON at line {line}, column {column}")
            }
            Self::NotAnObject => f.write_str("the request body must be a JSON object"),
            Self::ModelMissing => f.write_str("the request names no \"model\""),
            Self::ModelNotText => f.write_str("\"model\" must be a text"),
            Self::ModelEmpty => f.write_str("\"model\" is empty"),
            Self::ModelTooLong => write!(f, "\"model\" is longer than {MODEL_BYTES_MAX} bytes"),
            Self::ModelHasControls => f.write_str("\"model\" has control characters"),
            Self::ModelsDiffer => f.write_str("the body names another \"model\" than the path"),
            Self::NotAForm => f.write_str("its form has parts that cannot be told apart with certainty"),
            Self::StreamNotBool => f.write_str("\"stream\" must be true or false"),
            Self::Ambiguous { member } => write!(f, "\"{member}\" stands more than once in the request body"),
        }
    }
}

impl std::error::Error for AskError {}
