//! Chat completions, plain and streamed: what an answer says about its use.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::protocol::json::lenient::{self, Count, Each, Gather, Length, Object, Present, Text, read};
use crate::protocol::json::range_in;
use crate::protocol::json::skim::{self, pick};
use crate::protocol::meter::{Metered, OpenCalls, Reading};

use super::usage::{self, Usage};

mod alike; // a chunk that differs from the one before in its text alone
mod ending; // how a cut stream ends

use alike::Alike;

/// Follows a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reader {
    pub(crate) calls: OpenCalls,
    pub(crate) frame: Frame,
    alike: Alike,
}

/// What all chunks of a stream have in common, and how far its choices have come, as bits like [`OpenCalls`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    id: Option<Box<str>>,
    created: Option<u64>,
    heads_read: u8,
    begun: u64,
    finished: u64,
    /// Those with text shown to the user.
    texts: u64,
    /// The stream is one of the older completions, whose choices carry their text themselves.
    is_legacy: bool,
}

impl Reader {
    /// Follows a stream of the older completions.
    pub(crate) fn legacy() -> Self {
        Self { frame: Frame { is_legacy: true, ..Frame::default() }, ..Self::default() }
    }

    pub(crate) fn event(&mut self, data: &[u8], metered: &mut Metered) -> Reading {
        if let Some((text_weight, reading)) = self.alike.read(data) {
            self.alike.hit();
            metered.text_weight = metered.text_weight.saturating_add(text_weight);
            return reading;
        }
        self.alike.forget();
        if data.trim_ascii() == b"[DONE]" {
            metered.complete();
            return Reading::Ordinary;
        }
        self.parse(data, metered)
    }

    fn parse(&mut self, data: &[u8], metered: &mut Metered) -> Reading {
        let mut spare = Vec::new();
        let Ok(chunk) = read::<Answer<'_>>(data, &mut spare) else { return Reading::Ordinary };
        let choices = &chunk.choices.all;
        self.calls.open(choices.calling);
        self.calls.close(choices.finished);
        self.frame.note(&chunk.choices.all, data);
        metered.is_tool_call_open = self.calls.any();
        metered.text_weight = metered.text_weight.saturating_add(choices.text_weight);
        let is_alone = chunk.choices.length == Some(0);
        let reading = match chunk.usage {
            Some(usage) if usage.get() == "null" => {
                chunk.note(metered);
                range_in(data, usage.get().as_bytes()).map_or(Reading::Ordinary, Reading::NullUsage)
            }
            Some(_) if is_alone => {
                metered.is_final |= chunk.note(metered);
                Reading::UsageAlone
            }
            _ => {
                chunk.note(metered);
                Reading::Ordinary
            }
        };
        if self.frame.is_known() && chunk.is_text_alone(&reading) {
            self.alike.remember(data, choices.text_weight, &reading);
        }
        reading
    }
}

/// What all chunks repeat. It is read on its own, so that the chunks after it cost nothing more.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    id: Text,
    created: Count,
}

/// In so many chunks an id is looked for: some servers have none in the first (Azure), some none at all.
const HEADS_MAX: u8 = 4;

/// The longest id that is kept.
const ID_BYTES_MAX: usize = 128;

/// Reads a plain answer. Its text is measured only where there are no figures: that takes longer than all the rest.
pub(crate) fn document(text: &[u8], metered: &mut Metered) {
    let Some([model, usage, tier, error]) = pick(text, ["model", "usage", "service_tier", "error"]) else { return };
    if !note(&skim::read(model), skim::read(usage), &skim::read(tier), skim::read(error), metered) {
        let mut spare = Vec::new();
        let measured = read::<Object<Answer<'_>>>(text, &mut spare);
        metered.text_weight = measured.map_or(0, |answer| answer.or_default().choices.all.text_weight);
    }
    metered.complete();
}

/// Takes over what stands beside the choices; says whether there were figures of the use.
fn note(model: &Text, usage: Object<Usage>, tier: &Text, error: Present, metered: &mut Metered) -> bool {
    metered.model(model);
    metered.has_error |= error.0;
    let Object(usage) = usage;
    metered.charged = usage.as_ref().and_then(Usage::charged).or(metered.charged);
    let tokens = usage.and_then(Usage::generated);
    metered.tokens = tokens.or(metered.tokens);
    if tier.0.is_some() {
        metered.tier = usage::tier(tier);
    }
    tokens.is_some()
}

/// A whole answer, or a chunk of one.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer<'a> {
    model: Text,
    choices: Each<Choices>,
    #[serde(borrow, deserialize_with = "lenient::raw")]
    usage: Option<&'a RawValue>,
    service_tier: Text,
    error: Present,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice {
    index: Count,
    delta: Object<Message>,
    message: Object<Message>,
    finish_reason: Present,
    /// Of the older completions.
    text: Length,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    content: Length,
    /// vLLM, DeepSeek.
    reasoning_content: Length,
    /// OpenRouter and others; where both stand, they are the same text.
    reasoning: Length,
    refusal: Length,
    tool_calls: Each<Calls>,
    function_call: Object<Function>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Call {
    function: Object<Function>,
    custom: Object<Function>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Function {
    name: Length,
    arguments: Length,
    input: Length,
}

#[derive(Default)]
struct Choices {
    text_weight: u64,
    /// Choices with a part of a tool call in them, and those that ended; as bits.
    calling: u64,
    finished: u64,
    /// All choices, and those with text for the user.
    begun: u64,
    texts: u64,
}

/// The text in tool calls, in bytes.
#[derive(Default)]
struct Calls(u64);

impl Frame {
    fn note(&mut self, choices: &Choices, data: &[u8]) {
        if !self.is_known() {
            self.heads_read += 1;
            self.read_head(data);
        }
        self.begun |= choices.begun;
        self.finished |= choices.finished;
        self.texts |= choices.texts;
    }

    /// No more is looked for in the chunks to come.
    fn is_known(&self) -> bool {
        self.id.is_some() || self.heads_read >= HEADS_MAX
    }

    fn read_head(&mut self, chunk: &[u8]) {
        let Ok(Head { id: Text(id), created }) = serde_json::from_slice(chunk) else { return };
        self.id = id.filter(|id| (1..=ID_BYTES_MAX).contains(&id.len()));
        self.created = created.0;
    }
}

impl Answer<'_> {
    /// It has a piece of text for the user, and nothing else that a chunk before it had not.
    fn is_text_alone(&self, reading: &Reading) -> bool {
        let Choices { calling, finished, texts, .. } = self.choices.all;
        let has_figures = self.usage.is_some() && !matches!(reading, Reading::NullUsage(_));
        texts != 0 && calling == 0 && finished == 0 && !has_figures && !self.error.0
    }

    fn note(&self, metered: &mut Metered) -> bool {
        let usage = skim::read(self.usage.map(|usage| usage.get().as_bytes()));
        note(&self.model, usage, &self.service_tier, self.error, metered)
    }
}

impl Gather for Choices {
    type Item = Object<Choice>;

    fn add(&mut self, Object(choice): Object<Choice>) {
        let Choice { index, delta, message, finish_reason, text } = choice.unwrap_or_default();
        let bit = OpenCalls::bit(index);
        self.begun |= bit;
        self.text_weight = self.text_weight.saturating_add(text.0);
        self.texts |= if text.0 > 0 { bit } else { 0 };
        for message in [delta, message].into_iter().filter_map(|Object(message)| message) {
            self.text_weight = self.text_weight.saturating_add(message.text_weight());
            self.calling |= if message.has_calls() { bit } else { 0 };
            self.texts |= if message.content.0 > 0 { bit } else { 0 };
        }
        self.finished |= if finish_reason.0 { bit } else { 0 };
    }
}

impl Message {
    fn text_weight(&self) -> u64 {
        let called = self.function_call.0.as_ref().map_or(0, Function::text_weight);
        let reasoning = self.reasoning_content.0.max(self.reasoning.0);
        [self.content.0, reasoning, self.refusal.0, self.tool_calls.all.0, called]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    fn has_calls(&self) -> bool {
        self.tool_calls.length > Some(0) || self.function_call.0.is_some()
    }
}

impl Gather for Calls {
    type Item = Object<Call>;

    fn add(&mut self, Object(call): Object<Call>) {
        let Call { function, custom } = call.unwrap_or_default();
        for called in [function, custom].into_iter().filter_map(|Object(called)| called) {
            self.0 = self.0.saturating_add(called.text_weight());
        }
    }
}

impl Function {
    fn text_weight(&self) -> u64 {
        [self.name.0, self.arguments.0, self.input.0].into_iter().fold(0, u64::saturating_add)
    }
}
