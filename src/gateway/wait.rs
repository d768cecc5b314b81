//! Waits for the provider's turn, where a provider is asked only so many requests at once.
//!
//! What the limits count is held meanwhile: a request that waits is one that runs. Who waits is watched like one whose
//! answer runs: a client that leaves leaves the line, and a key that may not go on is refused at once.

use std::time::{Duration, Instant};

use pingora::Error;
use pingora::proxy::Session;

use crate::catalog::{Catalog, Full, Joined, Lapse, Line, Queue, Scopes, Turn};
use crate::journal::{self, Metrics};
use crate::providers::{Capacity, Provider};

use super::attribute::Account;
use super::cut;
use super::refusal::{Busy, Refusal};

/// How often a request that cannot be woken looks whether its key may still go on.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why a request gets no turn.
pub enum Unserved {
    Refused(Refusal),
    /// The client went away; there is nobody to answer.
    Client(Box<Error>),
}

/// The request's turn at `provider`, and how long was waited for it; `None` where it needs none.
pub async fn wait(
    session: &mut Session,
    account: &Account,
    catalog: &Catalog,
    provider: &Provider,
    metrics: &Metrics,
) -> Result<(Option<Turn>, Duration), Unserved> {
    let (Some(queue), Some(capacity)) = (catalog.queues.of(&provider.name), provider.capacity) else {
        return Ok((None, Duration::ZERO));
    };
    let credential = account.credential();
    let busy = |waited| Unserved::Refused(Refusal::ProviderBusy(busy(provider, queue, capacity, waited)));
    // Callers who send keys of their own share one record, and no turns.
    let own = account.own_key().filter(|_| account.kind() == journal::Credential::ProviderKey);
    let who = own.map_or(&credential.key.id, |own| &own.fingerprint);
    let line = match queue.join(who, Scopes::of(credential, &catalog.payer).weight()) {
        Ok(Joined::Turn(turn)) => return Ok((Some(turn), Duration::ZERO)),
        Ok(Joined::Line(line)) => line,
        Err(Full) => return Err(busy(false)),
    };
    let begun = Instant::now();
    let _queued = metrics.queued(&provider.name);
    let lapsed = || credential.lapse_now();
    let watch = cut::watch(session, credential);
    // Apart, so that a request which never stands in line has no room for it.
    let stood = Box::pin(tokio::time::timeout(capacity.queue_time, stand(session, line, lapsed))).await;
    drop(watch);
    match stood {
        Ok(Stood::Turn(turn)) => Ok((Some(turn), begun.elapsed())),
        Ok(Stood::Displaced) => Err(busy(false)),
        Ok(Stood::Lapsed(lapse)) => {
            // A connection that was woken is not read from any more: its client is told to take another.
            session.set_keepalive(None);
            Err(Unserved::Refused(Refusal::Lapsed(lapse)))
        }
        Ok(Stood::Left(error)) => Err(Unserved::Client(error)),
        Err(_elapsed) => Err(busy(true)),
    }
}

/// How standing in line ended.
enum Stood {
    Turn(Turn),
    /// Another key had less in a line that was full.
    Displaced,
    Lapsed(Lapse),
    Left(Box<Error>),
}

async fn stand(session: &mut Session, mut line: Line, lapsed: impl Fn() -> Option<Lapse>) -> Stood {
    loop {
        if let Some(lapse) = lapsed() {
            return Stood::Lapsed(lapse);
        }
        tokio::select! {
            biased;
            turn = &mut line => return turn.map_or(Stood::Displaced, Stood::Turn),
            error = left(session) => return lapsed().map_or(Stood::Left(error), Stood::Lapsed),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Waits until the client is gone, or its connection was woken.
async fn left(session: &mut Session) -> Box<Error> {
    match session.as_downstream_mut().read_body_or_idle(true).await {
        Err(error) => error.into_down(),
        Ok(_) => std::future::pending().await,
    }
}

fn busy(provider: &Provider, queue: &Queue, capacity: Capacity, waited: bool) -> Box<Busy> {
    let seconds = queue.wait().as_secs_f64().ceil().clamp(1.0, 60.0);
    Box::new(Busy { provider: provider.name.clone(), capacity, waited, seconds: seconds as u32 })
}
