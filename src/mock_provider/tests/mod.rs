//! The pretend provider through real sockets, asked by a client that reads HTTP on its own.

mod anthropic;
mod faults;
mod framing;
mod gemini;
mod openai;

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Fault, MockProvider, Seen, Settings};

const KEY: &str = "authorization: Bearer sk-mock\r\n";

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    Closed,
    Reset,
    /// Nothing came for a while.
    Silent,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
    end: End,
    /// Reads that it took.
    reads: usize,
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    reads: usize,
}

impl Client {
    async fn connect(mock: &MockProvider) -> Self {
        Self { stream: TcpStream::connect(mock.address()).await.unwrap(), buffer: Vec::new(), reads: 0 }
    }

    async fn send(&mut self, request: &str) {
        self.stream.write_all(request.as_bytes()).await.unwrap();
    }

    async fn ask(&mut self, request: &str) -> Reply {
        self.send(request).await;
        self.read().await
    }

    async fn read(&mut self) -> Reply {
        self.reads = 0;
        let mut end = End::Whole;
        let head = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break self.buffer.drain(..at + 4).collect();
            }
            if let Some(early) = self.more().await {
                end = early;
                break std::mem::take(&mut self.buffer);
            }
        };
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let mut reply = Reply { status, head, body: Vec::new(), end, reads: 0 };
        if end == End::Whole {
            reply.end = self.read_body(&reply.head, &mut reply.body).await;
        }
        reply.reads = self.reads;
        reply
    }

    async fn read_body(&mut self, head: &str, body: &mut Vec<u8>) -> End {
        if !head.contains("transfer-encoding: chunked") {
            let length =
                head.split("content-length: ").nth(1).map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
            return self.take(length, body).await;
        }
        loop {
            let end = loop {
                if let Some(end) = find(&self.buffer, b"\r\n") {
                    break end;
                }
                if let Some(end) = self.more().await {
                    return end;
                }
            };
            let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            let mut chunk = Vec::new();
            match self.take(size + 2, &mut chunk).await {
                End::Whole => body.extend_from_slice(&chunk[..size]),
                other => return other,
            }
            if size == 0 {
                return End::Whole;
            }
        }
    }

    async fn take(&mut self, length: usize, out: &mut Vec<u8>) -> End {
        while self.buffer.len() < length {
            if let Some(end) = self.more().await {
                out.append(&mut self.buffer);
                return end;
            }
        }
        out.extend(self.buffer.drain(..length));
        End::Whole
    }

    async fn more(&mut self) -> Option<End> {
        self.reads += 1;
        self.buffer.reserve(64 * 1024);
        match tokio::time::timeout(Duration::from_millis(500), self.stream.read_buf(&mut self.buffer)).await {
            Err(_) => Some(End::Silent),
            Ok(Err(_)) => Some(End::Reset),
            Ok(Ok(0)) => Some(End::Closed),
            Ok(Ok(_)) => None,
        }
    }
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The events of a stream as pairs of name and data; a text that is no JSON becomes a string.
    fn events(&self) -> Vec<(String, Value)> {
        let text = std::str::from_utf8(&self.body).unwrap().replace("\r\n", "\n");
        let event = |block: &str| {
            let field = |name| block.split('\n').find_map(|line| line.strip_prefix(name));
            let data = field("data: ").unwrap();
            let data = serde_json::from_str(data).unwrap_or_else(|_| Value::from(data));
            (field("event: ").unwrap_or("").to_owned(), data)
        };
        text.split_terminator("\n\n").map(event).collect()
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: mock\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn chat(fields: &str) -> String {
    let body = format!(r#"{{"messages":[{{"role":"user","content":"12345678"}}],{fields}}}"#);
    post("/v1/chat/completions", KEY, &body)
}

async fn mock() -> MockProvider {
    MockProvider::start(Settings::default()).await.unwrap()
}

async fn ask(mock: &MockProvider, request: &str) -> Reply {
    Client::connect(mock).await.ask(request).await
}

/// The only request, once `ready` holds of it.
async fn seen_when(mock: &MockProvider, ready: impl Fn(&Seen) -> bool) -> Seen {
    for _ in 0..200 {
        if let Some(seen) = mock.requests().into_iter().find(&ready) {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not seen: {:?}", mock.requests());
}
