//! How a cut stream of messages ends.
//!
//! The notice goes into the open text block, or into one of its own. An open thinking block is closed without
//! its signature. That is what every client has that breaks off an answer by itself: the signature only serves
//! to send the thinking back, and a block without it is one that a client leaves out then. An open block in
//! which the *provider's* tool is called counts as a half-sent call, too.

use serde::Serialize;

use crate::protocol::event::{Event, Name};
use crate::protocol::meter::Ending;

use super::{Frame, Kind};

#[derive(Serialize)]
struct MessageStart<'a> {
    r#type: &'static str,
    message: Message<'a>,
}

#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: [(); 0],
    stop_reason: (),
    stop_sequence: (),
    usage: Usage,
}

#[derive(Serialize)]
struct Usage {
    #[serde(skip_serializing_if = "Option::is_none")]
    input_tokens: Option<u64>,
    output_tokens: u64,
}

#[derive(Serialize)]
struct BlockStart {
    r#type: &'static str,
    index: u64,
    content_block: Text<'static>,
}

#[derive(Serialize)]
struct BlockDelta<'a> {
    r#type: &'static str,
    index: u64,
    delta: Text<'a>,
}

#[derive(Serialize)]
struct Text<'a> {
    r#type: &'static str,
    text: &'a str,
}

#[derive(Serialize)]
struct BlockStop {
    r#type: &'static str,
    index: u64,
}

#[derive(Serialize)]
struct MessageDelta {
    r#type: &'static str,
    delta: Stop,
    usage: Usage,
}

#[derive(Serialize)]
struct Stop {
    stop_reason: &'static str,
    stop_sequence: (),
}

/// An event without effect, whatever it was to be.
#[derive(Serialize)]
struct Filler {
    r#type: &'static str,
    error: (),
}

#[derive(Serialize)]
struct Bare {
    r#type: &'static str,
}

impl Frame {
    /// What a torn event becomes.
    pub(crate) fn filler() -> Event {
        Event::new(Name::Is("ping"), &Filler { r#type: "ping", error: () })
    }

    pub(crate) fn last_word() -> Event {
        Event::new(Name::Is("message_stop"), &Bare { r#type: "message_stop" })
    }

    pub(crate) fn end(&self, ending: &Ending<'_>) -> Vec<Event> {
        let mut events = Vec::new();
        if !self.has_begun {
            events.push(start(ending));
        }
        let index = match self.open {
            Some((index, Kind::Text)) => index,
            open => {
                events.extend(open.map(|(index, _)| block_stop(index)));
                let content_block = Text { r#type: "text", text: "" };
                let block = BlockStart { r#type: "content_block_start", index: self.next, content_block };
                events.push(Event::new(Name::Is("content_block_start"), &block));
                self.next
            }
        };
        let text = ending.text(self.has_text);
        let delta = Text { r#type: "text_delta", text: &text };
        let delta = BlockDelta { r#type: "content_block_delta", index, delta };
        let stop = MessageDelta {
            r#type: "message_delta",
            delta: Stop { stop_reason: "end_turn", stop_sequence: () },
            usage: Usage { input_tokens: None, output_tokens: ending.tokens.output },
        };
        events.extend([
            Event::new(Name::Is("content_block_delta"), &delta),
            block_stop(index),
            Event::new(Name::Is("message_delta"), &stop),
            Self::last_word(),
        ]);
        events
    }
}

fn block_stop(index: u64) -> Event {
    Event::new(Name::Is("content_block_stop"), &BlockStop { r#type: "content_block_stop", index })
}

/// A message that the provider had not begun.
fn start(ending: &Ending<'_>) -> Event {
    let message = Message {
        id: &ending.id("msg_"),
        r#type: "message",
        role: "assistant",
        model: ending.model,
        content: [],
        stop_reason: (),
        stop_sequence: (),
        usage: Usage { input_tokens: Some(ending.tokens.input), output_tokens: 0 },
    };
    Event::new(Name::Is("message_start"), &MessageStart { r#type: "message_start", message })
}
