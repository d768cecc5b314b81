use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn queue(concurrency: usize, length: usize) -> Arc<Queue> {
    let queue = Arc::new(Queue::default());
    queue.define(Capacity { concurrency, queue: length, queue_time: Duration::from_secs(30) });
    queue
}

fn key(name: &str) -> Arc<str> {
    name.into()
}

fn turn(queue: &Arc<Queue>, name: &str) -> Turn {
    match queue.join(&key(name), 1) {
        Ok(Joined::Turn(turn)) => turn,
        _ => panic!("{name} has to wait"),
    }
}

fn line(queue: &Arc<Queue>, name: &str, weight: u64) -> (String, Line) {
    match queue.join(&key(name), weight) {
        Ok(Joined::Line(line)) => (name.into(), line),
        _ => panic!("{name} does not have to wait"),
    }
}

fn waiting(queue: &Queue) -> usize {
    queue.0.lock().waiting
}

fn taken(queue: &Queue) -> usize {
    queue.0.lock().taken
}

/// Who of those in line has the turn now.
fn next(lines: &mut Vec<(String, Line)>) -> (String, Turn) {
    let mut turns = lines.iter_mut().enumerate();
    let (at, turn) = turns.find_map(|(at, (_, line))| Some((at, line.turn.try_recv().ok()?))).unwrap();
    (lines.remove(at).0, turn)
}

#[test]
fn a_swarm_waits_behind_itself() {
    let queue = queue(1, 1000);
    let mut running = turn(&queue, "swarm");
    let mut lines: Vec<_> = (0..100).map(|_| line(&queue, "swarm", 1)).collect();
    for round in 0..20 {
        lines.push(line(&queue, "single", 1));
        drop(running);
        let (name, turn) = next(&mut lines);
        assert_eq!(name, "single", "round {round}");
        drop(turn);
        running = next(&mut lines).1;
    }
    assert_eq!(waiting(&queue), 80);
}

#[test]
fn turns_are_given_by_weight() {
    let queue = queue(2, 1000);
    let (mut one, mut two) = (turn(&queue, "light"), turn(&queue, "heavy"));
    let mut lines: Vec<_> = (0..60).flat_map(|_| [line(&queue, "light", 1), line(&queue, "heavy", 3)]).collect();
    let mut heavy = 0;
    for _ in 0..20 {
        drop(one);
        let (name, turn) = next(&mut lines);
        heavy += usize::from(name == "heavy");
        (one, two) = (two, turn);
    }
    drop((one, two));
    assert!((14..=16).contains(&heavy), "{heavy} of 20");
}

#[test]
fn who_leaves_is_gone_and_what_was_given_to_nobody_goes_on() {
    let queue = queue(1, 10);
    let running = turn(&queue, "a");
    let mut lines: Vec<_> = ["b", "c", "d"].map(|name| line(&queue, name, 1)).into();
    lines.remove(1);
    assert_eq!(waiting(&queue), 2);
    drop(running);
    // It has the turn and leaves before it knows.
    lines.remove(0);
    assert_eq!(next(&mut lines).0, "d");
    assert_eq!((waiting(&queue), taken(&queue)), (0, 0));
}

#[test]
fn a_full_queue_makes_room_for_those_with_less_in_it() {
    let queue = queue(1, 4);
    let _running = turn(&queue, "swarm");
    let mut lines: Vec<_> = (0..4).map(|_| line(&queue, "swarm", 1)).collect();
    assert!(matches!(queue.join(&key("swarm"), 1), Err(Full)));
    lines.push(line(&queue, "single", 1));
    assert_eq!(waiting(&queue), 4);
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(matches!(Pin::new(&mut lines[3].1).poll(&mut context), Poll::Ready(None)));
    assert!(matches!(Pin::new(&mut lines[2].1).poll(&mut context), Poll::Pending));
}

#[test]
fn a_wider_capacity_lets_those_in_who_wait() {
    let queue = queue(1, 10);
    let _running = turn(&queue, "a");
    let mut lines: Vec<_> = (0..3).map(|_| line(&queue, "a", 1)).collect();
    queue.define(Capacity { concurrency: 3, queue: 0, queue_time: Duration::ZERO });
    let turns = [next(&mut lines).1, next(&mut lines).1];
    assert_eq!((taken(&queue), waiting(&queue)), (3, 1));
    queue.define(Capacity::UNLIMITED);
    drop((next(&mut lines), turns));
    assert_eq!(taken(&queue), 1);
}

#[test]
fn nothing_is_kept_of_keys_that_do_not_wait() {
    let queue = queue(2, 10);
    for at in 0..100 {
        drop(turn(&queue, &format!("key {at}")));
    }
    assert_eq!(queue.0.lock().keys.len(), 0);
}

proptest! {
    /// Whoever comes, leaves, is served or is sent away in whatever order: no turn is given twice or lost, nobody waits
    /// while one is free, and nothing is left in the end.
    #[test]
    fn no_turn_is_lost(steps in prop::collection::vec((0..9_u8, 0..5_usize, 0..40_usize), 1..200)) {
        let queue = queue(2, 6);
        let (mut concurrency, mut length) = (2, 6);
        let (mut turns, mut lines) = (Vec::new(), Vec::new());
        for (step, which, at) in steps {
            match step {
                0..4 => match queue.join(&key(&which.to_string()), which as u64) {
                    Ok(Joined::Turn(turn)) => turns.push(turn),
                    Ok(Joined::Line(line)) => lines.push(line),
                    Err(Full) => prop_assert!(waiting(&queue) >= length),
                },
                4..7 if !turns.is_empty() => drop(turns.swap_remove(at % turns.len())),
                7 if !lines.is_empty() => drop(lines.swap_remove(at % lines.len())),
                8 => {
                    (concurrency, length) = (1 + which, at);
                    queue.define(Capacity { concurrency, queue: length, queue_time: Duration::ZERO });
                }
                _ => {}
            }
            // Some find that they have their turn, or had to make room; the others do not look yet.
            if at % 3 == 0 {
                let mut context = Context::from_waker(std::task::Waker::noop());
                lines.retain_mut(|line| match Pin::new(line).poll(&mut context) {
                    Poll::Ready(turn) => {
                        turns.extend(turn);
                        false
                    }
                    Poll::Pending => true,
                });
                prop_assert_eq!((taken(&queue), waiting(&queue)), (turns.len(), lines.len()));
            }
            prop_assert!(taken(&queue) >= turns.len());
            prop_assert!(waiting(&queue) == 0 || taken(&queue) >= concurrency, "somebody waits for a turn that is free");
        }
        drop((lines, turns));
        prop_assert_eq!((taken(&queue), waiting(&queue), queue.0.lock().keys.len()), (0, 0, 0));
    }
}

/// On several threads at once, which come and go in the middle of everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_is_served_one_by_one() {
    let queue = queue(3, 10_000);
    let (running, served) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..2000_usize)
        .map(|number| {
            let (queue, running, served) = (queue.clone(), running.clone(), served.clone());
            tokio::spawn(async move {
                let turn = match queue.join(&key(&(number % 7).to_string()), 1 + number as u64 % 3) {
                    Ok(Joined::Turn(turn)) => turn,
                    Ok(Joined::Line(line)) if number % 5 == 0 => {
                        // It loses patience, perhaps just as it is served.
                        match tokio::time::timeout(Duration::from_micros(number as u64), line).await {
                            Ok(turn) => turn.unwrap(),
                            Err(_elapsed) => return,
                        }
                    }
                    Ok(Joined::Line(line)) => line.await.unwrap(),
                    Err(Full) => panic!("the queue is long enough"),
                };
                assert!(running.fetch_add(1, Ordering::SeqCst) < 3);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                served.fetch_add(1, Ordering::SeqCst);
                drop(turn);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!((1600..=2000).contains(&served.load(Ordering::SeqCst)));
    assert_eq!((taken(&queue), waiting(&queue), queue.0.lock().keys.len()), (0, 0, 0));
}
