//! Request bodies of every size and framing reach the provider whole, once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::harness::World;

/// A chat body of exactly `length` bytes, with `model` last.
fn body_of(length: usize) -> Vec<u8> {
    let head = br#"{"messages":[{"role":"user","content":""#;
    let tail = br#""}],"model":"gpt-4o-mini"}"#;
    let filling = length - head.len() - tail.len();
    let text = (0..filling).map(|at| b'a' + (at % 23) as u8);
    [head.as_slice(), &text.collect::<Vec<_>>(), tail].concat()
}

/// Pingora's retry buffer holds 64 KiB; the replay of bodies must not notice.
const BOUNDARIES: [usize; 10] = [100, 32_768, 32_769, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 1_000_000];

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_any_size_arrives_whole() {
    let mut world = World::start().await;
    let key = world.key("jane");
    for length in BOUNDARIES {
        let body = body_of(length);
        let answer = world.ask("POST", "/v1/chat/completions").key(&key).body(body.clone()).send().await;
        assert_eq!(answer.status, 200, "{length}: {}", answer.text());
        assert!(world.mock.requests().pop().unwrap().body == body, "{length} bytes arrived changed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_of_any_size_arrives_whole() {
    let mut world = World::start().await;
    let key = world.key("jane");
    for length in BOUNDARIES {
        let body = body_of(length);
        let answer = chunked(&world, &key, &body, 10_000);
        assert!(answer.starts_with("HTTP/1.1 200"), "{length}: {answer}");
        let seen = world.mock.requests().pop().unwrap();
        assert!(seen.body == body, "{length} bytes arrived changed");
        assert_eq!(seen.header("content-length"), Some(&*length.to_string()));
    }
}

/// Sends `body` in chunks of `size` on a connection of its own.
fn chunked(world: &World, key: &str, body: &[u8], size: usize) -> String {
    let mut stream = TcpStream::connect(world.gateway.edge).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    for chunk in body.chunks(size) {
        write!(stream, "{:x}\r\n", chunk.len()).unwrap();
        stream.write_all(chunk).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    read_all(&mut stream)
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is the gateway's way of refusing the rest of a body.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_mebibytes_with_the_model_last_are_routed_right() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let body = body_of(10 * 1024 * 1024);
    let answer = world.ask("POST", "/v1/chat/completions").key(&key).body(body.clone()).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(world.mock.requests().pop().unwrap().body == body);
    let input = &world.events_after(2).await[0];
    assert_eq!((&input["model_requested"], &input["request_bytes"]), (&json!("gpt-4o-mini"), &json!(body.len())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_and_never_hangs() {
    let mut world = World::with(|setup| setup.more = "limits: {body_bytes_max: 100000}".into()).await;
    let key = world.key("jane");
    let at_limit = world.ask("POST", "/v1/chat/completions").key(&key).body(body_of(100_000)).send().await;
    assert_eq!(at_limit.status, 200, "{}", at_limit.text());
    let over = world.ask("POST", "/v1/chat/completions").key(&key).body(body_of(100_001)).send().await;
    assert_eq!((over.status, over.code().as_str()), (413, "body_too_large"));
    assert!(over.message().contains("100000"), "{}", over.message());
    let answer = chunked(&world, &key, &body_of(150_000), 10_000);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(world.mock.totals().requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_usable_after_a_refused_body() {
    let mut world = World::with(|setup| setup.more = "limits: {body_bytes_max: 2KiB}".into()).await;
    let key = world.key("jane");
    let mut stream = TcpStream::connect(world.gateway.edge).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let ask = |stream: &mut TcpStream, body: &[u8], connection: &str| {
        write!(
            stream,
            "POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\n\
             Content-Length: {}\r\nConnection: {connection}\r\n\r\n",
            body.len()
        )
        .unwrap();
        stream.write_all(body).unwrap();
    };
    ask(&mut stream, &body_of(5_000), "keep-alive");
    let mut head = [0u8; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 413");
    ask(&mut stream, &body_of(500), "close");
    let rest = read_all(&mut stream);
    assert!(rest.contains("HTTP/1.1 200"), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_continue_gets_it() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let body = body_of(2_000);
    let mut stream = TcpStream::connect(world.gateway.edge).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\nExpect: 100-continue\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .unwrap();
    let mut interim = [0u8; 25];
    stream.read_exact(&mut interim).unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&interim));
    stream.write_all(&body).unwrap();
    let rest = read_all(&mut stream);
    assert!(rest.contains("HTTP/1.1 200"), "{rest}");
    assert_eq!(world.mock.requests().pop().unwrap().header("expect"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_whole_is_given_up() {
    let mut world = World::with(|setup| setup.more = "timeouts: {body: 1s}".into()).await;
    let key = world.key("jane");
    let mut stream = TcpStream::connect(world.gateway.edge).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\nContent-Length: 5000\r\n\r\n{{"
    )
    .unwrap();
    let answer = read_all(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let events = world.events_after(1).await;
    assert_eq!(events[0]["reason"], "body_timeout");

    // One that hangs up instead is recorded as well, and nothing is sent to the provider.
    let mut stream = TcpStream::connect(world.gateway.edge).unwrap();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\nContent-Length: 5000\r\n\r\n{{"
    )
    .unwrap();
    drop(stream);
    let events = world.events_after(2).await;
    assert_eq!(events[1]["reason"], "client_closed");
    assert_eq!(world.mock.totals().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_arrives_as_it_was_sent() {
    let mut world = World::start().await;
    let key = world.key("jane");
    // Each piece is read by itself.
    let pause = Duration::from_millis(60);
    for length in [100, 1500, 3000, 9000] {
        let body = body_of(length);
        let chunks =
            body.chunks(700).map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        let chunked = [chunks.collect::<Vec<_>>().concat(), b"0;last=1\r\nx-trailer: y\r\n\r\n".to_vec()].concat();
        let announced = format!("Content-Length: {length}");
        for (framing, sent) in [(&*announced, &body), ("Transfer-Encoding: chunked", &chunked)] {
            let mut stream = TcpStream::connect(world.gateway.edge).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            // The second shows that the first was read to its end and not further.
            for connection in ["keep-alive", "close"] {
                write!(
                    stream,
                    "POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\n\
                     Cookie: session={key}\r\nConnection: {connection}\r\n{framing}\r\n\r\n"
                )
                .unwrap();
                for piece in sent.chunks(sent.len() / 4 + 1) {
                    std::thread::sleep(pause);
                    stream.write_all(piece).unwrap();
                }
            }
            let answers = read_all(&mut stream);
            assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{length}, {framing}: {answers}");
            let seen = world.mock.requests();
            assert!(
                seen.iter().rev().take(2).all(|seen| seen.body == body),
                "{length} bytes arrived changed: {framing}"
            );
            assert_eq!(seen.last().unwrap().header("cookie"), None, "the caller's cookies are for the gateway alone");
        }
    }
}
