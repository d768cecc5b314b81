//! Whether a key sends one request again and again after its answer has ended badly.
//!
//! Agents whose stream was cut or broke off have sent the same prompt more than a hundred times within seconds, and
//! each of them is paid in full. Equal requests are nothing unusual otherwise, so none is looked at, let alone
//! counted, unless an answer to it has ended badly a moment ago.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

/// For how long a request is watched after an answer to it has ended badly, in nanoseconds.
const WATCHED: u64 = 10_000_000_000;
/// How many requests of one key are watched at a time.
const REQUESTS_MAX: usize = 16;

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// What a key has sent again of late. Costs a pointer until an answer of the key ends badly.
#[derive(Debug, Default)]
pub struct Repeats(OnceLock<Box<Watch>>);

/// What makes a request the same as another one of its key.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Sent<'a> {
    /// Tells callers apart that share a key's record because they send keys of their own.
    pub caller: Option<&'a str>,
    pub target: &'a str,
    pub body: &'a [u8],
}

#[derive(Debug, Default)]
struct Watch {
    /// Until when any request is watched, in nanoseconds since the process began.
    until: AtomicU64,
    requests: Mutex<Vec<Watched>>,
}

#[derive(Debug)]
struct Watched {
    digest: u64,
    until: u64,
    /// How many times it was sent again.
    times: u32,
}

impl Repeats {
    /// Whether a request has ever been watched. Where none has, there is nothing to count and nothing to forget.
    pub fn are_watched(&self) -> bool {
        self.0.get().is_some()
    }

    /// Counts a request that is about to be sent. One that was sent again `limit` times already must not be, for as
    /// long as the error says.
    pub fn count(&self, sent: &Sent<'_>, limit: u32, now: u64) -> Result<(), Duration> {
        let Some(watch) = self.watch(now) else { return Ok(()) };
        let digest = sent.digest();
        let mut requests = watch.requests.lock();
        match requests.iter_mut().find(|watched| watched.digest == digest && now < watched.until) {
            Some(watched) if watched.times >= limit => Err(Duration::from_nanos(watched.until - now)),
            Some(watched) => {
                watched.times += 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The answer was cut or broke off: for a while the request is watched.
    pub fn ended_badly(&self, sent: &Sent<'_>, now: u64) {
        let watch = self.0.get_or_init(Box::default);
        let (digest, until) = (sent.digest(), now.saturating_add(WATCHED));
        let mut requests = watch.requests.lock();
        requests.retain(|watched| now < watched.until);
        if requests.iter().any(|watched| watched.digest == digest) {
            return;
        }
        if requests.len() >= REQUESTS_MAX {
            // What runs away is sent more often than anything else, so it is not what makes room.
            let fewest = requests.iter().enumerate().min_by_key(|(_, watched)| watched.times);
            let fewest = fewest.map_or(0, |(at, _)| at);
            requests.remove(fewest);
        }
        requests.push(Watched { digest, until, times: 0 });
        watch.until.fetch_max(until, Ordering::Relaxed);
    }

    /// The answer is whole: sending the request again means nothing.
    pub fn ended_well(&self, sent: &Sent<'_>, now: u64) {
        let Some(watch) = self.watch(now) else { return };
        let digest = sent.digest();
        watch.requests.lock().retain(|watched| watched.digest != digest);
    }

    /// `None` if nothing is watched now, which is nearly always so.
    fn watch(&self, now: u64) -> Option<&Watch> {
        self.0.get().map(|watch| &**watch).filter(|watch| now < watch.until.load(Ordering::Relaxed))
    }
}

impl Sent<'_> {
    /// The same for equal requests as long as the process runs.
    fn digest(&self) -> u64 {
        HASHER.hash_one(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn sent(body: &str) -> Sent<'_> {
        Sent { caller: None, target: "/v1/chat/completions", body: body.as_bytes() }
    }

    /// How many times a request passes at one moment, of `of`.
    fn passes(repeats: &Repeats, body: &str, of: usize, now: u64) -> usize {
        (0..of).filter(|_| repeats.count(&sent(body), 20, now).is_ok()).count()
    }

    #[test]
    fn nothing_is_counted_until_an_answer_ends_badly() {
        let repeats = Repeats::default();
        assert_eq!(passes(&repeats, "a", 1000, SECOND), 1000);
        repeats.ended_well(&sent("a"), SECOND);
        assert!(repeats.0.get().is_none());
        repeats.ended_badly(&sent("a"), 2 * SECOND);
        assert_eq!((passes(&repeats, "a", 100, 3 * SECOND), passes(&repeats, "b", 100, 3 * SECOND)), (20, 100));
        assert_eq!(repeats.count(&sent("a"), 20, 5 * SECOND), Err(Duration::from_secs(7)));
        let elsewhere = Sent { target: "/v1/responses", ..sent("a") };
        let somebody = Sent { caller: Some("f00"), ..sent("a") };
        assert!(repeats.count(&elsewhere, 20, 5 * SECOND).is_ok() && repeats.count(&somebody, 20, 5 * SECOND).is_ok());
    }

    #[test]
    fn ten_seconds_later_it_begins_anew() {
        let repeats = Repeats::default();
        repeats.ended_badly(&sent("a"), 0);
        assert_eq!(passes(&repeats, "a", 50, 1), 20);
        // Further bad endings prolong nothing.
        repeats.ended_badly(&sent("a"), 9 * SECOND);
        assert!(repeats.count(&sent("a"), 20, 10 * SECOND - 1).is_err());
        assert_eq!(passes(&repeats, "a", 50, 10 * SECOND), 50);
        repeats.ended_badly(&sent("a"), 10 * SECOND);
        assert_eq!(passes(&repeats, "a", 50, 11 * SECOND), 20);
    }

    #[test]
    fn a_whole_answer_takes_the_suspicion_away() {
        let repeats = Repeats::default();
        repeats.ended_badly(&sent("a"), 0);
        repeats.ended_badly(&sent("b"), 0);
        assert_eq!((passes(&repeats, "a", 50, 1), passes(&repeats, "b", 50, 1)), (20, 20));
        repeats.ended_well(&sent("a"), 2);
        assert_eq!((passes(&repeats, "a", 50, 3), passes(&repeats, "b", 50, 3)), (50, 0));
    }

    #[test]
    fn few_are_remembered_and_the_most_frequent_among_them() {
        let repeats = Repeats::default();
        repeats.ended_badly(&sent("a"), 0);
        assert_eq!(passes(&repeats, "a", 50, 1), 20);
        for at in 0..1000 {
            repeats.ended_badly(&sent(&at.to_string()), 2);
        }
        assert_eq!(repeats.0.get().unwrap().requests.lock().len(), REQUESTS_MAX);
        assert_eq!((passes(&repeats, "a", 50, 3), passes(&repeats, "999", 50, 3)), (0, 20));
    }
}
