//! Plays the part between rooms that cargo plays between crates: arrows point down, planes do not know each
//! other, the hot path does no I/O but HTTP, and the tables that describe the house are true.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in tests, what must hold is unwrapped")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from top to bottom. A room may use those further down; rooms on one line do not know each other.
const FLOORS: [&[&str]; 13] = [
    &["fuzz"],
    &["cli"],
    &["app"],
    &["config"],
    &["telemetry"],
    &["gateway", "control", "mock_provider"],
    &["listen"],
    &["catalog"],
    &["journal"],
    &["policy"],
    &["providers"],
    &["protocol"],
    &["domain"],
];

/// What may not appear in a room, and why.
const FORBIDDEN: [(&str, &[&str], &str); 4] = [
    (
        "gateway",
        &["rusqlite", "std::fs", "tokio::fs", "std::env", "std::process", "tokio::spawn", "thread::spawn"],
        "the request path does no I/O but HTTP and starts no tasks",
    ),
    (
        "protocol",
        &["tokio", "std::fs", "std::env", "std::net::Tcp", "async fn", "SystemTime", "Instant::now", "pingora"],
        "the shelf is pure: no clock, no I/O, no async",
    ),
    (
        "policy",
        &[
            "tokio",
            "std::fs",
            "std::env",
            "std::net::Tcp",
            "async fn",
            "SystemTime",
            "Instant::now",
            "pingora",
            "log::",
        ],
        "the shelf is pure: no clock, no I/O, no async; and what policies find is never logged",
    ),
    (
        "domain",
        &["tokio", "std::fs", "std::env", "std::net::Tcp", "async fn", "SystemTime::now", "Instant::now", "pingora"],
        "the shelf is pure: no clock, no I/O, no async",
    ),
];

/// A source file: the room it is in, its module path, and its lines without comments.
struct Source {
    path: PathBuf,
    room: String,
    depth: usize,
    code: Vec<(usize, String)>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    files.sort();
    files.into_iter().map(source).collect()
}

fn source(path: PathBuf) -> Source {
    let inside = path.strip_prefix(root().join("src")).unwrap().to_owned();
    let mut parts: Vec<String> =
        inside.with_extension("").components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    let text = fs::read_to_string(&path).unwrap();
    let code = text.lines().enumerate().map(|(at, line)| (at + 1, line.split("//").next().unwrap_or("").to_owned()));
    Source { room: parts[0].clone(), depth: parts.len(), code: code.collect(), path: inside }
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

/// The rooms a line of code names, whether as `crate::room` or by enough `super`s.
fn rooms_named(line: &str, depth: usize) -> Vec<String> {
    let up = "super::".repeat(depth);
    let mut named = Vec::new();
    for prefix in ["crate::", up.as_str(), "keeptrusts::"] {
        for (at, _) in line.match_indices(prefix) {
            let rest = &line[at + prefix.len()..];
            // `use crate::{a, b::c}` names several rooms at once.
            let names: Vec<&str> = match rest.strip_prefix('{') {
                Some(list) => list.split(',').collect(),
                None => vec![rest],
            };
            named.extend(names.iter().map(|name| {
                name.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>()
            }));
        }
    }
    named.retain(|room| floor_of(room).is_some());
    named
}

#[test]
fn arrows_point_down_only() {
    let mut faults = Vec::new();
    for source in sources() {
        if ["main", "lib"].contains(&source.room.as_str()) {
            continue;
        }
        let Some(own) = floor_of(&source.room) else {
            faults.push(format!("src/{}: the room {} stands on no floor", source.path.display(), source.room));
            continue;
        };
        for (number, line) in &source.code {
            for named in rooms_named(line, source.depth) {
                let other = floor_of(&named).unwrap();
                if named != source.room && other <= own {
                    let how = if other == own { "beside it" } else { "above it" };
                    let path = source.path.display();
                    faults.push(format!("src/{path}:{number}: {} may not use {named}, which is {how}", source.room));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn what_a_room_must_not_do_does_not_appear_in_it() {
    let mut faults = Vec::new();
    for source in sources() {
        for (room, words, why) in FORBIDDEN {
            if source.room != room || source.path.ends_with("tests.rs") {
                continue;
            }
            // Unit tests stand last in a file and may do what the room may not.
            let code = source.code.iter().take_while(|(_, line)| !line.contains("#[cfg(test)]"));
            for (number, line) in code {
                for word in words.iter().filter(|word| line.contains(**word)) {
                    faults.push(format!("src/{}:{number}: {word} in {room}: {why}", source.path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn only_phases_implements_the_proxy() {
    let found: Vec<String> = sources()
        .iter()
        .filter(|source| source.code.iter().any(|(_, line)| line.contains("impl ProxyHttp for")))
        .map(|source| source.path.display().to_string())
        .collect();
    assert_eq!(found, ["gateway/phases.rs"]);
}

/// The names in backticks in the second column of the table of steps.
fn steps(text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|line| line.trim_start_matches("//!").trim().strip_prefix('|'));
    let cells =
        rows.filter_map(|row| row.split('|').nth(1)?.trim().strip_prefix('`')?.strip_suffix('`').map(Into::into));
    cells.collect()
}

#[test]
fn the_table_of_steps_is_true() {
    let gateway = read("src/gateway/mod.rs");
    let table = steps(&gateway);
    assert!(table.len() >= 9, "the table of steps is gone from gateway/mod.rs: {table:?}");
    for room in &table {
        assert!(gateway.contains(&format!("mod {room};")), "the table names {room}, which is no room of the gateway");
    }
    assert_eq!(table, steps(&read("docs/ARCHITECTURE.md")), "docs/ARCHITECTURE.md shows other steps");
}

#[test]
fn every_room_is_on_the_map() {
    let folder = root().join("src");
    let rooms: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| !["main", "lib"].contains(&name.as_str()))
        .collect();
    let architecture = read("docs/ARCHITECTURE.md");
    for room in rooms {
        assert!(floor_of(&room).is_some(), "src/{room} stands on no floor in tests/architecture.rs");
        assert!(architecture.contains(&format!("`{room}")), "docs/ARCHITECTURE.md does not mention {room}");
    }
}

#[test]
fn the_check_itself_can_fail() {
    assert_eq!(rooms_named("use crate::control::Store;", 2), ["control"]);
    assert_eq!(rooms_named("use super::super::control::Store;", 2), ["control"]);
    assert_eq!(rooms_named("use crate::{domain::Name, gateway};", 2), ["domain", "gateway"]);
    assert!(rooms_named("use super::report;", 2).is_empty());
    assert!(floor_of("gateway") < floor_of("domain"));
}
