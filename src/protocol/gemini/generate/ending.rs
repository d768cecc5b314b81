//! How a cut stream of generated content ends.
//!
//! Each candidate that is not finished gets one chunk with the notice and the reason `STOP`. The figures are left
//! out: they would pass off an estimate as the provider's, and clients keep those of the chunks before.

use serde::Serialize;

use crate::protocol::event::{Event, Name};
use crate::protocol::meter::Ending;

use super::Frame;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    candidates: [Candidate<'a>; 1],
    model_version: &'a str,
    response_id: &'a str,
}

/// A chunk without effect, of a stream of which nothing else is known.
#[derive(Serialize)]
struct Empty {
    candidates: [Candidate<'static>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<&'static str>,
    index: u32,
}

#[derive(Serialize)]
struct Content<'a> {
    parts: [Part<'a>; 1],
    role: &'static str,
}

#[derive(Serialize)]
struct Part<'a> {
    text: &'a str,
}

/// What a torn chunk becomes where the stream then ends in an error.
pub(crate) fn empty() -> Event {
    let content = Content { parts: [Part { text: "" }], role: "model" };
    Event::new(Name::Never, &Empty { candidates: [Candidate { content, finish_reason: None, index: 0 }] })
}

impl Frame {
    /// The indices of the candidates that still run; the first if none has begun.
    fn running(&self) -> impl Iterator<Item = u32> {
        let running = if self.begun == 0 { 1 } else { self.begun & !self.finished };
        (0..64).filter(move |index| running >> index & 1 == 1)
    }

    /// What a torn chunk becomes.
    pub(crate) fn filler(&mut self, ending: &Ending<'_>) -> Event {
        let index = self.running().next().unwrap_or(0);
        self.begun |= 1 << index;
        self.chunk(ending, index, "", None)
    }

    pub(crate) fn end(&self, ending: &Ending<'_>) -> Vec<Event> {
        let told = |index: u32| ending.text(self.texts & 1 << index != 0);
        self.running().map(|index| self.chunk(ending, index, &told(index), Some("STOP"))).collect()
    }

    fn chunk(&self, ending: &Ending<'_>, index: u32, text: &str, finish_reason: Option<&'static str>) -> Event {
        let content = Content { parts: [Part { text }], role: "model" };
        let made_up = ending.id("");
        let response_id = self.id.as_deref().unwrap_or(&made_up);
        let candidates = [Candidate { content, finish_reason, index }];
        Event::new(Name::Never, &Chunk { candidates, model_version: ending.model, response_id })
    }
}
