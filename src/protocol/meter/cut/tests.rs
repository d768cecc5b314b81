use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::protocol::error::{ErrorKind, Torn};
use crate::protocol::meter::tests::vectors;
use crate::protocol::meter::{AnswerForm, Meter};
use crate::protocol::whatwg::{Message, parsed};

use super::*;

const NOTICE: Notice<'static> = Notice {
    facts: ErrorFacts {
        kind: ErrorKind::Authentication,
        status: 401,
        code: "key_revoked",
        message: "This access key was revoked. Ask whoever issued it for a new one.",
        request_id: "0197",
    },
    model: "asked",
    request: b"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}",
    unix_seconds: 1_764_000_000,
};
const MANNERS: [Manner; 2] = [Manner::Notice, Manner::Error];
const TEXT: &str = "[keeptrusts: key_revoked: This access key was revoked. Ask whoever issued it for a new one.]";

/// What the recorded answers lack.
const MORE: [(Endpoint, &str); 6] = [
    (Endpoint::ChatCompletions, TWO_CHOICES),
    (
        Endpoint::ChatCompletions,
        ": caf\u{e9} \u{1f600}\nevent: x\u{e9}\nid: 1\ndata\r\n\r\nretry: 5\ndata:\ndata: {\"id\":\"c\"}\n\n",
    ),
    (Endpoint::ChatCompletions, "data: {\"error\":{\"message\":\"x\"}}\n\ndata: {\"a\":1}\n\n"),
    (Endpoint::Messages, SERVER_TOOL),
    (Endpoint::Responses, REASONING),
    (Endpoint::Responses, "data: {\"type\":\"response.output_text.delta\",\"output_index\":0,\n\ndata: hello\n\n"),
];

const TWO_CHOICES: &str = r#"data: {"id":"c","created":7,"model":"m","choices":[{"index":1,"delta":{"role":"assistant","content":"é"},"finish_reason":null}]}

data: {"id":"c","created":7,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null},{"index":1,"delta":{"content":"y"},"finish_reason":"length"}]}

data: {"id":"c","created":7,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"a","arguments":"{"}},{"index":1,"function":{"name":"b","arguments":"{"}}]}}]}

data: {"id":"c","created":7,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: {"id":"c","created":7,"model":"m","choices":[],"usage":{"prompt_tokens":123,"completion_tokens":4}}

data: [DONE]

"#;

const SERVER_TOOL: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"m","model":"c","usage":{"input_tokens":1,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"q\""}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"thinking_delta","thinking":"hm"}}

"#;

const REASONING: &str = r#"event: response.created
data: {"type":"response.created","response":{"id":"r","created_at":3,"model":"m","output":[]},"sequence_number":0}

event: response.output_item.added
data: {"type":"response.output_item.added","output_index":0,"item":{"id":"rs","type":"reasoning","summary":[]},"sequence_number":1}

event: response.reasoning_summary_text.delta
data: {"type":"response.reasoning_summary_text.delta","item_id":"rs","output_index":0,"summary_index":0,"delta":"hm","sequence_number":2}

"#;

/// A client that adds up what it is told, and checks that each event fits those before it.
#[derive(Default)]
struct Client {
    text: String,
    /// Calls that the client would make but has not got whole.
    open_calls: usize,
    has_begun: bool,
    is_over: bool,
    has_error: bool,
    finish_reasons: BTreeMap<u64, Value>,
    ids: Vec<Value>,
    open_block: Option<u64>,
    blocks: u64,
    /// The types of all items, by index, and the ids of those that are open.
    kinds: BTreeMap<u64, String>,
    items: BTreeMap<u64, Value>,
    last_number: Option<u64>,
    completed: Value,
}

impl Client {
    fn take(&mut self, endpoint: Endpoint, message: &Message, is_ours: bool) {
        if message.data == "[DONE]" {
            self.is_over = true;
            return;
        }
        let Ok(data) = serde_json::from_str::<Value>(&message.data) else {
            assert!(!is_ours, "{}", message.data);
            return;
        };
        if is_ours {
            let is_named = !matches!(endpoint, Endpoint::ChatCompletions | Endpoint::StreamGenerateContent);
            let name = if is_named { data["type"].as_str().unwrap() } else { "message" };
            assert_eq!(message.name, name);
        }
        if !data["error"].is_null() || data["type"] == "error" {
            self.has_error = true;
            return;
        }
        match endpoint {
            Endpoint::ChatCompletions => self.chunk(&data),
            Endpoint::Messages => self.message(&data),
            Endpoint::StreamGenerateContent => self.content(&data),
            _ => self.response(&data, is_ours),
        }
    }

    fn chunk(&mut self, chunk: &Value) {
        // Azure's chunk with what its filters say of the prompt has an empty one.
        self.ids.extend([&chunk["id"]].into_iter().filter(|id| id.is_string() && **id != "").cloned());
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let index = choice["index"].as_u64().unwrap_or(0);
            let delta = &choice["delta"];
            self.text += delta["content"].as_str().unwrap_or_default();
            let finished = self.finish_reasons.entry(index).or_default();
            let was_finished = !finished.is_null();
            if !choice["finish_reason"].is_null() {
                *finished = choice["finish_reason"].clone();
                self.open_calls &= !(1 << index);
            } else if delta["tool_calls"].is_array() && !was_finished {
                self.open_calls |= 1 << index;
            }
        }
    }

    fn content(&mut self, chunk: &Value) {
        self.is_over |= chunk["promptFeedback"]["blockReason"].is_string();
        for candidate in chunk["candidates"].as_array().into_iter().flatten() {
            for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
                self.text += part["text"].as_str().filter(|_| part["thought"] != true).unwrap_or_default();
                if let Some(call) = part["functionCall"].as_object() {
                    self.open_calls = usize::from(call.get("willContinue") == Some(&json!(true)));
                }
            }
            let finished = self.finish_reasons.entry(candidate["index"].as_u64().unwrap_or(0)).or_default();
            if !candidate["finishReason"].is_null() {
                *finished = candidate["finishReason"].clone();
            }
        }
    }

    fn message(&mut self, data: &Value) {
        match data["type"].as_str().unwrap() {
            "message_start" => assert!(!std::mem::replace(&mut self.has_begun, true)),
            "content_block_start" => {
                assert_eq!((self.open_block, &data["index"]), (None, &json!(self.blocks)));
                self.open_block = Some(self.blocks);
                self.blocks += 1;
                self.open_calls = usize::from(data["content_block"]["type"].as_str().unwrap().ends_with("tool_use"));
            }
            "content_block_delta" => {
                assert_eq!(data["index"].as_u64(), self.open_block);
                self.text += data["delta"]["text"].as_str().unwrap_or_default();
            }
            "content_block_stop" => {
                assert_eq!(data["index"].as_u64(), self.open_block.take());
                self.open_calls = 0;
            }
            "message_delta" => {
                assert_eq!((self.has_begun, self.open_block), (true, None));
                self.finish_reasons.insert(0, data["delta"]["stop_reason"].clone());
                assert!(data["usage"]["output_tokens"].is_u64());
            }
            "message_stop" => self.is_over = true,
            "ping" => {}
            other => panic!("{other}"),
        }
    }

    fn response(&mut self, data: &Value, is_ours: bool) {
        let kind = data["type"].as_str().unwrap_or_default();
        if is_ours {
            let number = data["sequence_number"].as_u64();
            assert_eq!(number, Some(self.last_number.map_or(0, |last| last + 1)), "{data}");
            assert_eq!(self.has_begun, kind != "response.created");
        }
        self.last_number = data["sequence_number"].as_u64().max(self.last_number);
        self.has_begun |= kind.starts_with("response.");
        let index = data["output_index"].as_u64();
        match kind {
            "response.output_item.added" => {
                let kind = data["item"]["type"].as_str().unwrap();
                self.kinds.insert(index.unwrap(), kind.into());
                self.items.insert(index.unwrap(), data["item"]["id"].clone());
                assert!(!is_ours || index == Some(self.kinds.len() as u64 - 1));
                self.open_calls += usize::from(kind == "function_call");
            }
            "response.output_text.delta" => {
                assert!(!is_ours || self.kinds[&index.unwrap()] == "message");
                self.text += data["delta"].as_str().unwrap();
            }
            "response.output_item.done" => {
                self.items.remove(&index.unwrap());
                self.open_calls -= usize::from(data["item"]["type"] == "function_call");
                if is_ours {
                    assert!(self.text.ends_with(data["item"]["content"][0]["text"].as_str().unwrap()));
                }
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                self.is_over = true;
                self.completed = data["response"].clone();
            }
            _ => {}
        }
    }

    /// The answer is whole for this client, whether or not its last word has come.
    fn has_all(&self) -> bool {
        let is_finished = |reason: &Value| !reason.is_null();
        self.is_over
            || self.has_error
            || !self.finish_reasons.is_empty() && self.finish_reasons.values().all(is_finished)
    }
}

/// What a client has after the first `at` bytes of `stream`, and the cut that follows.
fn cut_at(endpoint: Endpoint, stream: &[u8], at: usize, hides_usage: bool) -> (Vec<u8>, [Cut; 2]) {
    let mut meter = Meter::new(endpoint, AnswerForm::Stream, hides_usage);
    let forwarded = meter.take(Bytes::copy_from_slice(&stream[..at])).to_vec();
    (forwarded, MANNERS.map(|manner| meter.cut(manner, &NOTICE)))
}

fn check(endpoint: Endpoint, forwarded: &[u8], cut: &Cut, manner: Manner) {
    let sent = [forwarded, &cut.bytes].concat();
    assert!(cut.bytes.is_empty() || std::str::from_utf8(&sent).is_ok());
    let theirs = parsed(forwarded);
    let all = parsed(&sent);
    assert_eq!(all[..theirs.len()], theirs);
    let mut client = Client::default();
    theirs.iter().for_each(|message| client.take(endpoint, message, false));
    let mut rest = &all[theirs.len()..];
    // An event that was whole but for its end, and becomes so now, is the provider's still.
    let torn = String::from_utf8_lossy(&forwarded[forwarded.len() - torn_bytes(forwarded)..]).into_owned();
    if cut.bytes.starts_with(b"\n\n") && !rest.is_empty() {
        client.take(endpoint, &rest[0], false);
        rest = &rest[1..];
    }
    let (text_before, had_all, open_calls) = (client.text.clone(), client.has_all(), client.open_calls);
    rest.iter().for_each(|message| client.take(endpoint, message, true));
    let told = &client.text[text_before.len()..];
    match cut.told {
        Told::Notice => {
            let runs = client.finish_reasons.len().max(1);
            let expected = if text_before.is_empty() { TEXT.to_owned() } else { format!("\n\n{TEXT}") };
            assert!(!told.is_empty() && told.replace(TEXT, "").trim().is_empty(), "{told}");
            assert!(runs > 1 || told == expected, "{told}");
            // Gemini has no last word of its own.
            let is_over = client.is_over || endpoint == Endpoint::StreamGenerateContent;
            assert!(is_over && !client.has_error && !had_all && open_calls == 0);
            assert_eq!(manner, Manner::Notice);
            match endpoint {
                Endpoint::ChatCompletions => {
                    assert_eq!(rest.last().unwrap().data, "[DONE]");
                    assert!(client.finish_reasons.values().all(|reason| !reason.is_null()));
                    assert_eq!(client.ids.iter().filter(|id| **id != client.ids[0]).count(), 0, "{:?}", client.ids);
                }
                Endpoint::StreamGenerateContent => {
                    assert!(client.finish_reasons.values().all(|reason| !reason.is_null()));
                    let last: Value = serde_json::from_str(&rest.last().unwrap().data).unwrap();
                    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
                }
                Endpoint::Messages => {
                    assert_eq!(rest.last().unwrap().data, r#"{"type":"message_stop"}"#);
                    assert_eq!(client.finish_reasons[&0], "end_turn");
                }
                _ => {
                    assert_eq!(client.completed["status"], "completed");
                    let output = client.completed["output"].as_array().unwrap();
                    assert_eq!(output.last().unwrap()["content"][0]["text"], expected);
                    let named: Vec<_> = output.iter().map(|item| item["id"].clone()).collect();
                    assert!(client.items.values().all(|id| named.contains(id)), "{named:?}");
                    assert!(client.completed["usage"]["total_tokens"].is_u64());
                }
            }
        }
        Told::Error => {
            assert_eq!(told, "");
            let last: Value = serde_json::from_str(&rest.last().unwrap().data).unwrap();
            assert_eq!(last["error"]["message"], NOTICE.facts.message);
            let is_strange = || Half::of(Torn::Part(torn.as_bytes())) == Half::Strange;
            let has_reason = open_calls > 0
                || torn.contains("tool_")
                || torn.contains("function_call")
                || torn.contains("functionCall")
                || torn.contains("\"error\"")
                || is_strange();
            assert!(manner == Manner::Error || has_reason, "{torn}");
        }
        Told::Nothing => {
            assert!(told.is_empty());
            assert!(had_all || torn.contains('['), "{torn}");
            assert!(client.is_over || client.has_error || endpoint == Endpoint::StreamGenerateContent);
        }
    }
}

fn torn_bytes(forwarded: &[u8]) -> usize {
    let mut splitter = crate::protocol::sse::Splitter::default();
    splitter.feed(forwarded, |_| {});
    splitter.tail().len()
}

#[test]
fn a_stream_cut_anywhere_tells_why_and_ends_as_any_other() {
    let told_apart =
        [Endpoint::ChatCompletions, Endpoint::Messages, Endpoint::Responses, Endpoint::StreamGenerateContent];
    let recorded = vectors().into_iter().filter(|vector| vector.form == AnswerForm::Stream);
    let recorded = recorded
        .filter(|vector| told_apart.contains(&vector.endpoint))
        .map(|vector| (vector.name, vector.endpoint, vector.bytes, vector.hidden.is_some()));
    let more = MORE.iter().flat_map(|(endpoint, text)| {
        let with_cr = text.replace("\r\n", "\n").replace('\n', "\r");
        [(*text).to_owned(), with_cr].map(|text| (format!("{endpoint:?}"), *endpoint, text.into_bytes(), true))
    });
    let mut told = BTreeMap::new();
    for (name, endpoint, stream, hides) in recorded.chain(more) {
        for hides_usage in [false, true].into_iter().take(1 + usize::from(hides)) {
            for at in 0..=stream.len() {
                let (shown, cuts) = cut_at(endpoint, &stream, at, hides_usage);
                for (cut, manner) in cuts.iter().zip(MANNERS) {
                    std::panic::catch_unwind(|| check(endpoint, &shown, cut, manner)).unwrap_or_else(|_| {
                        let [shown, cut] = [&shown, &cut.bytes].map(|bytes| String::from_utf8_lossy(bytes));
                        panic!("{name} {manner:?} {hides_usage} at {at}: {shown}\n----\n{cut}")
                    });
                    *told.entry(format!("{:?}", cut.told)).or_insert(0) += 1;
                }
            }
        }
    }
    assert!(told.values().all(|times| *times > 1000) && told.len() == 3, "{told:?}");
}

#[test]
fn an_array_cut_anywhere_is_one_and_tells_why() {
    let mut told = BTreeMap::new();
    for vector in vectors().into_iter().filter(|vector| vector.form == AnswerForm::Array) {
        for at in 0..=vector.bytes.len() {
            let mut meter = Meter::new(vector.endpoint, AnswerForm::Array, false);
            let shown = meter.take(Bytes::copy_from_slice(&vector.bytes[..at])).to_vec();
            for manner in MANNERS {
                let cut = meter.cut(manner, &NOTICE);
                let sent = [shown.as_slice(), &cut.bytes].concat();
                let text = String::from_utf8_lossy(&sent).into_owned();
                let all: Vec<Value> =
                    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{} at {at}: {e}: {text}", vector.name));
                let mut client = Client::default();
                all.iter().filter(|chunk| chunk["error"].is_null()).for_each(|chunk| client.content(chunk));
                let errors = all.iter().filter(|chunk| chunk["error"]["message"] == NOTICE.facts.message).count();
                let notices = client.text.matches(TEXT).count();
                match cut.told {
                    Told::Notice => {
                        assert_eq!(
                            (notices, errors, &client.finish_reasons[&0]),
                            (1, 0, &json!("STOP")),
                            "at {at}: {text}"
                        );
                    }
                    Told::Error => assert_eq!((notices, errors), (0, 1), "at {at}: {text}"),
                    Told::Nothing => assert!(
                        notices + errors == 0 && (client.has_all() || text.contains("error")),
                        "at {at}: {text}"
                    ),
                }
                *told.entry(format!("{:?}", cut.told)).or_insert(0) += 1;
            }
        }
    }
    assert!(told.values().all(|times| *times > 10) && told.len() == 3, "{told:?}");
}

#[test]
fn an_event_too_large_to_be_remembered_ends_in_an_error() {
    let mut meter = Meter::new(Endpoint::Messages, AnswerForm::Stream, false);
    meter.take(Bytes::from(vec![b'x'; crate::protocol::sse::EVENT_BYTES_MAX + 1]));
    assert_eq!(meter.cut(Manner::Notice, &NOTICE).told, Told::Error);
}

#[test]
fn only_a_stream_can_be_told() {
    let meter = Meter::new(Endpoint::Messages, AnswerForm::Plain, false);
    assert_eq!(meter.cut(Manner::Notice, &NOTICE), Cut { bytes: Vec::new(), told: Told::Nothing });
}

#[test]
fn an_id_that_is_too_long_is_replaced() {
    let stream = |id: usize| format!("data: {{\"id\":\"{}\",\"choices\":[]}}\n\n", "i".repeat(id));
    let id = |length| {
        let stream = stream(length);
        let (_, [cut, _]) = cut_at(Endpoint::ChatCompletions, stream.as_bytes(), stream.len(), false);
        let chunk: Value = serde_json::from_str(&parsed(&cut.bytes)[0].data).unwrap();
        chunk["id"].as_str().unwrap().to_owned()
    };
    assert_eq!((id(128), id(129)), ("i".repeat(128), "chatcmpl-keeptrusts_0197".into()));
}

#[test]
fn an_answer_that_had_not_begun_is_made_up() {
    for endpoint in [Endpoint::ChatCompletions, Endpoint::Messages, Endpoint::Responses] {
        let (_, [cut, _]) = cut_at(endpoint, b"", 0, false);
        let first: Value = serde_json::from_str(&parsed(&cut.bytes)[0].data).unwrap();
        let told = [&first, &first["message"], &first["response"]].into_iter().find(|told| told["id"].is_string());
        let told = told.unwrap();
        assert_eq!(told["model"], "asked");
        assert!(told["id"].as_str().unwrap().ends_with("keeptrusts_0197"));
    }
}
