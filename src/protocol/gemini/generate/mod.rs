//! Generated content, plain and streamed: what an answer says about its use.
//!
//! A stream has no last word of its own: it is over when every candidate has a reason to have finished, or when
//! the prompt was blocked.

use serde::Deserialize;

use crate::protocol::json::lenient::{Count, Each, Gather, Length, Object, Present, Text, read};
use crate::protocol::meter::{Metered, OpenCalls};

use super::usage::Usage;

mod ending; // how a cut stream ends

pub(crate) use ending::empty;

/// Follows a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reader {
    pub(crate) calls: OpenCalls,
    pub(crate) frame: Frame,
}

/// What all chunks of a stream have in common, and how far its candidates have come, as bits like [`OpenCalls`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    id: Option<Box<str>>,
    begun: u64,
    finished: u64,
    /// Those with text shown to the user.
    texts: u64,
    /// The prompt was refused: there are no candidates.
    is_blocked: bool,
}

/// The longest id that is kept.
const ID_BYTES_MAX: usize = 128;

impl Reader {
    pub(crate) fn event(&mut self, data: &[u8], metered: &mut Metered) {
        let mut spare = Vec::new();
        let Ok(Object(Some(chunk))) = read::<Object<Answer>>(data, &mut spare) else { return };
        let candidates = &chunk.candidates.all;
        self.calls.open(candidates.calling);
        self.calls.close(candidates.called | candidates.finished);
        self.frame.note(&chunk);
        metered.text_weight = metered.text_weight.saturating_add(candidates.text_weight);
        metered.is_tool_call_open = self.calls.any();
        chunk.tell(metered);
        if self.frame.is_over() {
            metered.complete();
        }
    }
}

/// Reads a plain answer.
pub(crate) fn document(text: &[u8], metered: &mut Metered) {
    let mut spare = Vec::new();
    let Ok(Object(Some(answer))) = read::<Object<Answer>>(text, &mut spare) else { return };
    metered.text_weight = answer.candidates.all.text_weight;
    answer.tell(metered);
    metered.complete();
}

/// A whole answer, or a chunk of one.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Answer {
    response_id: Text,
    model_version: Text,
    candidates: Each<Candidates>,
    prompt_feedback: Object<Feedback>,
    usage_metadata: Object<Usage>,
    error: Present,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Feedback {
    block_reason: Present,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Candidate {
    index: Count,
    content: Object<Content>,
    finish_reason: Present,
    grounding_metadata: Object<Grounding>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Content {
    parts: Each<Parts>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Part {
    text: Length,
    /// The text is a thought.
    thought: Present,
    function_call: Object<Call>,
    executable_code: Object<Code>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Call {
    name: Length,
    args: Length,
    /// Arguments that come piece by piece.
    partial_args: Length,
    will_continue: Present,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Code {
    code: Length,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Grounding {
    web_search_queries: Each<Number>,
}

/// Counts what it is given.
#[derive(Default)]
struct Number;

#[derive(Default)]
struct Candidates {
    text_weight: u64,
    /// Those in which a call begins, ends, and those that ended; as bits.
    calling: u64,
    called: u64,
    finished: u64,
    /// All, and those with text for the user.
    begun: u64,
    texts: u64,
    searches: u64,
}

#[derive(Default)]
struct Parts {
    text_weight: u64,
    has_text: bool,
    /// The last call goes on in a later chunk; `None` if there is none.
    goes_on: Option<bool>,
}

impl Frame {
    fn note(&mut self, chunk: &Answer) {
        if self.id.is_none() {
            self.id = chunk.response_id.0.clone().filter(|id| (1..=ID_BYTES_MAX).contains(&id.len()));
        }
        let candidates = &chunk.candidates.all;
        self.begun |= candidates.begun;
        self.finished |= candidates.finished;
        self.texts |= candidates.texts;
        self.is_blocked |= chunk.prompt_feedback.0.as_ref().is_some_and(|feedback| feedback.block_reason.0);
    }

    /// Everything was said.
    pub(crate) fn is_over(&self) -> bool {
        self.is_blocked || self.begun != 0 && self.begun & !self.finished == 0
    }
}

impl Answer {
    /// Takes over what stands beside the candidates' text.
    fn tell(self, metered: &mut Metered) {
        metered.model(&self.model_version);
        metered.has_error |= self.error.0;
        // Later chunks repeat the queries of earlier ones.
        metered.web_searches = metered.web_searches.max(self.candidates.all.searches);
        self.usage_metadata.or_default().tell(metered);
    }
}

impl Gather for Candidates {
    type Item = Object<Candidate>;

    fn add(&mut self, Object(candidate): Object<Candidate>) {
        let Candidate { index, content, finish_reason, grounding_metadata } = candidate.unwrap_or_default();
        let bit = OpenCalls::bit(index);
        let parts = content.or_default().parts.all;
        let if_so = |condition: bool| if condition { bit } else { 0 };
        self.begun |= bit;
        self.text_weight = self.text_weight.saturating_add(parts.text_weight);
        self.calling |= if_so(parts.goes_on == Some(true));
        self.called |= if_so(parts.goes_on == Some(false));
        self.finished |= if_so(finish_reason.0);
        self.texts |= if_so(parts.has_text);
        self.searches += grounding_metadata.or_default().web_search_queries.length.unwrap_or(0);
    }
}

impl Gather for Parts {
    type Item = Object<Part>;

    fn add(&mut self, Object(part): Object<Part>) {
        let Part { text, thought, function_call, executable_code } = part.unwrap_or_default();
        let call = function_call.0.as_ref();
        let called = call.map_or(0, |call| call.name.0.saturating_add(call.args.0).saturating_add(call.partial_args.0));
        let texts = [text.0, called, executable_code.or_default().code.0];
        self.text_weight = texts.into_iter().fold(self.text_weight, u64::saturating_add);
        self.has_text |= text.0 > 0 && !thought.0;
        self.goes_on = call.map(|call| call.will_continue.0).or(self.goes_on);
    }
}

impl Gather for Number {
    type Item = Present;

    fn add(&mut self, _: Present) {}
}
