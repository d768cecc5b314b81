//! Whatever a provider does: a client gets an answer in time, each request is recorded once and paid for as far as
//! can be known, nothing is left behind, and the next request is none the worse for it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Chaos, Setup, World, Wrong, chaos, chat_body, eventually, messages_body};

/// More than the gateway waits for anything here.
const PATIENCE: Duration = Duration::from_secs(8);
/// No answer of the mock uses as many tokens.
const TOKENS_MAX: u64 = 1_000_000;

fn asks() -> Vec<(String, Value)> {
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "Say something."}]}]});
    let mut asks: Vec<(String, Value)> = Vec::new();
    for stream in [false, true] {
        asks.push(("/v1/chat/completions".into(), chat_body("gpt-4o-mini", stream)));
        asks.push(("/v1/responses".into(), json!({"model": "gpt-4o", "stream": stream, "input": "Say something."})));
        asks.push(("/v1/messages".into(), messages_body("claude-sonnet-5", stream)));
        let verb = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        asks.push((format!("/v1beta/models/gemini-3.8-flash:{verb}"), contents.clone()));
    }
    asks
}

async fn before(chaos: &Chaos) -> World {
    let providers = format!(
        "providers:\n  openai: {{kind: openai, base_url: \"http://{0}\", api_key: {{env: TEST_OPENAI_KEY}}}}\n  \
         anthropic: {{kind: anthropic, base_url: \"http://{0}\", api_key: {{env: TEST_ANTHROPIC_KEY}}}}\n  \
         gemini: {{kind: gemini, base_url: \"http://{0}\", api_key: {{env: TEST_GEMINI_KEY}}}}\n",
        chaos.address
    );
    let change = |setup: &mut Setup| {
        setup.providers = Some(providers);
        setup.more = "timeouts: {first_byte: 400ms, idle: 400ms}".into();
        setup.mock.interval = Duration::ZERO;
        setup.mock.first = Duration::ZERO;
    };
    let world = World::with(change).await;
    chaos.stands_before(world.mock.address());
    world
}

/// Asks once while the provider goes wrong in this way.
async fn meets(world: &World, chaos: &Chaos, key: &str, wrong: Wrong, (path, body): &(String, Value)) {
    chaos.goes(wrong);
    let begun = Instant::now();
    let answer = world.ask("POST", path).key(key).json(body).send().await;
    let what = format!("{wrong:?} at {path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body()));
    assert!(begun.elapsed() < PATIENCE, "{what}");
    match wrong {
        Wrong::Not | Wrong::Drips | Wrong::Figures(_) | Wrong::Gzip | Wrong::Unframed | Wrong::Html => {
            assert!(answer.status == 200 && answer.whole, "{what}");
        }
        Wrong::Refuses | Wrong::Resets(0) | Wrong::Ends(0) | Wrong::LargeHead | Wrong::EndlessHead => {
            assert_eq!(answer.status, 502, "{what}");
        }
        Wrong::SaysNothing => assert_eq!(answer.status, 504, "{what}"),
        // The provider's own refusals are told from ours by what is said, and by our verdict.
        Wrong::Status(line) if line.contains(" 401 ") || line.contains(" 429 ") => {
            assert!(line.contains(&answer.status.to_string()), "{what}");
            assert_ne!(answer.header("x-keeptrusts-verdict"), Some("DENY"), "{what}");
        }
        _ => {}
    }
    // Cut or not, a stream ends as its framing says, with something a client understands; see `upstream_faults`.
    if answer.status == 200
        && body["stream"] == true
        && matches!(wrong, Wrong::Resets(_) | Wrong::Ends(_) | Wrong::Stalls(_))
    {
        assert!(answer.whole && answer.body().ends_with(b"\n\n"), "{what}");
    }
}

async fn is_served(world: &World, chaos: &Chaos, key: &str, after: Wrong) {
    chaos.goes(Wrong::Not);
    let answer = world.chat(key, false).send().await;
    assert_eq!(answer.status, 200, "after {after:?}: {}", answer.text());
    let direct = world.direct("POST", "/v1/chat/completions").json(&chat_body("gpt-4o-mini", false)).send().await;
    let said = |answer: &Value| answer["choices"][0]["message"]["content"].clone();
    assert!(said(&answer.json()).is_string() && said(&direct.json()).is_string(), "after {after:?}");
}

/// Nothing is held by what went wrong.
async fn nothing_is_left(world: &World, descriptors: usize) {
    for gauge in ["keeptrusts_requests_active", "keeptrusts_connections_active", "keeptrusts_journal_queue_depth"] {
        eventually(|| (world.metric(gauge) == 0.0).then_some(())).await;
    }
    // Connections to the provider that are kept for the next request are few, because there was one at a time.
    let open = world.metric("process_open_fds") as usize;
    assert!(open <= descriptors + 16, "{open} descriptors, {descriptors} before");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_in_every_dialect_is_survived() {
    let chaos = Chaos::start();
    let mut world = before(&chaos).await;
    let key = world.key("jane");
    let descriptors = world.metric("process_open_fds") as usize;
    let mut asked = 0;
    for (at, wrong) in chaos::ALL.iter().enumerate() {
        let asks = asks();
        // Each fault meets two of the asks, in turn; `ten_thousand_faults` has them all.
        for ask in [&asks[at % 4], &asks[4 + (at + at / 4) % 4]] {
            meets(&world, &chaos, &key, *wrong, ask).await;
            asked += 1;
        }
        is_served(&world, &chaos, &key, *wrong).await;
        asked += 1;
    }
    let events = world.events_after(2 * asked).await;
    assert_eq!(events.len(), 2 * asked, "one INPUT and one OUTPUT event each");
    for event in events.iter().filter(|event| event["phase"] == "OUTPUT") {
        for kind in ["input", "output", "cache_read", "cache_write", "reasoning"] {
            assert!(event["usage"][kind].as_u64().is_some_and(|tokens| tokens < TOKENS_MAX), "{event}");
        }
    }
    nothing_is_left(&world, descriptors).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; CONTRIBUTING.md says when"]
async fn ten_thousand_faults() {
    let seed = std::env::var("CHAOS_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut random = Random(seed);
    let chaos = Chaos::start();
    let mut world = before(&chaos).await;
    world.is_large = true;
    let key = world.key("jane");
    let (descriptors, asks, begun) = (world.metric("process_open_fds") as usize, asks(), Instant::now());
    // Waiting for what never comes is most of the time; one in eight of those is enough.
    let mut count = 0;
    while count < 10_000 {
        let wrong = match chaos::ALL[random.below(chaos::ALL.len())] {
            Wrong::Resets(_) => Wrong::Resets(random.below(1000) as u64),
            Wrong::Ends(_) => Wrong::Ends(random.below(1000) as u64),
            Wrong::SaysNothing | Wrong::Stalls(_) | Wrong::Length("9999999") if random.below(8) > 0 => continue,
            wrong => wrong,
        };
        meets(&world, &chaos, &key, wrong, &asks[random.below(asks.len())]).await;
        count += 1;
        if count % 100 == 0 {
            is_served(&world, &chaos, &key, wrong).await;
        }
        if count == 1000 || count % 3000 == 0 {
            let resident = world.metric("process_resident_memory_bytes") / 1e6;
            println!("{count} faults in {:?}, {resident:.1} MB resident", begun.elapsed());
        }
    }
    let finished = world.metric("keeptrusts_usage_records_total{") as u64;
    assert_eq!(finished, 10_000 + 100, "each request ended once");
    nothing_is_left(&world, descriptors).await;
}

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}
