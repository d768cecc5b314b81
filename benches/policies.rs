//! What policies cost: a prompt with all detectors and fifty expressions of one's own, and an event of a stream.

#![expect(clippy::unwrap_used, reason = "a benchmark has nobody to report to")]

use std::sync::Arc;

use bytes::Bytes;
use divan::{Bencher, black_box};
use keeptrusts::policy::{Action, Active, Form, PatternSpec, Policy, Spec, Tally, Text, detectors, inspect};
use keeptrusts::protocol::texts::Body;

fn main() {
    divan::main();
}

fn spec(name: &str) -> Spec {
    Spec::new(name, Action::Redact)
}

/// All detectors, and fifty expressions such as operators write.
fn everything() -> Active {
    let own = (0..50).map(|number| PatternSpec {
        name: format!("own_{number}"),
        regex: match number % 5 {
            0 => format!(r"\bPRJ{number}-\d{{4,8}}\b"),
            1 => format!(r"(?i)customer[ _-]?{number}[0-9]{{6}}"),
            2 => format!(r"\b[A-Z]{{2}}{number}\d{{6}}[A-Z]\b"),
            3 => format!(r"[a-z0-9.-]+\.corp{number}\.example"),
            _ => format!(r"secret{number}[=:]\s*\S+"),
        },
        replacement: None,
    });
    let all = Spec { detect: detectors::all().collect(), ..spec("all") };
    let own = Spec { patterns: own.collect(), ..spec("own") };
    Active::new([all, own].map(|spec| Arc::new(Policy::compile(spec).unwrap())).to_vec(), None)
}

/// Prose, code and figures as in a coding assistant's prompt, without anything to be found.
fn prompt(bytes: usize) -> Bytes {
    const TEXT: &str = "The handler in src/gateway/mod.rs reads 4096 bytes at a time, and retries 3 times (see RFC 9110, \
        section 15.5.22).\\nfn main() { let total: u64 = items.iter().map(|item| item.price * 100).sum(); }\\n\
        Version 1.4.2 was released on 2024-01-15 at 10:30:12; build 20240115 took 1893 ms. Please explain what happens \
        when the connection is closed early, and why \\\"idle\\\" is 60s.\\n";
    let content = TEXT.repeat(bytes / TEXT.len() + 1);
    let content = &content[..content.floor_char_boundary(bytes)].trim_end_matches('\\');
    Bytes::from(format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{content}"}}]}}"#))
}

/// A whole prompt, in KiB.
#[divan::bench(args = [20, 40, 200, 400, 1024, 2048, 4096, 8192])]
fn prompt_kib(bencher: Bencher<'_, '_>, kib: usize) {
    let (active, body) = (everything(), prompt(kib << 10));
    assert!(inspect(&active, &body, Body::Request).hits.is_empty());
    bencher.bench_local(|| inspect(&active, black_box(&body), Body::Request));
}

/// The same without expressions of one's own.
#[divan::bench]
fn prompt_20_kib_built_in(bencher: Bencher<'_, '_>) {
    let policy = Policy::compile(Spec { detect: detectors::all().collect(), ..spec("all") }).unwrap();
    let (active, body) = (Active::new(vec![Arc::new(policy)], None), prompt(20 << 10));
    bencher.bench_local(|| inspect(&active, black_box(&body), Body::Request));
}

/// A prompt of 20 KiB in which nothing is looked for but where its texts are.
#[divan::bench]
fn texts_20_kib(bencher: Bencher<'_, '_>) {
    let body = prompt(20 << 10);
    bencher.bench_local(|| keeptrusts::protocol::texts::texts(black_box(&body), Body::Request));
}

/// The text of one event of a stream, with everything looked for and nothing found.
#[divan::bench]
fn stream_delta(bencher: Bencher<'_, '_>) {
    let active = everything();
    let words = ["The ", "handler", " reads", " 4096", " bytes", " at", " a", " time", ",", " and", " retries", " 3"];
    let (mut text, mut tally, mut out) = (Text::new(Form::Plain), Tally::default(), String::new());
    let mut next = words.iter().cycle();
    bencher.bench_local(|| {
        out.clear();
        text.push(&active, next.next().unwrap(), &mut tally, &mut out).unwrap();
    });
}
