//! Answers that stream, in each dialect: what of them reaches the caller.

use serde_json::{Value, json};

use crate::harness::{Answer, Scripted, World, answer};

use super::{ADDRESS, AWS_KEY};

/// In which shape a provider streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Chat,
    Responses,
    Messages,
    Gemini,
    GeminiArray,
}

/// What it streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Arguments,
}

use Kind::{Arguments, Text, Thinking};
use Shape::{Chat, Gemini, GeminiArray, Messages, Responses};

/// Gemini tells the arguments of a call whole.
const CASES: [(Shape, Kind); 13] = [
    (Chat, Text),
    (Chat, Thinking),
    (Chat, Arguments),
    (Responses, Text),
    (Responses, Thinking),
    (Responses, Arguments),
    (Messages, Text),
    (Messages, Thinking),
    (Messages, Arguments),
    (Gemini, Text),
    (Gemini, Thinking),
    (GeminiArray, Text),
    (GeminiArray, Thinking),
];

impl Shape {
    fn provider(self) -> (&'static str, &'static str) {
        match self {
            Chat | Responses => ("openai", "TEST_OPENAI_KEY"),
            Messages => ("anthropic", "TEST_ANTHROPIC_KEY"),
            Gemini | GeminiArray => ("gemini", "TEST_GEMINI_KEY"),
        }
    }

    /// The provider's whole answer.
    fn streams(self, kind: Kind, pieces: &[&str]) -> Vec<u8> {
        let events = match self {
            Chat => chat(kind, pieces),
            Responses => responses(kind, pieces),
            Messages => messages(kind, pieces),
            Gemini | GeminiArray => gemini(kind, pieces),
        };
        if self == GeminiArray {
            let elements: Vec<_> = events.iter().map(Value::to_string).collect();
            return answer(&["Content-Type: application/json"], format!("[{}]", elements.join(",\n")).as_bytes());
        }
        let mut body = String::new();
        for event in &events {
            if let Some(name) = event["type"].as_str() {
                body += &format!("event: {name}\n");
            }
            body += &format!("data: {event}\n\n");
        }
        if self == Chat {
            body += "data: [DONE]\n\n";
        }
        answer(&["Content-Type: text/event-stream"], body.as_bytes())
    }

    /// Asks for `model` with this text.
    async fn ask(self, world: &World, key: &str, model: &str, text: &str) -> Answer {
        let said = json!([{"role": "user", "content": text}]);
        let (path, body) = match self {
            Chat => ("/v1/chat/completions".into(), json!({"model": model, "stream": true, "messages": said})),
            Responses => ("/v1/responses".into(), json!({"model": model, "stream": true, "input": said})),
            Messages => {
                ("/v1/messages".into(), json!({"model": model, "stream": true, "max_tokens": 9, "messages": said}))
            }
            Gemini | GeminiArray => {
                let alt = if self == Gemini { "?alt=sse" } else { "" };
                let body = json!({"contents": [{"role": "user", "parts": [{"text": text}]}]});
                (format!("/v1beta/models/{model}:streamGenerateContent{alt}"), body)
            }
        };
        world.ask("POST", &path).key(key).json(&body).send().await
    }

    fn events(self, answer: &Answer) -> Vec<Value> {
        if self == GeminiArray {
            return answer.json().as_array().unwrap().clone();
        }
        let events = answer.events();
        let data = events.iter().filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"))).collect()
    }

    /// The text as a client puts it together.
    fn read(self, kind: Kind, answer: &Answer) -> String {
        let delta = |event: &Value| {
            let delta = match (self, kind) {
                (Chat, Text) => &event["choices"][0]["delta"]["content"],
                (Chat, Thinking) => &event["choices"][0]["delta"]["reasoning_content"],
                (Chat, Arguments) => &event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"],
                (Responses, _) if event["type"] == responses_delta(kind) => &event["delta"],
                (Responses, _) => &Value::Null,
                (Messages, Text) => &event["delta"]["text"],
                (Messages, Thinking) => &event["delta"]["thinking"],
                (Messages, Arguments) => &event["delta"]["partial_json"],
                (Gemini | GeminiArray, _) => {
                    let part = &event["candidates"][0]["content"]["parts"][0];
                    let is_kind = part["thought"].as_bool().unwrap_or(false) == (kind == Thinking);
                    if is_kind { &part["text"] } else { &Value::Null }
                }
            };
            delta.as_str().unwrap_or_default().to_owned()
        };
        self.events(answer).iter().map(delta).collect()
    }

    /// Whether the answer ends as ordinary ones do.
    fn has_ended(self, answer: &Answer) -> bool {
        let last = self.events(answer).pop().unwrap();
        match self {
            Chat => answer.text().ends_with("data: [DONE]\n\n"),
            Responses => last["type"] == "response.completed",
            Messages => last["type"] == "message_stop",
            Gemini | GeminiArray => last["candidates"][0]["finishReason"] == "STOP",
        }
    }
}

fn chat(kind: Kind, pieces: &[&str]) -> Vec<Value> {
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let mut events = vec![chunk(json!({"role": "assistant", "content": null}), Value::Null)];
    if kind == Arguments {
        let call = json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}});
        events.push(chunk(json!({"tool_calls": [call]}), Value::Null));
    }
    events.extend(pieces.iter().map(|piece| {
        let delta = match kind {
            Text => json!({"content": piece}),
            Thinking => json!({"reasoning_content": piece}),
            Arguments => json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}),
        };
        chunk(delta, Value::Null)
    }));
    events.push(chunk(json!({}), json!(if kind == Arguments { "tool_calls" } else { "stop" })));
    events
}

fn responses_delta(kind: Kind) -> &'static str {
    match kind {
        Text => "response.output_text.delta",
        Thinking => "response.reasoning_summary_text.delta",
        Arguments => "response.function_call_arguments.delta",
    }
}

fn responses(kind: Kind, pieces: &[&str]) -> Vec<Value> {
    let whole = pieces.concat();
    let item = |text: &str, status: &str| match kind {
        Text => json!({"id": "i_1", "type": "message", "role": "assistant", "status": status,
            "content": [{"type": "output_text", "text": text, "annotations": []}]}),
        Thinking => json!({"id": "i_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}),
        Arguments => json!({"id": "i_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": text,
            "status": status}),
    };
    let done = responses_delta(kind).replace(".delta", ".done");
    let member = if kind == Arguments { "arguments" } else { "text" };
    let response = |output: Value, status: &str| {
        json!({"id": "resp_1", "object": "response", "created_at": 1,
        "model": "m", "status": status, "output": output})
    };
    let mut events = vec![
        json!({"type": "response.created", "response": response(json!([]), "in_progress")}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item("", "in_progress")}),
    ];
    events.extend(pieces.iter().map(|piece| {
        json!({"type": responses_delta(kind), "item_id": "i_1", "output_index": 0, "content_index": 0,
            "summary_index": 0, "delta": piece})
    }));
    events.extend([
        json!({"type": done, "item_id": "i_1", "output_index": 0, "content_index": 0, member: whole}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item(&whole, "completed")}),
        json!({"type": "response.completed", "response": response(json!([item(&whole, "completed")]), "completed")}),
    ]);
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    events
}

fn messages(kind: Kind, pieces: &[&str]) -> Vec<Value> {
    let (block, delta, member) = match kind {
        Text => (json!({"type": "text", "text": ""}), "text_delta", "text"),
        Thinking => (json!({"type": "thinking", "thinking": "", "signature": ""}), "thinking_delta", "thinking"),
        Arguments => {
            (json!({"type": "tool_use", "id": "t", "name": "f", "input": {}}), "input_json_delta", "partial_json")
        }
    };
    let mut events = vec![
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [], "stop_reason": null, "usage": {"input_tokens": 1, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
    ];
    events.extend(
        pieces
            .iter()
            .map(|piece| json!({"type": "content_block_delta", "index": 0, "delta": {"type": delta, member: piece}})),
    );
    events.extend([
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ]);
    events
}

fn gemini(kind: Kind, pieces: &[&str]) -> Vec<Value> {
    let chunk = |text: &str, finish: Option<&str>| {
        let mut part = json!({"text": text});
        if kind == Thinking {
            part["thought"] = json!(true);
        }
        let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": [part]}});
        if let Some(finish) = finish {
            candidate["finishReason"] = json!(finish);
        }
        json!({"candidates": [candidate], "modelVersion": "m", "responseId": "r"})
    };
    let (last, pieces) = pieces.split_last().unwrap();
    let mut events: Vec<_> = pieces.iter().map(|piece| chunk(piece, None)).collect();
    events.push(chunk(last, Some("STOP")));
    events
}

/// A provider for each case, which is asked by the model's name.
async fn world(policies: &str, pieces: impl Fn(Kind) -> Vec<String>) -> World {
    let mut world = World::with(|setup| {
        let (mut providers, mut models) = ("providers:\n".to_owned(), "models:\n".to_owned());
        for (number, (shape, kind)) in CASES.into_iter().enumerate() {
            let pieces = pieces(kind);
            let pieces: Vec<_> = pieces.iter().map(String::as_str).collect();
            let address = Scripted::start(shape.streams(kind, &pieces)).address;
            let (vendor, key) = shape.provider();
            providers +=
                &format!("  p{number}: {{kind: {vendor}, base_url: \"http://{address}\", api_key: {{env: {key}}}}}\n");
            models += &format!("  - {{name: m{number}, providers: [p{number}]}}\n");
        }
        setup.providers = Some(providers + &models);
        setup.more = format!("policies:\n{policies}\n");
    })
    .await;
    world.keep_secret(AWS_KEY);
    world.keep_secret(ADDRESS);
    world
}

/// The pieces of a text; of arguments, in an object.
fn pieces(kind: Kind, pieces: &[&str]) -> Vec<String> {
    let pieces = pieces.iter().map(|piece| (*piece).to_owned());
    match kind {
        Arguments => ["{\"a\": \"".to_owned()].into_iter().chain(pieces).chain(["\", \"n\": 1}".to_owned()]).collect(),
        _ => pieces.collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_pieces_is_redacted_and_what_was_held_is_released() {
    let said = ["The key is A", "KI", "AIOSFODNN7", "CANARY2, keep", " it. Write to jane"];
    let mut world = world("  - {name: secrets, phase: output, detect: [all]}", |kind| pieces(kind, &said)).await;
    let key = world.key("jane");
    for (number, (shape, kind)) in CASES.into_iter().enumerate() {
        let answer = shape.ask(&world, &key, &format!("m{number}"), "Hello").await;
        let expected = pieces(kind, &["The key is [REDACTED:AWS_KEY], keep it. Write to jane"]).concat();
        assert_eq!(shape.read(kind, &answer), expected, "{shape:?} {kind:?}: {}", answer.text());
        assert!(shape.has_ended(&answer), "{shape:?} {kind:?}: {}", answer.text());
        for part in ["AIOSFODNN7", "CANARY2"] {
            assert!(!answer.text().contains(part), "{shape:?} {kind:?}: {}", answer.text());
        }
        if shape == Responses {
            let numbers =
                shape.events(&answer).iter().map(|event| event["sequence_number"].as_u64()).collect::<Vec<_>>();
            assert_eq!(numbers, (0..numbers.len() as u64).map(Some).collect::<Vec<_>>());
            // What was streamed is repeated twice or more, likewise redacted.
            assert!(answer.text().matches("[REDACTED:AWS_KEY], keep it").count() >= 3, "{}", answer.text());
        }
    }
    for output in world.events_after(2 * CASES.len()).await.iter().filter(|event| event["phase"] == "OUTPUT") {
        assert_eq!((&output["verdict"], &output["ended"]), (&json!("REDACT"), &json!("complete")), "{output}");
        assert_eq!(output["policies"], json!([{"name": "secrets", "action": "redact", "matches": 1}]), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_stream_ends_as_its_dialect_wants() {
    let said = ["All about ", "Proj", "ect X", " is told", " here."];
    let policies = "  - {name: px, phase: output, action: block, keywords: [Project X]}";
    let mut world = world(policies, |kind| pieces(kind, &said)).await;
    let key = world.key("jane");
    for (number, (shape, kind)) in CASES.into_iter().enumerate() {
        let answer = shape.ask(&world, &key, &format!("m{number}"), "Hello").await;
        let (text, whole) = (shape.read(kind, &answer), answer.text());
        assert!(answer.whole, "{shape:?} {kind:?}: {whole}");
        assert!(
            text.starts_with(&pieces(kind, &["All about "])[..2 - usize::from(kind != Arguments)].concat()),
            "{text}"
        );
        for part in ["Proj", "ect X", "told", "here"] {
            assert!(!whole.contains(part), "{shape:?} {kind:?}: {whole}");
        }
        // Errors of Anthropic's have a type and no code.
        let code = if (shape, kind) == (Messages, Arguments) { "permission_error" } else { "policy_blocked" };
        assert!(whole.contains(code), "{shape:?} {kind:?}: {whole}");
        // A half-sent call must not look whole.
        assert_eq!(shape.has_ended(&answer), kind != Arguments, "{shape:?} {kind:?}: {whole}");
        if kind == Arguments {
            assert!(serde_json::from_str::<Value>(&text).is_err(), "{shape:?}: {text}");
        } else {
            assert!(whole.contains("[keeptrusts: policy_blocked: "), "{shape:?} {kind:?}: {whole}");
        }
    }
    for output in world.events_after(2 * CASES.len()).await.iter().filter(|event| event["phase"] == "OUTPUT") {
        assert_eq!((&output["verdict"], &output["ended"]), (&json!("BLOCK"), &json!("policy")), "{output}");
        assert_eq!(output["policies"], json!([{"name": "px", "action": "block", "matches": 1}]), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn placeholders_in_pieces_come_back_as_what_they_stand_for() {
    let said = ["Dear <EM", "AIL_", "1", ">, not <EMAIL_2> ", "<EMA"];
    let policies = "  - {name: people, phase: input, detect: [email], reversible: true}";
    let mut world = world(policies, |kind| pieces(kind, &said)).await;
    let key = world.key("jane");
    for (number, (shape, kind)) in CASES.into_iter().enumerate() {
        let answer = shape.ask(&world, &key, &format!("m{number}"), &format!("Write to {ADDRESS}")).await;
        let expected = pieces(kind, &[&format!("Dear {ADDRESS}, not <EMAIL_2> <EMA")]).concat();
        assert_eq!(shape.read(kind, &answer), expected, "{shape:?} {kind:?}: {}", answer.text());
        assert_eq!(answer.header("x-keeptrusts-verdict"), Some("REDACT"));
        assert!(shape.has_ended(&answer), "{shape:?} {kind:?}: {}", answer.text());
    }
    for event in world.events_after(2 * CASES.len()).await {
        assert_eq!(event["verdict"], if event["phase"] == "INPUT" { "REDACT" } else { "PASS" }, "{event}");
    }
}
