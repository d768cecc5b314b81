//! Who is asking: the socket's user, or the holder of an admin token.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;

use crate::control::admin_tokens::AdminTokens;
use crate::control::store::{Actor, AdminRole, AdminToken};
use crate::domain::{KeyKind, KeyText, Pepper};
use crate::listen::CurrentIdentity;

use super::problem::Problem;

/// Who an endpoint answers.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) actor: Actor,
    pub(super) token: Option<AdminToken>,
}

/// Opens `router` to whoever may open the socket.
pub(super) fn of_socket(router: Router) -> Router {
    router.layer(middleware::from_fn(|mut request: Request, next: Next| {
        request.extensions_mut().insert(Caller { actor: Actor::Socket, token: None });
        next.run(request)
    }))
}

/// Opens `router` to holders of an admin token who ask under an address of ours. Where connections are encrypted, any
/// name may be ours: it was compared with the certificate, which no stranger's web page has.
pub(super) fn of_tcp(
    router: Router,
    listen: SocketAddr,
    identity: Arc<CurrentIdentity>,
    tokens: AdminTokens,
    pepper: Pepper,
) -> Router {
    router.layer(middleware::from_fn(move |mut request: Request, next: Next| {
        let caller = match identity.load().is_some() || host_is_ours(&request, listen) {
            true => caller(&tokens, request.headers(), &pepper).and_then(|caller| permitted(caller, request.method())),
            false => Err(Problem::host_not_allowed()),
        };
        async move {
            match caller {
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                    next.run(request).await
                }
                Err(problem) => problem.into_response(),
            }
        }
    }))
}

fn caller(tokens: &AdminTokens, headers: &HeaderMap, pepper: &Pepper) -> Result<Caller, Problem> {
    let missing = || Problem::unauthorized("token_missing", "send an admin token: `authorization: Bearer kt_admin_…`");
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(missing());
    };
    let (scheme, text) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(missing());
    }
    let text = KeyText::parse(text).map_err(|error| Problem::unauthorized("token_malformed", error.to_string()))?;
    if text.kind() != KeyKind::Admin {
        return Err(Problem::unauthorized("token_wrong_kind", "this is no admin token: those begin with kt_admin_"));
    }
    let unknown = || Problem::unauthorized("token_unknown", "this admin token is not known here");
    let token = tokens.find(&pepper.digest(text.expose())).ok_or_else(unknown)?;
    Ok(Caller { actor: Actor::AdminToken(token.id.clone()), token: Some(token) })
}

/// A viewer may read. What a method may change is up to its endpoint, so no endpoint can forget this.
fn permitted(caller: Caller, method: &Method) -> Result<Caller, Problem> {
    let may_change = caller.token.as_ref().is_none_or(|token| token.role == AdminRole::Admin);
    if may_change || method.is_safe() { Ok(caller) } else { Err(Problem::role_insufficient()) }
}

/// Whether the request is addressed to a name or address that no stranger's web page can have for its own.
fn host_is_ours(request: &Request, listen: SocketAddr) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        // An address cannot be rebound; where we listen on all of ours, any may be meant.
        Ok(address) => address.is_loopback() || address == listen.ip() || listen.ip().is_unspecified(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_answered_to() {
        let ours = |host: &str, listen: &str| {
            let request = Request::builder().header(header::HOST, host).body(axum::body::Body::empty()).unwrap();
            host_is_ours(&request, listen.parse().unwrap())
        };
        for host in ["localhost", "LOCALHOST:41003", "127.0.0.1:41003", "127.8.8.8", "[::1]:41003"] {
            assert!(ours(host, "127.0.0.1:41003"), "{host}");
        }
        for host in ["evil.example", "evil.example:41003", "localhost.evil.example", "192.168.0.9", "", "user@evil"] {
            assert!(!ours(host, "127.0.0.1:41003"), "{host}");
        }
        assert!(ours("192.168.0.9:41003", "192.168.0.9:41003"));
        assert!(ours("192.168.0.9:41003", "0.0.0.0:41003"));
        assert!(!ours("evil.example", "0.0.0.0:41003"));
    }

    #[test]
    fn several_hosts_are_none() {
        let request = Request::builder().header(header::HOST, "localhost").header(header::HOST, "evil.example");
        let request = request.body(axum::body::Body::empty()).unwrap();
        assert!(!host_is_ours(&request, "127.0.0.1:1".parse().unwrap()));
    }
}
