//! Beyond the caps: new work is refused, what was admitted is served, and the gateway recovers by itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::harness::{World, chat_body, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_cap_are_refused_and_those_within_are_served() {
    let change = |setup: &mut crate::harness::Setup| {
        setup.more = "limits: {requests_max: 4}".into();
        setup.mock.interval = Duration::from_millis(100);
    };
    let mut world = World::with(change).await;
    let key = world.key("jane");
    let admitted: Vec<_> = (0..4).map(|_| tokio::spawn(world.chat(&key, true).send())).collect();
    eventually(|| (world.metric("keeptrusts_requests_active") == 4.0).then_some(())).await;
    for _ in 0..20 {
        let answer = world.chat(&key, true).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{}", answer.text());
        assert_eq!((answer.header("retry-after"), answer.header("x-should-retry")), (Some("1"), None));
    }
    for answer in admitted {
        assert!(answer.await.unwrap().text().ends_with("data: [DONE]\n\n"));
    }
    assert_eq!(world.chat(&key, false).send().await.status, 200, "it recovers");
    assert_eq!(world.mock.totals().requests, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_has_a_ceiling() {
    let change = |setup: &mut crate::harness::Setup| {
        setup.more = "limits: {memory_bytes_max: 128MiB}\ntimeouts: {first_byte: 3s}".into();
    };
    let mut world = World::with(change).await;
    let key = world.key("jane");
    // What is admitted keeps its body until the provider, which stalls, is given up.
    let mut body = chat_body("gpt-4o-mini", false);
    body["messages"][0]["content"] = "x".repeat(16 * 1024 * 1024).into();
    let asked: Vec<_> = (0..24)
        .map(|_| {
            let ask = world.ask("POST", "/v1/chat/completions").key(&key).header("x-mock-fault", "stall");
            tokio::spawn(ask.json(&body).send())
        })
        .collect();
    let (mut refused, mut served, mut most) = (0, 0, 0.0_f64);
    for answer in asked {
        let answer = answer.await.unwrap();
        most = most.max(world.metric("process_resident_memory_bytes"));
        match (answer.status, answer.code().as_str()) {
            (503, "overloaded") => refused += 1,
            (504, _) => served += 1,
            other => panic!("{other:?}: {}", answer.text()),
        }
    }
    assert!(refused > 0 && served > 0, "{refused} refused, {served} admitted");
    // A body that was read is there twice while it is edited; what arrives within one measurement comes on top.
    assert!(most < 256.0 * 1024.0 * 1024.0, "{most} bytes");
    // What is free is given back without anybody having to be refused for it.
    let begun = Instant::now();
    eventually(|| (world.metric("process_resident_memory_bytes") < 128.0 * 1024.0 * 1024.0).then_some(())).await;
    println!("{most} bytes at most, below the ceiling after {:?}", begun.elapsed());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let first = world.chat(&key, false).send().await;
    assert_eq!(first.status, 200, "{}", first.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_may_take_as_long_as_it_keeps_up() {
    let more = "limits: {body_rate_min: 20KiB}\ntimeouts: {body: 700ms}";
    let mut world = World::with(|setup| setup.more = more.into()).await;
    let key = world.key("jane");
    for (piece_bytes, status) in [(10 * 1024, "200"), (100, "408")] {
        let mut body = chat_body("gpt-4o-mini", false);
        body["messages"][0]["content"] = "x".repeat(20 * piece_bytes).into();
        let body = body.to_string();
        let mut stream = TcpStream::connect(world.gateway.edge).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // Two seconds in all, in either case.
        for piece in body.as_bytes().chunks(piece_bytes) {
            if stream.write_all(piece).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let mut answer = [0; 16];
        let length = stream.read(&mut answer).unwrap();
        assert!(String::from_utf8_lossy(&answer[..length]).contains(status), "{piece_bytes}: {answer:?}");
    }
}

/// A client for whose answers the system keeps as little as it can.
async fn ask_for_a_stream(world: &World, key: &str) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(world.gateway.edge).await.unwrap();
    let body = chat_body("gpt-4o-mini", true).to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all([head, body].concat().as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hardly_reads_has_one_deadline_for_all_of_its_answer() {
    let change = |setup: &mut crate::harness::Setup| {
        setup.more = "limits: {answer_rate_min: 64KiB}\ntimeouts: {write: 2s}".into();
        setup.mock.tokens = 60_000;
    };
    let mut world = World::with(change).await;
    let key = world.key("jane");
    let mut slow = ask_for_a_stream(&world, &key).await;
    let begun = Instant::now();
    let mut piece = [0; 512];
    // Each read lets the gateway write again.
    let took = loop {
        let _ = slow.read(&mut piece).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        if begun.elapsed() > Duration::from_secs(1) && world.metric("keeptrusts_requests_active") == 0.0 {
            break begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it is still being waited for");
    };
    assert!((Duration::from_millis(1900)..Duration::from_millis(4000)).contains(&took), "{took:?}");
    let output = world.events_after(2).await.pop().unwrap();
    assert_eq!((&output["ended"], &output["reason"]), (&"client_closed".into(), &"slow_reader".into()), "{output}");
    assert_eq!(world.metric("keeptrusts_streams_cut_total{reason=\"slow_reader\"}"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_keeps_up_is_served_however_long_its_answer_takes() {
    let change = |setup: &mut crate::harness::Setup| {
        setup.more = "limits: {answer_rate_min: 20KiB}\ntimeouts: {write: 700ms}".into();
        setup.mock.tokens = 40_000;
    };
    let mut world = World::with(change).await;
    let key = world.key("jane");
    let mut steady = ask_for_a_stream(&world, &key).await;
    let (begun, mut heard) = (Instant::now(), Vec::new());
    let mut piece = [0; 4096];
    while begun.elapsed() < Duration::from_secs(4) {
        let length = steady.read(&mut piece).await.unwrap();
        heard.extend_from_slice(&piece[..length]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let waited = world.metric("keeptrusts_requests_active");
    steady.read_to_end(&mut heard).await.unwrap();
    assert_eq!(waited, 1.0, "the answer is long enough to be waited for");
    assert!(String::from_utf8_lossy(&heard).contains("data: [DONE]"), "{} bytes", heard.len());
    assert_eq!(world.events_after(2).await[1]["ended"], "complete");
}
