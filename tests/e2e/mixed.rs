//! Ten thousand requests in all dialects, many of which end early: the books close, and what was told is exact.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keeptrusts::mock_provider::Seen;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Dice, Kt, World, chat_body, contents_body, eventually, messages_body};

const CLIENTS: usize = 48;
const TOKENS: u32 = 60;
/// Between two tokens; real providers take longer.
const INTERVAL: Duration = Duration::from_millis(4);
const THREE: &str = "providers:
  openai: {kind: openai, base_url: \"{mock}\", api_key: {env: TEST_OPENAI_KEY}}
  anthropic: {kind: anthropic, base_url: \"{mock}\", api_key: {env: TEST_ANTHROPIC_KEY}}
  gemini: {kind: gemini, base_url: \"{mock}\", api_key: {env: TEST_GEMINI_KEY}}
";

/// One way to ask, and how many events a stream of it has before the first token.
struct Way {
    path: &'static str,
    body: Value,
    opening: Option<usize>,
}

impl Way {
    /// Whether the gateway takes figures out of the stream, so that the caller gets less than the provider sent.
    fn is_edited(&self) -> bool {
        self.path.ends_with("completions") && self.body["stream_options"].is_null() || self.path.contains("our-gpt")
    }

    fn is_gemini(&self) -> bool {
        self.path.starts_with("/v1beta")
    }
}

fn ways() -> Vec<Way> {
    let with_usage = json!({"include_usage": true});
    let mut told = chat_body("gpt-4o-mini", true);
    told["stream_options"] = with_usage;
    let input = |stream: bool| json!({"model": "gpt-4o", "stream": stream, "input": "Say something."});
    let prompt = |stream: bool| json!({"model": "gpt-4o-mini", "stream": stream, "prompt": "Say something."});
    let way = |path, body, opening| Way { path, body, opening };
    vec![
        way("/v1/chat/completions", chat_body("gpt-4o-mini", true), Some(1)),
        way("/v1/chat/completions", told, Some(1)),
        way("/v1/chat/completions", chat_body("gpt-4o-mini-cached-reason", false), None),
        way("/v1/completions", prompt(true), Some(0)),
        way("/v1/responses", input(true), Some(4)),
        way("/v1/responses", input(false), None),
        way("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": "Some text."}), None),
        way("/v1/messages", messages_body("claude-sonnet-5-cachewrite", true), Some(3)),
        way("/v1/messages", messages_body("claude-sonnet-5-cached", false), None),
        way("/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse", contents_body(), Some(1)),
        way("/v1beta/models/gemini-3.8-flash:streamGenerateContent", contents_body(), Some(1)),
        way("/v1beta/models/gemini-3.8-flash-cached:generateContent", contents_body(), None),
        way("/openai/deployments/our-gpt/chat/completions?api-version=2024-10-21", chat_body("our-gpt", true), Some(2)),
    ]
}

/// How a request is to end, as far as the test decides.
fn fault(dice: &mut Dice) -> (String, Option<usize>) {
    let at = dice.roll(TOKENS as usize);
    match dice.roll(100) {
        0..30 => ("none".into(), Some(200 + dice.roll(9_000))),
        30..32 => (format!("cut:{at}"), None),
        32..34 => (format!("mid-event:{at}"), None),
        34 => (format!("reset:{at}"), None),
        35..40 => ("status:500".into(), None),
        _ => ("none".into(), None),
    }
}

/// Asks, and leaves when so much of the answer has come.
async fn ask(edge: SocketAddr, key: &str, id: &str, way: &Way, fault: &str, leaves_after: Option<usize>) {
    let body = way.body.to_string();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: kt\r\nAuthorization: Bearer {key}\r\nx-request-id: {id}\r\nx-mock-fault: {fault}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        way.path,
        body.len()
    );
    let mut line = TcpStream::connect(edge).await.unwrap();
    line.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap();
    let (mut heard, mut piece) = (0, [0; 4096]);
    while leaves_after.is_none_or(|enough| heard < enough) {
        match line.read(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(length) => heard += length,
        }
    }
}

async fn run(requests: usize) {
    let mut world = World::with(|setup| {
        setup.mock.interval = INTERVAL;
        setup.mock.tokens = TOKENS;
        setup.mock.plain_words = true;
        setup.providers =
            Some(format!("{THREE}  azure: {{kind: azure, base_url: \"{{mock}}\", api_key: {{env: TEST_OPENAI_KEY}}}}"));
    })
    .await;
    let key = world.key("crowd");
    let (edge, ways) = (world.gateway.edge, Arc::new(ways()));
    let crowd = (0..CLIENTS).map(|client| {
        let (key, ways) = (key.clone(), ways.clone());
        tokio::spawn(async move {
            let mut dice = Dice::new(client as u64 + 1);
            for at in (client..requests).step_by(CLIENTS) {
                let way = dice.roll(ways.len());
                let (fault, leaves_after) = fault(&mut dice);
                ask(edge, &key, &format!("r-{way}-{at}"), &ways[way], &fault, leaves_after).await;
            }
        })
    });
    for client in crowd.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    eventually(|| (world.metric("keeptrusts_requests_active") == 0.0).then_some(())).await;
    eventually(|| (world.metric("keeptrusts_journal_queue_depth") == 0.0).then_some(())).await;
    check(&world, &ways, requests);
}

fn check(world: &World, ways: &[Way], requests: usize) {
    let listed = Kt::run(&["events", "list", "--json", "--limit", "1000000"], &world.data_dir()).succeeded().stdout();
    let events: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |phase: &str| events.iter().filter(|event| event["phase"] == phase).collect::<Vec<_>>();
    let (inputs, outputs) = (of("INPUT"), of("OUTPUT"));
    assert_eq!((inputs.len(), outputs.len()), (requests, requests), "admitted = INPUT = OUTPUT");

    let cost: u64 = outputs.iter().filter_map(|event| event["cost_nano_usd"].as_u64()).sum();
    let counted = world.metric("keeptrusts_cost_usd_total{");
    assert!((counted * 1e9 - cost as f64).abs() < 0.5, "cost in metrics {counted} and events {cost} nano-USD");

    let seen: HashMap<String, Seen> = world.mock.requests().into_iter().map(|seen| (id(&seen), seen)).collect();
    let (mut exact, mut told, mut inputs) = (0, 0, HashMap::<usize, u64>::new());
    let (mut of_seen, mut of_sent) = (HashMap::<&str, Vec<f64>>::new(), HashMap::<&str, Vec<f64>>::new());
    let figure = |output: &Value, member: &str| output["usage"][member].as_u64().unwrap();
    let way = |output: &Value| output["request_id"].as_str().unwrap().split('-').nth(1).unwrap().parse().unwrap();
    for output in &outputs {
        let Some(seen) = seen.get(output["request_id"].as_str().unwrap()) else { continue };
        if output["usage"]["source"] == "provider" && output["usage"]["complete"] == true {
            let reported = seen.reported.unwrap();
            let told = ["input", "cache_read", "cache_write", "output", "reasoning"].map(|kind| figure(output, kind));
            let true_ones =
                [reported.input, reported.cache_read, reported.cache_write, reported.output, reported.reasoning];
            assert_eq!(told, true_ones, "{output}");
            inputs.insert(way(output), reported.input);
            exact += 1;
        }
    }
    for output in &outputs {
        let Some(seen) = seen.get(output["request_id"].as_str().unwrap()) else { continue };
        let way_of = way(output);
        let way = &ways[way_of];
        let is_cut = output["usage"]["source"] == "estimated" && seen.status == Some(200);
        let Some(opening) = way.opening.filter(|_| is_cut) else { continue };
        // A token for each event, but for those that open and close the stream.
        let tokens = |events: usize| events.saturating_sub(opening).min(TOKENS as usize);
        let ended = output["ended"].as_str().unwrap();
        let estimate = figure(output, "output") as f64;
        let note = |errors: &mut HashMap<_, Vec<f64>>, truth: usize| {
            if truth >= 5 {
                errors.entry(ended).or_default().push((estimate - truth as f64) / truth as f64);
            }
        };
        // What the provider had sent, some of which was still under way, or in a buffer, when its connection ended.
        note(&mut of_sent, tokens(seen.sent_at.len()));
        if way.is_edited() {
            continue;
        }
        // What had reached the gateway, which counts every byte it sends on.
        let passed = output["response_bytes"].as_u64().unwrap();
        let truth = tokens(seen.sent_bytes.partition_point(|bytes| *bytes <= passed));
        note(&mut of_seen, truth);
        if way.is_gemini() || way.path.contains("messages") {
            // What the provider has reported in its stream stands: the input, and Gemini's tokens so far.
            let is_begun = truth > 0;
            assert!(!is_begun || figure(output, "input") == inputs[&way_of], "{output}");
            assert!(!way.is_gemini() || estimate >= truth as f64, "{truth} reported: {output}");
            told += usize::from(is_begun);
        }
    }
    println!("{requests} requests, {exact} complete ones exact, {told} cut ones not below what was reported");
    for (of, errors) in [("what had reached the gateway", &of_seen), ("what the provider had sent", &of_sent)] {
        for ended in ["client_closed", "upstream_failed"] {
            println!("{ended}, of {of}: {}", distribution(&errors[ended]));
        }
    }
    assert!(exact > requests / 3 && told > requests / 100);
    for ended in ["client_closed", "upstream_failed"] {
        assert!(median(&of_seen[ended]) <= 0.05, "{ended}: {}", distribution(&of_seen[ended]));
    }
}

fn id(seen: &Seen) -> String {
    seen.header("x-request-id").unwrap_or_default().to_owned()
}

fn median(errors: &[f64]) -> f64 {
    quantile(errors, 0.5)
}

fn quantile(errors: &[f64], at: f64) -> f64 {
    let mut sizes: Vec<_> = errors.iter().map(|error| error.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    sizes[((sizes.len() - 1) as f64 * at) as usize]
}

fn distribution(errors: &[f64]) -> String {
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    let [half, most, nearly_all] = [0.5, 0.9, 0.95].map(|at| quantile(errors, at) * 100.0);
    format!(
        "{} cut, error: median {half:.1} %, 90 % within {most:.1} %, 95 % within {nearly_all:.1} %, mean {:+.1} %",
        errors.len(),
        mean * 100.0
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_crowd_is_accounted_for() {
    run(600).await;
}

/// `cargo test --test e2e -- --ignored --nocapture ten_thousand_mixed`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn ten_thousand_mixed_requests_are_accounted_for() {
    run(10_000).await;
}
