//! One connection: a request out, an answer in. Answers are read as far as they must be understood: status, the end of
//! the body, and where events end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const READ_BYTES: usize = 64 * 1024;

/// A chat request, ready to be written.
#[derive(Clone)]
pub struct Ask {
    to: SocketAddr,
    bytes: Arc<[u8]>,
}

pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of the buffer that hold something.
    filled: usize,
}

/// How the end of a body is known.
#[derive(Clone, Copy, PartialEq)]
enum Framing {
    Length(usize),
    Chunked,
}

impl Ask {
    pub fn new(to: SocketAddr, key: &str, prompt: usize, tokens: usize, stream: bool) -> Self {
        let text = "word ".repeat(prompt.div_ceil(5));
        let usage = if stream { r#","stream":true,"stream_options":{"include_usage":true}"# } else { "" };
        let body = format!(
            r#"{{"model":"gpt-4o-mini","max_tokens":{tokens},"messages":[{{"role":"user","content":"{}"}}]{usage}}}"#,
            &text[..prompt]
        );
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {to}\r\nauthorization: Bearer {key}\r\n\
             user-agent: keeptrusts-load\r\naccept: application/json\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        Self { to, bytes: [head, body].concat().into_bytes().into() }
    }
}

impl Connection {
    pub async fn open(ask: &Ask) -> io::Result<Self> {
        let stream = TcpStream::connect(ask.to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; READ_BYTES], filled: 0 })
    }

    /// Asks, and reads the whole answer. `event` is called after each read, with how many events ended in it.
    pub async fn exchange(&mut self, ask: &Ask, mut event: impl FnMut(usize)) -> io::Result<()> {
        self.stream.write_all(&ask.bytes).await?;
        self.filled = 0;
        let (framing, head_end) = loop {
            self.fill().await?;
            if let Some(head) = head(&self.buffer[..self.filled])? {
                break head;
            }
        };
        let mut tail = [b' '; 5];
        let mut seen = 0;
        let mut from = head_end;
        loop {
            let piece = &self.buffer[from..self.filled];
            let carried = tail[4] == b'\n' && piece.first() == Some(&b'\n');
            event(usize::from(carried) + memchr::memmem::find_iter(piece, b"\n\n").count());
            seen += piece.len();
            remember(&mut tail, piece);
            if (framing == Framing::Chunked && &tail == b"0\r\n\r\n") || framing == Framing::Length(seen) {
                return Ok(());
            }
            if let Framing::Length(length) = framing
                && seen > length
            {
                return Err(io::Error::other("more bytes than promised"));
            }
            (from, self.filled) = (0, 0);
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read(&mut self.buffer[self.filled..]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.filled += read;
                Ok(())
            }
        }
    }
}

/// How the body is framed and where it begins, once the head is whole. Anything but 200 is a failure.
fn head(bytes: &[u8]) -> io::Result<Option<(Framing, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(end) = response.parse(bytes).map_err(io::Error::other)? else { return Ok(None) };
    if response.code != Some(200) {
        return Err(io::Error::other(format!("status {}", response.code.unwrap_or_default())));
    }
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    Ok(Some((length.map_or(Framing::Chunked, Framing::Length), end)))
}

/// Keeps the last bytes of what went by.
fn remember(tail: &mut [u8; 5], piece: &[u8]) {
    let kept = piece.len().min(tail.len());
    tail.rotate_left(kept);
    tail[5 - kept..].copy_from_slice(&piece[piece.len() - kept..]);
}
