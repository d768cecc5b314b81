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
        setup.mock.interval = Duration::from_millis(2);
        setup.mock.tokens = TOKENS;
        setup.mock.plain_words = true;
        setup.providers =
            Some(format!("{THREE}  azure: {{kind: azure, base_url: \"{{mock}}\", api_key: {{env: TEST_OPENAI_KEY}}}}"));
    })
    .await;
    world.is_large = true;
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
    let (mut exact, mut errors) = (0, HashMap::<&str, Vec<f64>>::new());
    for output in &outputs {
        let id = output["request_id"].as_str().unwrap();
        let Some(seen) = seen.get(id) else { continue };
        let usage = &output["usage"];
        let figure = |member: &str| usage[member].as_u64().unwrap();
        if usage["source"] == "provider" && usage["complete"] == true {
            let reported = seen.reported.unwrap();
            let told = ["input", "cache_read", "cache_write", "output", "reasoning"].map(figure);
            let true_ones =
                [reported.input, reported.cache_read, reported.cache_write, reported.output, reported.reasoning];
            assert_eq!(told, true_ones, "{output}");
            exact += 1;
        }
        let way = &ways[id.split('-').nth(1).unwrap().parse::<usize>().unwrap()];
        let Some(opening) = way.opening.filter(|_| usage["source"] == "estimated" && seen.status == Some(200)) else {
            continue;
        };
        // A token for each event that was sent, but for those that open and close the stream.
        let truth = seen.sent_at.len().saturating_sub(opening).min(TOKENS as usize);
        if truth >= 5 {
            let error = (figure("output") as f64 - truth as f64) / truth as f64;
            // Where a client leaves, the provider has sent more than the gateway saw: what was under way is unknown.
            errors.entry(output["ended"].as_str().unwrap()).or_default().push(error);
        }
    }
    println!("{requests} requests, {exact} complete ones exact");
    let mut names: Vec<_> = errors.keys().copied().collect();
    names.sort_unstable();
    for name in names {
        println!("{name}: {}", distribution(&errors[name]));
    }
    assert!(exact > requests / 3);
    assert!(median(&errors["upstream_failed"]) <= 0.05, "{}", distribution(&errors["upstream_failed"]));
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
        "{} cut, error of the output: median {half:.1} %, 90 % within {most:.1} %, 95 % within {nearly_all:.1} %, mean {:+.1} %",
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
