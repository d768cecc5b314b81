//! What happens when a request does not end as it should: who failed, what the caller is told, how it is booked.

use std::time::Instant;
use std::{fmt, io};

use bytes::Bytes;
use pingora::proxy::{FailToProxy, Session};
use pingora::{Error, ErrorSource, ErrorType};

use crate::catalog::nanos_of;
use crate::domain::{Ended, Verdict};
use crate::protocol::error::{self, ErrorFacts};

use super::cut;
use super::door::{SilentProvider, SlowReader};
use super::journey::{Journey, Stage};
use super::refusal::Refusal;
use super::relay::{Answer, Commitment, SLOW_READER, UNDECODABLE, UPSTREAM_STATUS};
use super::report::{CLIENT_CLOSED_STATUS, Receipt};
use super::respond;
use super::route::Plan;

/// What is still to be sent when the provider has ended the body. A stream without its dialect's last word gets
/// an error event, because clients take a missing one for success or ask again without end; unless the provider
/// has told of an error itself.
pub fn complete(answer: &mut Answer, plan: &Plan, request_id: Option<&str>) -> Bytes {
    let rest = answer.end();
    if answer.told_error() {
        answer.fail("in_stream_error");
        return rest;
    }
    if answer.finished() || !answer.is_stream() {
        return rest;
    }
    answer.fail("truncated");
    let event = stream_event(&Refusal::UpstreamFailed("truncated"), answer, plan, request_id);
    [rest, event.into()].concat().into()
}

/// Tells the caller of a failure, as far as it can still be told.
pub async fn answer(session: &mut Session, error: &Error, journey: &mut Journey) -> FailToProxy {
    if let Some(cause) = cut::cause(&journey.stage) {
        let error_code = cut::end(session, journey, cause).await;
        return FailToProxy { error_code, can_reuse_downstream: false };
    }
    if let Stage::Relaying(commitment, _) = &journey.stage
        && commitment.answer.is_blocked()
    {
        // Its caller has had the last word already.
        let _ = respond::end_stream(session, Vec::new()).await;
        return FailToProxy { error_code: 0, can_reuse_downstream: false };
    }
    let refusal = refusal(error);
    let status = match (&mut journey.stage, session.response_written().is_some()) {
        _ if is_the_clients(error) => 0,
        (Stage::Relaying(commitment, plan), true) => {
            commitment.answer.fail(failure_kind(error));
            if commitment.answer.is_stream() {
                let rest = commitment.answer.end();
                let event = stream_event(&refusal, &commitment.answer, plan, journey.request_id.as_deref());
                // The client may be gone as well; then there is nobody to tell.
                let _ = respond::end_stream(session, [rest.as_ref(), &event].concat()).await;
            }
            0
        }
        (_, true) => 0,
        (stage, false) => {
            let status = refusal.row().status;
            if let Stage::Relaying(commitment, _) = stage {
                commitment.answer.fail(failure_kind(error));
                commitment.answer.answered(status);
            }
            let request_id = journey.request_id.as_deref().unwrap_or_default();
            let _ = respond::refuse(session, &refusal, journey.dialect, request_id).await;
            status.as_u16()
        }
    };
    FailToProxy { error_code: status, can_reuse_downstream: false }
}

/// Settles whatever is still open when a request has ended.
pub fn conclude(stage: Stage, error: Option<&Error>) {
    match stage {
        Stage::Arrived | Stage::Ended => {}
        Stage::Admitted(admission, plan) => {
            // Before the record: whoever has seen the end of a request finds nothing held by it.
            drop(plan);
            let receipt = match error {
                Some(error) if cut::is_stop(error) => cut::receipt(admission.book()),
                Some(error) if !is_the_clients(error) => {
                    let status = refusal(error).row().status.as_u16();
                    Receipt::unused(Verdict::Error, Some(failure_kind(error)), status, Ended::UpstreamFailed)
                }
                _ => client_closed(),
            };
            admission.into_book().close(receipt);
        }
        Stage::Relaying(mut commitment, plan) => {
            let ended = ended(&commitment.answer, error);
            if ended == Ended::ClientClosed && error.is_some_and(has_cause::<SlowReader>) {
                commitment.answer.fail(SLOW_READER);
            }
            remember(&commitment, &plan, ended);
            drop(plan);
            commitment.settle(ended);
        }
    }
}

/// Lets it be noticed when the request is sent again and again, now that its answer has ended badly. An answer that
/// tells of an error in full is neither good nor bad: clients know what to do with it.
fn remember(commitment: &Commitment, plan: &Plan, ended: Ended) {
    let Some(credential) = commitment.credential() else { return };
    let (repeats, answer) = (credential.key.state.repeats(), &commitment.answer);
    let now = || nanos_of(Instant::now());
    match ended {
        Ended::UpstreamFailed if answer.failure() == Some(UPSTREAM_STATUS) => {}
        Ended::UpstreamFailed | Ended::Budget | Ended::Policy => repeats.ended_badly(&plan.sent(), now()),
        Ended::Complete if repeats.are_watched() && answer.status().is_some_and(|status| status < 400) => {
            repeats.ended_well(&plan.sent(), now());
        }
        _ => {}
    }
}

/// Whether it was the client who failed. Pingora leaves open whose connection it was when the answer's last bytes
/// could not be flushed; of a provider's connection it always says.
pub fn is_the_clients(error: &Error) -> bool {
    match error.esource() {
        _ if has_cause::<SilentProvider>(error) => false,
        ErrorSource::Downstream => true,
        ErrorSource::Unset => matches!(error.etype(), ErrorType::WriteError | ErrorType::WriteTimedout),
        _ => false,
    }
}

/// Whether the client's connection ended it for this reason: the provider's silence is noticed there as well.
fn has_cause<Cause: std::error::Error + 'static>(error: &Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    cause.is_some_and(|cause| cause.is::<Cause>())
}

/// An error as the log may show it: what happened, and what the operating system or TLS says to it. Pingora's own
/// text quotes what it could not read, which may be anybody's credential or a piece of an answer; but not where there was
/// no connection yet to read from.
pub struct Told<'a>(pub &'a Error);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        // It is the client's connection that tells of it.
        let (source, kind) = match has_cause::<SilentProvider>(error) {
            true => (&ErrorSource::Upstream, &ErrorType::ReadTimedout),
            false => (error.esource(), error.root_etype()),
        };
        write!(f, "{} {}", source.as_str(), kind.as_str())?;
        match error.root_cause().downcast_ref::<io::Error>() {
            Some(cause) => write!(f, ": {cause}"),
            None if matches!(failure_kind(error), "connect" | "tls") => match &error.context {
                Some(context) => write!(f, ": {}", context.as_str()),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }
}

fn client_closed() -> Receipt {
    let ended = Ended::ClientClosed;
    Receipt::unused(Verdict::Pass, Some(ended.label()), CLIENT_CLOSED_STATUS, ended)
}

/// A client that closes after the dialect's last word has got everything it asked for.
fn ended(answer: &Answer, error: Option<&Error>) -> Ended {
    if let Some(cause) = answer.cut_by() {
        return cause.ended();
    }
    if answer.is_blocked() {
        return Ended::Policy;
    }
    match error.map(is_the_clients) {
        Some(true) if answer.has_ended() => Ended::Complete,
        Some(true) => Ended::ClientClosed,
        Some(false) => Ended::UpstreamFailed,
        None if answer.failure().is_some() => Ended::UpstreamFailed,
        None => Ended::Complete,
    }
}

fn refusal(error: &Error) -> Refusal {
    match failure_kind(error) {
        "timeout" => Refusal::UpstreamTimeout,
        kind => Refusal::UpstreamFailed(kind),
    }
}

/// The kind of failure, as metrics and events name it.
fn failure_kind(error: &Error) -> &'static str {
    use ErrorType::*;
    match error.etype() {
        _ if has_cause::<SilentProvider>(error) => "timeout",
        ConnectTimedout | TLSHandshakeTimedout | ReadTimedout | WriteTimedout => "timeout",
        ConnectRefused | ConnectNoRoute | ConnectError | BindError | SocketError | ConnectProxyFailure => "connect",
        TLSHandshakeFailure | InvalidCert | TLSWantX509Lookup | HandshakeError => "tls",
        kind if *kind == UNDECODABLE => "protocol",
        InvalidHTTPHeader | H1Error | H2Error | H2Downgrade | InvalidH2 => "protocol",
        ReadError | WriteError | ConnectionClosed => "closed",
        _ if *error.esource() == ErrorSource::Upstream => "closed",
        _ => "internal",
    }
}

pub fn stream_event(refusal: &Refusal, answer: &Answer, plan: &Plan, request_id: Option<&str>) -> Vec<u8> {
    let row = refusal.row();
    let message = refusal.to_string();
    let request_id = request_id.unwrap_or_default();
    let facts =
        ErrorFacts { kind: row.kind, status: row.status.as_u16(), code: row.code, message: &message, request_id };
    error::stream_event(plan.endpoint, answer.torn(), &facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_nobody_owns_up_to_was_for_the_client() {
        assert!(is_the_clients(&Error::explain(ErrorType::WriteError, "flushing response")));
        assert!(is_the_clients(&Error::new(ErrorType::ReadError).into_down()));
        assert!(!is_the_clients(&Error::new(ErrorType::WriteError).into_up()));
        assert!(!is_the_clients(&Error::new(ErrorType::InternalError)));
    }
}
