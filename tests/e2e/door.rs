//! Connections: how long one may take to ask, how many there may be, and what happens beyond that.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{World, chat_body, eventually};

fn connect(world: &World) -> TcpStream {
    let stream = TcpStream::connect(world.gateway.edge).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Everything that still comes, until the gateway closes.
fn last_words(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    match stream.read_to_end(&mut heard) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("it was not closed")
        }
        _ => String::from_utf8_lossy(&heard).into_owned(),
    }
}

/// Sends the bytes one by one until the gateway closes; what it said, and when.
fn drip(stream: &mut TcpStream, bytes: &[u8], interval: Duration) -> (String, Duration) {
    let begun = Instant::now();
    let mut heard = Vec::new();
    stream.set_read_timeout(Some(interval)).unwrap();
    for byte in bytes {
        let _ = stream.write_all(&[*byte]);
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => heard.extend_from_slice(&piece[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    (String::from_utf8_lossy(&heard).into_owned(), begun.elapsed())
}

fn chat(key: &str) -> String {
    let body = chat_body("gpt-4o-mini", false).to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_one_deadline_however_it_arrives() {
    let world = World::with(|setup| setup.more = "timeouts: {header: 700ms}".into()).await;
    let mut slow = connect(&world);
    slow.write_all(b"POST /v1/messages HTTP/1.1\r\n").unwrap();
    let head = format!("Host: kt\r\nX-A: {}", "a".repeat(100));
    let (answer, took) = drip(&mut slow, head.as_bytes(), Duration::from_millis(50));
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("did not arrive in time"), "{answer}");
    assert!(answer.contains("\"type\":\"error\""), "in the dialect that the path tells: {answer}");
    assert!((Duration::from_millis(600)..Duration::from_millis(1700)).contains(&took), "{took:?}");
    // Nothing was asked, so nothing is said.
    let begun = Instant::now();
    assert_eq!(last_words(&mut connect(&world)), "");
    assert!(begun.elapsed() < Duration::from_millis(1700), "{:?}", begun.elapsed());
    assert_eq!(world.metric("keeptrusts_refusals_total{code=\"header_timeout\""), 1.0);
    assert_eq!(world.gateway.log().lines().filter(|line| line.contains("ERROR")).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_between_requests_for_a_while() {
    let mut world = World::with(|setup| setup.more = "timeouts: {keepalive: 500ms}".into()).await;
    let key = world.key("jane");
    let mut kept = connect(&world);
    for _ in 0..2 {
        kept.write_all(chat(&key).as_bytes()).unwrap();
        assert!(kept.read(&mut [0; 16 * 1024]).unwrap() > 0);
        std::thread::sleep(Duration::from_millis(200));
    }
    let begun = Instant::now();
    last_words(&mut kept);
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

/// A client that asks as soon as it was answered has its next request on the way when the gateway stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_connection_is_told_to_go_before_it_is_closed() {
    let mut world = World::start().await;
    let (mut idle, mut busy) = (connect(&world), connect(&world));
    let health = b"GET /healthz HTTP/1.1\r\nHost: kt\r\n\r\n";
    let ask = |stream: &mut TcpStream| {
        stream.write_all(health).unwrap();
        let mut answer = [0; 16 * 1024];
        let length = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).to_lowercase()
    };
    assert!(!ask(&mut idle).contains("connection: close"));
    std::thread::sleep(Duration::from_millis(1200));
    assert!(!ask(&mut busy).contains("connection: close"));
    let begun = Instant::now();
    world.gateway.terminate();
    assert_eq!(last_words(&mut idle), "", "closed at once");
    assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
    let last = ask(&mut busy);
    assert!(last.starts_with("http/1.1 200") && last.contains("connection: close"), "{last}");
    assert_eq!(last_words(&mut busy), "");
    let (_, well) = world.gateway.wait(Duration::from_secs(5));
    assert!(well && begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_sent_ahead_are_answered_in_turn() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let mut ahead = connect(&world);
    let last = chat(&key).replace("Host: kt", "Host: kt\r\nConnection: close");
    ahead.write_all([chat(&key), chat(&key), last].concat().as_bytes()).unwrap();
    assert_eq!(last_words(&mut ahead).matches("HTTP/1.1 200").count(), 3);
    assert_eq!(world.mock.totals().requests, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_reaches_a_client_that_is_still_sending() {
    let mut world = World::with(|setup| setup.more = "limits: {body_bytes_max: 1MiB}".into()).await;
    let key = world.key("jane");
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\nContent-Length: 20000000\r\n\r\n"
    );
    for _ in 0..5 {
        let mut stream = connect(&world);
        stream.write_all(head.as_bytes()).unwrap();
        // What a client does that reads only when it has sent everything.
        let piece = vec![b'x'; 100_000];
        let sent = (0..200).take_while(|_| stream.write_all(&piece).is_ok()).count();
        assert_eq!(sent, 200, "the connection was reset under the client");
        let answer = last_words(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_caps_are_refused_and_places_come_back() {
    for (setting, reason) in [("connections_max", "all"), ("connections_per_address_max", "address")] {
        let mut world = World::with(|setup| setup.more = format!("limits: {{{setting}: 3}}")).await;
        let key = world.key("jane");
        let mut held: Vec<TcpStream> = (0..3).map(|_| connect(&world)).collect();
        eventually(|| (world.metric("keeptrusts_connections_active") == 3.0).then_some(())).await;
        let answer = last_words(&mut connect(&world));
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
        let refused = format!("keeptrusts_connections_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(world.metric(&refused), 1.0);
        // Those that were taken are served.
        held[0].write_all(chat(&key).as_bytes()).unwrap();
        assert!(held[0].read(&mut [0; 16 * 1024]).unwrap() > 0);
        drop(held);
        eventually(|| (world.metric("keeptrusts_connections_active") == 0.0).then_some(())).await;
        assert_eq!(world.chat(&key, false).send().await.status, 200);
    }
}
