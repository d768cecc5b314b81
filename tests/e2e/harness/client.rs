//! One request on a connection of its own, and everything about its answer, with the time each piece came.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

/// No request of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Ask {
    address: SocketAddr,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub pieces: Vec<(Instant, Bytes)>,
    /// Whether the body ended as its framing says.
    pub whole: bool,
}

impl Ask {
    pub fn new(address: SocketAddr, method: &str, path: &str) -> Self {
        let headers = vec![("host".into(), address.to_string())];
        Self { address, method: method.into(), path: path.into(), headers, body: Bytes::new() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    pub fn json(self, body: &Value) -> Self {
        self.body(serde_json::to_vec(body).unwrap())
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", "application/json")
    }

    pub fn form(mut self, boundary: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", &format!("multipart/form-data; boundary={boundary}"))
    }

    /// Sends the request and reads the answer to its end.
    pub async fn send(self) -> Answer {
        self.send_until(|_| false).await
    }

    /// Sends the request, reads until `enough` of the body has come, and hangs up.
    pub async fn send_until(self, enough: impl Fn(&[u8]) -> bool) -> Answer {
        tokio::time::timeout(PATIENCE, self.exchange(enough)).await.expect("the request hung")
    }

    async fn exchange(self, enough: impl Fn(&[u8]) -> bool) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(self.method.as_str()).uri(self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = sender.send_request(request.body(Full::new(self.body)).unwrap()).await.unwrap();
        let (head, mut body) = answer.into_parts();
        let mut answer =
            Answer { status: head.status.as_u16(), headers: head.headers, pieces: Vec::new(), whole: false };
        loop {
            match body.frame().await {
                Some(Ok(frame)) => answer.pieces.extend(frame.into_data().map(|data| (Instant::now(), data))),
                Some(Err(_)) => break,
                None => {
                    answer.whole = true;
                    break;
                }
            }
            if enough(&answer.body()) {
                break;
            }
        }
        connection.abort();
        answer
    }
}

impl Answer {
    pub fn body(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|(_, piece)| piece.iter().copied()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body()).unwrap()
    }

    pub fn json(&self) -> Value {
        let body = self.body();
        serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.body()).into()
    }

    /// The data of each server-sent event.
    pub fn events(&self) -> Vec<String> {
        let text = self.text();
        let data = |event: &str| {
            let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
            lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
        };
        text.split("\n\n").map(data).filter(|data| !data.is_empty()).collect()
    }

    /// The refusal's code, wherever the dialect puts it.
    pub fn code(&self) -> String {
        let body = self.json();
        body["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The sentence of an error.
    pub fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
    }
}
