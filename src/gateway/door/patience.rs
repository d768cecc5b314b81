//! How long what is written waits for its client: one measure for all of an answer.
//!
//! A deadline for each piece, such as Pingora has, begins anew with every few bytes that a client takes, which it can
//! keep up for as long as it likes. So the time is counted in which something waits to be written, and what the client
//! takes buys time back: whoever keeps up a modest rate is never given up, however long the answer.

use std::fmt;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pingora::protocols::Stream;
use pingora::protocols::l4::ext::get_tcp_info;
use tokio::time::{Instant, Sleep, sleep_until};

/// How often it is looked after what a client has taken while something waits for it. What it took before the look buys
/// time, so this is how late a client may be given up at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Short patience, such as tests have, is looked after more often.
const LOOKS_MIN: u32 = 16;

/// How much patience there is with a client.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long something may wait for it.
    pub patience: Duration,
    /// For so many bytes that it takes, a second of that is given back.
    pub rate_min: usize,
}

/// What is left of the patience with a client.
pub struct Patience {
    pace: Pace,
    left: Duration,
    /// How much the client had taken of the whole connection when it was last looked.
    taken: Option<u64>,
    /// Since when something waits, as far as that has not been counted.
    since: Option<Instant>,
    /// Stays set from one wait to the next, so that a client which keeps up seldom touches the timer.
    look: Option<Pin<Box<Sleep>>>,
}

/// The client did not take what was written to it.
#[derive(Debug)]
pub struct SlowReader;

impl Patience {
    pub fn new(pace: Pace) -> Self {
        Self { pace, left: pace.patience, taken: None, since: None, look: None }
    }

    /// Begins anew, for the next answer.
    pub fn renew(&mut self, pace: Pace) {
        (self.pace, self.left, self.taken, self.since) = (pace, pace.patience, None, None);
    }

    /// Passes on what came of an attempt to write, unless the client has kept it waiting for too long.
    pub fn poll<T>(
        &mut self,
        stream: &Stream,
        attempt: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        match attempt {
            Poll::Pending => match self.wait(|| taken(stream), cx) {
                Ok(()) => Poll::Pending,
                Err(SlowReader) => Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, SlowReader))),
            },
            ready => {
                if let Some(since) = self.since.take() {
                    self.left = self.left.saturating_sub(since.elapsed());
                }
                ready
            }
        }
    }

    /// Something waits. Wakes the task when it is time to look again.
    fn wait(&mut self, taken: impl Fn() -> u64, cx: &mut Context<'_>) -> Result<(), SlowReader> {
        loop {
            let now = Instant::now();
            if self.since.is_none() {
                self.earn(taken());
                self.since = Some(now);
                self.look_at(now);
            }
            if self.look.as_mut().is_some_and(|look| look.as_mut().poll(cx).is_pending()) {
                return Ok(());
            }
            self.earn(taken());
            let waited = self.since.replace(now).map_or(Duration::ZERO, |since| now - since);
            self.left = self.left.saturating_sub(waited);
            if self.left.is_zero() {
                return Err(SlowReader);
            }
            self.look_at(now);
        }
    }

    fn earn(&mut self, taken: u64) {
        let more = self.taken.replace(taken).map_or(0, |before| taken.saturating_sub(before));
        let earned = Duration::from_secs_f64(more as f64 / self.pace.rate_min.max(1) as f64);
        self.left = self.left.saturating_add(earned).min(self.pace.patience);
    }

    fn look_at(&mut self, now: Instant) {
        let due = now + self.left.min(LOOK_EVERY).min(self.pace.patience / LOOKS_MIN);
        match &mut self.look {
            Some(look) => look.as_mut().reset(due),
            None => self.look = Some(Box::pin(sleep_until(due))),
        }
    }
}

/// How many bytes of the connection its client has confirmed. What the system here takes from us says nothing: it
/// takes megabytes on nobody's behalf.
fn taken(stream: &Stream) -> u64 {
    // The id of a connection is its file descriptor (pingora-core, `UniqueID`).
    get_tcp_info(stream.id()).map_or(0, |info| info.tcpi_bytes_acked)
}

impl fmt::Display for SlowReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client took its answer too slowly")
    }
}

impl std::error::Error for SlowReader {}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::task::Waker;

    use super::*;

    const PACE: Pace = Pace { patience: Duration::from_secs(60), rate_min: 1024 };

    /// Waits in steps of a second while the client takes `rate` bytes a second; when it is given up, if it is.
    async fn given_up(patience: &mut Patience, taken: &Cell<u64>, rate: u64, seconds: u64) -> Option<u64> {
        let cx = &mut Context::from_waker(Waker::noop());
        for second in 0..=seconds {
            if patience.wait(|| taken.get(), cx).is_err() {
                return Some(second);
            }
            tokio::time::advance(Duration::from_secs(1)).await;
            taken.set(taken.get() + rate);
        }
        None
    }

    /// What happens when a piece could be written.
    fn written(patience: &mut Patience, stream: &Stream) {
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(patience.poll(stream, Poll::Ready(Ok(())), cx).is_ready());
    }

    fn no_connection() -> Stream {
        Box::new(tokio::io::duplex(1).0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_has_its_deadline() {
        let mut patience = Patience::new(PACE);
        assert_eq!(given_up(&mut patience, &Cell::new(7), 0, 100).await, Some(60));
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_that_go_out_in_between_do_not_begin_it_anew() {
        let (mut patience, taken, stream) = (Patience::new(PACE), Cell::new(0), no_connection());
        let mut waited = 0;
        let end = loop {
            if let Some(second) = given_up(&mut patience, &taken, 1, 6).await {
                break waited + second;
            }
            waited += 7;
            written(&mut patience, &stream);
        };
        assert!((60..=61).contains(&end), "{end}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_keeps_up_is_never_given_up() {
        let mut patience = Patience::new(PACE);
        assert_eq!(given_up(&mut patience, &Cell::new(0), 1025, 24 * 3600).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_too_slowly_has_somewhat_longer() {
        let mut patience = Patience::new(PACE);
        let end = given_up(&mut patience, &Cell::new(0), 512, 200).await.unwrap();
        assert!((119..=121).contains(&end), "{end}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_taken_long_ago_is_not_saved_up() {
        let (mut patience, taken) = (Patience::new(PACE), Cell::new(0));
        assert_eq!(given_up(&mut patience, &taken, 1_000_000, 600).await, None);
        let end = given_up(&mut patience, &taken, 0, 200).await.unwrap();
        assert!((59..=60).contains(&end), "{end}");
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_waits_does_not_count_and_hiccups_are_forgiven() {
        let (mut patience, taken, stream) = (Patience::new(PACE), Cell::new(0), no_connection());
        for _ in 0..100 {
            assert_eq!(given_up(&mut patience, &taken, 0, 50).await, None);
            written(&mut patience, &stream);
            // A minute's worth of a modest stream.
            tokio::time::advance(Duration::from_secs(60)).await;
            taken.set(taken.get() + 60 * 1024);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_answer_begins_anew() {
        let (mut patience, taken) = (Patience::new(PACE), Cell::new(0));
        assert_eq!(given_up(&mut patience, &taken, 0, 50).await, None);
        patience.renew(PACE);
        assert_eq!(given_up(&mut patience, &taken, 0, 100).await, Some(60));
    }
}
