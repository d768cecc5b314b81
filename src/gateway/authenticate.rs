//! 1 Who is calling? The header becomes a [`Caller`].
//!
//! No body has been read, nothing is asked of a store: one digest, one look-up in the catalog, one load of
//! the key's state. What it does not do: decide what the caller may use.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::catalog::{Catalog, Credential};
use crate::domain::{KeyKind, KeyText, KeyTextError, Pepper, Timestamp};

use super::refusal::Refusal;

/// Every header a client may put a credential in. None of them goes to a provider.
pub const CREDENTIAL_HEADERS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// How the keys of the providers our users have begin. Sent instead of an access key, they get an answer of
/// their own.
const PROVIDER_KEY_PREFIXES: [&str; 3] = ["sk-", "AIza", "sess-"];

/// Whoever holds an authentic, live access key. Made only here.
pub struct Caller {
    credential: Credential,
}

impl Caller {
    pub fn credential(&self) -> &Credential {
        &self.credential
    }
}

/// Why a request is nobody's, or a key's that may not be used. The key is named where it is known, so that
/// the refusal can be attributed.
pub struct Unauthenticated {
    pub refusal: Refusal,
    pub credential: Option<Credential>,
}

/// Finds the caller of a request with these headers.
pub fn authenticate(
    headers: &HeaderMap,
    catalog: &Catalog,
    pepper: &Pepper,
    now: Timestamp,
) -> Result<Caller, Unauthenticated> {
    let text = the_key(headers).map_err(|refusal| Unauthenticated { refusal, credential: None })?;
    let credential = catalog.keys.find(&pepper.digest(text));
    let credential = credential.ok_or(Unauthenticated { refusal: Refusal::KeyUnknown, credential: None })?.clone();
    match credential.lapse(now) {
        None => Ok(Caller { credential }),
        Some(lapse) => Err(Unauthenticated { refusal: Refusal::Lapsed(lapse), credential: Some(credential) }),
    }
}

/// The one access key among the request's credentials. Clients do send several at once, some of them not
/// ours; only two *different* keys of ours are a contradiction.
fn the_key(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut ours: Option<&str> = None;
    let mut foreign: Option<&str> = None;
    for value in credentials(headers) {
        let Ok(text) = value else { return Err(Refusal::KeyMalformed(KeyTextError::Character)) };
        match KeyText::check(text) {
            Err(KeyTextError::Foreign) if text.is_empty() => {}
            Err(KeyTextError::Foreign) => foreign = Some(text),
            _ if ours.is_some_and(|before| before != text) => return Err(Refusal::ConflictingCredentials),
            _ => ours = Some(text),
        }
    }
    let Some(text) = ours.or(foreign) else { return Err(Refusal::KeyMissing) };
    match KeyText::check(text) {
        Ok(KeyKind::Access) => Ok(text),
        Ok(kind) => Err(Refusal::KeyWrongKind(kind.label())),
        Err(KeyTextError::Foreign) if PROVIDER_KEY_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) => {
            Err(Refusal::PassthroughDisabled)
        }
        Err(error) => Err(Refusal::KeyMalformed(error)),
    }
}

/// Every credential of the request; an error is one that is no text.
fn credentials(headers: &HeaderMap) -> impl Iterator<Item = Result<&str, ()>> {
    CREDENTIAL_HEADERS.into_iter().flat_map(|name| {
        let is_bearer = name == header::AUTHORIZATION;
        let values = headers.get_all(name).iter().map(as_text);
        values.map(move |text| if is_bearer { text.map(without_scheme) } else { text })
    })
}

fn as_text(value: &HeaderValue) -> Result<&str, ()> {
    std::str::from_utf8(value.as_bytes()).map_err(drop)
}

/// A bearer token without its scheme, whose case does not matter (RFC 9110 §11.1). A key sent without any
/// scheme is taken as it is: it can mean nothing else.
fn without_scheme(text: &str) -> &str {
    match text.split_at_checked("bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token.trim_start_matches(' '),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::catalog::{KeyRecord, KeyState, Lapse, Routing};
    use crate::domain::{KeyDigest, PriceTable};
    use crate::journal::KeySeries;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000);

    struct Fixture {
        catalog: Catalog,
        pepper: Pepper,
    }

    fn key(kind: KeyKind, seed: u8) -> String {
        let fill = |pool: &mut [u8]| {
            pool.fill(seed);
            Ok::<_, std::convert::Infallible>(())
        };
        KeyText::mint(kind, fill).unwrap().expose().to_owned()
    }

    fn fixture() -> Fixture {
        let pepper = Pepper::new(&[1; 32]).unwrap();
        let credential = |name: &str| {
            let state = Arc::new(KeyState::new(Arc::new(KeySeries::detached(name, "none"))));
            let key = Arc::new(KeyRecord { id: name.into(), name: name.into(), team: None, state });
            Credential { key, secret: Arc::default() }
        };
        let digest = |seed| -> KeyDigest { pepper.digest(&key(KeyKind::Access, seed)) };
        let [live, revoked, expired, rotated] = ["live", "revoked", "expired", "rotated"].map(credential);
        revoked.key.state.revoke();
        expired.key.state.expire_at(Some(NOW));
        rotated.secret.end_at(Some(NOW));
        let keys = [live, revoked, expired, rotated].into_iter().zip(1..).map(|(key, seed)| (digest(seed), key));
        let catalog = Catalog {
            organization: "acme".into(),
            permissions: Arc::default(),
            keys: keys.collect(),
            routing: Arc::new(Routing::default()),
            prices: Arc::new(PriceTable::default()),
        };
        Fixture { catalog, pepper }
    }

    fn outcome(headers: &[(&'static str, &str)]) -> Result<String, Refusal> {
        let Fixture { catalog, pepper } = fixture();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let caller = authenticate(&map, &catalog, &pepper, NOW);
        caller.map(|caller| caller.credential().key.name.to_string()).map_err(|stranger| stranger.refusal)
    }

    #[test]
    fn a_key_is_found_in_any_of_the_four_headers() {
        let text = key(KeyKind::Access, 1);
        for (name, value) in [
            ("authorization", format!("Bearer {text}")),
            ("authorization", format!("bearer  {text}")),
            ("authorization", text.clone()),
            ("x-api-key", text.clone()),
            ("api-key", text.clone()),
            ("x-goog-api-key", text.clone()),
        ] {
            assert_eq!(outcome(&[(name, &value)]), Ok("live".into()), "{name}");
        }
    }

    #[test]
    fn one_access_key_decides_whatever_else_is_sent() {
        let text = key(KeyKind::Access, 1);
        let bearer = format!("Bearer {text}");
        assert_eq!(outcome(&[("authorization", &bearer), ("x-api-key", &text)]), Ok("live".into()));
        assert_eq!(outcome(&[("authorization", "Bearer sk-foreign"), ("x-api-key", &text)]), Ok("live".into()));
        let other = key(KeyKind::Access, 2);
        let conflict = outcome(&[("authorization", &bearer), ("x-api-key", &other)]);
        assert_eq!(conflict, Err(Refusal::ConflictingCredentials));
        let twice = outcome(&[("x-api-key", &other), ("x-api-key", &text)]);
        assert_eq!(twice, Err(Refusal::ConflictingCredentials));
    }

    #[test]
    fn what_is_wrong_with_a_key_is_told() {
        let with = |text: &str| outcome(&[("x-api-key", text)]).unwrap_err();
        let text = key(KeyKind::Access, 1);
        assert_eq!(outcome(&[]), Err(Refusal::KeyMissing));
        assert_eq!(outcome(&[("authorization", "Bearer ")]), Err(Refusal::KeyMissing));
        assert_eq!(with(""), Refusal::KeyMissing);
        assert_eq!(with(&text[..20]), Refusal::KeyMalformed(KeyTextError::Length { found: 20, expected: 38 }));
        assert_eq!(with(&format!("\"{text}\"")), Refusal::KeyMalformed(KeyTextError::Padded));
        assert_eq!(with(&text.replace(&text[20..21], "é")), Refusal::KeyMalformed(KeyTextError::Character));
        assert_eq!(with(&key(KeyKind::Access, 9)), Refusal::KeyUnknown);
        assert_eq!(with(&key(KeyKind::Access, 2)), Refusal::Lapsed(Lapse::Revoked));
        assert_eq!(with(&key(KeyKind::Access, 3)), Refusal::Lapsed(Lapse::Expired));
        assert_eq!(with(&key(KeyKind::Access, 4)), Refusal::Lapsed(Lapse::Rotated));
        assert_eq!(with(&key(KeyKind::Gateway, 1)), Refusal::KeyWrongKind("gateway"));
        assert_eq!(with("sk-proj-123"), Refusal::PassthroughDisabled);
        assert_eq!(with("hunter2"), Refusal::KeyMalformed(KeyTextError::Foreign));
    }
}
