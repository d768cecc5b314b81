use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use crate::control::store::conformance::{self, append, event, group};
use crate::control::store::{EventFilter, EventOrder};
use crate::domain::Ended;
use crate::journal::{Event, Phase};

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
        conformance::event_store(&open_with(&dir, limits)).await;
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

#[tokio::test]
async fn what_was_changed_removed_or_put_in_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for first in [1, 101, 201] {
        append(&open_with(&dir, small(60)), &mut (first..first + 100).map(event).collect::<Vec<_>>());
    }
    let verify = || OfflineEvents::verify(dir.path()).unwrap();
    let whole = verify();
    assert_eq!((&whole.faults[..], whole.events, whole.last_seq, whole.segments), (&[][..], 300, Some(300), 3));
    let [_, file, last] = &files(&dir)[..] else { panic!() };
    let text = fs::read_to_string(file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    // The header, then events 101 and on.
    let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat().join("\n") + "\n";
    let twice = [&lines[..=9], &lines[9..]].concat().join("\n") + "\n";
    for (damaged, line, seq, what) in [
        (text.replacen("\"request_bytes\":10", "\"request_bytes\":11", 1), 2, 101, "does not agree with its seal"),
        (without(5), 6, 105, "event 105 is missing"),
        (without(100), 1, 200, "event 200 is missing"),
        (twice, 11, 110, "event 109 stands here once more"),
    ] {
        fs::write(file, damaged).unwrap();
        let found = verify();
        assert_eq!((found.faults[0].line, found.faults[0].seq), (line, seq), "{:?}", found.faults);
        assert!(found.faults[0].what.contains(what), "{:?}", found.faults);
    }
    fs::write(file, &text).unwrap();
    let tail = fs::read_to_string(last).unwrap();
    fs::write(last, tail.lines().take(51).collect::<Vec<_>>().join("\n") + "\n").unwrap();
    assert!(verify().faults[0].what.contains("events up to 300 were recorded, but the log ends with 250"));
    fs::remove_file(last).unwrap();
    assert!(verify().faults[0].what.contains("the log ends with 200"));
    fs::write(last, tail).unwrap();
    fs::remove_file(&files(&dir)[0]).unwrap();
    assert!(verify().faults[0].what.contains("events 1 to 100 are missing"));
}

#[tokio::test]
async fn retention_removes_whole_segments_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_with(&dir, small(9));
    let second = Duration::from_secs(1);
    let start = Timestamp::from_micros(1_705_314_612_000_000);
    let at = |number: u64| start.saturating_add(second * number as u32);
    for first in [0, 10, 20, 30] {
        let times = first..first + 10;
        append(&log, &mut times.map(|number| event(at(number).as_micros())).collect::<Vec<_>>());
    }
    assert_eq!(files(&dir).len(), 4);
    let hour = Duration::from_secs(3600);
    let kept = Retention { age: Some(hour), bytes_max: None };
    assert_eq!(log.tend(at(15).saturating_add(hour), kept).unwrap(), 10);
    assert_eq!(log.verify().await.unwrap().faults, []);
    let bytes = |log: &SegmentLog| log.view.read().segments.iter().map(|segment| segment.bytes()).sum::<u64>();
    let bytes_max = bytes(&log) * 2 / 3;
    let removed = log.tend(at(20), Retention { age: None, bytes_max: Some(bytes_max) }).unwrap();
    assert!(removed >= 10 && bytes(&log) <= bytes_max, "{removed}");
    let found = log.verify().await.unwrap();
    assert_eq!(
        (&found.faults[..], found.first_seq, found.pruned_through),
        (&[][..], Some(11 + removed as i64), 10 + removed as i64)
    );
    log.tend(at(40).saturating_add(hour), kept).unwrap();
    append(&log, &mut [event(1)]);
    drop(log);
    let log = open(&dir);
    assert_eq!((log.tip(), files(&dir).len()), (41, 1));
    assert_eq!(log.verify().await.unwrap().faults, []);
}

#[tokio::test]
async fn what_is_open_at_the_end_is_known_from_the_last_segment() {
    let dir = tempfile::tempdir().unwrap();
    for first in (1..100).step_by(10) {
        let log = open_with(&dir, small(9));
        let mut events: Vec<_> = (first..first + 10).map(event).collect();
        let ended =
            Event { phase: Phase::Output, input_seq: Some(first), ended: Some(Ended::Complete), ..event(first) };
        events[9] = ended;
        append(&log, &mut events);
    }
    let open: Vec<i64> = (1..=100).filter(|seq| seq % 10 > 1).collect();
    assert_eq!(open_with(&dir, small(9)).open_requests(), open);
}

#[tokio::test]
async fn a_group_whose_sync_fails_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    append(&log, &mut [event(1), event(2)]);
    let [file] = &files(&dir)[..] else { panic!() };
    let before = fs::read(file).unwrap();
    let next = group(2, &mut [event(3), event(4)]);
    log.writer.lock().sync_data = |_| Err(io::Error::from_raw_os_error(5));
    for _ in 0..3 {
        assert!(log.append(&next, Wait::Disk).is_err());
        // What may not be on disk is on record for nobody.
        assert_eq!(log.tip(), 2);
        assert_eq!(log.events(everything()).await.unwrap().events.len(), 2);
    }
    // The kernel may have dropped what it could not write: only what is written again is written.
    OpenOptions::new().write(true).open(file).unwrap().set_len(before.len() as u64 + 7).unwrap();
    log.writer.lock().sync_data = std::fs::File::sync_data;
    log.append(&next, Wait::Disk).unwrap();
    assert_eq!((log.tip(), log.events(everything()).await.unwrap().events.len()), (4, 4));
    assert_eq!(log.verify().await.unwrap().faults, []);
    drop(log);
    assert_eq!(open(&dir).tip(), 4);
}

#[tokio::test]
async fn retention_goes_on_while_writes_fail() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_with(&dir, small(9));
    for first in [0, 10, 20] {
        append(&log, &mut (first..first + 10).map(event).collect::<Vec<_>>());
    }
    let next = group(30, &mut [event(31)]);
    log.writer.lock().sync_data = |_| Err(io::Error::from_raw_os_error(28));
    assert!(log.append(&next, Wait::Disk).is_err());
    // Half a group stands in the file; the segment must end without it.
    let kept = Retention { age: None, bytes_max: Some(16 * 700) };
    assert!(log.tend(Timestamp::from_micros(50), kept).unwrap() >= 10);
    log.writer.lock().sync_data = std::fs::File::sync_data;
    log.append(&next, Wait::Disk).unwrap();
    assert_eq!(log.verify().await.unwrap().faults, []);
    drop(log);
    let log = open(&dir);
    assert_eq!((log.tip(), log.verify().await.unwrap().faults), (31, vec![]));
}

fn everything() -> EventQuery {
    EventQuery { filter: EventFilter::default(), order: EventOrder::OldestFirst { after: 0 }, limit: 100 }
}
