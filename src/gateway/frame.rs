//! Framing that Pingora would let pass or break off over without an answer: refused before a body is read.

use http::{HeaderMap, HeaderName, header};

use crate::domain::KeyKind;

use super::refusal::Refusal;

/// What a `Connection` header may name at most; Pingora gives up on a request with more.
const NOMINATIONS_MAX: usize = 9;
/// What a `Connection` header may not take out of a request; Pingora gives up on it as well.
const PROTECTED: [HeaderName; 4] = [
    header::HOST,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
];

/// Refuses requests of which it is uncertain what they are, and those that put a key where it is written down.
pub fn check(query: Option<&str>, headers: &HeaderMap) -> Result<(), Refusal> {
    let malformed = |what: &str| Err(Refusal::RequestMalformed(what.into()));
    if query.is_some_and(holds_a_key) {
        return malformed("it carries a key in its query, which providers and proxies write down; send it in a header");
    }
    if !is_chunked_or_plain(headers) {
        return malformed("its transfer-encoding is something other than chunked");
    }
    // No client compresses its requests, and a body that cannot be read cannot be judged.
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            return malformed("its body is compressed; send it without content-encoding");
        }
        _ => {}
    }
    if !nominates_its_own(headers) {
        return malformed("its connection header names what it may not, or too much");
    }
    Ok(())
}

/// Whether a query holds what begins like a key of ours, or a credential as Google's servers take it: that would be
/// sent on, beside the one that shall count.
fn holds_a_key(query: &str) -> bool {
    let names = query.split('&').map(|parameter| parameter.split('=').next().unwrap_or_default());
    let is_credential = |name: &str| ["key", "access_token"].iter().any(|known| is_escaped(name, known));
    KeyKind::ALL.iter().any(|kind| query.contains(kind.prefix())) || names.into_iter().any(is_credential)
}

/// Whether `written` is `plain`, possibly with some of its characters percent-encoded.
fn is_escaped(written: &str, plain: &str) -> bool {
    let mut rest = written.as_bytes();
    plain.bytes().all(|expected| {
        let (byte, after) = match rest {
            [b'%', high, low, after @ ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                (digit(high).zip(digit(low)).and_then(|(high, low)| u8::try_from(high << 4 | low).ok()), after)
            }
            [byte, after @ ..] => (Some(*byte), after),
            [] => (None, rest),
        };
        rest = after;
        byte == Some(expected)
    }) && rest.is_empty()
}

fn is_chunked_or_plain(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = codings.next().is_none_or(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
    chunked && codings.next().is_none()
}

fn nominates_its_own(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let mut names = names.filter(|name| !name.is_empty());
    let few = names.by_ref().take(NOMINATIONS_MAX);
    let sound = |name: &[u8]| HeaderName::from_bytes(name).is_ok_and(|name| !PROTECTED.contains(&name));
    few.into_iter().all(sound) && names.next().is_none()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn passes(headers: &[(&'static str, &'static str)]) -> bool {
        let pairs =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        check(Some("beta=true"), &HeaderMap::from_iter(pairs)).is_ok()
    }

    #[test]
    fn ordinary_framing_passes() {
        assert!(passes(&[]));
        assert!(passes(&[("transfer-encoding", "Chunked")]));
        assert!(passes(&[("connection", "keep-alive, Upgrade, HTTP2-Settings"), ("content-encoding", "identity")]));
        assert!(passes(&[("connection", "a,b,c,d,e,f,g,h,i")]));
    }

    #[test]
    fn a_key_in_the_query_is_no_way_to_send_it() {
        for query in ["key=kt_ak_0", "a=1&b=kt_admin_x", "kt_gk_"] {
            assert!(check(Some(query), &HeaderMap::new()).is_err(), "{query}");
        }
    }

    #[test]
    fn what_would_be_guessed_at_does_not() {
        for (name, value) in [
            ("transfer-encoding", "gzip, chunked"),
            ("transfer-encoding", "identity"),
            ("content-encoding", "gzip"),
            ("connection", "close, Host"),
            ("connection", "x-forwarded-for"),
            ("connection", "\"x\""),
            ("connection", ":authority"),
            ("connection", "a,b,c,d,e,f,g,h,i,j"),
        ] {
            assert!(!passes(&[(name, value)]), "{name}: {value}");
        }
    }
}
