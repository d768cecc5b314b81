//! Authentication, loading and changes of many keys: `cargo bench --bench keys`. What each measures, its budget and its
//! figure stand in `benches/README.md`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use divan::{Bencher, black_box};
use http::{HeaderMap, HeaderValue};
use keeptrusts::catalog::{Catalog, Credential, CurrentCatalog, Interrupt, KeyIndex, KeyRecord, KeyState};
use keeptrusts::domain::{KeyDigest, KeyKind, KeyText, Pepper, Timestamp};
use keeptrusts::gateway::authenticate::{Authority, authenticate};
use keeptrusts::journal::KeySeries;

const KEYS: u64 = 100_000;
const MANY_KEYS: u64 = 1_000_000;

fn main() {
    divan::main();
}

struct Bench {
    catalog: Catalog,
    pepper: Pepper,
    now: Timestamp,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let pepper = Pepper::new(&[7; 32]).unwrap();
    let keys: KeyIndex = (0..KEYS).map(|number| (pepper.digest(&text(number)), credential(number))).collect();
    keys.find(&pepper.digest(&text(1))).unwrap().key.state.revoke();
    Bench { catalog: catalog(keys), pepper, now: SystemTime::now().into() }
});

fn catalog(keys: KeyIndex) -> Catalog {
    Catalog {
        organization: "acme".into(),
        permissions: Arc::default(),
        payer: Arc::default(),
        keys,
        routing: Arc::default(),
        queues: Default::default(),
        prices: Arc::default(),
        settings: Arc::default(),
    }
}

/// The text of the key with this number.
fn text(number: u64) -> String {
    let fill = |pool: &mut [u8]| {
        let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for byte in pool {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
        Ok::<_, Infallible>(())
    };
    KeyText::mint(KeyKind::Access, fill).unwrap().expose().to_owned()
}

fn credential(number: u64) -> Credential {
    let name: Arc<str> = format!("key-{number}").into();
    let state = Arc::new(KeyState::new(Arc::new(KeySeries::detached(&name, "none"))));
    let key = Arc::new(KeyRecord { id: name.clone(), name, team: None, state });
    Credential { key, secret: Arc::default() }
}

fn headers(key: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [("host", "kt"), ("user-agent", "OpenAI/Python 3.54.0"), ("content-type", "application/json")]
    {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(key) = key {
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
    }
    headers
}

/// Header → `Caller`, or the refusal, with different keys in turn so that no cache keeps one warm.
fn bench_authenticate(bencher: Bencher, key: impl Fn(u64) -> Option<String>, succeeds: bool) {
    let bench = &*BENCH;
    let authority = Authority { catalog: &bench.catalog, pepper: &bench.pepper, passthrough: None };
    let requests: Vec<HeaderMap> = (0..4096).map(|number| headers(key(number * 23 % KEYS).as_deref())).collect();
    assert_eq!(authenticate(&requests[7], &authority, bench.now).is_ok(), succeeds);
    let mut next = 0;
    bencher.bench_local(|| {
        next = (next + 1) % requests.len();
        authenticate(black_box(&requests[next]), &authority, bench.now).is_ok()
    });
}

#[divan::bench(sample_count = 200, sample_size = 512)]
fn authenticate_a_live_key_among_100_000(bencher: Bencher) {
    bench_authenticate(bencher, |number| Some(text(if number == 1 { 2 } else { number })), true);
}

#[divan::bench(sample_count = 200, sample_size = 512)]
fn authenticate_an_unknown_key(bencher: Bencher) {
    bench_authenticate(bencher, |number| Some(text(number + KEYS)), false);
}

#[divan::bench(sample_count = 200, sample_size = 512)]
fn authenticate_a_revoked_key(bencher: Bencher) {
    bench_authenticate(bencher, |_| Some(text(1)), false);
}

#[divan::bench(sample_count = 200, sample_size = 512)]
fn authenticate_a_mistyped_key(bencher: Bencher) {
    bench_authenticate(bencher, |number| Some(text(number).replace("kt_ak_", "kt_ak_x")[..38].to_owned()), false);
}

#[divan::bench(sample_count = 200, sample_size = 512)]
fn authenticate_nobody(bencher: Bencher) {
    bench_authenticate(bencher, |_| None, false);
}

/// Keys that have been read from the store → a catalog in force, and the one before it gone.
#[divan::bench(args = [10_000, 100_000], sample_count = 30, sample_size = 1)]
fn load_a_catalog(bencher: Bencher, keys: u64) {
    let current = CurrentCatalog::new(catalog(KeyIndex::default()));
    let read = || (0..keys).map(|number| (digest(number), credential(number))).collect::<Vec<_>>();
    bencher.with_inputs(read).bench_local_values(|read| {
        let keys = read.into_iter().collect();
        current.update(|catalog| catalog.keys = keys);
    });
}

/// A key among 100 000 is looked up and revoked, and so many running requests of it are told.
#[divan::bench(args = [0, 100], sample_count = 1000, sample_size = 1)]
fn revoke_a_key_among_100_000(bencher: Bencher, running: usize) {
    let keys: Vec<_> = (0..KEYS).map(|number| (digest(number), credential(number))).collect();
    let current = CurrentCatalog::new(catalog(keys.into_iter().collect()));
    let now = SystemTime::now().into();
    let mut number = 0;
    let next = || {
        number += 23;
        let digest = digest(number % KEYS);
        let credential = current.load().keys.find(&digest).unwrap().clone();
        let woken = Interrupt::Call { call: |_| {}, handle: 0 };
        (digest, (0..running).map(|_| credential.running(woken.clone())).collect::<Vec<_>>())
    };
    bencher.with_inputs(next).bench_local_refs(|(digest, running)| {
        let catalog = current.load();
        let state = &catalog.keys.find(digest).unwrap().key.state;
        state.revoke();
        assert_eq!(state.interrupt_lapsed(now), running.len());
    });
}

/// Publishing one more key among a million, as a request would see it.
#[divan::bench(sample_count = 200, sample_size = 1)]
fn publish_a_key_among_1_000_000(bencher: Bencher) {
    let keys = (0..MANY_KEYS).map(|number| (digest(number), credential(number))).collect();
    let current = CurrentCatalog::new(catalog(keys));
    let mut number = MANY_KEYS;
    bencher.bench_local(|| {
        number += 1;
        current.update(|catalog| catalog.keys.insert(digest(number), credential(number)));
    });
}

/// As evenly spread as a real one, and made in no time.
fn digest(number: u64) -> KeyDigest {
    let mut bytes = [0; 32];
    for (at, chunk) in bytes.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&(number + at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    }
    KeyDigest(bytes)
}
