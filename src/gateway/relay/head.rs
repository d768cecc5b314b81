//! The heads that go on: a request's to its provider, an answer's to its caller.
//!
//! Pingora keeps a second map of the names as they were spelled. Every change to it costs more than one to the first,
//! and nobody who speaks HTTP looks at it (RFC 9110 §5.1): the heads go on without.

use std::mem::replace;
use std::time::Instant;

use http::{HeaderName, HeaderValue, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType, Result};

use crate::gateway::authenticate::CREDENTIAL_HEADERS;
use crate::gateway::headers::{Added, POLICIES, REQUEST_ID, VERDICT};
use crate::gateway::route::Plan;

use super::Commitment;

/// The provider's own request id goes under this name, because ours takes its place.
pub const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");

/// What a provider is not told, besides the caller's credentials. Cookies are what the caller was given for this host, and
/// may be what it is known by to whoever stands before the gateway.
const DROPPED: [HeaderName; 4] =
    [header::PROXY_AUTHORIZATION, header::COOKIE, header::EXPECT, header::TRANSFER_ENCODING];

/// Makes the caller's head the provider's: its target, its host, its credential, the body's length.
///
/// Hop-by-hop headers are gone already; the credential is put in after that, so that a caller's `Connection`
/// header cannot take it out again (RFC 9110 §7.6.1).
pub fn address(request: &mut RequestHeader, plan: &Plan) -> Result<()> {
    let empty = RequestHeader::from(http::Request::new(()).into_parts().0);
    let mut head = http::request::Parts::from(replace(request, empty));
    // Mostly the target is the caller's own.
    if head.uri.authority().is_some() || head.uri.path_and_query().is_none_or(|own| *own != *plan.target) {
        head.uri = plan.target.parse().map_err(|_| Error::explain(ErrorType::InternalError, "the target is no URI"))?;
    }
    let headers = &mut head.headers;
    let drops = |name: &&HeaderName| CREDENTIAL_HEADERS.contains(name) || DROPPED.contains(name);
    let dropped: Vec<HeaderName> = headers.keys().filter(drops).cloned().collect();
    for name in &dropped {
        headers.remove(name);
    }
    headers.insert(header::HOST, plan.provider.base_url.authority().clone());
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(plan.body.len()));
    // Where it changes nothing for the caller, a compression need not be undone to meter what passes.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    match (&plan.own_key, plan.provider.credential_header()) {
        (Some(own), _) => headers.insert(own.header.clone(), own.value.clone()),
        (None, Some((name, credential))) => headers.insert(name, sensitive(credential.expose())?),
        (None, None) => None,
    };
    *request = RequestHeader::from(head);
    Ok(())
}

/// Makes the provider's head the caller's, whose request is of `version`.
pub fn complete(
    response: &mut ResponseHeader,
    version: Version,
    commitment: &Commitment,
    request_id: Option<&str>,
) -> Result<()> {
    let reason = response.get_reason_phrase().filter(|reason| Some(*reason) != response.status.canonical_reason());
    let reason = reason.map(str::to_owned);
    let empty = ResponseHeader::from(http::Response::new(()).into_parts().0);
    let mut head = http::response::Parts::from(replace(response, empty));
    let headers = &mut head.headers;
    if version == Version::HTTP_10 {
        // It knows no chunks: the end of the connection is the end of a body without a length.
        headers.remove(header::TRANSFER_ENCODING);
    }
    // For providers that compress whatever they are asked: what cannot be read cannot be metered.
    if commitment.answer.decodes() {
        headers.remove(header::CONTENT_ENCODING);
    }
    if commitment.answer.edits() {
        headers.remove(header::CONTENT_LENGTH);
    }
    if let Some(theirs) = headers.remove(REQUEST_ID) {
        headers.insert(UPSTREAM_REQUEST_ID, theirs);
    }
    let mut added = Added::new();
    if let Some(id) = request_id {
        added.text(REQUEST_ID, id);
    }
    let (verdict, fired) = commitment.inspected();
    added.text(VERDICT, verdict.label());
    if !fired.is_empty() {
        added.text(POLICIES, &fired);
    }
    if let Some(binding) = commitment.binding(Instant::now()) {
        added.limits(&binding);
    }
    added.overhead(commitment.overhead());
    added.insert_into(headers)?;
    *response = ResponseHeader::from(head);
    response.set_reason_phrase(reason.as_deref())
}

/// A header value that is left out of any debug output.
fn sensitive(text: &str) -> Result<HeaderValue> {
    let value = HeaderValue::from_str(text);
    let mut value = value.map_err(|_| Error::explain(ErrorType::InternalError, "a credential is no header value"))?;
    value.set_sensitive(true);
    Ok(value)
}
