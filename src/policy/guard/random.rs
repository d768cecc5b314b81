//! Random texts in random pieces, spelled anyhow, in streams of every shape that are themselves cut anywhere.

use proptest::prelude::*;
use serde_json::Value;

use crate::policy::text::tests::{everything, spelled, texts, whole};
use crate::protocol::json::escape::{Unescaped, escape};
use crate::protocol::sse::{Piece, Splitter};

use super::*;

/// One way to stream a text.
struct Way {
    endpoint: Endpoint,
    form: Form,
    /// An event, around its piece of the text.
    event: [&'static str; 2],
    /// Where the piece stands in its data.
    pointer: &'static str,
    end: &'static str,
}

const WAYS: [Way; 7] = [
    Way {
        endpoint: Endpoint::ChatCompletions,
        form: Form::Plain,
        event: [
            r#"data: {"id":"c","choices":[{"index":0,"delta":{"content":""#,
            "\"},\"finish_reason\":null}]}\r\n\r\n",
        ],
        pointer: "/choices/0/delta/content",
        end: "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    },
    Way {
        endpoint: Endpoint::ChatCompletions,
        form: Form::Json,
        event: [
            r#"data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":""#,
            "\"}}]}}]}\n\n",
        ],
        pointer: "/choices/0/delta/tool_calls/0/function/arguments",
        end: "data: [DONE]\n\n",
    },
    Way {
        endpoint: Endpoint::Responses,
        form: Form::Plain,
        event: [
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":4,\
             \"item_id\":\"i\",\"output_index\":0,\"content_index\":0,\"delta\":\"",
            "\"}\n\n",
        ],
        pointer: "/delta",
        end: "event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\",\"sequence_number\":5,\
              \"item_id\":\"i\",\"output_index\":0,\"content_index\":0,\"text\":\"\"}\n\n",
    },
    Way {
        endpoint: Endpoint::Messages,
        form: Form::Plain,
        event: [
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":\
             {\"type\":\"text_delta\",\"text\":\"",
            "\"}}\n\n",
        ],
        pointer: "/delta/text",
        end: "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    },
    Way {
        endpoint: Endpoint::Messages,
        form: Form::Plain,
        event: [
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":\
             {\"type\":\"thinking_delta\",\"thinking\":\"",
            "\"}}\n\n",
        ],
        pointer: "/delta/thinking",
        end: "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\n",
    },
    Way {
        endpoint: Endpoint::Messages,
        form: Form::Json,
        event: [
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":\
             {\"type\":\"input_json_delta\",\"partial_json\":\"",
            "\"}}\n\n",
        ],
        pointer: "/delta/partial_json",
        end: "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":2}\n\n",
    },
    Way {
        endpoint: Endpoint::StreamGenerateContent,
        form: Form::Plain,
        event: [r#"data: {"candidates":[{"index":0,"content":{"parts":[{"text":""#, "\"}]}}]}\n\n"],
        pointer: "/candidates/0/content/parts/0/text",
        end: "data: {\"candidates\":[{\"index\":0,\"content\":{\"parts\":[]},\"finishReason\":\"STOP\"}]}\n\n",
    },
];

impl Way {
    /// The stream that brings `text` in pieces which end at these places.
    fn stream(&self, text: &str, cuts: &[usize], mask: u64) -> String {
        let (mut stream, mut start) = (String::new(), 0);
        for &cut in cuts.iter().chain([&text.len()]) {
            let cut = text.floor_char_boundary(cut.clamp(start, text.len()));
            stream += &[self.event[0], &spelled(&text[start..cut], mask), self.event[1]].concat();
            start = cut;
        }
        stream + self.end
    }

    /// The text that a stream shows.
    fn shown(&self, stream: &[u8]) -> String {
        let (mut splitter, mut text) = (Splitter::default(), String::new());
        splitter.feed(stream, |piece| {
            let Piece::Event(event) = piece else { return };
            let data = sse::data(event, false).unwrap();
            let Ok(event) = serde_json::from_slice::<Value>(&data) else { return };
            text += event.pointer(self.pointer).and_then(Value::as_str).unwrap_or_default();
        });
        text
    }
}

/// What goes out when the stream comes in chunks of these sizes, over and over.
fn guarded(active: &Active, endpoint: Endpoint, stream: &str, chunks: &[usize]) -> Vec<u8> {
    let (mut guard, mut splitter, mut out) = (Guard::new(active.clone(), endpoint), Splitter::default(), Vec::new());
    let (mut rest, mut sizes) = (stream.as_bytes(), chunks.iter().cycle());
    while !rest.is_empty() {
        let size = sizes.next().copied().unwrap_or(rest.len()).clamp(1, rest.len());
        let (chunk, behind) = rest.split_at(size);
        splitter.feed(chunk, |piece| match piece {
            Piece::Event(event) => guard.event(event, &mut out),
            Piece::LineFeed(lf) => out.extend_from_slice(lf),
            Piece::Large(_) => guard.block(),
        });
        rest = behind;
    }
    assert!(!guard.is_blocked());
    guard.finish(&mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 40 } else { 20_000 }))]

    #[test]
    fn a_stream_shows_what_redaction_leaves_of_the_whole(
        text in texts(), mask: u64, twice: u64, cuts in prop::collection::vec(0_usize..300, 0..12),
        chunks in prop::collection::vec(1_usize..200, 0..5), way in 0..WAYS.len(),
    ) {
        thread_local! { static ACTIVE: Active = everything(); }
        let way = &WAYS[way];
        let text = match way.form {
            Form::Plain => text,
            Form::Json => format!("{{\"k\":\"{}\",\"n\":12}}", spelled(&text, twice)),
        };
        let mut cuts = cuts;
        cuts.sort_unstable();
        ACTIVE.with(|active| {
            let expected = whole(way.form, active, &spelled(&text, 0)).0;
            let shown = way.shown(&guarded(active, way.endpoint, &way.stream(&text, &cuts, mask), &chunks));
            prop_assert_eq!(shown, Unescaped::of(&expected, true).text.into_owned());
            Ok(())
        })?;
    }
}

/// Nothing of a secret comes through, however its text is cut.
#[test]
fn nothing_of_a_secret_is_delivered() {
    let active = everything();
    for detector in crate::policy::detectors::all() {
        for example in detector.finds {
            let (before, rest) = example.split_once('«').unwrap();
            let (secret, behind) = rest.split_once('»').unwrap();
            let text = [before, secret, behind].concat();
            for (number, way) in WAYS.iter().enumerate() {
                let (text, secret) = match way.form {
                    Form::Plain => (text.clone(), secret.to_owned()),
                    Form::Json => (format!("{{\"k\":\"{}\"}}", escape(&text)), escape(secret)),
                };
                let size = 1 + number;
                let cuts: Vec<_> = (size..text.len()).step_by(size).collect();
                let shown = way.shown(&guarded(&active, way.endpoint, &way.stream(&text, &cuts, 0), &[37]));
                // The beginning and the end are as telling as the whole.
                let (half, other) = secret.split_at(secret.floor_char_boundary(secret.len() / 2));
                for part in [half, other].into_iter().filter(|part| part.len() > 5) {
                    assert!(!shown.contains(part), "{}: {part} in {shown}", detector.name);
                }
                assert!(shown.contains("[REDACTED:"), "{}: {shown}", detector.name);
            }
        }
    }
}
