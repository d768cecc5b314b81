//! A million keys: how long they take to load, how large they are, and what a change among them costs. Run it in
//! the release profile; CONTRIBUTING has the command.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::domain::Pepper;
use crate::journal::Metrics;

use super::admin_tokens::AdminTokens;
use super::configuration::Configuration;
use super::office::{NewKey, NewKeyKind, Office};
use super::publish::Publisher;
use super::store::{Actor, conformance};
use super::*;

const KEYS: usize = 1_000_000;
const CHANGES: usize = 1_000;

#[tokio::test]
#[ignore = "takes a minute"]
async fn a_million_keys_are_loaded_and_changed() {
    let (dir, store) = conformance::sqlite();
    fill(&dir.path().join("keeptrusts.db"));
    let metrics = Arc::new(Metrics::new("test", 2000).unwrap());
    let (before, begun) = (resident_bytes(), Instant::now());
    let publisher = Publisher::compile(&*store, Configured::default(), metrics.clone(), now()).await.unwrap();
    let (loaded, bytes) = (begun.elapsed(), resident_bytes().saturating_sub(before) / KEYS);
    assert_eq!(publisher.catalog().load().keys.len(), KEYS);
    println!("{KEYS} keys loaded in {loaded:?}, {bytes} bytes each");

    let pepper = Pepper::new(&[1; 32]).unwrap();
    let office = Office::new(
        store,
        Arc::new(publisher),
        Configuration::default(),
        (pepper, AdminTokens::new(Vec::new())),
        metrics,
        None,
    );
    let with_disk = times(&office).await;
    println!("median of {CHANGES} changes, the disk included: create, rotate, revoke {with_disk:?}");
    let begun = Instant::now();
    office.tick();
    office.write_uses().await.unwrap();
    println!("a tick and a look for uses: {:?}", begun.elapsed());
    assert!(cfg!(debug_assertions) || loaded < Duration::from_secs(5), "{loaded:?}");
    assert!(bytes <= 500, "{bytes} bytes a key");
}

/// The median times of creating, rotating and revoking.
async fn times(office: &Office) -> [Duration; 3] {
    let mut times = [const { Vec::new() }; 3];
    for number in 0..CHANGES {
        let name = format!("new{number}");
        let begun = Instant::now();
        let (kind, permissions) = (NewKeyKind::Access, Permissions::default());
        let new =
            NewKey { name: name.clone(), team: None, kind, expires_at: None, permissions, limits: Default::default() };
        office.create_key(new, Actor::Socket).await.unwrap();
        times[0].push(begun.elapsed());
        let begun = Instant::now();
        office.rotate_key(name.clone(), Duration::from_secs(60), None, Actor::Socket).await.unwrap();
        times[1].push(begun.elapsed());
        let begun = Instant::now();
        office.revoke_key(name, None, Actor::Socket).await.unwrap();
        times[2].push(begun.elapsed());
    }
    times.map(|mut times| {
        times.sort();
        times[CHANGES / 2]
    })
}

fn fill(path: &Path) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA synchronous = OFF; BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {KEYS})
         INSERT INTO keys (seq, id, kind, name, created_at)
         SELECT i, printf('ak_%010d', i), 'access', printf('developer-%d', i), 1700000000000000 FROM n;
         INSERT INTO secrets (id, key, digest, shown, created_at)
         SELECT printf('ks_%010d', seq), seq, randomblob(32), 'kt_ak_0123', created_at FROM keys;
         COMMIT;"
    ))
    .unwrap();
}

fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
