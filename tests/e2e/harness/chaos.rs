//! A provider that answers as the mock does, byte by byte, and then goes wrong at a point of its choosing.
//!
//! It stands before the mock, asks it for the true answer, and spoils that: so each fault meets each dialect, plain
//! and streamed, and whatever the mock learns to say. What it does is decided by a seed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

/// How an answer goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It does not, so that there is something to compare with.
    Not,
    /// The connection is closed before anything is read.
    Refuses,
    /// It is taken, and nothing is ever said.
    SaysNothing,
    /// The answer ends after so many thousandths of its bytes: with a reset, with an end, or with silence.
    Resets(u64),
    Ends(u64),
    Stalls(u64),
    /// The whole answer, a few bytes at a time.
    Drips,
    /// What the status line, or what the head is instead.
    Status(&'static str),
    Head(&'static str),
    /// A head of two megabytes, or one without an end.
    LargeHead,
    EndlessHead,
    /// The length is more, less, or no number.
    Length(&'static str),
    /// The body is this in chunked coding.
    Chunks(&'static str),
    Html,
    /// Compressed, though nobody asked for it.
    Gzip,
    /// Every figure of the usage is this.
    Figures(&'static str),
    /// Comes before the answer.
    Before(&'static str),
    /// A second answer behind the first one.
    Twice,
    /// The body has no length and ends with the connection.
    Unframed,
}

/// Each way of going wrong at least once.
pub const ALL: &[Wrong] = &[
    Wrong::Not,
    Wrong::Refuses,
    Wrong::SaysNothing,
    Wrong::Resets(0),
    Wrong::Resets(40),
    Wrong::Resets(500),
    Wrong::Resets(999),
    Wrong::Ends(0),
    Wrong::Ends(40),
    Wrong::Ends(500),
    Wrong::Ends(999),
    Wrong::Stalls(40),
    Wrong::Stalls(700),
    Wrong::Drips,
    Wrong::Status("HTTP/1.1 999 Beyond"),
    Wrong::Status("HTTP/1.1 20 Short"),
    Wrong::Status("HTTP/1.1 two hundred"),
    Wrong::Status("HTTP/7.3 200 OK"),
    Wrong::Status("ICY 200 OK"),
    Wrong::Status("\0\0\0\0"),
    Wrong::Status("HTTP/1.1 101 Switching Protocols"),
    Wrong::Status("HTTP/1.1 204 No Content"),
    Wrong::Status("HTTP/1.1 304 Not Modified"),
    Wrong::Status("HTTP/1.1 401 Unauthorized"),
    Wrong::Status("HTTP/1.1 429 Too Many Requests"),
    Wrong::Head("no colon here"),
    Wrong::Head("content-length: 1\r\ncontent-length: 2"),
    Wrong::Head("content-length: 5\r\ntransfer-encoding: chunked"),
    Wrong::Head("transfer-encoding: gzip, chunked"),
    Wrong::Head("x-odd: \x01"),
    Wrong::LargeHead,
    Wrong::EndlessHead,
    Wrong::Length("9999999"),
    Wrong::Length("10"),
    Wrong::Length("-1"),
    Wrong::Length("many"),
    Wrong::Chunks("zz\r\nhello\r\n0\r\n\r\n"),
    Wrong::Chunks("5\r\nhelloXX0\r\n\r\n"),
    Wrong::Chunks("fffffffffffffffffff\r\nhello"),
    Wrong::Chunks("5\r\nhello\r\n"),
    Wrong::Html,
    Wrong::Gzip,
    Wrong::Figures("-5"),
    Wrong::Figures("99999999999999999999999"),
    Wrong::Figures("1e400"),
    Wrong::Figures("\"many\""),
    Wrong::Figures("null"),
    Wrong::Figures("{}"),
    Wrong::Before("HTTP/1.1 100 Continue\r\n\r\n"),
    Wrong::Before(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n",
    ),
    Wrong::Before("\r\n\r\n"),
    Wrong::Before("garbage\r\n\r\n"),
    Wrong::Twice,
    Wrong::Unframed,
];

impl Wrong {
    /// Whether the answer ends as its head says, so that the gateway may ask again on the same connection. Closed
    /// unannounced it would break the next request, too, which goes wrong in a way of its own.
    fn leaves_the_connection(self) -> bool {
        match self {
            Self::Not | Self::Drips | Self::Html | Self::Gzip | Self::Figures(_) | Self::Before(_) => true,
            Self::Status(line) => line.contains(" 401 ") || line.contains(" 429 "),
            _ => false,
        }
    }
}

/// A provider gone wrong.
pub struct Chaos {
    pub address: SocketAddr,
    next: Arc<Mutex<Wrong>>,
    mock: Arc<OnceLock<SocketAddr>>,
}

impl Chaos {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (next, mock) = (Arc::new(Mutex::new(Wrong::Not)), Arc::new(OnceLock::new()));
        let (serves, asks) = (next.clone(), mock.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (next, mock) = (serves.clone(), asks.clone());
                // It ends with the connection, at the latest when the gateway gives up.
                std::thread::spawn(move || serve(stream, &next, *mock.get().unwrap()));
            }
        });
        Self { address, next, mock }
    }

    /// Where the true answers come from.
    pub fn stands_before(&self, mock: SocketAddr) {
        self.mock.set(mock).unwrap();
    }

    /// What happens to the answers from now on.
    pub fn goes(&self, wrong: Wrong) {
        *self.next.lock().unwrap() = wrong;
    }
}

/// Answers the requests of one connection until one goes wrong.
fn serve(mut stream: TcpStream, next: &Mutex<Wrong>, mock: SocketAddr) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    loop {
        if *next.lock().unwrap() == Wrong::Refuses {
            return;
        }
        let Some(request) = read_request(&mut stream) else { return };
        let wrong = *next.lock().unwrap();
        let answer = true_answer(&request, mock);
        if spoil(&mut stream, &answer, wrong).is_none() || !wrong.leaves_the_connection() {
            return;
        }
    }
}

fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut request, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        if let Some(end) = find(&request, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if request.len() >= end + 4 + length.map_or(0, |length| length.parse().unwrap()) {
                return Some(request);
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(length) => request.extend_from_slice(&piece[..length]),
        }
    }
}

/// The mock's answer, every byte of it.
fn true_answer(request: &[u8], mock: SocketAddr) -> Vec<u8> {
    let line = find(request, b"\r\n").unwrap();
    let mut upstream = TcpStream::connect(mock).unwrap();
    upstream.write_all(&[&request[..line], b"\r\nConnection: close", &request[line..]].concat()).unwrap();
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).unwrap();
    answer
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Sends the answer with its fault; `None` if the gateway has hung up.
fn spoil(stream: &mut TcpStream, answer: &[u8], wrong: Wrong) -> Option<()> {
    let end = find(answer, b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end])
        .replace("connection: close\r\n", "")
        .replace("Connection: close\r\n", "");
    let (line, fields) = head.split_once("\r\n").unwrap();
    let body = &answer[end + 4..];
    let content = unchunked(&head, body);
    let unframed: String = fields
        .lines()
        .filter(|line| {
            let name = line.split(':').next().unwrap().to_ascii_lowercase();
            !["content-length", "transfer-encoding", "connection"].contains(&&*name)
        })
        .map(|line| format!("{line}\r\n"))
        .collect();
    let sized = |more: &str, body: &[u8]| {
        let head = format!("{line}\r\n{unframed}{more}content-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let framed =
        |framing: &str, body: &[u8]| [format!("{line}\r\n{unframed}{framing}\r\n\r\n").as_bytes(), body].concat();
    let whole = [head.as_bytes(), b"\r\n\r\n", body].concat();
    let part = |thousandths: u64| &whole[..whole.len() * thousandths as usize / 1000];
    let bytes = match wrong {
        Wrong::Refuses => return None,
        Wrong::Not => whole.clone(),
        Wrong::SaysNothing => Vec::new(),
        Wrong::Resets(at) | Wrong::Ends(at) | Wrong::Stalls(at) => part(at).to_vec(),
        Wrong::Drips => {
            for piece in whole.chunks(whole.len() / 40 + 1) {
                stream.write_all(piece).ok()?;
                std::thread::sleep(Duration::from_millis(2));
            }
            Vec::new()
        }
        Wrong::Status(status) => [status.as_bytes(), b"\r\n", fields.as_bytes(), b"\r\n\r\n", body].concat(),
        Wrong::Head(odd) => framed(odd, body),
        Wrong::LargeHead => sized(&format!("x-large: {}\r\n", "a".repeat(2_000_000)), &content),
        Wrong::EndlessHead => {
            stream.write_all(format!("{line}\r\n").as_bytes()).ok()?;
            for _ in 0..20_000 {
                stream.write_all(format!("x-more: {}\r\n", "a".repeat(100)).as_bytes()).ok()?;
            }
            Vec::new()
        }
        Wrong::Length(length) => framed(&format!("content-length: {length}"), &content),
        Wrong::Chunks(chunks) => framed("transfer-encoding: chunked", chunks.as_bytes()),
        Wrong::Html => sized("content-type: text/html\r\n", b"<html><body>It works!</body></html>"),
        Wrong::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&content).unwrap();
            sized("content-encoding: gzip\r\n", &encoder.finish().unwrap())
        }
        Wrong::Figures(figure) => sized("", &figures(&content, figure)),
        Wrong::Before(before) => [before.as_bytes(), &whole].concat(),
        Wrong::Twice => [&*whole, &whole].concat(),
        Wrong::Unframed => framed("connection: close", &content),
    };
    stream.write_all(&bytes).ok()?;
    match wrong {
        Wrong::SaysNothing | Wrong::Stalls(_) => {
            // Until the gateway gives up.
            let _ = stream.read(&mut [0; 1]);
            None
        }
        Wrong::Resets(_) => {
            // Unread bytes turn the close into a reset; where there are none, this is an end.
            close_with_reset(stream);
            None
        }
        _ => Some(()),
    }
}

/// Closes with a reset.
fn close_with_reset(stream: &TcpStream) {
    use nix::sys::socket::{setsockopt, sockopt};
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(stream, sockopt::Linger, &linger).unwrap();
}

fn unchunked(head: &str, body: &[u8]) -> Vec<u8> {
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return body.to_vec();
    }
    let (mut content, mut rest) = (Vec::new(), body);
    while let Some(line) = find(rest, b"\r\n") {
        let size = usize::from_str_radix(&String::from_utf8_lossy(&rest[..line]), 16).unwrap();
        if size == 0 {
            break;
        }
        content.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 2 + size + 2..];
    }
    content
}

/// The content with each figure of its usage replaced: what stands behind a member whose name tells of tokens.
fn figures(content: &[u8], figure: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(content);
    let mut changed = String::new();
    let mut rest = &*text;
    while let Some(at) = rest.find("okens\":").or_else(|| rest.find("okenCount\":")) {
        let colon = at + rest[at..].find(':').unwrap() + 1;
        let number = rest[colon..].find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
        changed += &rest[..colon];
        if number > 0 {
            changed += figure;
        }
        rest = &rest[colon + number..];
    }
    (changed + rest).into_bytes()
}
