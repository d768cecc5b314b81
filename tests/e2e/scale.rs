//! What takes minutes: run by hand, in release (`cargo test --release --test e2e -- --ignored --nocapture`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::harness::{Ask, World, chat_body};

const REVOCATIONS: usize = 10_000;
/// Clients that keep asking meanwhile, and those that revoke their own key while it streams.
const CLIENTS: usize = 60;
const REVOKERS: usize = 4;

/// A connection to the admin socket that is kept, so that a call costs no process.
struct Admin(SendRequest<Full<Bytes>>);

impl Admin {
    async fn connect(socket: PathBuf) -> Self {
        let stream = UnixStream::connect(socket).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn call(&mut self, method: &str, path: &str, body: Value) -> Value {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.header("content-type", "application/json").body(Full::new(body.to_string().into()));
        self.0.ready().await.unwrap();
        let answer = self.0.send_request(request.unwrap()).await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }
}

/// What one revocation showed.
struct Finding {
    /// From the command to its acknowledgement, and to the last piece of the stream.
    acknowledged: Duration,
    last_byte: Duration,
    /// Events of the provider that the client got, and those the provider had sent at the acknowledgement.
    received: usize,
    sent: usize,
    accepted_after: bool,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: 10 000 revocations of keys with a running stream, under load"]
async fn ten_thousand_revocations_under_load() {
    let world = World::with(|setup| {
        setup.mock.interval = Duration::from_millis(10);
        setup.mock.tokens = 100_000;
        setup.more = "access: {failures_per_minute: 100000}\nlog: {level: warn}".into();
    })
    .await;
    let mut world = world;
    world.is_large = true;
    let busy = world.key("busy");
    let world = Arc::new(world);
    let next = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (world, busy) = (world.clone(), busy.clone());
            tokio::spawn(async move {
                loop {
                    assert_eq!(world.ask("GET", "/keeptrusts/me").key(&busy).send().await.status, 200);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
        })
        .collect();
    let workers: Vec<_> = (0..REVOKERS)
        .map(|_| {
            let (world, next) = (world.clone(), next.clone());
            tokio::spawn(async move {
                let mut admin = Admin::connect(world.data_dir().join("admin.sock")).await;
                let mut findings = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= REVOCATIONS {
                        return findings;
                    }
                    findings.push(revoke_one(&world, &mut admin, number).await);
                }
            })
        })
        .collect();
    let mut findings = Vec::new();
    for worker in workers {
        findings.extend(worker.await.unwrap());
    }
    load.iter().for_each(tokio::task::JoinHandle::abort);
    for client in load {
        assert!(client.await.is_err_and(|error| error.is_cancelled()), "a client with a live key was refused");
    }
    assert_eq!(findings.len(), REVOCATIONS);
    assert_eq!(findings.iter().filter(|finding| finding.accepted_after).count(), 0, "requests accepted afterwards");
    let late: usize = findings.iter().map(|finding| finding.received.saturating_sub(finding.sent)).sum();
    assert_eq!(late, 0, "events delivered that the provider sent after the acknowledgement");
    show("command → acknowledged", findings.iter().map(|finding| finding.acknowledged));
    show("command → last byte", findings.iter().map(|finding| finding.last_byte));
}

async fn revoke_one(world: &World, admin: &mut Admin, number: usize) -> Finding {
    let made = admin.call("POST", "/v1/tokens", json!({"name": format!("key-{number}")})).await;
    let key = made["key"].as_str().unwrap().to_owned();
    let trace = format!("stream-{number}");
    let ask = world.chat(&key, true).header("x-request-id", &trace);
    let streaming = tokio::spawn(ask.send());
    while sent_events(world, &trace, Instant::now()) < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    let path = format!("/v1/tokens/{}", made["id"].as_str().unwrap());
    admin.call("DELETE", &path, json!({})).await;
    let acknowledged_at = Instant::now();
    let after = Ask::new(world.gateway.edge, "POST", "/v1/chat/completions").key(&key);
    let after = after.json(&chat_body("gpt-4o-mini", false)).send().await;
    let answer = streaming.await.unwrap();
    assert!(answer.whole && answer.text().contains("revoked"), "{}", answer.text());
    let (last, _) = answer.pieces.last().unwrap();
    // A delta of the provider's has its fingerprint; what the gateway adds to end the stream has not.
    let received = answer.events().iter().filter(|event| event.contains("fp_mock")).count();
    Finding {
        acknowledged: acknowledged_at - begun,
        last_byte: last.saturating_duration_since(begun),
        received,
        sent: sent_events(world, &trace, acknowledged_at),
        accepted_after: after.status != 401,
    }
}

/// Events the provider had written for a request at a moment.
fn sent_events(world: &World, trace: &str, at: Instant) -> usize {
    let requests = world.mock.requests();
    let seen = requests.iter().rev().find(|seen| seen.header("x-request-id") == Some(trace));
    seen.map_or(0, |seen| seen.sent_at.iter().filter(|sent| **sent <= at).count())
}

fn show(what: &str, durations: impl Iterator<Item = Duration>) {
    let mut durations: Vec<Duration> = durations.collect();
    durations.sort();
    let at = |share: f64| durations[((durations.len() - 1) as f64 * share) as usize];
    println!("{what}: p50 {:?}, p90 {:?}, p99 {:?}, max {:?}", at(0.5), at(0.9), at(0.99), at(1.0));
}
