//! What answers at the edge and among the metrics. The requests are written by hand, because some of them must be wrong.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Findings, Listeners, State};

/// More than a gateway in health needs.
const PATIENCE: Duration = Duration::from_secs(15);
/// More than the metrics of thousands of keys.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// An answer as it came: status, and everything.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) bytes: Vec<u8>,
}

pub(super) async fn check(listeners: &Listeners, findings: &mut Findings) {
    for (name, address, path) in [("edge", listeners.edge, "/healthz"), ("readiness", listeners.metrics, "/readyz")] {
        let Some(address) = address else {
            findings.add(name, State::Skipped, "it speaks TLS; ask it as a client would");
            continue;
        };
        match get(address, path).await {
            Ok(Answer { status: 200, .. }) => findings.add(name, State::Ok, format!("{address} answers")),
            Ok(Answer { status, bytes }) => {
                let text = String::from_utf8_lossy(&bytes);
                let said = text.split_once("\r\n\r\n").map_or("", |(_, body)| body.lines().next().unwrap_or_default());
                findings.add(name, State::Failed, format!("{address}{path} says {status}: {said}"));
            }
            Err(error) => findings.add(name, State::Failed, format!("nothing answers at {address}: {error}")),
        }
    }
}

pub(super) async fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await
}

/// Sends a request as it is and reads until the connection is closed.
pub(super) async fn exchange(address: SocketAddr, request: &str) -> io::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await?;
        let status = bytes.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        Ok(Answer { status: status.ok_or(io::ErrorKind::InvalidData)?, bytes })
    };
    timeout(PATIENCE, exchange).await.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}
