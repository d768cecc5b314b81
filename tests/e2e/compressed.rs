//! Providers that compress although they were asked not to: what they send is metered, and understood by everybody.

use std::io::Write;

use serde_json::{Value, json};

use crate::harness::{Answer, Scripted, World, answer};

const CHUNK: &str = r#"data: {"id":"x","object":"chat.completion.chunk","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}"#;
const USAGE: &str = r#"data: {"id":"x","object":"chat.completion.chunk","model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":500,"total_tokens":1500}}"#;
const DOCUMENT: &str = r#"{"id":"x","object":"chat.completion","model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"hello there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":500,"total_tokens":1500}}"#;
const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];
const EVENTS: &str = "Content-Type: text/event-stream";
const JSON: &str = "Content-Type: application/json";

fn stream() -> String {
    format!("{CHUNK}\n\n{USAGE}\n\ndata: [DONE]\n\n")
}

fn encode(coding: &str, text: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 4, 18);
            encoder.write_all(text).unwrap();
            encoder.into_inner()
        }
        _ => zstd::stream::encode_all(text, 1).unwrap(),
    }
}

/// What a client gets of this body, and how that is booked.
async fn asked(kind: &str, coding: &str, body: &[u8], is_stream: bool) -> (Answer, Value) {
    let coding = format!("Content-Encoding: {coding}");
    let provider = Scripted::start(answer(&[kind, &coding], body));
    let mut world = World::with(|setup| setup.providers = Some(provider.as_openai())).await;
    let key = world.key("jane");
    let got = world.chat(&key, is_stream).send().await;
    let output = world.events_after(2).await.pop().unwrap();
    (got, output)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_common_coding_is_metered_and_understood() {
    for coding in CODINGS {
        for (kind, text, shown, is_stream) in [
            (JSON, DOCUMENT.to_owned(), DOCUMENT.to_owned(), false),
            (EVENTS, stream(), format!("{CHUNK}\n\ndata: [DONE]\n\n"), true),
        ] {
            let (got, output) = asked(kind, coding, &encode(coding, text.as_bytes()), is_stream).await;
            assert_eq!((got.status, got.whole, got.header("content-encoding")), (200, true, None), "{coding}");
            assert_eq!(got.text(), shown, "{coding}");
            let usage = &output["usage"];
            assert_eq!(
                (&usage["input"], &usage["output"], &usage["source"], &output["ended"]),
                (&json!(1000), &json!(500), &json!("provider"), &json!("complete")),
                "{coding}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coding_nobody_knows_passes_untouched() {
    let (got, output) = asked(EVENTS, "compress", b"\x1f\x9dnonsense", true).await;
    assert_eq!((got.body().as_slice(), got.header("content-encoding")), (&b"\x1f\x9dnonsense"[..], Some("compress")));
    assert_eq!((&output["usage"]["source"], &output["ended"]), (&json!("estimated"), &json!("complete")));
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_compression_is_the_providers_failure() {
    for coding in CODINGS {
        let mut torn = encode(coding, stream().as_bytes());
        torn.truncate(torn.len() / 2);
        for body in [torn, vec![0xff; 64]] {
            let (got, output) = asked(EVENTS, coding, &body, true).await;
            assert!(got.text().contains("upstream_failed"), "{coding}: {}", got.text());
            assert_eq!(
                (&output["ended"], &output["verdict"]),
                (&json!("upstream_failed"), &json!("ERROR")),
                "{coding}"
            );
            assert_eq!(output["usage"]["source"], "estimated", "{coding}");
        }
    }
}

/// 64 MiB in some kilobytes: the gateway neither reads it nor grows by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_little_that_becomes_very_much_is_refused() {
    // Of gzip it takes several pieces to become as much.
    for coding in ["br", "zstd"] {
        let (got, output) = asked(JSON, coding, &encode(coding, &vec![b' '; 64 << 20]), false).await;
        // Nothing has been sent yet, unless its head came before it.
        assert!((got.status == 502 || !got.whole) && got.body().len() < 1000, "{coding}: {}", got.status);
        assert_eq!(output["ended"], "upstream_failed", "{coding}");
    }
}
