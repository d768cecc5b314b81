//! A crowd that misbehaves: whatever clients and providers do to each other, the books close.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::harness::{Dice, World, chat_body, contents_body, messages_body};

const CLIENTS: u64 = 10;
const REQUESTS: u64 = 50;

const FAULTS: [&str; 16] = [
    "none",
    "none",
    "none",
    "none",
    "status:500",
    "status:429",
    "html",
    "refuse",
    "reset",
    "reset:2",
    "cut:2",
    "eof:3",
    "mid-event:1",
    "stall:1",
    "length",
    "garbage",
];

fn request(dice: &mut Dice, key: &str) -> Vec<u8> {
    let stream = dice.roll(2) == 0;
    let (path, mut body) = match dice.roll(9) {
        0 => ("/v1/messages", messages_body("claude-sonnet-5", stream)),
        1 => ("/v1/responses", json!({"model": "gpt-4o", "stream": stream, "input": "Say something."})),
        2 => ("/v1/completions", json!({"model": "gpt-4o-mini", "stream": stream, "prompt": "Say something."})),
        3 if stream => ("/v1beta/models/quick:streamGenerateContent?alt=sse", contents_body()),
        3 => ("/v1beta/models/quick:generateContent", contents_body()),
        4 => ("/v1beta/models/quick:streamGenerateContent", contents_body()),
        5 => ("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": "Some text."})),
        _ => ("/v1/chat/completions", chat_body("fast", stream)),
    };
    if dice.roll(6) == 0 {
        body["padding"] = "x".repeat(200_000).into();
    }
    let fault = FAULTS[dice.roll(FAULTS.len())];
    let key = if dice.roll(12) == 0 { "kt_ak_nobody" } else { key };
    let body = if dice.roll(15) == 0 { "{\"model\":".to_owned() } else { body.to_string() };
    let head = format!("POST {path} HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\nx-mock-fault: {fault}\r\n");
    let framed = if dice.roll(4) == 0 {
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    } else {
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    framed.into_bytes()
}

/// One client: asks, listens for a while or not at all, and leaves in the middle of anything.
fn misbehave(edge: SocketAddr, key: &str, seed: u64) {
    let mut dice = Dice::new(seed);
    for _ in 0..REQUESTS {
        let request = request(&mut dice, key);
        let mut line = TcpStream::connect(edge).unwrap();
        line.set_read_timeout(Some(Duration::from_millis(20 + dice.roll(400) as u64))).unwrap();
        let said = if dice.roll(8) == 0 { dice.roll(request.len()) } else { request.len() };
        // The gateway may refuse before it has heard everything.
        let _ = line.write_all(&request[..said]);
        let (mut heard, enough) = (0, dice.roll(6_000));
        let mut piece = [0; 1024];
        while heard < enough && dice.roll(40) > 0 {
            match line.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(length) => heard += length,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_crowd_does_the_books_close() {
    let mut world = World::with(|setup| {
        setup.mock.interval = Duration::from_millis(3);
        setup.more = "timeouts: {first_byte: 300ms, body: 1s}".into();
    })
    .await;
    let key = world.key("crowd");
    let edge = world.gateway.edge;
    let crowd = (1..=CLIENTS).map(|seed| {
        let key = key.clone();
        tokio::task::spawn_blocking(move || misbehave(edge, &key, seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    });
    for client in crowd.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    // What is left to check, the world checks of every scenario when it ends; here only that there was a crowd.
    let events = world.events_after(CLIENTS as usize * REQUESTS as usize / 2).await;
    let ended = |how: &str| events.iter().filter(|event| event["ended"] == how).count();
    for how in ["complete", "client_closed", "upstream_failed"] {
        assert!(ended(how) > 20, "{how}: {}", ended(how));
    }
    assert!(!world.gateway.log().contains("panicked"), "{}", world.gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_hold_up_the_end() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let body = chat_body("gpt-4o-mini", false).to_string();
    let ask = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // One connection has been used, one has said nothing, one has begun a header.
    let mut lines: Vec<_> = (0..3).map(|_| TcpStream::connect(world.gateway.edge).unwrap()).collect();
    lines[0].write_all(ask.as_bytes()).unwrap();
    let heard = lines[0].read(&mut [0; 4096]).unwrap();
    assert!(heard > 0);
    lines[1].write_all(b"POST /v1/chat").unwrap();
    world.events_after(2).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.gateway.terminate();
    let (took, well) = world.gateway.wait(Duration::from_secs(5));
    assert!(well && took < Duration::from_secs(1), "{took:?}\n{}", world.gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_draining_says_so_and_takes_nothing_new() {
    let mut world = World::with(|setup| setup.mock.interval = Duration::from_millis(50)).await;
    let key = world.key("jane");
    let streaming = tokio::spawn(world.chat(&key, true).send());
    crate::harness::eventually(|| world.mock.requests().pop().filter(|seen| seen.sent_at.len() > 2)).await;
    let ready = || crate::harness::get(world.gateway.metrics, "/readyz");
    assert!(ready().starts_with("HTTP/1.1 200"));
    world.gateway.terminate();
    crate::harness::eventually(|| ready().starts_with("HTTP/1.1 503").then_some(())).await;
    assert!(crate::harness::get(world.gateway.metrics, "/livez").starts_with("HTTP/1.1 200"));
    crate::harness::eventually(|| TcpStream::connect(world.gateway.edge).is_err().then_some(())).await;
    assert!(streaming.await.unwrap().whole);
    assert!(world.gateway.wait(Duration::from_secs(5)).1);
}
