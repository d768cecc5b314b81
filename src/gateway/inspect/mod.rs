//! 5 May this be said? What goes to the provider is looked at before it goes: passed, redacted, or refused.
//!
//! What it does not do: know what a secret looks like; that is `policy`. Nothing that was found leaves this room but
//! in the place it had.

use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::Catalog;
use crate::policy::{self, Active, Hit, Phase, Placeholders, Subject};
use crate::protocol::ask::Edit;
use crate::protocol::texts::Body;

use super::journey::Facts;
use super::refusal::Refusal;

/// A request that may go on.
pub struct Inspection {
    /// What becomes of its body, in ascending order.
    pub edits: Vec<Edit>,
    /// What its answer is looked at for.
    pub answer: Active,
}

/// Looks at a request's body, and notes in `facts` which policies found something.
pub fn inspect(catalog: &Catalog, facts: &mut Facts, body: &Bytes) -> Result<Inspection, Refusal> {
    let input = Active::new(concerned(catalog, facts, Phase::Input), None);
    let output = concerned(catalog, facts, Phase::Output);
    // Forms hold files; nothing else that is no JSON gets here.
    let is_json = body.trim_ascii_start().starts_with(b"{");
    if input.is_empty() || !is_json {
        return Ok(Inspection { edits: Vec::new(), answer: Active::new(output, None) });
    }
    let policy::Inspected { edits, hits, blocked_by, placeholders } = policy::inspect(&input, body, Body::Request);
    facts.policies = hits;
    if let Some(policy) = blocked_by {
        return Err(Refusal::PolicyBlocked { policy, fired: names(&facts.policies) });
    }
    Ok(Inspection { edits, answer: Active::new(output, Some(Arc::<Placeholders>::new(placeholders))) })
}

/// The policies that concern a request in `phase`.
fn concerned(catalog: &Catalog, facts: &Facts, phase: Phase) -> Vec<Arc<policy::Policy>> {
    let key = &facts.credential.key;
    let subject = Subject {
        team: key.team.as_ref().map(|team| &*team.name),
        key: &key.name,
        model: facts.model.as_deref().unwrap_or_default(),
        endpoint: facts.endpoint,
    };
    let policies = catalog.settings.policies.iter();
    policies.filter(|policy| policy.phase.includes(phase) && policy.scope.includes(&subject)).cloned().collect()
}

/// The names of policies, as the header shows them.
pub fn names(hits: &[Hit]) -> String {
    hits.iter().map(|hit| &*hit.policy).collect::<Vec<_>>().join(", ")
}
