//! How a cut stream of chat completions ends.
//!
//! Each choice that is not finished gets the notice and a `finish_reason`. There is no usage chunk, even where
//! the client asked for one: it would pass off an estimate as the provider's figures, and clients live without.

use serde::Serialize;

use crate::protocol::event::{Event, Name};
use crate::protocol::meter::Ending;

use super::Frame;

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [Choice<'a>; 1],
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Delta<'a>>,
    /// In the older completions, in place of the delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    logprobs: (),
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

/// A chunk without effect, whatever it was to be.
#[derive(Serialize)]
struct Filler<'a> {
    #[serde(flatten)]
    chunk: Chunk<'a>,
    usage: (),
    error: (),
}

impl Frame {
    /// Everything was said but the last word.
    pub(crate) fn is_over(&self) -> bool {
        self.begun != 0 && self.begun & !self.finished == 0
    }

    /// The indices of the choices that still run; the first if none has begun.
    fn running(&self) -> impl Iterator<Item = u32> {
        let running = if self.begun == 0 { 1 } else { self.begun & !self.finished };
        (0..64).filter(move |index| running >> index & 1 == 1)
    }

    /// What a torn chunk becomes.
    pub(crate) fn filler(&mut self, ending: &Ending<'_>) -> Event {
        let index = self.running().next().unwrap_or(0);
        let choice = self.choice(index, None, None);
        let event =
            self.chunk(ending, choice, |chunk| Event::new(Name::Default, &Filler { chunk, usage: (), error: () }));
        self.begun |= 1 << index;
        event
    }

    pub(crate) fn end(&self, ending: &Ending<'_>) -> Vec<Event> {
        let mut events = Vec::new();
        for index in self.running() {
            let text = ending.text(self.texts & 1 << index != 0);
            let told = self.choice(index, Some(&text), None);
            let finished = self.choice(index, None, Some("stop"));
            events.extend(
                [told, finished].map(|choice| self.chunk(ending, choice, |chunk| Event::new(Name::Default, &chunk))),
            );
        }
        events.push(Event::done());
        events
    }

    /// The first delta of a choice also says whose it is.
    fn choice<'a>(&self, index: u32, content: Option<&'a str>, finish_reason: Option<&'static str>) -> Choice<'a> {
        let is_first = self.begun >> index & 1 == 0 && finish_reason.is_none();
        let delta = Delta { role: is_first.then_some("assistant"), content: content.or(is_first.then_some("")) };
        let (delta, text) = match self.is_legacy {
            true => (None, Some(content.unwrap_or_default())),
            false => (Some(delta), None),
        };
        Choice { index, delta, text, logprobs: (), finish_reason }
    }

    fn chunk<'a>(
        &'a self,
        ending: &'a Ending<'a>,
        choice: Choice<'a>,
        write: impl FnOnce(Chunk<'_>) -> Event,
    ) -> Event {
        let made_up = ending.id(if self.is_legacy { "cmpl-" } else { "chatcmpl-" });
        write(Chunk {
            id: self.id.as_deref().unwrap_or(&made_up),
            object: if self.is_legacy { "text_completion" } else { "chat.completion.chunk" },
            created: self.created.unwrap_or(ending.notice.unix_seconds),
            model: ending.model,
            choices: [choice],
        })
    }
}
