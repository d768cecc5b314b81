//! Framing that Pingora would let pass or break off over without an answer: refused before a body is read. What comes
//! over HTTP/1 has been through the door before; over HTTP/2, targets have not been looked at.

use std::borrow::Cow;

use http::uri::Scheme;
use http::{HeaderMap, HeaderName, header};
use memchr::memmem;
use pingora::http::RequestHeader;

use crate::domain::KeyKind;
use crate::protocol::framing::{HeadLimits, check_target, takes_body};

use super::door;
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

/// Refuses over HTTP/2 what is refused over HTTP/1 at the door, as far as frames leave it open: targets that providers may
/// read differently, methods nobody knows, schemes that are not HTTP's (RFC 9110 §4.2), and more fields than there may be.
pub fn check_http2(head: &RequestHeader, limits: &HeadLimits) -> Result<(), Refusal> {
    takes_body(head.method.as_str().as_bytes()).map_err(|fault| door::refusal(fault, limits))?;
    if head.uri.scheme().is_some_and(|scheme| ![Scheme::HTTP, Scheme::HTTPS].contains(scheme)) {
        return Err(Refusal::RequestMalformed("its scheme is neither http nor https".into()));
    }
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    check_target(target.as_bytes(), limits).map_err(|fault| door::refusal(fault, limits))?;
    if head.headers.len() > limits.fields {
        return Err(Refusal::HeadersTooLarge { bytes: limits.bytes, fields: limits.fields });
    }
    Ok(())
}

/// Whether the client ends its connection with this request. Pingora asks the first `Connection` header alone.
pub fn is_last(headers: &HeaderMap) -> bool {
    let mut options =
        headers.get_all(header::CONNECTION).iter().skip(1).flat_map(|value| value.as_bytes().split(is_comma));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// Whether a query holds what begins like a key of ours, or a credential as Google's servers take it: that would be
/// sent on, beside the one that shall count.
fn holds_a_key(query: &str) -> bool {
    let mut names = query.split('&').map(|parameter| parameter.split('=').next().unwrap_or_default());
    let is_credential = |name: &str| matches!(&*unescaped(name), b"key" | b"access_token");
    let plain = unescaped(query);
    let holds = |prefix: &str| memmem::find(&plain, prefix.as_bytes()).is_some();
    KeyKind::ALL.iter().any(|kind| holds(kind.prefix())) || names.any(is_credential)
}

/// What was written with some of its characters percent-encoded.
fn unescaped(written: &str) -> Cow<'_, [u8]> {
    let (mut plain, mut rest) = (Vec::new(), written.as_bytes());
    if !rest.contains(&b'%') {
        return Cow::Borrowed(rest);
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    while let [first, after @ ..] = rest {
        let escaped = match after {
            [high, low, ..] if *first == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                plain.push(high << 4 | low);
                rest = &after[2..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(plain)
}

fn is_chunked_or_plain(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = codings.next().is_none_or(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
    chunked && codings.next().is_none()
}

fn nominates_its_own(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    let names = values.flat_map(|value| value.as_bytes().split(is_comma)).map(<[u8]>::trim_ascii);
    let mut names = names.filter(|name| !name.is_empty());
    let few = names.by_ref().take(NOMINATIONS_MAX);
    let sound = |name: &[u8]| HeaderName::from_bytes(name).is_ok_and(|name| !PROTECTED.contains(&name));
    few.into_iter().all(sound) && names.next().is_none()
}

fn is_comma(byte: &u8) -> bool {
    *byte == b','
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
        for query in ["key=kt_ak_0", "a=1&b=kt_admin_x", "kt_gk_", "a=%6bt%5Fak_0", "b&k%65y=x", "access_token=y"] {
            assert!(check(Some(query), &HeaderMap::new()).is_err(), "{query}");
        }
    }

    #[test]
    fn what_only_looks_like_a_key_passes() {
        for query in ["keys=x", "a=ktak_", "a=%6", "a=%zzkt_", "monkey=1", "%"] {
            assert!(check(Some(query), &HeaderMap::new()).is_ok(), "{query}");
        }
    }

    #[test]
    fn whoever_closes_says_so_in_any_connection_header() {
        let headers = |values: &[&'static str]| {
            HeaderMap::from_iter(values.iter().map(|value| (header::CONNECTION, HeaderValue::from_static(value))))
        };
        assert!(is_last(&headers(&["keep-alive", "te, Close"])));
        assert!(!is_last(&headers(&["keep-alive", "te"])) && !is_last(&headers(&[])));
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
