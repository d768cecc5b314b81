//! Byte ranges and what to put in their place.

use std::ops::Range;

use bytes::Bytes;

/// One change to a body: the bytes of `range` become `text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub range: Range<usize>,
    pub text: String,
}

/// `body` with `edits` applied, which are in ascending order and do not overlap. Without edits it is the
/// same allocation.
pub fn splice(body: &Bytes, edits: &[Edit]) -> Bytes {
    if edits.is_empty() {
        return body.clone();
    }
    spliced(body, edits).map_or_else(
        || {
            debug_assert!(false, "edits overlap or lie outside of the body");
            body.clone()
        },
        Bytes::from,
    )
}

fn spliced(body: &[u8], edits: &[Edit]) -> Option<Vec<u8>> {
    let added: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut out = Vec::with_capacity(body.len().saturating_add(added));
    let mut at = 0;
    for edit in edits {
        out.extend_from_slice(body.get(at..edit.range.start)?);
        out.extend_from_slice(edit.text.as_bytes());
        at = edit.range.end.max(edit.range.start);
    }
    out.extend_from_slice(body.get(at..)?);
    Some(out)
}

/// The range to cut so that the member with the value at `value` is gone from the object in `text`; `None`
/// unless its name is written plainly, as `name`.
pub(crate) fn member(text: &[u8], name: &str, value: Range<usize>) -> Option<Range<usize>> {
    let before = text.get(..value.start)?.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
    let before = before.strip_suffix(b"\"")?.strip_suffix(name.as_bytes())?.strip_suffix(b"\"")?.trim_ascii_end();
    match before.last()? {
        b',' => Some(before.len() - 1..value.end),
        b'{' => {
            let after = text.get(value.end..)?.trim_ascii_start();
            let after = after.strip_prefix(b",").map_or(after, <[u8]>::trim_ascii_start);
            Some(before.len()..text.len() - after.len())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_edit_is_no_copy() {
        let body = Bytes::from_static(b"{}");
        assert_eq!(splice(&body, &[]).as_ptr(), body.as_ptr());
    }

    #[test]
    fn only_the_named_ranges_change() {
        let edits = [Edit { range: 1..2, text: "xyz".into() }, Edit { range: 4..4, text: "!".into() }];
        assert_eq!(splice(&Bytes::from_static(b"abcdef"), &edits), Bytes::from_static(b"axyzcd!ef"));
    }

    #[test]
    fn a_member_is_cut_together_with_one_comma() {
        let cut = |text: &str| {
            let start = text.find("null").unwrap();
            let range = member(text.as_bytes(), "usage", start..start + 4)?;
            Some(format!("{}{}", &text[..range.start], &text[range.end..]))
        };
        assert_eq!(cut(r#"{"a":1,"usage":null}"#).as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(cut(r#"{"a":1, "usage" : null , "b":2}"#).as_deref(), Some(r#"{"a":1 , "b":2}"#));
        assert_eq!(cut(r#"{"usage":null,"b":2}"#).as_deref(), Some(r#"{"b":2}"#));
        assert_eq!(cut(r#"{"usage": null, "b": 2}"#).as_deref(), Some(r#"{"b": 2}"#));
        assert_eq!(cut(r#"{ "usage":null }"#).as_deref(), Some("{}"));
        assert_eq!(cut(r#"{"a":1,"us\u0061ge":null}"#), None);
    }
}
