//! Messages, plain and streamed: what an answer says about its use.

use serde::Deserialize;

use crate::domain::{Advisor, ServiceTier, Tokens};
use crate::protocol::json::lenient::{Count, Each, Gather, Length, Object, Present, Text, read};
use crate::protocol::json::skim::{self, pick};
use crate::protocol::meter::{Metered, OpenCalls};

mod ending; // how a cut stream ends

/// Follows a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reader {
    pub(crate) calls: OpenCalls,
    pub(crate) frame: Frame,
    /// The last value of each figure: they are cumulative, and later events repeat only some.
    usage: Usage,
}

/// How far a stream has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    has_begun: bool,
    /// The block that is open; there is one at a time.
    open: Option<(u64, Kind)>,
    /// The next index that is free.
    next: u64,
    /// Text was shown to the user.
    has_text: bool,
    /// The reason to stop was given: only the last word is left to say.
    pub(crate) is_over: bool,
}

/// What a block is, as far as it matters for ending it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    /// A tool is called, by the client or by the provider itself.
    Tool,
    Other,
}

impl Reader {
    pub(crate) fn event(&mut self, data: &[u8], metered: &mut Metered) {
        let mut spare = Vec::new();
        let Ok(event) = read::<Event>(data, &mut spare) else { return };
        let block = OpenCalls::bit(event.index);
        match event.kind.as_str() {
            "message_start" => {
                self.frame.has_begun = true;
                let message = event.message.or_default();
                metered.model(&message.model);
                self.note(message.usage, metered);
            }
            "content_block_start" => {
                let content = event.content_block.or_default();
                self.frame.open(event.index, &content);
                metered.text_weight = metered.text_weight.saturating_add(content.text_weight());
                // Tools that the provider runs itself (`server_tool_use`) make the client do nothing.
                if content.kind.as_str() == "tool_use" {
                    self.calls.open(block);
                }
            }
            "content_block_delta" => {
                let delta = event.delta.or_default();
                self.frame.has_text |= delta.text.0 > 0;
                metered.text_weight = metered.text_weight.saturating_add(delta.text_weight());
            }
            "content_block_stop" => {
                self.calls.close(block);
                self.frame.open = None;
            }
            "message_delta" => {
                let has_output = self.note(event.usage, metered);
                let is_stopped = event.delta.or_default().stop_reason.0;
                self.frame.is_over |= is_stopped;
                metered.is_final |= has_output && is_stopped;
            }
            "message_stop" => {
                self.calls = OpenCalls::default();
                metered.complete();
                metered.is_final = self.usage.is_whole();
            }
            "error" => metered.has_error = true,
            _ => {}
        }
        metered.is_tool_call_open = self.calls.any();
    }

    /// Takes over new figures; says whether those for both sides are known and the output's are new.
    fn note(&mut self, Object(usage): Object<Usage>, metered: &mut Metered) -> bool {
        let usage = usage.unwrap_or_default();
        let has_output = usage.output_tokens.0.is_some();
        self.usage.update(usage);
        self.usage.tell(metered);
        has_output && self.usage.is_whole()
    }
}

impl Frame {
    fn open(&mut self, index: Count, block: &Block) {
        let index = index.0.unwrap_or(self.next);
        let kind = match block.kind.as_str() {
            "text" => Kind::Text,
            kind if kind.ends_with("tool_use") => Kind::Tool,
            _ => Kind::Other,
        };
        self.open = Some((index, kind));
        self.next = self.next.max(index + 1);
        self.has_text |= kind == Kind::Text && block.text.0 > 0;
    }

    pub(crate) fn is_tool_open(&self) -> bool {
        matches!(self.open, Some((_, Kind::Tool)))
    }
}

/// Reads a plain answer. Its text is measured only where figures are missing: that takes longer than all the rest.
pub(crate) fn document(text: &[u8], metered: &mut Metered) {
    let Some([model, usage, error]) = pick(text, ["model", "usage", "error"]) else { return };
    metered.model(&skim::read(model));
    metered.has_error |= skim::read::<Present>(error).0;
    let usage = skim::read::<Object<Usage>>(usage).or_default();
    usage.tell(metered);
    metered.complete();
    metered.is_final = usage.is_whole();
    if !metered.is_final {
        let mut spare = Vec::new();
        let measured = read::<Object<Message>>(text, &mut spare);
        metered.text_weight = measured.map_or(0, |message| message.or_default().content.all.0);
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    #[serde(rename = "type")]
    kind: Text,
    index: Count,
    message: Object<Message>,
    content_block: Object<Block>,
    delta: Object<Block>,
    usage: Object<Usage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    model: Text,
    content: Each<Blocks>,
    usage: Object<Usage>,
    error: Present,
}

/// A block of content, or a change to one, or to the message.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Block {
    #[serde(rename = "type")]
    kind: Text,
    text: Length,
    thinking: Length,
    partial_json: Length,
    /// A tool's arguments; empty at the start of a streamed one.
    input: Length,
    name: Length,
    stop_reason: Present,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Usage {
    /// What was neither read from nor written to the cache.
    input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_read_input_tokens: Count,
    cache_creation: Object<CacheCreation>,
    output_tokens: Count,
    output_tokens_details: Object<OutputDetails>,
    server_tool_use: Object<ServerTools>,
    iterations: Each<Iterations>,
    service_tier: Text,
    speed: Text,
}

/// One of the rounds that an answer took.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Iteration {
    #[serde(rename = "type")]
    kind: Text,
    model: Text,
    input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_read_input_tokens: Count,
    cache_creation: Object<CacheCreation>,
    output_tokens: Count,
}

/// What the rounds used that the figures of the whole leave out: those of messages are in them.
#[derive(Clone, Debug, Default)]
struct Iterations {
    /// Of summaries of the conversation, made by the same model.
    compaction: Tokens,
    /// Of other models, at most [`ADVISORS_MAX`].
    advisors: Vec<Advisor>,
}

/// What more of them use is charged as the last one's.
const ADVISORS_MAX: usize = 8;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ServerTools {
    web_search_requests: Count,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Count,
    ephemeral_1h_input_tokens: Count,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: Count,
}

/// The text in blocks of content, in bytes.
#[derive(Default)]
struct Blocks(u64);

impl Usage {
    fn update(&mut self, later: Self) {
        let keep = |mine: &mut Count, later: Count| *mine = Count(later.0.or(mine.0));
        keep(&mut self.input_tokens, later.input_tokens);
        keep(&mut self.cache_creation_input_tokens, later.cache_creation_input_tokens);
        keep(&mut self.cache_read_input_tokens, later.cache_read_input_tokens);
        keep(&mut self.output_tokens, later.output_tokens);
        self.cache_creation = Object(later.cache_creation.0.or(self.cache_creation.0.take()));
        self.output_tokens_details = Object(later.output_tokens_details.0.or(self.output_tokens_details.0.take()));
        self.server_tool_use = Object(later.server_tool_use.0.or(self.server_tool_use.0.take()));
        if later.iterations.length.is_some() {
            self.iterations = later.iterations;
        }
        self.service_tier = Text(later.service_tier.0.or(self.service_tier.0.take()));
        self.speed = Text(later.speed.0.or(self.speed.0.take()));
    }

    fn tell(&self, metered: &mut Metered) {
        metered.tokens = self.tokens();
        metered.tier = self.tier();
        metered.advisors.clone_from(&self.iterations.all.advisors);
        let tools = self.server_tool_use.0.as_ref();
        metered.web_searches = tools.and_then(|tools| tools.web_search_requests.0).unwrap_or(0);
    }

    fn tier(&self) -> ServiceTier {
        match (self.speed.as_str(), self.service_tier.as_str()) {
            ("fast", _) => ServiceTier::Fast,
            (_, "batch") => ServiceTier::Batch,
            (_, "priority") => ServiceTier::Priority,
            _ => ServiceTier::Standard,
        }
    }

    /// Whether both sides are figures.
    fn is_whole(&self) -> bool {
        self.input_tokens.0.is_some() && self.output_tokens.0.is_some()
    }

    fn tokens(&self) -> Option<Tokens> {
        self.input_tokens.0.or(self.output_tokens.0)?;
        let counts =
            [self.input_tokens, self.cache_creation_input_tokens, self.cache_read_input_tokens, self.output_tokens];
        let details = self.output_tokens_details.0.as_ref();
        let reasoning = details.and_then(|details| details.thinking_tokens.0).unwrap_or(0);
        let tokens = Tokens { reasoning, ..tokens(counts, self.cache_creation.0.as_ref()) };
        Some(tokens.plus(self.iterations.all.compaction))
    }
}

/// Input without what was read from and written to the cache, what was written, what was read, and output.
fn tokens([fresh, wrote, read, output]: [Count; 4], created: Option<&CacheCreation>) -> Tokens {
    let [short, long] = created.map_or([0, 0], |created| {
        [created.ephemeral_5m_input_tokens, created.ephemeral_1h_input_tokens].map(|count| count.0.unwrap_or(0))
    });
    let cache_write = wrote.0.unwrap_or(short + long);
    let cache_read = read.0.unwrap_or(0);
    Tokens {
        input: fresh.0.unwrap_or(0) + cache_write + cache_read,
        cache_read,
        cache_write,
        cache_write_long: long,
        output: output.0.unwrap_or(0),
        ..Tokens::default()
    }
}

impl Gather for Iterations {
    type Item = Object<Iteration>;

    fn add(&mut self, Object(item): Object<Iteration>) {
        let item = item.unwrap_or_default();
        let counts =
            [item.input_tokens, item.cache_creation_input_tokens, item.cache_read_input_tokens, item.output_tokens];
        let used = tokens(counts, item.cache_creation.0.as_ref());
        match item.kind.as_str() {
            "compaction" => self.compaction = self.compaction.plus(used),
            "advisor_message" => self.advise(item.model.as_str(), used),
            _ => {}
        }
    }
}

impl Iterations {
    fn advise(&mut self, model: &str, used: Tokens) {
        let is_full = self.advisors.len() >= ADVISORS_MAX;
        let known = self.advisors.iter_mut().rev().find(|advisor| is_full || *advisor.model == *model);
        match known {
            Some(advisor) => advisor.tokens = advisor.tokens.plus(used),
            None => self.advisors.push(Advisor { model: model.into(), tokens: used }),
        }
    }
}

impl Block {
    fn text_weight(&self) -> u64 {
        let texts = [self.text.0, self.thinking.0, self.partial_json.0, self.input.0, self.name.0];
        texts.into_iter().fold(0, u64::saturating_add)
    }
}

impl Gather for Blocks {
    type Item = Object<Block>;

    fn add(&mut self, Object(block): Object<Block>) {
        self.0 = self.0.saturating_add(block.unwrap_or_default().text_weight());
    }
}
