//! What a connection is used for, byte by byte: framing that must not be guessed at, and who ends it when.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{OPENAI_CANARY, World, chat_body};

/// A connection to the edge that is written to by hand.
struct Line(TcpStream);

/// What came, and whether the gateway then ended the connection.
struct Heard {
    text: String,
    closed: bool,
}

impl Line {
    fn to(world: &World) -> Self {
        let stream = TcpStream::connect(world.gateway.edge).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    fn say(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Listens until the gateway closes, or says nothing more for a while.
    fn hear(&mut self) -> Heard {
        self.hear_for(Duration::from_millis(400))
    }

    fn hear_for(&mut self, silence: Duration) -> Heard {
        self.0.set_read_timeout(Some(silence)).unwrap();
        let (mut heard, mut piece) = (Vec::new(), [0; 16 * 1024]);
        let closed = loop {
            match self.0.read(&mut piece) {
                Ok(0) => break true,
                Ok(length) => heard.extend_from_slice(&piece[..length]),
                Err(error) => break !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        };
        Heard { text: String::from_utf8_lossy(&heard).into_owned(), closed }
    }
}

/// A chat request with these header lines besides.
fn chat(version: &str, key: &str, lines: &[&str], body: &str) -> String {
    let mut head = format!("POST /v1/chat/completions HTTP/{version}\r\nHost: kt\r\nAuthorization: Bearer {key}\r\n");
    for line in lines {
        head += &format!("{line}\r\n");
    }
    if !lines.iter().any(|line| line.starts_with("Transfer-Encoding")) {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    format!("{head}\r\n{body}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_request_where_that_was_decided() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let plain = chat_body("gpt-4o-mini", false).to_string();
    for (what, request) in [
        ("the client asks for it", chat("1.1", &key, &["Connection: close"], &plain)),
        ("it asks late", chat("1.1", &key, &["Connection: keep-alive", "Connection: te, close"], &plain)),
        ("HTTP/1.0 knows nothing else", chat("1.0", &key, &[], &plain)),
    ] {
        let heard = Line::to(&world).say(request).hear();
        assert!(heard.text.starts_with("HTTP/1.1 200"), "{what}: {}", heard.text);
        assert!(heard.closed, "{what}: {}", heard.text);
        assert!(heard.text.to_ascii_lowercase().contains("connection: close"), "{what}: {}", heard.text);
    }
    let mut kept = Line::to(&world);
    for _ in 0..2 {
        let heard = kept.say(chat("1.1", &key, &[], &plain)).hear();
        assert!(heard.text.starts_with("HTTP/1.1 200") && !heard.closed, "{}", heard.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_to_http_1_0_is_ended_by_the_connection() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let stream = chat_body("gpt-4o-mini", true).to_string();
    for lines in [&[][..], &["Connection: keep-alive"]] {
        let heard = Line::to(&world).say(chat("1.0", &key, lines, &stream)).hear();
        let (head, body) = heard.text.split_once("\r\n\r\n").unwrap();
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
        assert!(body.starts_with("data: ") && body.ends_with("data: [DONE]\n\n"), "{body}");
        assert!(heard.closed, "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_asks_is_told_to_continue() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let plain = chat_body("gpt-4o-mini", false).to_string();
    for (version, expect, told) in
        [("1.1", "100-continue", true), ("1.0", "100-continue", false), ("1.1", "wonders", false)]
    {
        let heard = Line::to(&world).say(chat(version, &key, &[&format!("Expect: {expect}")], &plain)).hear();
        assert_eq!(heard.text.starts_with("HTTP/1.1 100"), told, "{version} {expect}: {}", heard.text);
        assert!(heard.text.contains("HTTP/1.1 200"), "{}", heard.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_chunks_are_told() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let request = chat("1.1", &key, &["Transfer-Encoding: chunked"], "zz\r\nnot a chunk\r\n");
    let heard = Line::to(&world).say(request).hear();
    assert!(heard.text.starts_with("HTTP/1.1 400") && heard.closed, "{}", heard.text);
    assert!(heard.text.contains("request_malformed") && heard.text.contains("chunks"), "{}", heard.text);
    let events = world.events_after(1).await;
    assert_eq!((events.len(), events[0]["reason"].as_str()), (1, Some("request_malformed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_is_refused_when_its_time_is_up() {
    let mut world = World::with(|setup| setup.more = "timeouts: {body: 500ms}".into()).await;
    let key = world.key("jane");
    let head = chat("1.1", &key, &["Expect: 100-continue"], "{}").replace("Length: 2", "Length: 500");
    for request in [head.clone(), head.replace("Expect: 100-continue\r\n", "")] {
        let begun = std::time::Instant::now();
        let heard = Line::to(&world).say(request.strip_suffix("{}").unwrap()).hear_for(Duration::from_secs(4));
        assert!(heard.text.contains("HTTP/1.1 408") && heard.closed, "{}", heard.text);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn framing_that_would_be_guessed_at_is_refused_before_a_provider_is_asked() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let plain = chat_body("gpt-4o-mini", false).to_string();
    let cases = [
        (["Connection: close, host"], &plain),
        (["Connection: \"x\""], &plain),
        (["Connection: a,b,c,d,e,f,g,h,i,j"], &plain),
    ];
    for (lines, body) in &cases {
        let heard = Line::to(&world).say(chat("1.1", &key, lines, body)).hear();
        assert!(heard.text.starts_with("HTTP/1.1 400"), "{lines:?}: {}", heard.text);
        assert!(heard.text.contains("request_malformed"), "{lines:?}: {}", heard.text);
    }
    assert_eq!(world.events_after(cases.len()).await.len(), cases.len());
    assert_eq!(world.mock.totals().requests, 0);
    // A credential that the header names is taken out and read all the same; ours is put in afterwards.
    let named = chat("1.1", &key, &["Connection: close, authorization, content-length, x-api-key"], &plain);
    assert!(Line::to(&world).say(named).hear().text.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_connection_names_neither_strips_nor_doubles_what_is_put_in() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let body = chat_body("gpt-4o-mini", false).to_string();
    for named in [
        "authorization, content-length, content-type",
        "Authorization, accept-encoding, x-api-key, user-agent, x-request-id",
        "keep-alive, te, transfer-encoding, content-encoding, accept",
    ] {
        let lines = [&*format!("Connection: close, {named}"), "Content-Type: application/json", "X-Api-Key: sk-own"];
        let heard = Line::to(&world).say(chat("1.1", &key, &lines, &body)).hear();
        assert!(heard.text.starts_with("HTTP/1.1 200"), "{named}: {}", heard.text);
        let seen = world.mock.requests().pop().unwrap();
        let values = |name: &str| -> Vec<&str> {
            let fields = seen.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
            fields.map(|(_, value)| value.as_str()).collect()
        };
        assert_eq!(values("authorization"), [format!("Bearer {OPENAI_CANARY}")], "{named}");
        assert_eq!(values("content-length"), [body.len().to_string()], "{named}");
        assert_eq!(values("accept-encoding"), ["identity"], "{named}");
        assert_eq!((values("host").len(), values("x-api-key").len(), &*seen.body), (1, 0, body.as_bytes()), "{named}");
        assert!(!format!("{:?}", seen.headers).contains(&key), "{named}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_connection_is_kept_after_good_exchanges_alone() {
    let mut world = World::start().await;
    let key = world.key("jane");
    // How many connections have been made when this request, which nothing is wrong with, has been answered.
    let connections = async || {
        assert_eq!(world.chat(&key, true).send().await.status, 200);
        // It is put back when the exchange has ended on both sides.
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.mock.totals().connections
    };
    let first = connections().await;
    assert_eq!(connections().await, first, "it is kept");
    let body = chat_body("gpt-4o-mini", false).to_string();
    let refused = chat("1.1", &key, &["Transfer-Encoding: chunked"], &format!("{:x}\r\n{body}XX", body.len()));
    assert!(Line::to(&world).say(refused).hear().text.contains("HTTP/1.1 400"));
    assert_eq!(connections().await, first, "no connection saw what was refused");
    let mut before = first;
    for fault in ["cut:2", "mid-event:2", "reset:2"] {
        world.chat(&key, true).header("x-mock-fault", fault).send().await;
        let after = connections().await;
        assert_eq!(after, before + 1, "{fault}");
        before = after;
    }
    world.chat(&key, true).header("x-mock-fault", "stall:2").send_until(|body| !body.is_empty()).await;
    assert_eq!(connections().await, before + 1, "its client left");
}
