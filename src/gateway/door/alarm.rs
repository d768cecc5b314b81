//! A connection's alarm clock, for deadlines that are put off far more often than they are reached.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// Tells when a deadline has passed. It is set anew only when it rings, or would ring too late, and stays set from one
/// deadline of its connection to the next, so that most requests never touch the timer.
#[derive(Debug, Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when the deadline has passed, which `due` tells anew whenever the alarm rings. Never if there is none.
    pub fn poll(&mut self, due: impl Fn() -> Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(first) = due() else { return Poll::Pending };
        let Self(sleep) = self;
        let sleep = sleep.get_or_insert_with(|| Box::pin(sleep_until(first)));
        if sleep.deadline() > first {
            sleep.as_mut().reset(first);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            match due() {
                None => return Poll::Pending,
                Some(due) if due <= Instant::now() => return Poll::Ready(()),
                Some(due) => sleep.as_mut().reset(due),
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many seconds pass until `alarm` tells that a deadline has passed, which is put off to `after` it rings first.
    async fn seconds(alarm: &mut Alarm, due: u64, after: u64) -> u64 {
        let (begun, asked) = (Instant::now(), Cell::new(false));
        let due = || Some(begun + SECOND * if asked.replace(true) { after } else { due } as u32);
        poll_fn(|cx| alarm.poll(due, cx)).await;
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_deadline_that_holds_then() {
        let mut alarm = Alarm::default();
        assert_eq!(seconds(&mut alarm, 60, 60).await, 60);
        // Put off while it was set.
        assert_eq!(seconds(&mut alarm, 10, 75).await, 75);
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_was_set_for_before_makes_it_neither_early_nor_late() {
        let mut alarm = Alarm::default();
        let poll = |alarm: &mut Alarm, due| {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            alarm.poll(|| due, &mut cx).is_ready()
        };
        let now = Instant::now();
        assert!(!poll(&mut alarm, None));
        assert!(!poll(&mut alarm, Some(now + 60 * SECOND)));
        assert_eq!(seconds(&mut alarm, 10, 10).await, 10);
        assert!(!poll(&mut alarm, Some(now + 20 * SECOND)));
        assert_eq!(seconds(&mut alarm, 120, 120).await, 120);
    }
}
