//! Limits that another process counts: the one that this process has handed over to.
//!
//! What this process still serves takes from its own counters as before, which stand where they were handed over, and
//! from the other's, where everybody else's use is counted as well. Only what both let pass goes on.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use crate::domain::Spending;

use super::{Demand, Hit};

/// Counts in place of this process. Whoever asks waits for the answer, which comes from the same machine.
pub trait Elsewhere: Debug + Send + Sync {
    /// Takes what `demand` asks for on behalf of the key with this id. What the request is called there from now on.
    fn take(&self, key: &str, demand: &Demand<'_>) -> Result<i64, Box<Hit>>;

    /// Whether budgets have room for all that the request called `number` has spent by now.
    fn cover(&self, number: i64, spending: Spending) -> bool;

    /// Gives back what was taken for a request that comes to nothing.
    fn give_back(&self, number: i64);
}

/// Where limits are counted: here, until it is said once that they are counted elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Counting(Arc<OnceLock<Arc<dyn Elsewhere>>>);

impl Counting {
    /// Has limits be counted elsewhere, from now on.
    pub fn moves(&self, elsewhere: Arc<dyn Elsewhere>) {
        // It moves once in the life of a process.
        let _ = self.0.set(elsewhere);
    }

    pub fn elsewhere(&self) -> Option<&Arc<dyn Elsewhere>> {
        self.0.get()
    }
}

/// What was taken elsewhere for a request that is not on record yet; given back when dropped.
#[derive(Debug)]
pub struct Lodged {
    pub number: i64,
    elsewhere: Option<Arc<dyn Elsewhere>>,
}

impl Lodged {
    pub fn new(number: i64, elsewhere: Arc<dyn Elsewhere>) -> Self {
        Self { number, elsewhere: Some(elsewhere) }
    }

    /// The record of the request's end says what becomes of it.
    pub fn told(mut self) {
        self.elsewhere = None;
    }
}

impl Drop for Lodged {
    fn drop(&mut self) {
        if let Some(elsewhere) = &self.elsewhere {
            elsewhere.give_back(self.number);
        }
    }
}
