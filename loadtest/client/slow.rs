//! Thousands of connections that hardly do anything: heads and bodies that drip, and readers that hardly read.
//!
//! They are opened evenly over some time, so that their deadlines do not come in one moment, and so that what they
//! cost is not one burst of this program's. `kept` are as many that do nothing wrong, for comparison: each asks once, and
//! is kept open for as long.

use std::cell::RefCell;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// A byte each time.
const EVERY: Duration = Duration::from_secs(10);
/// What a reader's system takes for it, as little as there is.
const RECEIVED_BYTES: u32 = 4096;

#[derive(Args)]
pub struct Slow {
    #[arg(long, value_enum)]
    kind: Kind,
    /// Where they connect to
    #[arg(long)]
    to: SocketAddr,
    /// The credential that is sent
    #[arg(long, env = "KEY", hide_env_values = true, default_value = "sk-load")]
    key: String,
    #[arg(long, default_value_t = 10_000)]
    sockets: u32,
    /// Seconds over which they are opened
    #[arg(long, default_value_t = 10.0)]
    opening: f64,
    /// Seconds after which each is closed from here
    #[arg(long, default_value_t = 150.0)]
    kept: f64,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    Heads,
    Bodies,
    Readers,
    Kept,
}

#[derive(Default)]
struct Seen {
    /// How long after its first byte each was closed.
    closed: Vec<Duration>,
    /// How long after the first of all was opened each reader's answer began. None of them sees its end: what it has not
    /// read stands between.
    answered: Vec<Duration>,
    kept: usize,
    failed: usize,
}

pub async fn run(slow: Slow) -> Result<Value, Box<dyn Error>> {
    let (seen, local) = (Rc::new(RefCell::new(Seen::default())), LocalSet::new());
    let (begin, slow) = (Instant::now(), Rc::new(slow));
    for number in 0..slow.sockets {
        let opens = begin + Duration::from_secs_f64(slow.opening / f64::from(slow.sockets)) * number;
        let (slow, seen) = (slow.clone(), seen.clone());
        local.spawn_local(async move {
            sleep_until(opens).await;
            let lived = slow.live(|| seen.borrow_mut().answered.push(begin.elapsed())).await;
            let mut seen = seen.borrow_mut();
            match lived {
                Ok(Some(closed)) => seen.closed.push(closed),
                Ok(None) => seen.kept += 1,
                Err(_) => seen.failed += 1,
            }
        });
    }
    local.await;
    let seen = seen.borrow();
    let answered: Vec<f64> = seen.answered.iter().map(Duration::as_secs_f64).collect();
    let (least, most) = (seen.closed.iter().min(), seen.closed.iter().max());
    Ok(json!({
        "closed": seen.closed.len(), "kept": seen.kept, "failed": seen.failed,
        "closed_least_s": least.map(Duration::as_secs_f64), "closed_most_s": most.map(Duration::as_secs_f64),
        "answered_s": answered,
    }))
}

impl Slow {
    /// When the connection was closed, unless it was kept. `answered` is called when its answer begins.
    async fn live(&self, answered: impl FnOnce()) -> io::Result<Option<Duration>> {
        let mut stream = self.open().await?;
        let begun = Instant::now();
        stream.write_all(self.first().as_bytes()).await?;
        match self.kind {
            // Its answer, by which it is kept.
            Kind::Kept => drop(stream.read(&mut [0; 4096]).await?),
            Kind::Readers => {
                stream.readable().await?;
                answered();
            }
            Kind::Heads | Kind::Bodies => {}
        }
        let ended = timeout(Duration::from_secs_f64(self.kept), self.dawdle(&mut stream)).await;
        Ok(ended.ok().map(|()| begun.elapsed()))
    }

    async fn open(&self) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if self.kind == Kind::Readers {
            socket.set_recv_buffer_size(RECEIVED_BYTES)?;
        }
        let stream = socket.connect(self.to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn first(&self) -> String {
        let Self { to, key, .. } = self;
        let begins = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: {to}\r\nauthorization: Bearer {key}\r\n");
        match self.kind {
            Kind::Heads => begins + "x-slow: ",
            Kind::Bodies => begins + "content-length: 100000\r\n\r\n",
            Kind::Readers => {
                let body = r#"{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Hello."}]}"#;
                format!("{begins}content-length: {}\r\n\r\n{body}", body.len())
            }
            Kind::Kept => format!("GET /health HTTP/1.1\r\nhost: {to}\r\n\r\n"),
        }
    }

    /// Until the gateway closes.
    async fn dawdle(&self, stream: &mut TcpStream) {
        let (mut reads, mut writes) = stream.split();
        let pause = if self.kind == Kind::Readers { EVERY } else { Duration::ZERO };
        let closed = async {
            // A reader takes a byte each time, the others whatever comes.
            let mut piece = [0; 512];
            let room = if pause.is_zero() { &mut piece[..] } else { &mut piece[..1] };
            while reads.read(room).await.is_ok_and(|came| came > 0) {
                sleep(pause).await;
            }
        };
        let drips = async {
            while matches!(self.kind, Kind::Heads | Kind::Bodies) && writes.write_all(b"a").await.is_ok() {
                sleep(EVERY).await;
            }
            std::future::pending().await
        };
        tokio::select! { () = closed => {}, () = drips => {} }
    }
}
