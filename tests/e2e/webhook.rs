//! Events sent on as they are recorded: signed, in their order, none missing whatever the receiver does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::harness::{Gateway, World, eventually};

const SECRET: &str = "whsec_Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5";
const SECRET_BYTES: &[u8] = b"canary-canary-canary-canary";

/// What a receiver does: answers so many milliseconds late with a status.
#[derive(Default)]
struct Mood {
    status: AtomicU16,
    late_ms: AtomicU64,
}

/// Somebody who takes events, and believes none that is not signed.
struct Receiver {
    address: SocketAddr,
    mood: Arc<Mood>,
    /// The deliveries that were taken, with their ids.
    taken: Arc<Mutex<Vec<(String, Value)>>>,
    /// The ids of all attempts.
    tried: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mood = Arc::new(Mood::default());
        mood.status.store(200, Ordering::SeqCst);
        let (taken, tried) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let receiver = Self { address, mood: mood.clone(), taken: taken.clone(), tried: tried.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (mood, taken, tried) = (mood.clone(), taken.clone(), tried.clone());
                std::thread::spawn(move || serve(stream, &mood, &taken, &tried));
            }
        });
        receiver
    }

    fn answer(&self, status: u16, late: Duration) {
        self.mood.late_ms.store(late.as_millis() as u64, Ordering::SeqCst);
        self.mood.status.store(status, Ordering::SeqCst);
    }

    /// The events that were taken, each as often as it was.
    fn events(&self) -> Vec<Value> {
        let taken = self.taken.lock().unwrap();
        taken.iter().flat_map(|(_, body)| body["data"]["events"].as_array().unwrap().clone()).collect()
    }

    fn attempts(&self) -> usize {
        self.tried.lock().unwrap().len()
    }

    fn as_audit(&self) -> String {
        format!(
            "audit:\n  webhook: {{url: \"http://{}/in/v1/\", secret: {{env: TEST_WEBHOOK_SECRET}}, give_up_after: 60s}}\n",
            self.address
        )
    }
}

fn serve(mut stream: TcpStream, mood: &Mood, taken: &Mutex<Vec<(String, Value)>>, tried: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    let mut piece = [0; 64 * 1024];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        let whole = text.split_once("\r\n\r\n").filter(|(head, body)| body.len() >= length(head));
        let Some((head, body)) = whole else {
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(read) => request.extend_from_slice(&piece[..read]),
            }
            continue;
        };
        request.clear();
        assert!(head.starts_with("POST /in/v1/ HTTP/1.1\r\n"), "{head}");
        let id = verified(head, body);
        tried.lock().unwrap().push(id.clone());
        std::thread::sleep(Duration::from_millis(mood.late_ms.load(Ordering::SeqCst)));
        let status = mood.status.load(Ordering::SeqCst);
        if status == 200 {
            taken.lock().unwrap().push((id, serde_json::from_str(body).unwrap()));
        }
        // A redirection, were it followed, would lead to nobody.
        let answer = format!("HTTP/1.1 {status} x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn length(head: &str) -> usize {
    field(head, "content-length").unwrap().parse().unwrap()
}

/// Verifies a delivery as docs/EVENTS.md says; its id.
fn verified(head: &str, body: &str) -> String {
    let (id, timestamp) = (field(head, "webhook-id").unwrap(), field(head, "webhook-timestamp").unwrap());
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET_BYTES).unwrap();
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(field(head, "webhook-signature"), Some(&*expected));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(timestamp.parse().unwrap()) < 60);
    id.to_owned()
}

async fn world(receiver: &Receiver) -> World {
    let more = receiver.as_audit();
    let mut world = World::with(|setup| {
        setup.more = more;
        setup.environment = vec![("TEST_WEBHOOK_SECRET", SECRET.into())];
    })
    .await;
    world.keep_secret(SECRET);
    world.keep_secret(SECRET.trim_start_matches("whsec_"));
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_is_slow_and_comes_back_misses_nothing() {
    let receiver = Receiver::start();
    let mut world = world(&receiver).await;
    let key = world.key("jane");
    let ask = async |count: usize| {
        for _ in 0..count {
            world.chat(&key, false).send().await;
        }
    };
    ask(3).await;
    eventually(|| (receiver.events().len() == 6).then_some(())).await;

    // It fails, and so does a redirection: nobody else is asked.
    receiver.answer(500, Duration::ZERO);
    let before = receiver.attempts();
    ask(3).await;
    eventually(|| (receiver.attempts() >= before + 2).then_some(())).await;
    receiver.answer(302, Duration::ZERO);
    eventually(|| (receiver.attempts() >= before + 3).then_some(())).await;
    assert_eq!(receiver.events().len(), 6);
    assert!(world.metric("keeptrusts_webhook_events_behind") > 0.0);
    assert!(world.metric("keeptrusts_webhook_attempts_total{outcome=\"refused\"}") >= 3.0);

    // It comes back slowly; requests do not wait for it.
    receiver.answer(200, Duration::from_millis(700));
    let begun = std::time::Instant::now();
    ask(3).await;
    assert!(begun.elapsed() < Duration::from_millis(600), "requests waited for the webhook: {:?}", begun.elapsed());
    eventually(|| (receiver.events().len() >= 18).then_some(())).await;
    receiver.answer(200, Duration::ZERO);
    assert_eq!(receiver.events(), world.events(), "each once and in their order, exactly as recorded");
    let tried = receiver.tried.lock().unwrap().clone();
    assert_eq!(tried[before], tried[before + 1], "an attempt that is made again keeps its id");
    eventually(|| (world.metric("keeptrusts_webhook_events_behind") == 0.0).then_some(())).await;
    assert_eq!(world.metric("keeptrusts_webhook_events_total{outcome=\"delivered\"}"), 18.0);
    let log = world.gateway.log();
    assert!(log.contains("failed to deliver events") && log.contains("are being delivered to"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_goes_on_where_the_last_one_was_killed() {
    let receiver = Receiver::start();
    let mut world = world(&receiver).await;
    let key = world.key("jane");
    world.chat(&key, false).send().await;
    eventually(|| (receiver.events().len() == 2).then_some(())).await;
    receiver.answer(503, Duration::ZERO);
    world.chat(&key, false).send().await;
    world.events_after(4).await;
    world.gateway.signal("KILL");
    world.gateway.wait(Duration::from_secs(5));
    receiver.answer(200, Duration::ZERO);
    let environment = [("TEST_WEBHOOK_SECRET", SECRET.into())];
    world.gateway = Gateway::start_in(&environment, &world.config(), &world.data_dir()).await;
    eventually(|| (receiver.events().len() >= 4).then_some(())).await;
    assert_eq!(receiver.events(), world.events());
    // The metrics began anew, and would be compared with all events.
    world.is_large = true;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_brings_another_receiver_or_none() {
    let (first, second) = (Receiver::start(), Receiver::start());
    let mut world = world(&first).await;
    let key = world.key("jane");
    first.answer(401, Duration::ZERO);
    world.chat(&key, false).send().await;
    eventually(|| (first.attempts() > 0).then_some(())).await;
    world.rewrite(|text| text.replace(&first.address.to_string(), &second.address.to_string()));
    world.kt(&["config", "reload"]).succeeded();
    eventually(|| (second.events().len() == 2).then_some(())).await;
    // What is recorded while there is none is sent when there is one again.
    let audit = second.as_audit();
    world.rewrite(|text| text.replace(&audit, ""));
    world.kt(&["config", "reload"]).succeeded();
    world.chat(&key, false).send().await;
    world.events_after(4).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(second.events().len(), 2);
    world.rewrite(|text| text + &audit);
    world.kt(&["config", "reload"]).succeeded();
    eventually(|| (second.events().len() == 4).then_some(())).await;
    assert_eq!(second.events(), world.events());
    let shown = world.kt(&["config", "running"]).succeeded().stdout();
    assert!(shown.contains("secret: (from env TEST_WEBHOOK_SECRET)"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_in_time_is_given_up_and_the_next_comes() {
    let receiver = Receiver::start();
    let mut world = world(&receiver).await;
    world.rewrite(|text| text.replace("give_up_after: 60s", "give_up_after: 1s"));
    world.kt(&["config", "reload"]).succeeded();
    let key = world.key("jane");
    receiver.answer(400, Duration::ZERO);
    world.chat(&key, false).send().await;
    let given_up = || world.metric("keeptrusts_webhook_events_total{outcome=\"given_up\"}");
    eventually(|| (given_up() >= 2.0).then_some(())).await;
    receiver.answer(200, Duration::ZERO);
    world.chat(&key, false).send().await;
    eventually(|| (receiver.events().len() == 2).then_some(())).await;
    assert_eq!(receiver.events()[..], world.events()[2..]);
    let log = world.gateway.log();
    assert!(log.contains("did not take events 1 to 2 (it answered 400 Bad Request): they are given up"), "{log}");
}
