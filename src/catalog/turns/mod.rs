//! Whose turn it is at a provider that may be asked only so many requests at once.
//!
//! Keys take turns by start-time fair queueing: a key that begins to wait does so at the time of the turn that was
//! given last, and each of its turns puts its next one off by `1 / weight`. So a key with a hundred requests waiting
//! is a hundred turns behind itself and not in front of anybody else, and the turns of keys that wait stand to each
//! other as their weights do. A turn is one request, however long it takes.
//!
//! This is asked only where a provider's capacity is limited. It takes a lock, for as long as it takes to look at
//! who is first; nothing waits while it is held.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::domain::Limits;
use crate::providers::{Capacity, Provider};

/// By how much one turn puts off the next of a key with the weight 1.
const TURN: u64 = 1 << 20;
/// Keys beyond these are forgotten once their next turn is due; the others while nobody waits.
const KEYS_KEPT: usize = 1024;

/// The queues of all providers whose capacity is limited.
#[derive(Clone, Debug, Default)]
pub struct Queues(Arc<[(Arc<str>, Arc<Queue>)]>);

/// One provider's queue. It is the same as long as the process runs.
#[derive(Debug)]
pub struct Queue(Mutex<State>);

#[derive(Debug)]
struct State {
    capacity: Capacity,
    /// How many turns are taken.
    taken: usize,
    /// The time of the turn that was given last.
    now: u64,
    /// The latest time any key is put off to.
    latest: u64,
    keys: HashMap<Arc<str>, Waiting>,
    /// The keys that wait: when the next turn of each is due, and who came first.
    order: BTreeSet<(u64, u64, Arc<str>)>,
    waiting: usize,
    tickets: u64,
    /// How long a turn takes as a rule.
    usual: Duration,
}

/// The requests of one key.
#[derive(Debug)]
struct Waiting {
    /// When its next turn is due.
    due: u64,
    weight: u64,
    /// By when it stands in the order, while it does.
    place: Option<(u64, u64)>,
    requests: VecDeque<(u64, oneshot::Sender<Turn>)>,
}

/// One request's turn. Dropping it gives it to whoever is next.
#[derive(Debug)]
pub struct Turn {
    queue: Arc<Queue>,
    since: Instant,
}

/// What comes of a request for a turn.
pub enum Joined {
    Turn(Turn),
    Line(Line),
}

/// A request in line. Dropping it leaves the line; awaited, it is the turn, or nothing if it had to make room.
pub struct Line {
    queue: Arc<Queue>,
    key: Arc<str>,
    ticket: u64,
    turn: oneshot::Receiver<Turn>,
}

/// No more may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Queues {
    /// The queues for these providers. Those there were go on; whoever waits in one that is gone need not any more.
    pub fn next(&self, providers: &[Arc<Provider>]) -> Self {
        let limited = providers.iter().filter_map(|provider| Some((&provider.name, provider.capacity?)));
        let next: Arc<[_]> = limited.map(|(name, capacity)| (name.clone(), self.or_new(name, capacity))).collect();
        for (name, queue) in self.0.iter().filter(|(name, _)| !next.iter().any(|(other, _)| other == name)) {
            log::debug!("{name} is not limited any more");
            queue.define(Capacity::UNLIMITED);
        }
        Self(next)
    }

    fn or_new(&self, name: &str, capacity: Capacity) -> Arc<Queue> {
        let queue = self.of(name).cloned().unwrap_or_default();
        queue.define(capacity);
        queue
    }

    /// The queue of a provider; `None` if its capacity is not limited.
    pub fn of(&self, provider: &str) -> Option<&Arc<Queue>> {
        self.0.iter().find(|(name, _)| **name == *provider).map(|(_, queue)| queue)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Queue>)> {
        self.0.iter().map(|(name, queue)| (name, queue))
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self(Mutex::new(State {
            capacity: Capacity::UNLIMITED,
            taken: 0,
            now: 0,
            latest: 0,
            keys: HashMap::new(),
            order: BTreeSet::new(),
            waiting: 0,
            tickets: 0,
            usual: Duration::from_secs(1),
        }))
    }
}

impl Queue {
    /// Changes how many may be asked at once and how many may wait. Nobody who waits is sent away.
    pub fn define(self: &Arc<Self>, capacity: Capacity) {
        let given = {
            let mut state = self.0.lock();
            state.capacity = capacity;
            state.give()
        };
        self.send(given);
    }

    /// Takes a turn, or gets in line for one.
    pub fn join(self: &Arc<Self>, key: &Arc<str>, weight: u64) -> Result<Joined, Full> {
        let mut state = self.0.lock();
        let weight = weight.clamp(1, Limits::WEIGHT_MAX);
        if state.order.is_empty() && state.taken < state.capacity.concurrency {
            state.pass(key, weight);
            return Ok(Joined::Turn(self.turn()));
        }
        if state.waiting >= state.capacity.queue && !state.make_room(key, weight) {
            return Err(Full);
        }
        let (sender, turn) = oneshot::channel();
        let ticket = state.enqueue(key, weight, sender);
        Ok(Joined::Line(Line { queue: self.clone(), key: key.clone(), ticket, turn }))
    }

    /// Which share of the turns there are is taken.
    pub fn utilization(&self) -> f64 {
        let state = self.0.lock();
        state.taken as f64 / state.capacity.concurrency.max(1) as f64
    }

    /// How long whoever comes now would wait, as far as can be told.
    pub fn wait(&self) -> Duration {
        let state = self.0.lock();
        state.usual.mul_f64((state.waiting + 1) as f64 / state.capacity.concurrency.max(1) as f64)
    }

    fn turn(self: &Arc<Self>) -> Turn {
        Turn { queue: self.clone(), since: Instant::now() }
    }

    fn send(self: &Arc<Self>, given: Vec<oneshot::Sender<Turn>>) {
        for sender in given {
            // Whoever has just left gives it back: the turn is dropped.
            drop(sender.send(self.turn()));
        }
    }

    fn give_back(self: &Arc<Self>, took: Duration) {
        let given = {
            let mut state = self.0.lock();
            state.taken = state.taken.saturating_sub(1);
            state.usual = (state.usual * 7 + took) / 8;
            let given = state.give();
            state.forget();
            given
        };
        self.send(given);
    }
}

impl State {
    fn key(&mut self, key: &Arc<str>, weight: u64) -> &mut Waiting {
        let now = self.now;
        let known = self.keys.entry(key.clone()).or_insert_with(|| Waiting {
            due: now,
            weight,
            place: None,
            requests: VecDeque::new(),
        });
        known.weight = weight;
        known
    }

    /// Gives a turn to a key that need not wait.
    fn pass(&mut self, key: &Arc<str>, weight: u64) {
        let now = self.now;
        let known = self.key(key, weight);
        let at = known.due.max(now);
        let due = at + TURN / known.weight;
        known.due = due;
        (self.now, self.latest) = (at, self.latest.max(due));
        self.taken += 1;
    }

    fn enqueue(&mut self, key: &Arc<str>, weight: u64, sender: oneshot::Sender<Turn>) -> u64 {
        let (ticket, now) = (self.tickets, self.now);
        self.tickets += 1;
        self.waiting += 1;
        let known = self.key(key, weight);
        known.requests.push_back((ticket, sender));
        if known.place.is_none() {
            known.due = known.due.max(now);
            self.line_up(key);
        }
        ticket
    }

    /// Puts a key into the order, if it waits.
    fn line_up(&mut self, key: &Arc<str>) {
        let Some(known) = self.keys.get_mut(key) else { return };
        known.place = known.requests.front().map(|(ticket, _)| (known.due, *ticket));
        if let Some((due, ticket)) = known.place {
            self.order.insert((due, ticket, key.clone()));
        }
    }

    /// Gives the turns that are free to those who are next.
    fn give(&mut self) -> Vec<oneshot::Sender<Turn>> {
        let mut given = Vec::new();
        while self.taken < self.capacity.concurrency
            && let Some((_, _, key)) = self.order.pop_first()
        {
            let Some(known) = self.keys.get_mut(&key) else { continue };
            known.place = None;
            let (Some((_, sender)), weight) = (known.requests.pop_front(), known.weight) else { continue };
            given.push(sender);
            self.waiting -= 1;
            self.pass(&key, weight);
            self.line_up(&key);
        }
        given
    }

    /// Takes a request out of the line, wherever it stands.
    fn leave(&mut self, key: &Arc<str>, ticket: u64) {
        let Some(known) = self.keys.get_mut(key) else { return };
        let Some(at) = known.requests.iter().position(|(known, _)| *known == ticket) else { return };
        known.requests.remove(at);
        self.waiting -= 1;
        if known.requests.is_empty()
            && let Some((due, first)) = known.place.take()
        {
            self.order.remove(&(due, first, key.clone()));
        }
        self.forget();
    }

    /// Sends away the last of the key that has most waiting for its weight, if that is more than `key` would have.
    fn make_room(&mut self, key: &Arc<str>, weight: u64) -> bool {
        let own = self.keys.get(key).map_or(0, |known| known.requests.len()) as u64 + 1;
        let share = |known: &Waiting| known.requests.len() as u64 * TURN / known.weight;
        let most = self.keys.iter().max_by_key(|(_, known)| share(known));
        let Some((most, last)) = most
            .filter(|(_, known)| share(known) > own * TURN / weight)
            .and_then(|(most, known)| Some((most.clone(), known.requests.back()?.0)))
        else {
            return false;
        };
        self.leave(&most, last);
        true
    }

    /// Forgets what keys have had where it does not matter any more.
    fn forget(&mut self) {
        if self.order.is_empty() && self.taken < self.capacity.concurrency {
            // Nobody has to wait: all are equal again.
            self.now = self.latest;
            self.keys.clear();
        } else if self.keys.len() > KEYS_KEPT.max(2 * self.order.len()) {
            let now = self.now;
            self.keys.retain(|_, known| known.due > now || !known.requests.is_empty());
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.queue.give_back(self.since.elapsed());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.queue.0.lock().leave(&self.key, self.ticket);
    }
}

impl Future for Line {
    type Output = Option<Turn>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Turn>> {
        Pin::new(&mut self.turn).poll(context).map(Result::ok)
    }
}

#[cfg(test)]
mod tests;
