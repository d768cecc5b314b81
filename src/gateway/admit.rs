//! 4 Is there room? The [`Grant`] becomes [`Room`], and with the request on record an [`Admission`].
//!
//! Room means a place in the journal, because a request that could not be recorded is not taken unless the operator
//! wants it served all the same, and whatever the limits of key, team and organization count: requests and tokens of a
//! minute, a place among those that run at the same time, and of each budget as much as the request can cost. All of it
//! is taken, or nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::catalog::{
    Audit, Catalog, Credential, Crossing, Demand, Durability, Hold, Moment, OnFailure, Organization, Scope, Scopes,
    Size, Used, check, tightest,
};
use crate::domain::{Ended, ModelPrice, NanoUsd, PriceTable, Spending, Usage, Verdict};
use crate::journal::{Journal, Slot};
use crate::protocol::Endpoint;
use crate::protocol::ask::AskHead;

use super::attribute::Account;
use super::authorize::Grant;
use super::refusal::Refusal;
use super::report::{Book, Entry, Receipt};

/// How long a request waits for its INPUT event to be on disk.
const ON_DISK_PATIENCE: Duration = Duration::from_secs(5);

/// How many bytes of a body stand for a token, as a rule. The end of the request corrects it.
const BYTES_A_TOKEN: u64 = 4;

/// Everything a granted request needs to be taken. Made only here; dropping it gives it back.
pub struct Room {
    slot: Slot,
    taken: Option<Taken>,
}

/// A request that was taken, and of which nothing has been sent yet. Dropping it closes its record.
pub struct Admission {
    book: Book,
}

/// What a request has taken of limits, and whose they are.
pub struct Taken {
    hold: Hold,
    payer: Arc<Organization>,
}

/// What a request asks of its limits.
pub struct Asked<'a> {
    pub endpoint: Endpoint,
    pub ask: &'a AskHead,
    pub body_bytes: u64,
    pub price: Option<&'a ModelPrice>,
}

/// Refuses a request that could not be taken whatever it asks for, before memory is spent on its body. Nothing is
/// taken yet.
pub fn look_in(account: &Account, catalog: &Catalog, now: Moment) -> Result<(), Refusal> {
    let scopes = Scopes::of(account.credential(), &catalog.payer);
    match check(scopes, &Demand::default(), now) {
        Some(hit) => Err(Refusal::Limited(Box::new(hit))),
        None => Ok(()),
    }
}

/// The largest body the account may send, and whose limit that is.
pub fn body_bytes_max(account: &Account, catalog: &Catalog) -> Option<(u64, Scope)> {
    tightest(Scopes::of(account.credential(), &catalog.payer), None, |bounds| bounds.body_bytes_max)
}

/// Holds room for a request that was granted.
pub fn hold(
    _grant: &Grant,
    account: &Account,
    catalog: &Catalog,
    journal: &Journal,
    asked: &Asked<'_>,
    now: Moment,
) -> Result<Room, Refusal> {
    let credential = account.credential();
    let scopes = Scopes::of(credential, &catalog.payer);
    each_fits(scopes, asked)?;
    let demand = demand(asked, credential);
    let hold = Hold::take(scopes, &demand, now).map_err(Refusal::Limited)?;
    // Last: what was taken is given back where it is dropped.
    let slot = place(journal, catalog.settings.audit)?;
    let taken = (!hold.is_empty()).then(|| Taken { hold, payer: catalog.payer.clone() });
    Ok(Room { slot, taken })
}

/// Holds room for what the gateway answers from its own knowledge, which limits do not count.
pub fn hold_own_answer(_grant: &Grant, journal: &Journal, audit: Audit) -> Result<Room, Refusal> {
    Ok(Room { slot: place(journal, audit)?, taken: None })
}

/// A place in the journal or, if there is none, what the operator wants instead.
pub fn place(journal: &Journal, audit: Audit) -> Result<Slot, Refusal> {
    match (journal.reserve(), audit.on_failure) {
        (Ok(slot), _) => Ok(slot),
        (Err(_full), OnFailure::Drop) => Ok(journal.forgo()),
        (Err(_full), OnFailure::Refuse) => Err(Refusal::AuditUnavailable),
    }
}

/// The limits that hold for each request by itself.
fn each_fits(scopes: Scopes<'_>, asked: &Asked<'_>) -> Result<(), Refusal> {
    let model = Some(asked.ask.model.as_str());
    if let Some((limit, scope)) = tightest(scopes, model, |bounds| bounds.body_bytes_max)
        && asked.body_bytes > limit
    {
        return Err(Refusal::BodyTooLarge { limit, scope: Some(scope) });
    }
    if let Some((limit, scope)) = tightest(scopes, model, |bounds| bounds.output_tokens_max)
        && let Some(wanted) = asked.ask.output_tokens_max
        && wanted > limit
    {
        return Err(Refusal::OutputTooLarge { wanted, limit, scope });
    }
    Ok(())
}

fn demand<'a>(asked: &Asked<'a>, credential: &Credential) -> Demand<'a> {
    let Asked { endpoint, ask, body_bytes, price } = *asked;
    let model = ask.model.as_str();
    if endpoint.is_free() {
        // Only the request itself counts.
        return Demand { model: Some(model), ..Demand::default() };
    }
    let output = ask.output_tokens_max.map(|each| each.saturating_mul(ask.answers));
    let output_tokens_max = if produces_nothing(endpoint) { Some(0) } else { output };
    let size = Size { body_bytes, input_tokens: body_bytes / BYTES_A_TOKEN, output_tokens_max, price, tier: ask.tier };
    Demand::new(model, size, credential.key.state.learned())
}

/// Whether an answer of the endpoint has no output tokens.
fn produces_nothing(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::Embeddings | Endpoint::EmbedContent | Endpoint::BatchEmbedContents)
}

impl Room {
    /// Takes the request, and records that it was taken.
    pub fn admit(self, entry: Entry, prices: Arc<PriceTable>) -> Admission {
        Admission { book: Book::open(entry, self.slot, prices, self.taken, false).0 }
    }

    /// Like [`Room::admit`], for a request that will be forwarded: where the operator wants it so, this returns when it
    /// is on disk that the request was taken.
    pub async fn admit_to_forward(
        self,
        entry: Entry,
        prices: Arc<PriceTable>,
        audit: Audit,
    ) -> Result<Admission, Refusal> {
        let through = audit.durability == Durability::BeforeForward;
        let (book, on_disk) = Book::open(entry, self.slot, prices, self.taken, through);
        let Some(on_disk) = on_disk else { return Ok(Admission { book }) };
        let is_on_disk = timeout(ON_DISK_PATIENCE, on_disk).await.is_ok_and(|told| told.is_ok());
        if is_on_disk || audit.on_failure == OnFailure::Drop {
            return Ok(Admission { book });
        }
        let row = Refusal::AuditUnavailable.row();
        let code = Some(row.code);
        book.close(Receipt::unused(Verdict::Error, code, row.status.as_u16(), Ended::AuditFailed));
        Err(Refusal::AuditUnavailable)
    }
}

impl Admission {
    pub fn book(&self) -> &Book {
        &self.book
    }

    pub fn into_book(self) -> Book {
        self.book
    }
}

impl Taken {
    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    /// Makes sure that budgets have room for what was spent so far; `false` if one has not.
    /// `number` is what the request is called where limits are counted, if that is elsewhere.
    pub fn cover(&mut self, spending: Spending, number: Option<i64>) -> bool {
        let Self { hold, payer } = self;
        let elsewhere = payer.counting.elsewhere().map(|elsewhere| &**elsewhere).zip(number);
        hold.cover(spending, Moment::now(), elsewhere)
    }

    /// Makes what was taken be what was used, and gives back the rest.
    pub fn settle(
        self,
        credential: &Credential,
        model: Option<&str>,
        usage: &Usage,
        cost: NanoUsd,
        now: Moment,
    ) -> Vec<Crossing> {
        let Self { hold, payer } = self;
        let (input_tokens, output_tokens) = (usage.tokens.input, usage.tokens.output);
        if output_tokens > 0 {
            credential.key.state.learned().note(output_tokens);
        }
        let spending = Spending { money: cost, tokens: input_tokens.saturating_add(output_tokens) };
        let used = Used { input_tokens, output_tokens, spending };
        hold.settle(Scopes::of(credential, &payer), model, used, now)
    }
}

#[cfg(test)]
mod tests;
