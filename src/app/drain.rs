//! Waiting for the last request.

use std::time::{Duration, Instant};

use log::{info, warn};
use tokio::time::timeout;

use crate::control::Predecessor;
use crate::gateway::{Connections, UnderWay};

use super::Ends;

/// How often a stopping gateway looks whether its last request has ended.
pub(super) const DRAIN_POLL: Duration = Duration::from_millis(10);
/// How long connections may go on when no request is running any more: the door's last call, and a little.
pub(super) const FAREWELL: Duration = Duration::from_millis(300);

/// How long connections may be left open at which nothing is asked: the door closes those that it can, and clients the others.
const LEFT_OPEN_MAX: Duration = Duration::from_secs(2);

/// How long the predecessor may take to tell the rest, when its requests are ended.
const PREDECESSOR_DEADLINE: Duration = Duration::from_secs(5);

/// Waits as [`drained`] does, and then for the requests of the process before this one; until `ends` says that it takes too
/// long. How many are left here.
pub(super) async fn both_drained(
    under_way: &UnderWay,
    connections: &Connections,
    predecessor: Option<&Predecessor>,
    deadline: Duration,
    ends: &mut Ends,
) -> usize {
    let begun = Instant::now();
    let mut is_hurried = false;
    let hurry = async {
        ends.come().await;
        is_hurried = true;
    };
    let left = drained(under_way, connections, deadline, hurry).await;
    let Some(predecessor) = predecessor else { return left };
    // It has been at it for longer.
    let rest = deadline.saturating_sub(begun.elapsed());
    let is_gone = async { timeout(rest, predecessor.gone()).await.is_ok() };
    let is_gone = !is_hurried && tokio::select! { gone = is_gone => gone, () = ends.come() => false };
    if !is_gone {
        predecessor.hurry();
    }
    if timeout(PREDECESSOR_DEADLINE, predecessor.gone()).await.is_err() {
        warn!("the process before this one has not ended; its requests will be taken for crashed");
    }
    left
}

/// Waits for the requests under way, and for clients that may be about to ask; how many requests are left when there is no
/// more time.
pub(super) async fn drained(
    under_way: &UnderWay,
    connections: &Connections,
    deadline: Duration,
    hurry: impl Future<Output = ()>,
) -> usize {
    let begun = Instant::now();
    let mut hurry = std::pin::pin!(hurry);
    let mut told = Instant::now();
    let mut quiet_since = None;
    loop {
        let left = under_way.count();
        let is_quiet = left == 0 && {
            let quiet_since = quiet_since.get_or_insert_with(Instant::now);
            connections.count() == 0 || quiet_since.elapsed() >= LEFT_OPEN_MAX
        };
        if left > 0 {
            quiet_since = None;
        }
        if is_quiet || begun.elapsed() >= deadline {
            return left;
        }
        if told.elapsed() > Duration::from_secs(10) {
            info!("waiting for {left} running requests");
            told = Instant::now();
        }
        tokio::select! {
            () = &mut hurry => return left,
            () = tokio::time::sleep(DRAIN_POLL) => {}
        }
    }
}
