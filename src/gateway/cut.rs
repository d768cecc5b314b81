//! Ends a running answer whose key may not go on: revoked, expired, rotated, its team suspended.
//!
//! A running request asks for its key's standing at every piece of the answer, before the piece is sent. A request
//! that waits for its provider is woken: the gateway stops reading from the client's connection, which Pingora
//! notices at once and ends the provider's side, while the way to the client stays open for the last word. Over
//! HTTP/2, where a connection is many requests', it is told by itself (`door/streams.rs`).

use std::sync::Arc;

use nix::sys::socket::{Shutdown, shutdown};
use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use crate::catalog::{Credential, CutForm, Interrupt, Interruptible, Lapse};
use crate::domain::{Ended, Verdict};
use crate::protocol::error::ErrorFacts;
use crate::protocol::meter::{Manner, Notice};

use super::door::{self, Silence};
use super::journey::{Journey, Stage, now};
use super::refusal::Refusal;
use super::relay::Answer;
use super::report::{Book, Receipt};
use super::respond;
use super::route::Plan;

/// The error by which a phase tells Pingora to go no further.
const STOP: ErrorType = ErrorType::Custom("the key may not go on");

/// Lets the request be woken while the answer is kept.
pub fn watch(session: &Session, credential: &Credential) -> Option<Interruptible> {
    let interrupt = match session.stream() {
        // The id of a connection is its file descriptor (pingora-core, `UniqueID`).
        Some(stream) => Interrupt::Call { call: stop_reading, handle: stream.id() },
        None => Interrupt::Notify(door::waker()?),
    };
    Some(credential.running(interrupt))
}

fn stop_reading(connection: i32) {
    // A connection that is gone needs no waking.
    let _ = shutdown(connection, Shutdown::Read);
}

/// Tells Pingora to go no further with a request whose key lapsed.
pub fn stop() -> Box<Error> {
    Error::new(STOP).into_in()
}

pub fn is_stop(error: &Error) -> bool {
    *error.etype() == STOP
}

/// Why the gateway ends an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Lapsed(Lapse),
    /// What has passed of the answer has used up a hard budget.
    BudgetExhausted,
}

impl Cause {
    /// The refusal that says so.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Lapsed(lapse) => Refusal::Lapsed(lapse),
            Self::BudgetExhausted => Refusal::BudgetExhausted,
        }
    }

    pub fn ended(self) -> Ended {
        match self {
            Self::Lapsed(_) => Ended::Revoked,
            Self::BudgetExhausted => Ended::Budget,
        }
    }
}

/// Why a request has to be cut, if it has to, before its answer is through.
pub fn cause(stage: &Stage) -> Option<Cause> {
    match stage {
        Stage::Arrived | Stage::Ended => None,
        Stage::Admitted(admission, _) => admission.book().credential().lapse_now().map(Cause::Lapsed),
        Stage::Relaying(commitment, _) => commitment.cause().filter(|_| !commitment.answer.has_ended()),
    }
}

/// Says the last word to the caller: a refusal where nothing was sent yet, else the end of the stream.
/// A plain answer that was begun can only be broken off. The status that was sent here, 0 if none was.
pub async fn end(session: &mut Session, journey: &mut Journey, cause: Cause) -> u16 {
    let refusal = cause.refusal();
    let status = refusal.row().status;
    // A connection that was woken is not read from any more: its client is told to take another.
    session.set_keepalive(None);
    let begun = session.response_written().is_some();
    if let Stage::Relaying(commitment, plan) = &mut journey.stage {
        let answer = &mut commitment.answer;
        answer.cut(cause);
        if begun {
            let last = ending(&refusal, answer, plan, journey.request_id.as_deref(), journey.settings.cut);
            if last.is_empty() {
                journey.silence.iter().for_each(Silence::withdraw);
            } else {
                // The client may be gone; then there is nobody to tell.
                let _ = respond::end_stream(session, last).await;
            }
            return 0;
        }
        answer.answered(status);
    }
    let request_id = journey.request_id.as_deref().unwrap_or_default();
    let _ = respond::refuse(session, &refusal, journey.dialect, request_id).await;
    status.as_u16()
}

/// The bytes that end a stream which a policy does not let go on.
pub fn by_policy(answer: &Answer, plan: &Plan, policy: Arc<str>, request_id: Option<&str>, form: CutForm) -> Vec<u8> {
    let refusal = Refusal::PolicyBlocked { policy, fired: String::new() };
    ending(&refusal, answer, plan, request_id, form)
}

/// The bytes that end the stream for its client.
fn ending(refusal: &Refusal, answer: &Answer, plan: &Plan, request_id: Option<&str>, form: CutForm) -> Vec<u8> {
    let row = refusal.row();
    let message = refusal.to_string();
    let facts = ErrorFacts {
        kind: row.kind,
        status: row.status.as_u16(),
        code: row.code,
        message: &message,
        request_id: request_id.unwrap_or_default(),
    };
    let unix_seconds = u64::try_from(now().as_micros() / 1_000_000).unwrap_or_default();
    let notice = Notice { facts, model: &plan.model, request: &plan.body, unix_seconds };
    let manner = match form {
        CutForm::Notice => Manner::Notice,
        CutForm::Error => Manner::Error,
    };
    answer.ending(manner, &notice)
}

/// What an admitted request came to that was stopped before a provider was asked.
pub fn receipt(book: &Book) -> Receipt {
    let lapse = book.credential().lapse_now().unwrap_or(Lapse::Revoked);
    let row = Refusal::Lapsed(lapse).row();
    Receipt::unused(Verdict::Deny, Some(row.code), row.status.as_u16(), Ended::Revoked)
}
