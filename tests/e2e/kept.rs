//! Clients that keep their connections, over TLS and in both versions of HTTP, while the gateway is upgraded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::harness::{World, is_alive};
use crate::listeners::{Authority, chat};

/// Clients of each version.
const CLIENTS: usize = 25;
const UPGRADES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_that_keep_their_connections_lose_no_request_to_upgrades() {
    let authority = Arc::new(Authority::new());
    authority.sign("edge");
    let mut world = World::with(|setup| {
        setup.edge = format!("{{address: \"127.0.0.1:0\", {}}}", authority.tls("edge", ""));
    })
    .await;
    let key = world.key("jane");
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..2 * CLIENTS)
        .map(|client| {
            let (authority, key, stop, edge) = (authority.clone(), key.clone(), stop.clone(), world.gateway.edge);
            tokio::spawn(async move {
                let (mut answered, mut connections) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    connections += 1;
                    answered += match client % 2 {
                        0 => keep_asking(authority.greet(edge, "http/1.1", None).await.unwrap(), &key, &stop).await,
                        _ => keep_asking_http2(authority.greet(edge, "h2", None).await.unwrap(), &key, &stop).await,
                    };
                }
                (answered, connections)
            })
        })
        .collect();
    for _ in 0..UPGRADES {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (old, _) = world.upgrade();
        crate::harness::eventually(|| (!is_alive(old)).then_some(())).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut answered, mut connections) = (0, 0);
    for client in clients {
        let (own, own_connections) = client.await.unwrap();
        (answered, connections) = (answered + own, connections + own_connections);
    }
    println!("{answered} requests on {connections} connections during {UPGRADES} upgrades");
    assert!(answered > 2 * CLIENTS * UPGRADES, "{answered}");
    assert!(connections <= 2 * CLIENTS * (UPGRADES + 1), "connections are kept: {connections} for {answered} requests");
    let events = world.events_after(2 * answered).await;
    assert_eq!(events.len(), 2 * answered, "each is on record once");
}

type Stream = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

/// Asks until it is told that the connection ends; how often.
async fn keep_asking(stream: Stream, key: &str, stop: &AtomicBool) -> usize {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        let request = chat(key, Version::HTTP_11);
        let answer = sender.send_request(request).await.expect("the connection was closed under a request");
        let is_last = answer.headers().get("connection").is_some_and(|value| value == "close");
        read(answer).await;
        answered += 1;
        if is_last {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    answered
}

/// The same over HTTP/2, where a request that was never sent is no failed one: clients send it on another connection.
async fn keep_asking_http2(stream: Stream, key: &str, stop: &AtomicBool) -> usize {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) && sender.ready().await.is_ok() {
        match sender.send_request(chat(key, Version::HTTP_2)).await {
            Ok(answer) => read(answer).await,
            Err(error) if was_not_processed(&error) => break,
            Err(error) => panic!("a request that was sent has failed: {error:?}"),
        }
        answered += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    answered
}

/// What clients such as reqwest ask once more: it was not sent, or the other side has told that it looked at none of it.
fn was_not_processed(error: &hyper::Error) -> bool {
    error.is_canceled() || format!("{error:?}").contains("GoAway(b\"\", NO_ERROR, Remote)")
}

async fn read(answer: Response<Incoming>) {
    assert_eq!(answer.status(), 200);
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(text.ends_with(b"data: [DONE]\n\n"), "{}", String::from_utf8_lossy(&text));
}
