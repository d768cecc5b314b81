//! How a cut stream of responses ends.
//!
//! The notice is a message item of its own, even behind an open one. To close an item takes its whole text,
//! which is not kept; clients (Codex) take what stands in `response.output_item.done` for the truth, so that an
//! item closed with less would erase what was shown. An open item is therefore only named, as incomplete and
//! without its content, in the output of `response.completed`, where OpenAI's own SDK insists on finding it;
//! items that had ended are not repeated. The usage there is the estimate that is booked: some clients (those
//! built on Vercel's AI SDK) do not take an end without figures for one.

use serde::Serialize;

use crate::protocol::event::{Event, Name};
use crate::protocol::meter::Ending;

use super::{Frame, OpenItem};

/// Any event of this dialect.
#[derive(Serialize)]
struct Numbered<T> {
    r#type: &'static str,
    sequence_number: u64,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize)]
struct WithResponse<'a> {
    response: Response<'a>,
}

/// What a torn event becomes: one without effect, whatever it was to be.
#[derive(Serialize)]
struct Filler<'a> {
    response: Response<'a>,
    error: (),
}

#[derive(Serialize)]
struct Response<'a> {
    id: &'a str,
    object: &'static str,
    created_at: u64,
    status: &'static str,
    error: (),
    incomplete_details: (),
    instructions: (),
    metadata: Empty,
    model: &'a str,
    output: &'a [Output<'a>],
    parallel_tool_calls: bool,
    temperature: (),
    tool_choice: &'static str,
    tools: [(); 0],
    top_p: (),
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Usage {
    input_tokens: u64,
    input_tokens_details: InputDetails,
    output_tokens: u64,
    output_tokens_details: OutputDetails,
    total_tokens: u64,
}

#[derive(Serialize)]
struct InputDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Serialize)]
struct OutputDetails {
    reasoning_tokens: u64,
}

#[derive(Serialize)]
struct WithItem<'a> {
    output_index: u64,
    item: Item<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Output<'a> {
    Open(Named<'a>),
    Notice(Item<'a>),
}

/// An item of the provider's that was cut, as far as it is known.
#[derive(Serialize)]
struct Named<'a> {
    id: &'a str,
    r#type: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<[(); 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<[(); 0]>,
}

#[derive(Clone, Copy, Serialize)]
struct Item<'a> {
    id: &'a str,
    r#type: &'static str,
    status: &'static str,
    role: &'static str,
    content: &'a [Part<'a>],
}

#[derive(Serialize)]
struct InPart<'a, T> {
    item_id: &'a str,
    output_index: u64,
    content_index: u64,
    #[serde(flatten)]
    what: T,
}

#[derive(Serialize)]
struct WithPart<'a> {
    part: Part<'a>,
}

#[derive(Clone, Copy, Serialize)]
struct Part<'a> {
    r#type: &'static str,
    annotations: [(); 0],
    logprobs: [(); 0],
    text: &'a str,
}

#[derive(Serialize)]
struct Delta<'a> {
    delta: &'a str,
    logprobs: [(); 0],
}

#[derive(Serialize)]
struct Done<'a> {
    text: &'a str,
    logprobs: [(); 0],
}

impl Frame {
    pub(crate) fn filler(&mut self, ending: &Ending<'_>) -> Event {
        // Some clients insist on this one to come first.
        let kind = if self.has_begun { "response.in_progress" } else { "response.created" };
        self.has_begun = true;
        let id = self.response_id(ending);
        let response = self.response(ending, &id, None);
        self.event(kind, Filler { response, error: () })
    }

    pub(crate) fn end(&mut self, ending: &Ending<'_>) -> Vec<Event> {
        let mut events = Vec::new();
        let id = self.response_id(ending);
        if !std::mem::replace(&mut self.has_begun, true) {
            let response = self.response(ending, &id, None);
            events.push(self.event("response.created", WithResponse { response }));
        }
        let text = ending.text(self.has_text);
        let item_id = &ending.id("msg_");
        let output_index = self.next;
        let (whole, empty) = ([part(&text)], part(""));
        let item = |status, content| Item { id: item_id, r#type: "message", status, role: "assistant", content };
        let (begun, done) = (item("in_progress", &[]), item("completed", &whole));
        events.extend([
            self.event("response.output_item.added", WithItem { output_index, item: begun }),
            self.event("response.content_part.added", in_part(item_id, output_index, WithPart { part: empty })),
            self.event(
                "response.output_text.delta",
                in_part(item_id, output_index, Delta { delta: &text, logprobs: [] }),
            ),
            self.event("response.output_text.done", in_part(item_id, output_index, Done { text: &text, logprobs: [] })),
            self.event("response.content_part.done", in_part(item_id, output_index, WithPart { part: part(&text) })),
            self.event("response.output_item.done", WithItem { output_index, item: done }),
        ]);
        let open = std::mem::take(&mut self.open);
        let output: Vec<_> = open.iter().map(named).map(Output::Open).chain([Output::Notice(done)]).collect();
        let response = self.response(ending, &id, Some(&output));
        events.push(self.event("response.completed", WithResponse { response }));
        events
    }

    fn event(&mut self, kind: &'static str, rest: impl Serialize) -> Event {
        let sequence_number = self.sequence;
        self.sequence += 1;
        Event::new(Name::Is(kind), &Numbered { r#type: kind, sequence_number, rest })
    }

    fn response_id(&self, ending: &Ending<'_>) -> Box<str> {
        self.id.clone().unwrap_or_else(|| ending.id("resp_").into())
    }

    /// The response: with its output when it has ended.
    fn response<'a>(&self, ending: &'a Ending<'a>, id: &'a str, output: Option<&'a [Output<'a>]>) -> Response<'a> {
        let tokens = ending.tokens;
        Response {
            id,
            object: "response",
            created_at: self.created_at.unwrap_or(ending.notice.unix_seconds),
            status: if output.is_some() { "completed" } else { "in_progress" },
            error: (),
            incomplete_details: (),
            instructions: (),
            metadata: Empty {},
            model: ending.model,
            output: output.unwrap_or_default(),
            parallel_tool_calls: true,
            temperature: (),
            tool_choice: "auto",
            tools: [],
            top_p: (),
            usage: output.map(|_| Usage {
                input_tokens: tokens.input,
                input_tokens_details: InputDetails {
                    cached_tokens: tokens.cache_read,
                    cache_write_tokens: tokens.cache_write,
                },
                output_tokens: tokens.output,
                output_tokens_details: OutputDetails { reasoning_tokens: tokens.reasoning },
                total_tokens: tokens.input.saturating_add(tokens.output),
            }),
        }
    }
}

fn in_part<T>(item_id: &str, output_index: u64, what: T) -> InPart<'_, T> {
    InPart { item_id, output_index, content_index: 0, what }
}

fn named(OpenItem { id, kind, .. }: &OpenItem) -> Named<'_> {
    let is_message = &**kind == "message";
    Named {
        id,
        r#type: kind,
        status: "incomplete",
        role: is_message.then_some("assistant"),
        content: is_message.then_some([]),
        summary: (&**kind == "reasoning").then_some([]),
    }
}

fn part(text: &str) -> Part<'_> {
    Part { r#type: "output_text", annotations: [], logprobs: [], text }
}
