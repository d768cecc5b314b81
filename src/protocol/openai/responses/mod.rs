//! Responses, plain and streamed: what an answer says about its use.

use serde::Deserialize;

use crate::protocol::json::lenient::{Count, Each, Gather, Length, Object, Present, Text, read};
use crate::protocol::meter::{Metered, OpenCalls};

use super::usage::{self, Usage};

mod ending; // how a cut stream ends

/// The items that make the *client* do something, and must not look whole when they are not.
const CALLS: [&str; 6] =
    ["function_call", "custom_tool_call", "local_shell_call", "shell_call", "apply_patch_call", "computer_call"];

/// Follows a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reader {
    pub(crate) calls: OpenCalls,
    pub(crate) frame: Frame,
}

/// How far a stream has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    id: Option<Box<str>>,
    created_at: Option<u64>,
    has_begun: bool,
    /// Text was shown to the user.
    has_text: bool,
    /// The next number and the next index that are free.
    sequence: u64,
    next: u64,
    /// The items that have begun and not ended, at most [`OPEN_ITEMS_MAX`].
    open: Vec<OpenItem>,
}

#[derive(Clone, Debug)]
struct OpenItem {
    index: u64,
    id: Box<str>,
    kind: Box<str>,
}

/// There is one at a time, as far as known.
const OPEN_ITEMS_MAX: usize = 8;

/// The longest id that is kept.
const ID_BYTES_MAX: usize = 128;

impl Reader {
    pub(crate) fn event(&mut self, data: &[u8], metered: &mut Metered) {
        let mut spare = Vec::new();
        let Ok(event) = read::<Event>(data, &mut spare) else { return };
        let item = OpenCalls::bit(event.output_index);
        self.frame.has_begun = true;
        self.frame.sequence = event.sequence_number.0.map_or(self.frame.sequence, |number| number + 1);
        match event.kind.as_str() {
            "response.completed" | "response.incomplete" | "response.failed" => {
                metered.has_error |= event.kind.as_str() == "response.failed";
                event.response.or_default().note(metered);
                metered.complete();
                self.calls = OpenCalls::default();
            }
            "error" => metered.has_error = true,
            "response.output_item.added" => {
                let added = event.item.or_default();
                self.frame.open(event.output_index, &added);
                if added.is_call() {
                    self.calls.open(item);
                }
            }
            "response.output_item.done" => {
                self.calls.close(item);
                metered.web_searches += u64::from(event.item.or_default().is_search());
                self.frame.close(event.output_index);
            }
            // Sound comes as base64, which is no text.
            kind if kind.ends_with("audio.delta") => {}
            kind if kind.ends_with(".delta") => {
                if !self.frame.has_text {
                    self.frame.has_text = event.delta.0 > 0 && kind == "response.output_text.delta";
                }
                metered.text_weight = metered.text_weight.saturating_add(event.delta.0);
            }
            _ => {
                let response = event.response.or_default();
                self.frame.begin(&response);
                response.note(metered);
            }
        }
        metered.is_tool_call_open = self.calls.any();
    }
}

/// Reads a plain answer.
pub(crate) fn document(text: &[u8], metered: &mut Metered) {
    let mut spare = Vec::new();
    let Ok(Object(Some(response))) = read::<Object<Response>>(text, &mut spare) else { return };
    metered.text_weight = response.output.all.text_weight;
    metered.has_error |= response.error.0;
    response.note(metered);
    metered.complete();
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    #[serde(rename = "type")]
    kind: Text,
    delta: Length,
    sequence_number: Count,
    output_index: Count,
    item: Object<Item>,
    response: Object<Response>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Response {
    id: Text,
    created_at: Count,
    model: Text,
    usage: Object<Usage>,
    service_tier: Text,
    error: Present,
    output: Each<Output>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Item {
    id: Text,
    #[serde(rename = "type")]
    kind: Text,
    name: Length,
    /// Of a function.
    arguments: Length,
    /// Of a custom tool.
    input: Length,
    content: Each<Parts>,
    summary: Each<Parts>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Part {
    text: Length,
    refusal: Length,
}

/// What output items add up to.
#[derive(Default)]
struct Output {
    text_weight: u64,
    searches: u64,
}

/// The text in parts of content, in bytes.
#[derive(Default)]
struct Parts(u64);

impl Frame {
    fn begin(&mut self, response: &Response) {
        if self.id.is_none() {
            self.id = response.id.0.clone().filter(|id| (1..=ID_BYTES_MAX).contains(&id.len()));
            self.created_at = response.created_at.0;
        }
    }

    fn open(&mut self, index: Count, item: &Item) {
        let index = index.0.unwrap_or(self.next);
        self.next = self.next.max(index + 1);
        if let (Text(Some(id)), Text(Some(kind))) = (&item.id, &item.kind)
            && id.len() <= ID_BYTES_MAX
            && self.open.len() < OPEN_ITEMS_MAX
        {
            self.open.push(OpenItem { index, id: id.clone(), kind: kind.clone() });
        }
    }

    fn close(&mut self, index: Count) {
        self.open.retain(|open| Some(open.index) != index.0);
    }
}

impl Response {
    fn note(self, metered: &mut Metered) {
        metered.model(&self.model);
        let charged = self.usage.0.as_ref().and_then(Usage::charged);
        metered.charged = charged.or(metered.charged);
        metered.tokens = self.usage.0.and_then(Usage::generated).or(metered.tokens);
        metered.web_searches = metered.web_searches.max(self.output.all.searches);
        // Before the answer is through, it is the tier that was asked for.
        if self.service_tier.0.is_some() {
            metered.tier = usage::tier(&self.service_tier);
        }
    }
}

impl Item {
    fn is_call(&self) -> bool {
        CALLS.contains(&self.kind.as_str())
    }

    /// The provider searched the web, which it bills apart.
    fn is_search(&self) -> bool {
        self.kind.as_str() == "web_search_call"
    }
}

impl Gather for Output {
    type Item = Object<Item>;

    fn add(&mut self, Object(item): Object<Item>) {
        let item = item.unwrap_or_default();
        self.searches += u64::from(item.is_search());
        let Item { name, arguments, input, content, summary, .. } = item;
        let texts = [name.0, arguments.0, input.0, content.all.0, summary.all.0];
        self.text_weight = texts.into_iter().fold(self.text_weight, u64::saturating_add);
    }
}

impl Gather for Parts {
    type Item = Object<Part>;

    fn add(&mut self, Object(part): Object<Part>) {
        let Part { text, refusal } = part.unwrap_or_default();
        self.0 = self.0.saturating_add(text.0).saturating_add(refusal.0);
    }
}
