use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use crate::control::store::conformance::{self, append, event, group};
use crate::control::store::{EventFilter, EventOrder};

use super::*;

fn open_with(dir: &TempDir, limits: Limits) -> SegmentLog {
    SegmentLog::open(Arc::new(DataDir::open(dir.path()).unwrap()), limits).unwrap()
}

fn open(dir: &TempDir) -> SegmentLog {
    open_with(dir, Limits::default())
}

/// Segments that are full after about `events` events.
fn small(events: u64) -> Limits {
    Limits { segment_bytes: events * 700, ..Limits::default() }
}

fn files(dir: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(dir.path())).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().unwrap() == "jsonl").collect();
    files.sort();
    files
}

#[tokio::test]
async fn it_keeps_every_law_of_an_event_log() {
    for limits in [Limits::default(), small(1), small(9)] {
        let dir = tempfile::tempdir().unwrap();
        conformance::events(&open_with(&dir, limits)).await;
    }
}

#[tokio::test]
async fn every_file_is_private() {
    let dir = tempfile::tempdir().unwrap();
    append(&open(&dir), &mut [event(1)]);
    assert_eq!(fs::metadata(folder(dir.path())).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(folder(dir.path())).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
}

#[tokio::test]
async fn large_logs_are_read_in_both_directions_from_any_place() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_with(&dir, small(1500));
    // Several segments of several blocks each.
    for first in (1..5000).step_by(100) {
        let mut events: Vec<_> = (first..first + 100).map(|number| event(number * 1_000)).collect();
        events.iter_mut().filter(|event| event.request_id.ends_with("7000")).for_each(|event| {
            event.team = Some("seven".into());
        });
        append(&log, &mut events);
    }
    assert!(files(&dir).len() > 3);
    for team in [None, Some("seven".to_owned())] {
        let filter = EventFilter { team, ..EventFilter::default() };
        let is_meant = |seq: &i64| filter.team.is_none() || seq % 10 == 7;
        for from in [0, 1, 2, 99, 100, 101, 1499, 2077, 3333, 4989, 4999, 5000, 5001] {
            let ask = async |order| {
                let query = EventQuery { filter: filter.clone(), order, limit: 300 };
                let page = log.events(query).await.unwrap();
                page.events.iter().map(|event| event.seq).collect::<Vec<_>>()
            };
            let forward: Vec<_> = (from + 1..=5000).filter(is_meant).take(300).collect();
            assert_eq!(ask(EventOrder::OldestFirst { after: from }).await, forward, "{from}");
            let back: Vec<_> = (1..from.min(5001)).rev().filter(is_meant).take(300).collect();
            assert_eq!(ask(EventOrder::NewestFirst { before: Some(from) }).await, back, "{from}");
        }
    }
}

#[tokio::test]
async fn a_line_that_a_crash_left_half_written_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    append(&open(&dir), &mut [event(1), event(2)]);
    let [file] = &files(&dir)[..] else { panic!() };
    let whole = fs::read(file).unwrap();
    let group = group(2, &mut [event(3)]);
    for torn in [1, 40, group.json.len()] {
        fs::write(file, [&whole, &group.json[..torn]].concat()).unwrap();
        let log = open(&dir);
        assert_eq!((log.tip(), fs::read(file).unwrap() == whole), (2, true), "{torn}");
    }
    let log = open(&dir);
    append(&log, &mut [event(3)]);
    assert_eq!((log.tip(), files(&dir).len()), (3, 1));
}

#[tokio::test]
async fn a_log_that_was_changed_or_cut_off_is_left_as_it_is_and_continued() {
    let dir = tempfile::tempdir().unwrap();
    append(&open(&dir), &mut [event(1), event(2), event(3)]);
    let [file] = &files(&dir)[..] else { panic!() };
    let whole = String::from_utf8(fs::read(file).unwrap()).unwrap();
    let lines: Vec<_> = whole.lines().collect();
    let changed = whole.replacen("gpt-4o-mini", "gpt-4o-maxi", 1);
    let cut = lines[..3].join("\n") + "\n";
    for damaged in [changed, cut] {
        fs::write(file, &damaged).unwrap();
        let log = open(&dir);
        append(&log, &mut [event(4)]);
        assert_eq!(log.tip(), 4);
        assert_eq!(fs::read_to_string(file).unwrap(), damaged);
        let [_, next] = &files(&dir)[..] else { panic!("{:?}", files(&dir)) };
        fs::remove_file(next).unwrap();
        drop(log);
        // The head has moved on with the new segment.
        fs::remove_file(folder(dir.path()).join("head.json")).unwrap();
        fs::write(file, &whole).unwrap();
        drop(open(&dir));
    }
}
