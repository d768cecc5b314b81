//! What a request's path is made of, and the whole of it over loopback: `cargo bench --bench path`. What each measures,
//! its budget and its figure stand in `benches/README.md`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use keeptrusts::app::App;
use keeptrusts::config::{self, Overrides};
use keeptrusts::mock_provider::{MockProvider, Settings};
use keeptrusts::protocol::framing::{HeadLimits, HeadScan};
use keeptrusts::protocol::meter::{AnswerForm, Meter};
use keeptrusts::protocol::{Endpoint, ask};
use tokio::runtime::Runtime;

#[path = "../loadtest/client/connection.rs"]
mod connection;

use connection::{Ask, Connection};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// What Python's OpenAI SDK sends, and as many fields more as the argument says.
#[divan::bench(args = [0, 20])]
fn request_head(bencher: Bencher, more: usize) {
    let head = format!("{SDK_HEAD}{}\r\n", "x-company-trace: 4bf92f3577b34da6a3ce929d0e0e4736\r\n".repeat(more));
    let limits = HeadLimits { bytes: 32 * 1024, fields: 100, target_bytes: 8 * 1024 };
    let read = || HeadScan::default().advance(black_box(head.as_bytes()), &limits).unwrap().unwrap();
    bencher.counter(BytesCount::of_str(&head)).bench(read);
}

const SDK_HEAD: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway.example.com:8080\r\n\
    Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nAccept: application/json\r\n\
    Content-Type: application/json\r\nUser-Agent: OpenAI/Python 2.8.1\r\nX-Stainless-Lang: python\r\n\
    X-Stainless-Package-Version: 2.8.1\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\n\
    X-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.11.2\r\n\
    Authorization: Bearer kt_ak_0123456789ABCDEFGHIJKLMNOPabcdef\r\nX-Stainless-Async: false\r\n\
    x-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\nContent-Length: 1024\r\n";

const SIZES: [usize; 4] = [1_000, 20_000, 200_000, 2_000_000];

/// A chat request of about so many bytes, of which 20 messages are most.
fn body(bytes: usize, model_first: bool) -> String {
    let text = "A line of a file that stands in the prompt.\\n".repeat(bytes / 20 / 46 + 1);
    let message = format!(r#"{{"role":"user","content":"{text}"}}"#);
    let messages = format!(r#""messages":[{}]"#, vec![message; 20].join(","));
    let model = r#""model":"gpt-4o-mini","stream":true"#;
    if model_first { format!("{{{model},{messages}}}") } else { format!("{{{messages},{model}}}") }
}

#[divan::bench(args = SIZES)]
fn body_head_with_the_model_first(bencher: Bencher, bytes: usize) {
    body_head(bencher, &body(bytes, true));
}

#[divan::bench(args = SIZES)]
fn body_head_with_the_model_last(bencher: Bencher, bytes: usize) {
    body_head(bencher, &body(bytes, false));
}

fn body_head(bencher: Bencher, body: &str) {
    let read = || ask::read(Endpoint::ChatCompletions, black_box(body.as_bytes())).unwrap();
    bencher.counter(BytesCount::of_str(body)).bench(read);
}

/// Chunks of a stream, each an event, as they come one after the other; `more` is written into each.
fn chunks(more: impl Fn(usize) -> String) -> Vec<Bytes> {
    let chunk = |number: usize| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
             \"model\":\"gpt-4o-mini\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_1\",\"choices\":\
             [{{\"index\":0,\"delta\":{{\"content\":\" word{number}\"}},\"logprobs\":null,\"finish_reason\":null}}]{}}}\n\n",
            more(number)
        )
        .into()
    };
    (0..100).map(chunk).collect()
}

#[divan::bench]
fn meter_100_events_that_differ_in_their_text(bencher: Bencher) {
    meter(bencher, &chunks(|_| String::new()));
}

#[divan::bench]
fn meter_100_events_that_differ_all_over(bencher: Bencher) {
    meter(bencher, &chunks(|number| format!(",\"obfuscation\":\"x{}\"", "y".repeat(number % 13))));
}

fn meter(bencher: Bencher, chunks: &[Bytes]) {
    bencher.bench(|| {
        let mut meter = Meter::new(Endpoint::ChatCompletions, AnswerForm::Stream, false);
        for chunk in chunks {
            black_box(meter.take(chunk.clone()));
        }
        meter.usage().text_weight
    });
}

#[divan::bench]
fn meter_a_plain_answer_of_1_kb(bencher: Bencher) {
    let text = "An answer with \\\"quoted\\\" words and lines.\\n".repeat(16);
    let answer = Bytes::from(format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":100,"completion_tokens":150,"total_tokens":250}}}}"#
    ));
    bencher.counter(BytesCount::from(answer.len())).bench(|| {
        let mut meter = Meter::new(Endpoint::ChatCompletions, AnswerForm::Plain, false);
        meter.take(answer.clone());
        meter.end();
        assert!(meter.usage().tokens.is_some());
    });
}

/// A gateway as it is run, before a mock provider, and a client's connection to it.
struct World {
    runtime: Runtime,
    ask: Ask,
    connection: Connection,
    _mock: MockProvider,
    app: Option<App>,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(prompt: usize, stream: bool) -> Self {
        let runtime = Runtime::new().unwrap();
        let mock =
            runtime.block_on(MockProvider::start(Settings { tokens: 100_000, record: false, ..Settings::default() }));
        let mock = mock.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let any = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let data_dir = Some(folder.path().to_owned());
        let overrides = Overrides { edge: any, admin: any, metrics: any, data_dir };
        let provider = mock.address();
        let load: Box<dyn Fn() -> _ + Send + Sync> = Box::new(move || {
            config::demo(provider, overrides.clone(), &|name: &str| {
                (name == "KEEPTRUSTS_DEMO_PROVIDER_KEY").then(|| OsString::from("made-up"))
            })
        });
        let app = App::start(load().unwrap(), load, None).unwrap();
        let key = make_key(&folder.path().join("admin.sock"));
        let ask = Ask::new(app.listen.edge, &key, prompt, 100, stream);
        let connection = runtime.block_on(Connection::open(&ask)).unwrap();
        Self { runtime, ask, connection, _mock: mock, app: Some(app), _folder: folder }
    }

    fn exchange(&mut self) {
        self.runtime.block_on(self.connection.exchange(&self.ask, |_| {})).unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop();
        }
    }
}

/// A key, asked for at the admin socket.
fn make_key(socket: &Path) -> String {
    let mut admin = UnixStream::connect(socket).unwrap();
    let body = r#"{"name":"bench"}"#;
    let head = "POST /v1/tokens HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n";
    write!(admin, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    admin.read_to_string(&mut answer).unwrap();
    let from = answer.find("kt_ak_").unwrap();
    answer[from..from + 38].to_owned()
}

#[divan::bench(args = [200, 200_000])]
fn a_journey_with_a_plain_answer(bencher: Bencher, prompt: usize) {
    let mut world = World::new(prompt, false);
    bencher.bench_local(|| world.exchange());
}

#[divan::bench]
fn a_journey_with_a_stream_of_100_events(bencher: Bencher) {
    let mut world = World::new(200, true);
    bencher.bench_local(|| world.exchange());
}
