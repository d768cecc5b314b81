//! HTTP itself: connections that are kept, bodies in every framing, requests that cannot be read.

use super::*;

const BODY: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"é"}]}"#;

#[tokio::test]
async fn a_connection_is_kept_and_requests_may_be_pipelined() {
    let mock = mock().await;
    let mut client = Client::connect(&mock).await;
    let request = chat(r#""model":"gpt-4o""#);
    client.send(&request.repeat(2)).await;
    assert_eq!((client.read().await.status, client.read().await.status), (200, 200));
    let closing = client.ask(&request.replace("host: mock", "host: mock\r\nconnection: close")).await;
    assert!(closing.head.contains("\r\nconnection: close\r\n"));
    assert_eq!(client.more().await, Some(End::Closed));
    assert_eq!((mock.totals().connections, mock.totals().requests), (1, 3));
    let ids: std::collections::HashSet<_> = mock.requests().iter().map(|seen| seen.answered.unwrap().sha256).collect();
    assert_eq!(ids.len(), 3, "each answer has its own id");
}

#[tokio::test]
async fn chunked_bodies_arrive_whole() {
    let mock = mock().await;
    let (one, other) = BODY.split_at(7);
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\n{KEY}transfer-encoding: chunked\r\n\r\n{:x};why=not\r\n{one}\r\n{:X}\r\n{other}\r\n0\r\nx-trailer: 1\r\n\r\n",
        one.len(),
        other.len()
    );
    let mut client = Client::connect(&mock).await;
    // Byte by byte, so that every place of a cut is tried.
    for byte in request.as_bytes() {
        client.stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(client.read().await.status, 200);
    assert_eq!(mock.requests()[0].body, BODY);
    assert_eq!(client.ask(&chat(r#""model":"gpt-4o""#)).await.status, 200);
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    let mock = mock().await;
    let text = "x".repeat(1_000_000);
    let body = BODY.replace('é', &text);
    let reply = ask(&mock, &post("/v1/chat/completions", KEY, &body)).await;
    assert_eq!(reply.json()["usage"]["prompt_tokens"], 250_000);
    assert_eq!(mock.requests()[0].body.len(), body.len());
}

#[tokio::test]
async fn a_body_that_waits_for_leave_gets_it() {
    let mock = mock().await;
    let mut client = Client::connect(&mock).await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\n{KEY}expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        BODY.len()
    );
    assert_eq!(client.ask(&head).await.status, 100);
    assert_eq!(client.ask(BODY).await.status, 200);
}

#[tokio::test]
async fn a_head_request_gets_no_body() {
    let mock = mock().await;
    let mut client = Client::connect(&mock).await;
    client.send(&format!("HEAD /v1/models HTTP/1.1\r\n{KEY}\r\n")).await;
    client.more().await;
    let head = String::from_utf8_lossy(&client.buffer);
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let mock = mock().await;
    let long = "x".repeat(70_000);
    let cases = [
        ("POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", 400),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nxx\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nfffffffff\r\n", 413),
        (&format!("GET / HTTP/1.1\r\nx: {long}\r\n\r\n"), 431),
        (&format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200)), 431),
        ("GET / HTTP/1.0\r\n\r\n", 505),
        ("\x16\x03\x01 hello\r\n\r\n", 400),
    ];
    for (request, status) in cases {
        assert_eq!(ask(&mock, request).await.status, status, "{}", &request[..request.len().min(80)]);
    }
    assert_eq!(mock.totals().requests, 0);
}

#[tokio::test]
async fn requests_are_forgotten_when_recording_is_off() {
    let mock = MockProvider::start(Settings { record: false, ..Settings::default() }).await.unwrap();
    assert_eq!(ask(&mock, &chat(r#""model":"gpt-4o""#)).await.status, 200);
    assert!(mock.requests().is_empty());
    assert_eq!(mock.totals().tokens.output, 16);
}

#[tokio::test]
async fn a_dropped_provider_closes_its_connections() {
    let mock = mock().await;
    let mut client = Client::connect(&mock).await;
    assert_eq!(client.ask(&chat(r#""model":"gpt-4o""#)).await.status, 200);
    let address = mock.address();
    drop(mock);
    assert_eq!(client.more().await, Some(End::Closed));
    assert!(TcpStream::connect(address).await.is_err());
}
