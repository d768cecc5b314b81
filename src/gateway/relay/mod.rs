//! 7 Send it, stream the answer, meter it.
//!
//! From the moment a request's header goes to the provider its [`Admission`] is a [`Commitment`]: it may cost
//! money, whatever ends it. What it does not do: decide what the use costs; that is `settle`.

use std::time::{Duration, Instant};

use pingora::{Error, ErrorType};

use crate::catalog::{Binding, Credential, Interruptible, Lapse};
use crate::domain::{Ended, Verdict};
use crate::protocol::coding::Undecodable;

use super::admit::Admission;
use super::cut::Cause;
use super::inspect;
use super::report::{Book, Receipt};
use super::settle::{settle, so_far};

mod head; // the heads that go on: to the provider, to the caller
mod answer; // the provider's answer as it passes: metered, and remembered for the books
mod guarded; // an answer that policies look at: what of it goes on, and when

pub use answer::{Answer, SLOW_READER, UPSTREAM_STATUS};
pub use head::{address, complete};

/// How much of a stream passes until budgets are asked again whether there is room for it.
const COVERED_EVERY_BYTES: u64 = 512;

/// A request that a provider has been asked. It must be settled; dropping it settles it as cut off: because its key may
/// not go on, or else by a shutdown.
pub struct Commitment {
    book: Option<Book>,
    pub answer: Answer,
    /// How much of the answer had passed when budgets were last asked for it.
    covered_bytes: u64,
    /// A hard budget has no room for what has passed.
    exhausted: bool,
    _watch: Option<Interruptible>,
}

impl Commitment {
    /// `watch` lets the request learn at once that its key may not go on.
    pub fn new(admission: Admission, answer: Answer, watch: Option<Interruptible>) -> Self {
        Self { book: Some(admission.into_book()), answer, covered_bytes: 0, exhausted: false, _watch: watch }
    }

    /// What the caller showed, until the request is settled.
    pub fn credential(&self) -> Option<&Credential> {
        self.book.as_ref().map(Book::credential)
    }

    /// Why the key may not go on, if it may not.
    pub fn lapse(&self) -> Option<Lapse> {
        self.book.as_ref()?.credential().lapse_now()
    }

    /// Why the answer may not go on, if it may not.
    pub fn cause(&self) -> Option<Cause> {
        self.lapse().map(Cause::Lapsed).or(self.exhausted.then_some(Cause::BudgetExhausted))
    }

    /// Makes sure, every now and then, that hard budgets have room for what has passed of a stream. Where they do not,
    /// the next piece is not sent.
    pub fn cover(&mut self) {
        let passed = self.answer.bytes();
        let Some(book) = &mut self.book else { return };
        if !self.answer.is_stream() || passed < self.covered_bytes + COVERED_EVERY_BYTES || !book.has_hard_budget() {
            return;
        }
        self.covered_bytes = passed;
        let spending = so_far(book, &self.answer);
        self.exhausted = !book.cover(spending);
    }

    /// How the tightest limits on requests and tokens stand, where any concern the request.
    pub fn binding(&self, now: Instant) -> Option<Binding> {
        Some(self.book.as_ref()?.taken()?.hold().binding(now))
    }

    /// What policies made of the request, and which of them found something.
    pub fn inspected(&self) -> (Verdict, String) {
        let opening = self.book.as_ref().map(|book| book.opening());
        opening.map_or((Verdict::Pass, String::new()), |opening| (opening.verdict, inspect::names(&opening.policies)))
    }

    /// What the gateway itself added before the provider was asked.
    pub fn overhead(&self) -> Duration {
        self.book.as_ref().and_then(|book| book.opening().overhead).unwrap_or_default()
    }

    /// Settles the request and records its end.
    pub fn settle(mut self, ended: Ended) {
        self.close(ended);
    }

    fn close(&mut self, ended: Ended) {
        if let Some(book) = self.book.take() {
            let receipt: Receipt = settle(&book, &self.answer, ended);
            book.close(receipt);
        }
    }
}

impl Drop for Commitment {
    fn drop(&mut self) {
        let cause = self.cause();
        if let Some(cause) = cause {
            self.answer.cut(cause);
        }
        self.close(cause.map_or(Ended::Shutdown, Cause::ended));
    }
}

/// The provider's answer is compressed, and not as it should be.
pub const UNDECODABLE: ErrorType = ErrorType::new("UndecodableAnswer");

pub fn undecodable(why: Undecodable) -> Box<Error> {
    Error::explain(UNDECODABLE, why.label()).into_up()
}
