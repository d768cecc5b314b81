//! Where text stands in a body: in messages, prompts, instructions, arguments and results of tools.
//!
//! One pass over the bytes with a table of member names for all dialects, because clients mix them (Cursor sends
//! Anthropic's tool blocks to chat completions). What the table does not name is no text: structure, ids, media in
//! base64 and members nobody knows. Names are read unescaped, so that no spelling of a name hides a text.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

use super::json::escape::Unescaped;

/// One text: the bytes between the quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub range: Range<usize>,
    pub is: TextKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    Plain,
    /// The text is JSON itself, as the arguments of a tool are.
    Json,
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Request,
    /// An answer, or an event of one.
    Answer,
}

/// What a value means by where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nothing,
    Request,
    Answer,
    /// A text, or parts that have some.
    Content,
    /// Every string in here is text.
    All,
    /// A string that holds JSON; an object counts as [`Place::All`].
    Json,
    /// A document's source: its data is a text if its type says so.
    Source,
    SourceType,
    SourceData,
}

/// An object or array around the present value.
struct Around {
    place: Place,
    is_object: bool,
    /// In an object of [`Place::Source`].
    says_text: bool,
    data: Option<Range<usize>>,
}

/// The texts in `json`, in their order. What is no JSON has none, or those before it breaks.
pub fn texts(json: &[u8], body: Body) -> Vec<Found> {
    let root = match body {
        Body::Request => Place::Request,
        Body::Answer => Place::Answer,
    };
    let mut walk = Walk { json, at: 0, around: Vec::new(), found: Vec::new(), is_sorted: true };
    walk.walk(root);
    if !walk.is_sorted {
        walk.found.sort_by_key(|found| found.range.start);
    }
    walk.found
}

struct Walk<'a> {
    json: &'a [u8],
    at: usize,
    around: Vec<Around>,
    found: Vec<Found>,
    is_sorted: bool,
}

impl Walk<'_> {
    fn walk(&mut self, root: Place) {
        let mut next = root;
        while let Some(&byte) = self.json.get(self.at) {
            self.at += 1;
            match byte {
                b'{' | b'[' => {
                    let place = if next == Place::Json { Place::All } else { next };
                    self.around.push(Around { place, is_object: byte == b'{', says_text: false, data: None });
                    next = if byte == b'[' { place } else { Place::Nothing };
                }
                b'}' | b']' => {
                    self.close();
                    next = self.around.last().map_or(Place::Nothing, |around| around.place);
                }
                b'"' => {
                    let Some(content) = self.string() else { return };
                    let is_name = self.around.last().is_some_and(|around| around.is_object) && self.is_before_colon();
                    if is_name {
                        next = self.member(&content);
                    } else {
                        self.value(content, next);
                    }
                }
                _ => {}
            }
        }
    }

    /// The content of the string whose opening quote was just read.
    fn string(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        loop {
            let end = self.at + memchr2(b'"', b'\\', self.json.get(self.at..)?)?;
            if self.json.get(end) == Some(&b'"') {
                self.at = end + 1;
                return Some(start..end);
            }
            self.at = end + 2;
        }
    }

    /// Whether a colon follows: then what was read is a name. Moves behind it.
    fn is_before_colon(&mut self) -> bool {
        let rest = self.json.get(self.at..).unwrap_or_default();
        let blanks = rest.len() - rest.trim_ascii_start().len();
        let is_colon = rest.get(blanks) == Some(&b':');
        if is_colon {
            self.at += blanks + 1;
        }
        is_colon
    }

    /// What the value of the member with this name means.
    fn member(&self, name: &Range<usize>) -> Place {
        let Some(around) = self.around.last() else { return Place::Nothing };
        if matches!(around.place, Place::Nothing | Place::All) {
            return around.place;
        }
        let name = unescaped(self.json.get(name.clone()).unwrap_or_default());
        around.place.member(&name)
    }

    fn value(&mut self, content: Range<usize>, place: Place) {
        let is = match place {
            Place::Content | Place::All => TextKind::Plain,
            Place::Json => TextKind::Json,
            Place::SourceType => {
                let says_text = unescaped(self.json.get(content).unwrap_or_default()) == "text";
                if let Some(around) = self.around.last_mut() {
                    around.says_text |= says_text;
                }
                return;
            }
            Place::SourceData => {
                if let Some(around) = self.around.last_mut() {
                    around.data = Some(content);
                }
                return;
            }
            Place::Nothing | Place::Request | Place::Answer | Place::Source => return,
        };
        self.found.push(Found { range: content, is });
    }

    fn close(&mut self) {
        let Some(Around { says_text: true, data: Some(range), .. }) = self.around.pop() else { return };
        self.is_sorted = false;
        self.found.push(Found { range, is: TextKind::Plain });
    }
}

impl Place {
    /// What the member `name` of an object at this place means: the one table of names.
    fn member(self, name: &str) -> Self {
        match (self, name) {
            (Self::Request, "messages" | "input" | "prompt" | "instructions" | "suffix" | "system") => Self::Content,
            (Self::Request, "contents" | "content" | "systemInstruction" | "system_instruction") => Self::Content,
            // Gemini's batches, and what it counts.
            (Self::Request, "requests" | "generateContentRequest") => Self::Request,
            (Self::Request, _) => Self::Nothing,
            (Self::Answer, "response") => Self::Answer,
            (
                Self::Answer,
                "choices" | "candidates" | "item" | "part" | "content_block" | "delta" | "message" | "output",
            ) => Self::Content,
            (Self::Source, "type") => Self::SourceType,
            (Self::Source, "data") => Self::SourceData,
            (Self::Content | Self::Answer | Self::Source, name) => content_member(name),
            (place, _) => place,
        }
    }
}

fn content_member(name: &str) -> Place {
    match name {
        "content" | "parts" | "text" | "refusal" | "summary" | "output" | "message" | "delta" => Place::Content,
        "thinking" | "reasoning" | "reasoning_content" | "transcript" | "title" | "context" => Place::Content,
        "tool_calls" | "function" | "custom" | "function_call" | "functionCall" | "function_response" => Place::Content,
        "functionResponse" | "executableCode" | "executable_code" | "codeExecutionResult" => Place::Content,
        "code_execution_result" | "code" | "stdout" | "stderr" | "audio" => Place::Content,
        "arguments" | "partial_json" => Place::Json,
        "input" | "args" | "response" | "variables" | "action" => Place::All,
        "source" => Place::Source,
        _ => Place::Nothing,
    }
}

/// A name as it is meant.
fn unescaped(raw: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(raw).map_or(Cow::Borrowed(""), |raw| Unescaped::of(raw, true).text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str, body: Body) -> Vec<&str> {
        texts(json.as_bytes(), body).into_iter().map(|found| &json[found.range]).collect()
    }

    #[test]
    fn openai_requests() {
        let chat = r#"{"model":"m","messages":[{"role":"system","content":"A"},{"role":"user","name":"x","content":[
            {"type":"text","text":"B"},{"type":"image_url","image_url":{"url":"data:image/png;base64,zz"}}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"i","type":"function",
            "function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"i","content":"C"}],
            "metadata":{"text":"no"},"user":"no","tools":[{"function":{"description":"no"}}]}"#;
        assert_eq!(read(chat, Body::Request), ["A", "B", r#"{\"a\":1}"#, "C"]);
        assert_eq!(texts(chat.as_bytes(), Body::Request)[2].is, TextKind::Json);
        let responses = r#"{"instructions":"A","input":[{"type":"message","role":"user","content":[{"type":"input_text",
            "text":"B"}]},{"type":"function_call_output","call_id":"c","output":"C"},{"type":"reasoning","id":"r",
            "summary":[{"type":"summary_text","text":"D"}],"encrypted_content":"no"}],"text":{"format":{"type":"no"}}}"#;
        assert_eq!(read(responses, Body::Request), ["A", "B", "C", "D"]);
        assert_eq!(read(r#"{"input":["A","B"]}"#, Body::Request), ["A", "B"]);
        assert_eq!(read(r#"{"prompt":"A","suffix":"B"}"#, Body::Request), ["A", "B"]);
    }

    #[test]
    fn anthropic_requests() {
        let messages = r#"{"system":[{"type":"text","text":"A","cache_control":{"type":"ephemeral"}}],"messages":[
            {"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n","input":{"k":{"l":["B"]}}},
            {"type":"thinking","thinking":"C","signature":"no"}]},{"role":"user","content":[{"type":"tool_result",
            "tool_use_id":"t","content":[{"type":"text","text":"D"}]},{"type":"image","source":{"type":"base64",
            "data":"no"}},{"type":"document","source":{"data":"E","type":"text"}}, {"type":"text","text":"F"}]}]}"#;
        assert_eq!(read(messages, Body::Request), ["A", "B", "C", "D", "E", "F"]);
    }

    #[test]
    fn gemini_requests() {
        let contents = r#"{"systemInstruction":{"parts":[{"text":"A"}]},"contents":[{"role":"user","parts":[{"text":"B"},
            {"inlineData":{"mimeType":"x","data":"no"}},{"functionCall":{"name":"f","args":{"x":"C"}}},
            {"functionResponse":{"name":"f","response":{"y":"D"}}}]}]}"#;
        assert_eq!(read(contents, Body::Request), ["A", "B", "C", "D"]);
    }

    #[test]
    fn answers() {
        let chat = r#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"A"}}],"model":"m"}"#;
        assert_eq!(read(chat, Body::Answer), ["A"]);
        let event = r#"{"type":"response.completed","response":{"id":"r","instructions":"no","output":[{"type":"message",
            "content":[{"type":"output_text","text":"A"}]},{"type":"function_call","arguments":"B"}]}}"#;
        assert_eq!(read(event, Body::Answer), ["A", "B"]);
        assert_eq!(
            read(r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"A"}}"#, Body::Answer),
            ["A"]
        );
        assert_eq!(read(r#"{"candidates":[{"content":{"parts":[{"text":"A"}]}}]}"#, Body::Answer), ["A"]);
    }

    #[test]
    fn no_spelling_of_a_name_hides_a_text() {
        assert_eq!(read(r#"{"me\u0073sages":[{"content" : "A"}]}"#, Body::Request), ["A"]);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(json in "[{}\\[\\]:,\"\\\\a-c0 ]{0,60}") {
            for found in texts(json.as_bytes(), Body::Request) {
                prop_assert!(found.range.end <= json.len());
            }
        }
    }
}
