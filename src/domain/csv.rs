//! Comma-separated values as RFC 4180 has them, and as no spreadsheet misunderstands them.

use std::borrow::Cow;

/// A text as one field. Texts come from callers, and a spreadsheet takes one that begins like a formula for one: such a
/// text gets an apostrophe in front.
pub fn field(text: &str) -> Cow<'_, str> {
    let text: Cow<'_, str> = match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}").into(),
        false => text.into(),
    };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")).into(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn what_callers_named_stays_in_its_field() {
        assert_eq!(field("gpt-4o"), "gpt-4o");
        assert_eq!(field("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(field("=1+1"), "'=1+1");
        assert_eq!(field("@x,y\n"), "\"'@x,y\n\"");
    }
}
