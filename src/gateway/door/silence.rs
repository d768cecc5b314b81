//! How long a provider may be silent, watched from its client's connection.
//!
//! Pingora 0.9.1 sets one deadline for every read of a provider's connection and cannot tell the wait for an answer
//! from the waits within it. But it watches the client's connection all the while; so that is where the time is kept.

use std::fmt;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Until when the provider has to say something. Set by the request, watched by its connection.
#[derive(Clone, Debug)]
pub struct Silence(Arc<Until>);

#[derive(Debug)]
struct Until {
    base: Instant,
    /// Milliseconds after `base`; 0 while nobody waits.
    due: AtomicU64,
    /// What is gathered of the answer must not go out any more.
    withdrawn: AtomicBool,
}

/// What watches a [`Silence`]. It is set anew only when it rings, and stays set from one request of a connection to
/// the next, so that most requests never touch the timer.
#[derive(Debug, Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

/// The provider has said nothing for too long.
#[derive(Debug)]
pub struct SilentProvider;

impl Silence {
    pub fn new() -> Self {
        Self(Arc::new(Until { base: Instant::now(), due: AtomicU64::new(0), withdrawn: AtomicBool::new(false) }))
    }

    /// From now on the provider has this long.
    pub fn may_last(&self, limit: Duration) {
        let due = self.0.base.elapsed() + limit;
        self.0.due.store(due.as_millis() as u64, Ordering::Relaxed);
    }

    /// Nobody waits for a provider any more.
    pub fn is_over(&self) {
        self.0.due.store(0, Ordering::Relaxed);
    }

    /// The answer has been cut: nothing of it goes out any more, and its connection is done with.
    pub fn withdraw(&self) {
        self.0.withdrawn.store(true, Ordering::Relaxed);
    }

    pub fn is_withdrawn(&self) -> bool {
        self.0.withdrawn.load(Ordering::Relaxed)
    }

    fn due(&self) -> Option<Instant> {
        match self.0.due.load(Ordering::Relaxed) {
            0 => None,
            due => Some(self.0.base + Duration::from_millis(due)),
        }
    }
}

impl Alarm {
    /// Fails when `silence` has lasted too long.
    pub fn poll(&mut self, silence: &Silence, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(mut due) = silence.due() else { return Ok(()) };
        let Self(sleep) = self;
        let sleep = sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        while let Poll::Ready(()) = sleep.as_mut().poll(cx) {
            let Some(now_due) = silence.due() else { return Ok(()) };
            due = now_due;
            if due <= Instant::now() {
                return Err(io::Error::new(ErrorKind::TimedOut, SilentProvider));
            }
            sleep.as_mut().reset(due);
        }
        Ok(())
    }
}

impl fmt::Display for SilentProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the provider said nothing for too long")
    }
}

impl std::error::Error for SilentProvider {}
