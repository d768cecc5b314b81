//! Malformed and odd requests, byte by byte: each is refused before a provider sees anything of it, or passed on
//! without what must not be, or taken as it is.

mod cases;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{World, chat_body};

/// What must come of a case.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// Answered with this status, and nothing reached a provider.
    Refuse(u16),
    /// Answered by the provider.
    Accept,
    /// Answered by the provider, to which nothing was passed on that contains this.
    Strip(&'static str),
}

const GROUPS: [(&str, &[cases::Case]); 9] = [
    ("request line", cases::LINES),
    ("method or version", cases::METHODS),
    ("target", cases::TARGETS),
    ("field", cases::FIELDS),
    ("host", cases::HOSTS),
    ("length", cases::LENGTHS),
    ("coding", cases::CODINGS),
    ("chunk", cases::CHUNKS),
    ("connection", cases::CONNECTIONS),
];

fn filled(raw: &str, key: &str) -> Vec<u8> {
    let body = chat_body("gpt-4o-mini", false).to_string();
    let hex = format!("{:x}", body.len());
    let mut text = raw.to_owned();
    for (placeholder, with) in [
        ("{P}", "POST /v1/chat/completions HTTP/1.1\r\n"),
        ("{H}", "Host: kt\r\n"),
        ("{A}", &format!("Authorization: Bearer {key}\r\n")),
        ("{L}", "Content-Length: {len}\r\n"),
        ("{C}", "Transfer-Encoding: chunked\r\n"),
        ("{chunk}", "{hex}\r\n{body}\r\n"),
        ("{len}", &body.len().to_string()),
        ("{hex}", &hex),
        ("{HEX}", &hex.to_uppercase()),
        ("{body}", &body),
        ("{100 fields}", &"X-A: b\r\n".repeat(100)),
        ("{2000 trailers}", &"a: b\r\n".repeat(2000)),
        ("{9000}", &"a".repeat(9000)),
        ("{16000}", &"a".repeat(16_000)),
        ("{20000}", &"a".repeat(20_000)),
        ("{40000}", &"a".repeat(40_000)),
    ] {
        text = text.replace(placeholder, with);
    }
    text.into_bytes()
}

/// Sends the bytes and reads until the gateway closes or the answer is whole.
fn exchange(world: &World, bytes: &[u8]) -> (String, bool) {
    let mut stream = TcpStream::connect(world.gateway.edge).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // The gateway may close before it has read everything.
    let _ = stream.write_all(bytes);
    let (mut heard, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return (String::from_utf8_lossy(&heard).into_owned(), true),
            Ok(length) => heard.extend_from_slice(&piece[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return (String::from_utf8_lossy(&heard).into_owned(), false);
            }
            Err(error) => return (format!("{error} after {}", String::from_utf8_lossy(&heard)), true),
        }
        let text = String::from_utf8_lossy(&heard);
        let last = text.rsplit("HTTP/1.1 ").next().unwrap_or_default();
        if let Some((head, body)) = last.split_once("\r\n\r\n")
            && let Some(length) =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok())
            && body.len() >= length
        {
            let closes = head.to_lowercase().contains("connection: close");
            return (text.into_owned(), closes);
        }
    }
}

/// What is wrong with what came of a case, if anything.
fn judge(world: &World, key: &str, framed: bool, (what, _, raw, expect): &cases::Case) -> Result<(), String> {
    let before = world.mock.totals().requests;
    let (answer, closed) = exchange(world, &filled(raw, key));
    let asked = world.mock.totals().requests - before;
    let head: String = answer.chars().take(300).collect();
    let wrong = |why: String| Err(format!("{what}: {why}\n{head}"));
    match expect {
        Expect::Refuse(status) if !answer.starts_with(&format!("HTTP/1.1 {status} ")) => wrong(format!("no {status}")),
        Expect::Refuse(_) if asked > 0 => wrong("a provider saw it".into()),
        Expect::Refuse(400 | 414 | 431 | 501 | 505) if !framed && !closed => wrong("the connection was kept".into()),
        Expect::Refuse(_) => Ok(()),
        Expect::Accept | Expect::Strip(_) if !answer.contains("HTTP/1.1 200 ") => wrong("not passed on".into()),
        Expect::Accept | Expect::Strip(_) if asked != 1 => wrong(format!("a provider saw {asked} requests")),
        Expect::Accept => Ok(()),
        Expect::Strip(gone) => {
            let seen = world.mock.requests().pop().unwrap();
            match format!("{seen:?}").to_lowercase().contains(gone) {
                true => wrong(format!("{gone} was passed on")),
                false => Ok(()),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_the_corpus_is_judged_as_the_rfcs_say() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let mut faults = Vec::new();
    let mut count = 0;
    let begun = Instant::now();
    for (group, cases) in GROUPS {
        for case in cases {
            count += 1;
            faults.extend(
                judge(&world, &key, group == "connection", case)
                    .err()
                    .map(|fault| format!("{group} ({}): {fault}", case.1)),
            );
        }
    }
    assert!(count >= 150, "{count} cases");
    assert!(faults.is_empty(), "{} of {count} cases in {:?}:\n{}", faults.len(), begun.elapsed(), faults.join("\n\n"));
}
