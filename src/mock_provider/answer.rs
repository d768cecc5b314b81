//! An answer as a dialect composes it, before any fault: status, headers, and a body or a stream of events.

use std::sync::Arc;

use super::words::{Pieces, Words};
use crate::domain::Tokens;

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    /// Further header lines, each ended by CRLF.
    pub(super) headers: String,
    pub(super) body: Body,
    /// The usage figures that the body states.
    pub(super) reported: Option<Tokens>,
}

pub(super) enum Body {
    Plain(String),
    Stream(Stream),
}

/// A stream of SSE events: the opening ones, one delta a token, the closing ones. Each event is a whole one, with
/// its empty line; deltas are written only when they are sent.
pub(super) struct Stream {
    pub(super) opening: Vec<String>,
    pub(super) deltas: Deltas,
    pub(super) closing: Vec<String>,
    /// What the dialect sends when it fails midway.
    pub(super) error: String,
}

/// The form that all deltas share: `before`, a sequence number if the dialect has them, `between`, the piece, `after`.
pub(super) struct Deltas {
    pub(super) before: String,
    pub(super) first_number: Option<u32>,
    pub(super) between: String,
    pub(super) after: String,
    pub(super) words: Arc<Words>,
    pub(super) pieces: Pieces,
    pub(super) count: u32,
}

/// Why a dialect says no. Each writes it in its own shape.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: String,
    /// OpenAI's `code` and `param`; the other dialects have none.
    pub(super) code: Option<&'static str>,
    pub(super) param: Option<&'static str>,
}

pub(super) const JSON: &str = "application/json";
pub(super) const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";

impl Answer {
    pub(super) fn json(body: String) -> Self {
        Self { status: 200, content_type: JSON, headers: String::new(), body: Body::Plain(body), reported: None }
    }

    pub(super) fn stream(stream: Stream) -> Self {
        let body = Body::Stream(stream);
        Self { status: 200, content_type: EVENT_STREAM, headers: String::new(), body, reported: None }
    }

    pub(super) fn reporting(self, tokens: Tokens) -> Self {
        Self { reported: Some(tokens), ..self }
    }

    /// The page of a load balancer that stands before the provider.
    pub(super) fn html(status: u16) -> Self {
        let title = reason(status);
        let page = format!(
            "<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n\
             <center><h1>{status} {title}</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
        );
        let body = Body::Plain(page);
        Self { status, content_type: "text/html", headers: String::new(), body, reported: None }
    }
}

impl Stream {
    pub(super) fn len(&self) -> u32 {
        (self.opening.len() + self.closing.len()) as u32 + self.deltas.count
    }

    /// Appends event `index`; nothing if there is no such event.
    pub(super) fn push(&self, index: u32, out: &mut String) {
        let at = index as usize;
        if let Some(event) = self.opening.get(at) {
            return out.push_str(event);
        }
        let at = at - self.opening.len();
        let deltas = self.deltas.count as usize;
        if at < deltas {
            return self.deltas.push(at as u32, out);
        }
        out.push_str(self.closing.get(at - deltas).map_or("", |event| event));
    }
}

impl Deltas {
    fn push(&self, index: u32, out: &mut String) {
        out.push_str(&self.before);
        if let Some(first) = self.first_number {
            out.push_str(&(first + index).to_string());
        }
        out.push_str(&self.between);
        self.words.push(self.pieces, index, self.count, out);
        out.push_str(&self.after);
    }
}

impl Refusal {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), code: None, param: None }
    }
}

/// The reason phrase of a status line.
pub(super) fn reason(status: u16) -> &'static str {
    let known = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    known.unwrap_or(if status == 529 { "Overloaded" } else { "Unknown" })
}
