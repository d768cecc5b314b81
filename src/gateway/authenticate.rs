//! 1 Who is calling? The header becomes a [`Caller`].
//!
//! No body has been read, nothing is asked of a store: one digest, one look-up in the catalog, one load of
//! the key's state. What it does not do: decide what the caller may use.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::catalog::{Catalog, Credential, KeyRecord, KeyState};
use crate::domain::{KeyKind, KeyText, KeyTextError, Pepper, Timestamp};
use crate::journal::{self, KeySeries};

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

/// Whoever may be charged with a request: the holder of an authentic, live access key or, where the operator
/// allows it, of a provider's key. Made only here.
pub struct Caller {
    credential: Credential,
    own_key: Option<OwnKey>,
    kind: journal::Credential,
}

/// The caller's own key for the provider, in the header it came in.
#[derive(Clone)]
pub struct OwnKey {
    pub header: HeaderName,
    pub value: HeaderValue,
    /// Tells such keys apart in events, and tells nothing about them.
    pub fingerprint: Arc<str>,
}

impl Caller {
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    pub fn own_key(&self) -> Option<&OwnKey> {
        self.own_key.as_ref()
    }

    pub fn kind(&self) -> journal::Credential {
        self.kind
    }
}

/// Why a request is nobody's, or a key's that may not be used. The key is named where it is known, so that
/// the refusal can be attributed.
pub struct Unauthenticated {
    pub refusal: Refusal,
    pub credential: Option<Credential>,
}

/// What authentication goes by.
pub struct Authority<'a> {
    pub catalog: &'a Catalog,
    pub pepper: &'a Pepper,
    /// On whose account callers go who show a provider's key only; `None` where that is not allowed.
    pub passthrough: Option<&'a Passthrough>,
}

/// What the requests of callers without an access key share.
pub struct Passthrough(Arc<KeyState>);

impl Passthrough {
    /// The name of the account in events and metrics; no key can have it.
    pub const NAME: &'static str = "passthrough";

    pub fn new(series: Arc<KeySeries>) -> Self {
        Self(Arc::new(KeyState::new(series)))
    }

    fn credential(&self, fingerprint: &str) -> Credential {
        let (id, name) = (format!("pk_{fingerprint}").into(), Self::NAME.into());
        let key = Arc::new(KeyRecord { id, name, team: None, state: self.0.clone() });
        Credential { key, secret: Arc::default() }
    }
}

/// Finds the caller of a request with these headers.
pub fn authenticate(headers: &HeaderMap, authority: &Authority<'_>, now: Timestamp) -> Result<Caller, Unauthenticated> {
    let Authority { catalog, pepper, passthrough } = *authority;
    let stranger = |refusal| Unauthenticated { refusal, credential: None };
    let shown = Shown::read(headers).map_err(stranger)?;
    let own_key = |foreign: &Foreign<'_>| {
        let mut value = foreign.value.clone();
        value.set_sensitive(true);
        OwnKey { header: foreign.header.clone(), value, fingerprint: fingerprint(pepper, foreign.text) }
    };
    let foreign = shown.foreign.as_ref().filter(|_| passthrough.is_some()).map(own_key);
    match (shown.ours, passthrough, foreign) {
        (None, Some(passthrough), Some(own_key)) => {
            let credential = passthrough.credential(&own_key.fingerprint);
            Ok(Caller { credential, own_key: Some(own_key), kind: journal::Credential::ProviderKey })
        }
        (None, ..) => Err(stranger(shown.without_ours())),
        (Some(Ours { text, form }), _, own_key) => {
            access_key(form).map_err(stranger)?;
            let found = catalog.keys.find(&pepper.digest(text));
            let credential = found.ok_or_else(|| stranger(Refusal::KeyUnknown))?.clone();
            match credential.lapse(now) {
                None => Ok(Caller { credential, own_key, kind: journal::Credential::AccessKey }),
                Some(lapse) => Err(Unauthenticated { refusal: Refusal::Lapsed(lapse), credential: Some(credential) }),
            }
        }
    }
}

/// The credentials a request shows.
struct Shown<'a> {
    ours: Option<Ours<'a>>,
    foreign: Option<Foreign<'a>>,
}

/// A text that is, or was meant to be, a key of ours.
#[derive(Clone, Copy)]
struct Ours<'a> {
    text: &'a str,
    form: Result<KeyKind, KeyTextError>,
}

#[derive(Clone)]
struct Foreign<'a> {
    header: HeaderName,
    value: &'a HeaderValue,
    text: &'a str,
}

impl<'a> Shown<'a> {
    /// Clients do send several credentials at once, some of them not ours; only two *different* keys of ours are
    /// a contradiction.
    fn read(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let mut shown = Self { ours: None, foreign: None };
        for header in CREDENTIAL_HEADERS {
            for value in headers.get_all(&header) {
                let text = as_text(value).ok_or(Refusal::KeyMalformed(KeyTextError::Character))?;
                let text = if header == header::AUTHORIZATION { without_scheme(text) } else { text };
                match KeyText::check(text) {
                    Err(KeyTextError::Foreign) if text.is_empty() => {}
                    Err(KeyTextError::Foreign) => {
                        let foreign = Foreign { header: header.clone(), value, text };
                        shown.foreign.get_or_insert(foreign);
                    }
                    _ if shown.ours.is_some_and(|before| before.text != text) => {
                        return Err(Refusal::ConflictingCredentials);
                    }
                    form => shown.ours = Some(Ours { text, form }),
                }
            }
        }
        Ok(shown)
    }

    /// Why a request that shows no key of ours is refused.
    fn without_ours(&self) -> Refusal {
        match &self.foreign {
            None => Refusal::KeyMissing,
            Some(foreign) if PROVIDER_KEY_PREFIXES.iter().any(|prefix| foreign.text.starts_with(prefix)) => {
                Refusal::PassthroughDisabled
            }
            Some(_) => Refusal::KeyMalformed(KeyTextError::Foreign),
        }
    }
}

fn access_key(form: Result<KeyKind, KeyTextError>) -> Result<(), Refusal> {
    match form {
        Ok(KeyKind::Access) => Ok(()),
        Ok(kind) => Err(Refusal::KeyWrongKind(kind.label())),
        Err(error) => Err(Refusal::KeyMalformed(error)),
    }
}

/// Twelve hexadecimal digits under the installation's pepper: enough to tell a company's keys apart, too few to
/// confirm a guess, and nothing without the pepper.
fn fingerprint(pepper: &Pepper, text: &str) -> Arc<str> {
    let digest = pepper.digest(&format!("fingerprint:{text}"));
    digest.0.iter().take(6).map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

fn as_text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
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
    use crate::catalog::{Lapse, Routing};
    use crate::domain::{KeyDigest, PriceTable};

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
            payer: Arc::default(),
            keys: keys.collect(),
            routing: Arc::new(Routing::default()),
            queues: Default::default(),
            prices: Arc::new(PriceTable::default()),
            settings: Arc::default(),
        };
        Fixture { catalog, pepper }
    }

    fn outcome(headers: &[(&'static str, &str)]) -> Result<String, Refusal> {
        outcome_with(headers, None)
    }

    fn outcome_with(headers: &[(&'static str, &str)], passthrough: Option<&Passthrough>) -> Result<String, Refusal> {
        let Fixture { catalog, pepper } = fixture();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let authority = Authority { catalog: &catalog, pepper: &pepper, passthrough };
        let caller = authenticate(&map, &authority, NOW);
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

    #[test]
    fn a_providers_key_is_an_account_only_where_that_is_allowed() {
        let passthrough = Passthrough::new(Arc::new(KeySeries::detached(Passthrough::NAME, "none")));
        let foreign = ("authorization", "Bearer sk-ant-own");
        assert_eq!(outcome(&[foreign]), Err(Refusal::PassthroughDisabled));
        assert_eq!(outcome_with(&[foreign], Some(&passthrough)), Ok("passthrough".into()));
        assert_eq!(outcome_with(&[], Some(&passthrough)), Err(Refusal::KeyMissing));
        let text = key(KeyKind::Access, 1);
        assert_eq!(outcome_with(&[foreign, ("x-api-key", &text)], Some(&passthrough)), Ok("live".into()));
        let revoked = key(KeyKind::Access, 2);
        let with_revoked = outcome_with(&[foreign, ("x-api-key", &revoked)], Some(&passthrough));
        assert_eq!(with_revoked, Err(Refusal::Lapsed(Lapse::Revoked)), "a lapsed key is no stranger");
    }

    #[test]
    fn a_fingerprint_tells_keys_apart_and_depends_on_the_pepper() {
        let [one, two] = [[1; 32], [2; 32]].map(|secret| Pepper::new(&secret).unwrap());
        assert_eq!(fingerprint(&one, "sk-a").len(), 12);
        assert_ne!(fingerprint(&one, "sk-a"), fingerprint(&one, "sk-b"));
        assert_ne!(fingerprint(&one, "sk-a"), fingerprint(&two, "sk-a"));
    }
}
