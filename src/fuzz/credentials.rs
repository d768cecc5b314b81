//! Whose request it is, by headers that anybody may send.

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderValue};

use crate::catalog::{Catalog, Credential, KeyRecord, KeyState, Routing};
use crate::domain::{KeyKind, KeyText, Pepper, PriceTable, Timestamp};
use crate::gateway::authenticate::{Authority, CREDENTIAL_HEADERS, authenticate};
use crate::journal::KeySeries;

/// The only key that anybody has.
static LIVE: LazyLock<String> = LazyLock::new(|| {
    let fill = |pool: &mut [u8]| {
        pool.fill(1);
        Ok::<_, std::convert::Infallible>(())
    };
    KeyText::mint(KeyKind::Access, fill).unwrap().expose().to_owned()
});
static PEPPER: LazyLock<Pepper> = LazyLock::new(|| Pepper::new(&[1; 32]).unwrap());
static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let state = Arc::new(KeyState::new(Arc::new(KeySeries::detached("live", "none"))));
    let key = Arc::new(KeyRecord { id: "live".into(), name: "live".into(), team: None, state });
    let live = (PEPPER.digest(&LIVE), Credential { key, secret: Arc::default() });
    Catalog {
        organization: "acme".into(),
        permissions: Arc::default(),
        payer: Arc::default(),
        keys: [live].into_iter().collect(),
        routing: Arc::new(Routing::default()),
        prices: Arc::new(PriceTable::default()),
        settings: Arc::default(),
        queues: Default::default(),
    }
});

/// What passes for a key's text is one: of the right form, and no other text of that form by one character.
pub fn key_text(bytes: &[u8]) {
    let Some((&at, bytes)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let parsed = KeyText::parse(text);
    assert_eq!(KeyText::check(text).ok(), parsed.as_ref().ok().map(KeyText::kind));
    if let Ok(key) = &parsed {
        let secret = key.expose().strip_prefix(key.kind().prefix()).unwrap();
        assert!(secret.len() == 32 && secret.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(key.expose() == text && !format!("{key:?}").contains(secret));
    }
    // A character of a true key, changed to one of these.
    let at = usize::from(at) % LIVE.len();
    for changed in text.chars().take(4) {
        let typed = [&LIVE[..at], &*changed.to_string(), &LIVE[at + 1..]].concat();
        assert_eq!(KeyText::check(&typed).is_ok(), typed == *LIVE, "{typed}");
    }
}

/// Nobody is anybody without the whole key. A line is a header; its first byte says which.
pub fn headers(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut shows_key = false;
    for line in bytes.split(|&byte| byte == b'\n').take(8) {
        let Some((&which, value)) = line.split_first() else { continue };
        let value = String::from_utf8_lossy(value).replace("{key}", &LIVE);
        let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) else { continue };
        shows_key |= memchr::memmem::find(value.as_bytes(), LIVE.as_bytes()).is_some();
        headers.append(CREDENTIAL_HEADERS[usize::from(which) % CREDENTIAL_HEADERS.len()].clone(), value);
    }
    let authority = Authority { catalog: &CATALOG, pepper: &PEPPER, passthrough: None };
    if authenticate(&headers, &authority, Timestamp::from_micros(1)).is_ok() {
        assert!(shows_key, "{headers:?}");
    }
}
