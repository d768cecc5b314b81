//! JSON the way this room needs it: read what may be wrong, find where a value stands, close what was torn.

pub(crate) mod lenient; // values a stranger wrote: what is not as expected counts as absent
pub(crate) mod skim; // an object member by member, its values passed over
pub(crate) mod escape; // JSON strings as the text they stand for, and back
pub(crate) mod splice; // byte ranges and what to put in their place
pub(crate) mod torn; // how to close a JSON object that was cut anywhere

use std::ops::Range;

use serde::Serialize;

/// `value` as JSON. Our own shapes have text keys and no failing parts, so nothing can go wrong.
pub(crate) fn written(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// Where `part`, a slice of `whole`, stands in it; `None` if it is none.
pub(crate) fn range_in(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}
