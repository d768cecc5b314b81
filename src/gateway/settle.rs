//! 8 What did it cost? A `Commitment` becomes a [`Receipt`], exactly once.

use crate::domain::{Advisor, Cost, Ended, ModelPrice, NanoUsd, Spending, Usage, UsageSource, Verdict};

use super::relay::{Answer, SLOW_READER};
use super::report::{self, Book, CLIENT_CLOSED_STATUS, Receipt};

/// Prices what the answer used.
///
/// The provider's own figures count where it got to say them; where the answer ended before that, what had
/// passed is estimated, and marked as such.
pub fn settle(book: &Book, answer: &Answer, ended: Ended) -> Receipt {
    let served = answer.model_served();
    let advisors = answer.advisors();
    let mut usage = answer.usage(ended);
    usage.tokens = advisors.iter().fold(usage.tokens, |sum, advisor| sum.plus(advisor.tokens));
    // What is used and not told is not free: pictures and sound of models that report nothing have no cost known.
    let is_told = usage.source != UsageSource::None || !answer.is_unreported();
    let cost = price(book, served).filter(|_| is_told).map(|price| cost(price, book, &usage, &advisors));
    let cost = cost.or_else(|| usage.charged.map(charged));
    Receipt {
        verdict: verdict(ended, answer),
        reason: reason(answer, ended),
        status: answer.status().unwrap_or(CLIENT_CLOSED_STATUS),
        ended,
        model_served: served.map(Into::into),
        first_token: answer.first_byte().map(|at| at.duration_since(book.started())),
        response_bytes: answer.bytes(),
        usage,
        advisors,
        cost,
        policies: answer.hits(),
    }
}

/// What a running answer has spent so far.
pub fn so_far(book: &Book, answer: &Answer) -> Spending {
    let usage = answer.usage(Ended::Complete);
    let money = price(book, answer.model_served()).map_or(NanoUsd(0), |price| price.charge(&usage));
    let Usage { tokens, .. } = usage;
    Spending { money, tokens: tokens.input.saturating_add(tokens.output) }
}

/// The price of what was served: an alias or a family name is billed as the model that answered.
fn price<'a>(book: &'a Book, served: Option<&str>) -> Option<&'a ModelPrice> {
    let opening = book.opening();
    let provider = opening.provider.as_deref().unwrap_or_default();
    let served = served.and_then(|model| book.prices().find(provider, model, opening.started_at));
    served.or(opening.price.as_ref()).map(|price| &**price)
}

fn cost(price: &ModelPrice, book: &Book, usage: &Usage, advisors: &[Advisor]) -> Cost {
    let opening = book.opening();
    let of = (opening.provider.as_deref().unwrap_or_default(), opening.started_at);
    Cost { amount: book.prices().charge(price, usage, advisors, of), price_version: book.prices().version().clone() }
}

/// What the provider itself charged, where the table has no price: a router such as OpenRouter knows better than
/// nobody.
fn charged(amount: NanoUsd) -> Cost {
    Cost { amount, price_version: "provider".into() }
}

fn verdict(ended: Ended, answer: &Answer) -> Verdict {
    match ended {
        Ended::Complete | Ended::ClientClosed => report::verdict(&answer.hits()),
        Ended::Revoked | Ended::Budget => Verdict::Deny,
        Ended::Policy => Verdict::Block,
        Ended::UpstreamFailed | Ended::Shutdown | Ended::Crashed | Ended::AuditFailed => Verdict::Error,
    }
}

fn reason(answer: &Answer, ended: Ended) -> Option<&'static str> {
    match ended {
        Ended::Complete => None,
        Ended::ClientClosed if answer.failure() == Some(SLOW_READER) => Some(SLOW_READER),
        Ended::UpstreamFailed => Some(answer.failure().unwrap_or("upstream_failed")),
        Ended::Revoked | Ended::Budget => answer.cut_by().map(|cause| cause.refusal().row().code),
        Ended::Policy => Some("policy_blocked"),
        other => Some(other.label()),
    }
}
