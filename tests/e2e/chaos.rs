//! Whatever a provider does: a client gets an answer in time, each request is recorded once and paid for as far as
//! can be known, nothing is left behind, and the next request is none the worse for it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Chaos, Dice, Setup, World, Wrong, chaos, chat_body, eventually, messages_body};

/// More than the gateway waits for anything here.
const PATIENCE: Duration = Duration::from_secs(8);
/// How many faults are drawn.
const FAULTS: usize = 10_000;
/// How long the provider may be silent. Longer where so many requests are made that a crowded machine would hold one of
/// them up for so long, which is no fault of the provider's.
const SILENCE: &str = "400ms";
const LONG_SILENCE: &str = "1500ms";
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

/// A gateway that lets its provider be silent for so long.
async fn before(chaos: &Chaos, silence: &str) -> World {
    let providers = format!(
        "providers:\n  openai: {{kind: openai, base_url: \"http://{0}\", api_key: {{env: TEST_OPENAI_KEY}}}}\n  \
         anthropic: {{kind: anthropic, base_url: \"http://{0}\", api_key: {{env: TEST_ANTHROPIC_KEY}}}}\n  \
         gemini: {{kind: gemini, base_url: \"http://{0}\", api_key: {{env: TEST_GEMINI_KEY}}}}\n",
        chaos.address
    );
    let change = |setup: &mut Setup| {
        setup.providers = Some(providers);
        setup.more = format!("timeouts: {{first_byte: {silence}, idle: {silence}}}");
        setup.mock.interval = Duration::ZERO;
        setup.mock.first = Duration::ZERO;
    };
    let world = World::with(change).await;
    chaos.stands_before(world.mock.address());
    world
}

/// A request whose provider went wrong.
struct Met {
    id: String,
    wrong: Wrong,
    /// Which of the asks it was, and whether that was for a stream.
    ask: usize,
    stream: bool,
    answer: Answer,
}

/// What an answer that nothing is wrong with uses and costs.
struct Usual {
    usage: Value,
    cost: u64,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// The answer passes whole, and costs what it says.
    Whole,
    /// The answer passes, but nothing that can be believed is known of what it cost.
    Passes,
    /// The provider's own refusal passes, and costs nothing.
    Refused(u16),
    /// An error of ours; what was asked is booked, for the provider may charge for it.
    Error(u16),
    /// An error of ours if nothing of the answer had passed, else its visible end; no more is booked than the whole.
    Cut(u16),
    /// Either of these, by what the fault meets: a protocol's loose end that one side may take for an answer.
    Odd,
}

fn fate(wrong: Wrong) -> Fate {
    match wrong {
        Wrong::Not | Wrong::Drips | Wrong::Unframed | Wrong::Twice | Wrong::Gzip => Fate::Whole,
        Wrong::Before(before) if before.starts_with("HTTP/1.1 100") => Fate::Whole,
        Wrong::Html | Wrong::Figures(_) => Fate::Passes,
        Wrong::Status(line) if line.contains(" 401 ") => Fate::Refused(401),
        Wrong::Status(line) if line.contains(" 429 ") => Fate::Refused(429),
        Wrong::Refuses | Wrong::Resets(0) | Wrong::Ends(0) | Wrong::LargeHead | Wrong::EndlessHead => Fate::Error(502),
        Wrong::SaysNothing => Fate::Error(504),
        Wrong::Resets(_) | Wrong::Ends(_) | Wrong::Chunks(_) => Fate::Cut(502),
        Wrong::Stalls(_) | Wrong::Length("9999999") => Fate::Cut(504),
        Wrong::Status(_) | Wrong::Head(_) | Wrong::Length(_) | Wrong::Before(_) => Fate::Odd,
    }
}

/// Asks once while the provider goes wrong in this way.
async fn meets(world: &World, chaos: &Chaos, key: &str, wrong: Wrong, ask: usize, number: usize) -> Met {
    let (path, body) = &asks()[ask];
    chaos.goes(wrong);
    let (id, begun) = (format!("met-{number}"), Instant::now());
    let answer = world.ask("POST", path).key(key).header("x-request-id", &id).json(body).send().await;
    assert!(begun.elapsed() < PATIENCE, "{wrong:?} at {path} took {:?}", begun.elapsed());
    Met { id, wrong, ask, stream: ask >= asks().len() / 2, answer }
}

/// Holds what each request's client saw, and what was recorded and booked, against what must become of it.
fn judge(met: &[Met], events: &[Value], usual: &[Usual]) {
    let outputs = events.iter().filter(|event| event["phase"] == "OUTPUT");
    let outputs: HashMap<&str, &Value> = outputs.map(|event| (event["request_id"].as_str().unwrap(), event)).collect();
    let mut wrong = Vec::new();
    for one in met {
        let output = outputs.get(&*one.id).unwrap_or_else(|| panic!("{:?} has no OUTPUT event", one.wrong));
        if let Err(what) = one.is_as_it_must_be(output, &usual[one.ask]) {
            let said = String::from_utf8_lossy(&one.answer.body()).chars().take(300).collect::<String>();
            wrong.push(format!(
                "{what}: {:?} at {}: {} {said:?}\n  {output}",
                one.wrong,
                asks()[one.ask].0,
                one.answer.status
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), met.len(), wrong.join("\n"));
}

impl Met {
    fn is_as_it_must_be(&self, output: &Value, usual: &Usual) -> Result<(), &'static str> {
        let holds = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
        let (status, whole) = (self.answer.status, self.answer.whole);
        let (usage, cost) = (&output["usage"], output["cost_nano_usd"].as_u64().unwrap_or(0));
        let is_whole = output["ended"] == "complete";
        holds(output["status"] == status, "the event has another status")?;
        holds(whole || !is_whole, "it is recorded as whole and was not")?;
        for kind in ["input", "output", "cache_read", "cache_write", "reasoning"] {
            holds(usage[kind].as_u64().is_some_and(|tokens| tokens < TOKENS_MAX), "odd tokens")?;
        }
        let is_booked = usage["input"] != 0 && usage["output"] == 0 && cost > 0 && cost <= usual.cost;
        match fate(self.wrong) {
            Fate::Whole => {
                holds(status == 200 && is_whole, "not whole")?;
                holds(*usage == usual.usage && cost == usual.cost, "not what it costs")
            }
            Fate::Passes => holds(status == 200 && whole, "not passed on"),
            Fate::Refused(with) => {
                holds(
                    status == with && self.answer.header("x-keeptrusts-verdict") != Some("DENY"),
                    "not the provider's",
                )?;
                holds(cost == 0, "a refusal costs")
            }
            Fate::Error(with) => {
                holds(status == with && output["verdict"] == "ERROR", "no error of ours")?;
                holds(is_booked, "not booked as asked")
            }
            Fate::Cut(with) if status == with => holds(is_booked, "not booked as asked"),
            Fate::Cut(_) => {
                holds(status == 200 && !is_whole, "another end")?;
                holds(self.shows_its_end(), "it looks whole")?;
                // The mock's text is odd, and what was estimated of a part may be more than the provider says of the whole.
                holds(cost > 0 && cost <= usual.cost * 3, "the cost of a part")
            }
            Fate::Odd => holds([200, 204, 304, 502, 504].contains(&status) || status == 999, "another status"),
        }
    }

    /// Whether a client can tell that the answer is not all of it: by its framing, or by an error event.
    fn shows_its_end(&self) -> bool {
        let body = self.answer.body();
        !self.answer.whole || (self.stream && String::from_utf8_lossy(&body).contains("\"error\""))
    }
}

/// What the asks use and cost while nothing is wrong.
async fn usual(world: &World, chaos: &Chaos, key: &str) -> Vec<Usual> {
    for ask in 0..asks().len() {
        meets(world, chaos, key, Wrong::Not, ask, 1_000_000 + ask).await;
    }
    eventually(|| (world.metric("keeptrusts_journal_queue_depth") == 0.0).then_some(())).await;
    let events = world.events_after(2 * asks().len()).await;
    let of = |ask: usize| {
        let id = format!("met-{}", 1_000_000 + ask);
        let event = events.iter().find(|event| event["phase"] == "OUTPUT" && event["request_id"] == *id).unwrap();
        Usual { usage: event["usage"].clone(), cost: event["cost_nano_usd"].as_u64().unwrap() }
    };
    (0..asks().len()).map(of).collect()
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
    let mut world = before(&chaos, SILENCE).await;
    let key = world.key("jane");
    let usual = usual(&world, &chaos, &key).await;
    let (descriptors, mut met, mut served) = (world.metric("process_open_fds") as usize, Vec::new(), 0);
    for (at, wrong) in chaos::ALL.iter().enumerate() {
        // Waiting for what never comes takes its time; each such fault meets two of the asks, in turn.
        let waits = matches!(wrong, Wrong::SaysNothing | Wrong::Stalls(_) | Wrong::Length("9999999"));
        let asks = if waits { vec![at % 4, 4 + (at + at / 4) % 4] } else { (0..asks().len()).collect() };
        for ask in asks {
            met.push(meets(&world, &chaos, &key, *wrong, ask, met.len()).await);
        }
        is_served(&world, &chaos, &key, *wrong).await;
        served += 1;
    }
    nothing_is_left(&world, descriptors).await;
    let events = world.events_after(2 * (met.len() + usual.len() + served)).await;
    assert_eq!(events.len(), 2 * (met.len() + usual.len() + served), "one INPUT and one OUTPUT event each");
    judge(&met, &events, &usual);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; CONTRIBUTING.md says when"]
async fn ten_thousand_faults() {
    let mut dice = Dice::new(std::env::var("CHAOS_SEED").map_or(1, |seed| seed.parse().unwrap()));
    let chaos = Chaos::start();
    let mut world = before(&chaos, LONG_SILENCE).await;
    let key = world.key("jane");
    let usual = usual(&world, &chaos, &key).await;
    let (descriptors, begun) = (world.metric("process_open_fds") as usize, Instant::now());
    let mut met = Vec::new();
    while met.len() < FAULTS {
        // Every fault with every ask first; then drawn, at any byte, with one in sixteen of those that only wait.
        let (asks, all) = (asks().len(), chaos::ALL.len());
        let (wrong, ask) = if met.len() < asks * all {
            (chaos::ALL[met.len() / asks], met.len() % asks)
        } else {
            let wrong = match chaos::ALL[dice.roll(all)] {
                Wrong::Resets(_) => Wrong::Resets(dice.roll(1000) as u64),
                Wrong::Ends(_) => Wrong::Ends(dice.roll(1000) as u64),
                Wrong::SaysNothing | Wrong::Stalls(_) | Wrong::Length("9999999") if dice.roll(16) > 0 => continue,
                wrong => wrong,
            };
            (wrong, dice.roll(asks))
        };
        met.push(meets(&world, &chaos, &key, wrong, ask, met.len()).await);
        if met.len() % 100 == 0 {
            is_served(&world, &chaos, &key, wrong).await;
        }
        if met.len() == 1000 || met.len() % 3000 == 0 {
            let resident = world.metric("process_resident_memory_bytes") / 1e6;
            println!("{} faults in {:?}, {resident:.1} MB resident", met.len(), begun.elapsed());
        }
    }
    nothing_is_left(&world, descriptors).await;
    let events = world.events();
    assert_eq!(events.len(), 2 * (FAULTS + FAULTS / 100 + usual.len()), "one INPUT and one OUTPUT event each");
    judge(&met, &events, &usual);
}
