//! `kill -9` at any moment: a change that was acknowledged is there with its one audit record, one that was not
//! is there whole or not at all.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::command;

#[test]
fn kills_leave_whole_changes() {
    survive(15);
}

/// The long version: see CONTRIBUTING.
#[test]
#[ignore = "takes minutes"]
fn hundreds_of_kills_leave_whole_changes() {
    survive(250);
}

/// What the writer did to a key, as far as it was acknowledged.
#[derive(Default)]
struct Acknowledged {
    id: String,
    rotations: i64,
    revoked: bool,
}

fn survive(kills: u64) {
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().join("data");
    let socket = data_dir.join("admin.sock");
    let mut acknowledged: HashMap<String, Acknowledged> = HashMap::new();
    let mut changes = 0;
    for round in 0..kills {
        let mut gateway = start(&data_dir);
        wait_for(&socket, &mut gateway);
        audit(&data_dir, &acknowledged);
        let (tell, told) = mpsc::channel();
        let writer = std::thread::spawn({
            let socket = socket.clone();
            move || write(&socket, round, &tell)
        });
        // Each round is killed at another moment of the writer's work.
        std::thread::sleep(Duration::from_micros(3_000 + round * 7_919 % 60_000));
        gateway.kill().unwrap();
        gateway.wait().unwrap();
        writer.join().unwrap();
        for (name, change) in told {
            let known = acknowledged.entry(name).or_default();
            changes += 1;
            match change {
                Change::Created(id) => known.id = id,
                Change::Rotated => known.rotations += 1,
                Change::Revoked => known.revoked = true,
            }
        }
    }
    let mut gateway = start(&data_dir);
    wait_for(&socket, &mut gateway);
    audit(&data_dir, &acknowledged);
    for (name, known) in acknowledged.iter().filter(|(_, known)| known.revoked).take(20) {
        let shown = call(&socket, "GET", &format!("/v1/tokens/{}", known.id), "").unwrap();
        assert_eq!(shown["state"], "revoked", "{name}");
    }
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    assert!(changes as u64 >= kills, "the writer did {changes} changes in {kills} rounds");
    println!("{kills} kills, {changes} acknowledged changes of {} keys", acknowledged.len());
}

enum Change {
    Created(String),
    Rotated,
    Revoked,
}

/// Makes, rotates and revokes keys until nobody answers any more.
fn write(socket: &Path, round: u64, tell: &mpsc::Sender<(String, Change)>) {
    for number in 0.. {
        let name = format!("k{round}-{number}");
        let Some(made) = call(socket, "POST", "/v1/tokens", &format!("{{\"name\":\"{name}\"}}")) else { return };
        tell.send((name.clone(), Change::Created(made["id"].as_str().unwrap().into()))).unwrap();
        let rotate = format!("/v1/tokens/{name}/rotate");
        if call(socket, "POST", &rotate, "{\"overlap_seconds\":60}").is_none() {
            return;
        }
        tell.send((name.clone(), Change::Rotated)).unwrap();
        if call(socket, "DELETE", &format!("/v1/tokens/{name}"), "").is_none() {
            return;
        }
        tell.send((name, Change::Revoked)).unwrap();
    }
}

/// Compares what was acknowledged with what is there, and every change with its audit records.
fn audit(data_dir: &Path, acknowledged: &HashMap<String, Acknowledged>) {
    let db = Connection::open(data_dir.join("keeptrusts.db")).unwrap();
    let sql = "SELECT k.name, k.id, k.revoked_at IS NOT NULL,
            (SELECT count(*) FROM secrets s WHERE s.key = k.seq),
            (SELECT count(*) FROM audit a WHERE a.target = k.id AND a.action = 'key.create'),
            (SELECT count(*) FROM audit a WHERE a.target = k.id AND a.action = 'key.rotate'),
            (SELECT count(*) FROM audit a WHERE a.target = k.id AND a.action = 'key.revoke')
        FROM keys k";
    let mut statement = db.prepare(sql).unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut found = HashMap::new();
    while let Some(row) = rows.next().unwrap() {
        let (name, id): (String, String) = (row.get(0).unwrap(), row.get(1).unwrap());
        let revoked: bool = row.get(2).unwrap();
        let [texts, creates, rotates, revokes] = [3, 4, 5, 6].map(|at| row.get::<_, i64>(at).unwrap());
        let whole = creates == 1 && texts == 1 + rotates && revokes == i64::from(revoked);
        assert!(whole, "{name}: {texts} texts, revoked: {revoked}; audited {creates}, {rotates}, {revokes}");
        found.insert(name, (id, rotates, revoked));
    }
    for (name, known) in acknowledged {
        let (id, rotations, revoked) = found.get(name).unwrap_or_else(|| panic!("{name} is gone"));
        assert_eq!(*id, known.id);
        assert!(*rotations >= known.rotations, "a rotation of {name} is gone");
        assert!(*revoked || !known.revoked, "{name} lives again");
    }
    let strays = "SELECT count(*) FROM audit WHERE action LIKE 'key.%' AND target NOT IN (SELECT id FROM keys)";
    let strays: i64 = db.query_row(strays, [], |row| row.get(0)).unwrap();
    assert_eq!(strays, 0, "audit records of changes that are not there");
}

fn start(data_dir: &Path) -> Child {
    let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let mut gateway =
        command(&[&["gateway", "run", "--data-dir"][..], &[data_dir.to_str().unwrap()], &listen].concat(), data_dir);
    gateway.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn wait_for(socket: &Path, gateway: &mut Child) {
    let begun = Instant::now();
    while call(socket, "GET", "/v1/whoami", "").is_none() {
        assert!(gateway.try_wait().unwrap().is_none(), "the gateway does not start any more");
        assert!(begun.elapsed() < Duration::from_secs(20), "the gateway does not answer");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The answer, if a whole one came and it was no refusal.
fn call(socket: &Path, method: &str, path: &str, body: &str) -> Option<Value> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 2"), "{answer}");
    serde_json::from_str(body).ok()
}
