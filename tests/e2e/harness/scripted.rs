//! A provider that says exactly what a test wants, whatever it is asked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Answers each request on a connection of its own. It ends with the test's process.
pub struct Scripted {
    pub address: SocketAddr,
}

impl Scripted {
    /// Gives `answer` to everyone, as it stands, and closes.
    pub fn start(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let answer = answer.clone();
                std::thread::spawn(move || serve(stream, &answer));
            }
        });
        Self { address }
    }

    /// The configuration of an OpenAI provider that is this one.
    pub fn as_openai(&self) -> String {
        format!(
            "providers:\n  openai: {{kind: openai, base_url: \"http://{}\", api_key: {{env: TEST_OPENAI_KEY}}}}",
            self.address
        )
    }
}

/// A head and a body of known length.
pub fn answer(lines: &[&str], body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{}\r\nContent-Length: {}\r\n\r\n", lines.join("\r\n"), body.len());
    [head.as_bytes(), body].concat()
}

fn serve(mut stream: TcpStream, answer: &[u8]) {
    let (mut request, mut piece) = (Vec::new(), [0; 16 * 1024]);
    while !is_whole(&request) {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&piece[..length]),
        }
    }
    // The gateway may have hung up.
    let _ = stream.write_all(answer);
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    request.len() >= head.len() + 4 + length
}
