//! Under a service manager: sockets it holds, readiness, the watchdog, and restarts that lose no request.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::harness::{Ask, World, chat_body, command};

/// Plays systemd: holds the edge's socket, hears what the gateway tells, starts and stops it.
struct Manager {
    edge: TcpListener,
    notices: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let notices = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        notices.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { edge: TcpListener::bind("127.0.0.1:0").unwrap(), notices, folder }
    }

    fn address(&self) -> SocketAddr {
        self.edge.local_addr().unwrap()
    }

    /// Starts the gateway of `world` once more; the socket becomes its third descriptor.
    fn start(&self, world: &World) -> Child {
        let environment = command(&["gateway", "run"], &world.data_dir());
        let script = "exec 3<&0; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=edge exec \"$@\"";
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(environment.get_program())
            .args(environment.get_args())
            .arg("--config")
            .arg(world.config())
            .env_clear()
            .envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .env("WATCHDOG_USEC", "300000")
            .stdin(Stdio::from(OwnedFd::from(self.edge.try_clone().unwrap())))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Waits until the gateway tells `what`.
    fn hears(&self, what: &str) {
        let begun = Instant::now();
        let mut notice = [0; 256];
        loop {
            let length = self.notices.recv(&mut notice).unwrap_or_else(|error| panic!("no {what}: {error}"));
            if std::str::from_utf8(&notice[..length]).unwrap().lines().any(|line| line == what) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{what} was not told");
        }
    }

    /// Stops it and starts it once more.
    fn restart(&self, child: Child, world: &World) -> Child {
        self.stop(child);
        let next = self.start(world);
        self.hears("READY=1");
        next
    }

    fn stop(&self, mut child: Child) {
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        self.hears("STOPPING=1");
        let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        assert!(child.wait().unwrap().success(), "{}", log());
    }
}

/// How often the gateway is replaced.
const UPGRADES: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_lose_no_request_and_cut_no_stream_while_the_socket_is_held() {
    let mut world = World::with(|setup| {
        setup.mock.interval = Duration::from_millis(5);
        setup.mock.tokens = 60;
    })
    .await;
    let key = world.key("jane");
    world.gateway.stop();
    let manager = Manager::new();
    let mut gateway = manager.start(&world);
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");
    let stop = Arc::new(AtomicBool::new(false));
    // Half of them have a stream of a third of a second, so that some run whenever a process has to end.
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let ask = Ask::new(manager.address(), "POST", "/v1/chat/completions").key(&key);
            let is_stream = client % 2 == 0;
            let (stop, ask) = (stop.clone(), ask.json(&chat_body("gpt-4o-mini", is_stream)));
            tokio::spawn(async move {
                let mut answered = 0;
                while !stop.load(Ordering::Relaxed) {
                    let answer = ask.clone().send().await;
                    assert!(answer.status == 200 && answer.whole, "{}: {}", answer.status, answer.text());
                    assert_eq!(answer.text().ends_with("data: [DONE]\n\n"), is_stream, "{}", answer.text());
                    answered += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                answered
            })
        })
        .collect();
    for _ in 0..UPGRADES {
        tokio::time::sleep(Duration::from_millis(100)).await;
        gateway = tokio::task::block_in_place(|| manager.restart(gateway, &world));
    }
    stop.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for client in clients {
        answered += client.await.unwrap();
    }
    assert!(answered >= 8 * UPGRADES, "{answered}");
    println!("{answered} requests were answered during {UPGRADES} upgrades");
    let events = world.events_after(2 * answered).await;
    assert_eq!(events.len(), 2 * answered, "every request has its two events, whichever process wrote them");
    let ends: Vec<_> = events.iter().filter(|event| event["phase"] == "OUTPUT").collect();
    assert!(ends.iter().all(|end| end["ended"] == "complete" && end["usage"]["source"] == "provider"));
    let cost: u64 = ends.iter().map(|end| end["cost_nano_usd"].as_u64().unwrap()).sum();
    let usage = world.kt(&["usage", "--json"]).succeeded().json();
    assert_eq!(usage["total"]["cost_nano_usd"], cost, "what all processes served is in the sums: {usage}");
    tokio::task::block_in_place(|| manager.stop(gateway));
}

/// How often it is restarted under clients that keep their connections.
const RESTARTS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_keep_their_connections_lose_no_request_to_a_restart() {
    let mut world = World::start().await;
    let key = world.key("jane");
    world.gateway.stop();
    let manager = Manager::new();
    let mut gateway = manager.start(&world);
    manager.hears("READY=1");
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> =
        (0..4).map(|_| tokio::spawn(keep_asking(manager.address(), key.clone(), stop.clone()))).collect();
    for _ in 0..RESTARTS {
        tokio::time::sleep(Duration::from_millis(150)).await;
        gateway = tokio::task::block_in_place(|| manager.restart(gateway, &world));
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    stop.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for client in clients {
        let (requests, connections) = client.await.unwrap();
        assert!((2..=RESTARTS + 1).contains(&connections), "{connections} connections for {requests} requests");
        answered += requests;
    }
    let events = world.events_after(2 * answered).await;
    assert_eq!(events.len(), 2 * answered);
    tokio::task::block_in_place(|| manager.stop(gateway));
}

/// Asks again and again on a connection for as long as it is not told that it ends. How often, and on how many.
async fn keep_asking(edge: SocketAddr, key: String, stop: Arc<AtomicBool>) -> (usize, usize) {
    let body = Bytes::from(chat_body("gpt-4o-mini", false).to_string());
    let (mut requests, mut connections) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let stream = TcpStream::connect(edge).await.unwrap();
        let (mut line, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        connections += 1;
        let mut is_last = false;
        while !is_last && !stop.load(Ordering::Relaxed) {
            let request = Request::post("/v1/chat/completions")
                .header("host", "kt")
                .header("authorization", format!("Bearer {key}"));
            let request = request.body(Full::new(body.clone())).unwrap();
            let answer = line.send_request(request).await.expect("the connection was closed under a request");
            assert_eq!(answer.status(), 200);
            is_last = answer.headers().get("connection").is_some_and(|value| value == "close");
            answer.into_body().collect().await.unwrap();
            requests += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    (requests, connections)
}
