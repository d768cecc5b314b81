//! Embeddings: what an answer says about its use. The older models say nothing.

use serde::Deserialize;

use crate::protocol::json::lenient::{Object, Present, read};
use crate::protocol::meter::Metered;

use super::usage::Usage;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Answer {
    usage_metadata: Object<Usage>,
    error: Present,
}

/// Reads a plain answer; there is no other.
pub(crate) fn document(text: &[u8], metered: &mut Metered) {
    let mut spare = Vec::new();
    let Ok(Object(Some(answer))) = read::<Object<Answer>>(text, &mut spare) else { return };
    metered.has_error |= answer.error.0;
    answer.usage_metadata.or_default().tell(metered);
    metered.complete();
}
