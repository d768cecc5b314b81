//! Embeddings: what an answer says about its use.

use serde::Deserialize;

use crate::protocol::json::lenient::{Object, Present, Text, read};
use crate::protocol::meter::Metered;

use super::usage::Usage;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    model: Text,
    usage: Object<Usage>,
    error: Present,
}

/// Reads a plain answer; there is no other.
pub(crate) fn document(text: &[u8], metered: &mut Metered) {
    let mut spare = Vec::new();
    let Ok(Object(Some(answer))) = read::<Object<Answer>>(text, &mut spare) else { return };
    metered.model(&answer.model);
    metered.has_error |= answer.error.0;
    metered.charged = answer.usage.0.as_ref().and_then(Usage::charged);
    metered.tokens = answer.usage.0.and_then(Usage::embedded);
    metered.complete();
}
