//! What a key, a team or the organization may use.

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use wildmatch::WildMatch;

/// What may be used. A list that is absent allows anything; one that is there allows what it names and nothing
/// else. Permissions of a key, its team and the organization hold together: each must allow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permissions {
    /// Models by the name the caller asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<Pattern>>,
    /// Providers by their configured name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub providers: Option<Vec<Pattern>>,
    /// Endpoints by their name in events, such as `chat/completions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<Pattern>>,
    /// Where the caller connects from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<Network>>,
}

/// What is to change about permissions. A list that is absent stays; one that is there replaces the list, or lifts
/// the restriction (`null`).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PermissionsChange {
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub models: Option<Option<Vec<Pattern>>>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub providers: Option<Option<Vec<Pattern>>>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Option<Vec<Pattern>>>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub networks: Option<Option<Vec<Network>>>,
}

/// Tells a member that is absent (which serde leaves at its default, `None`) from one that is `null`.
pub fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A text in which `*` stands for any characters and `?` for one.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    pattern: WildMatch,
    plain: Option<Plain>,
}

/// What most patterns come to. It is asked several times of every request, and a tenth of the general search.
#[derive(Clone, Debug, PartialEq)]
struct Plain {
    start: Box<str>,
    /// Whether anything may stand behind it.
    is_open: bool,
}

/// An address range such as `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

/// Why a text is no [`Pattern`] or [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermissionError {
    PatternEmpty,
    PatternTooLong,
    PatternCharacter,
    Network,
    /// The address has bits set beyond its prefix: `10.0.0.1/8` is probably not what was meant.
    NetworkHostBits,
}

impl Permissions {
    /// The most entries one list may have.
    pub const ENTRIES_MAX: usize = 64;

    /// Nothing is restricted.
    pub fn allow_all(&self) -> bool {
        *self == Self::default()
    }

    pub fn allow_model(&self, model: &str) -> bool {
        matches(&self.models, model)
    }

    pub fn allow_provider(&self, provider: &str) -> bool {
        matches(&self.providers, provider)
    }

    pub fn allow_endpoint(&self, endpoint: &str) -> bool {
        matches(&self.endpoints, endpoint)
    }

    /// A caller whose address is unknown is in no network.
    pub fn allow_address(&self, address: Option<IpAddr>) -> bool {
        let Some(networks) = &self.networks else { return true };
        address.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
    }
}

impl PermissionsChange {
    /// Lifts every restriction.
    pub fn lift() -> Self {
        Self { models: Some(None), providers: Some(None), endpoints: Some(None), networks: Some(None) }
    }

    pub fn is_nothing(&self) -> bool {
        let Self { models, providers, endpoints, networks } = self;
        models.is_none() && providers.is_none() && endpoints.is_none() && networks.is_none()
    }

    /// `before` with the changes.
    pub fn applied_to(self, before: Permissions) -> Permissions {
        Permissions {
            models: self.models.unwrap_or(before.models),
            providers: self.providers.unwrap_or(before.providers),
            endpoints: self.endpoints.unwrap_or(before.endpoints),
            networks: self.networks.unwrap_or(before.networks),
        }
    }
}

fn matches(patterns: &Option<Vec<Pattern>>, text: &str) -> bool {
    patterns.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(text)))
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By their text.
impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.to_string().cmp(&other.to_string())
    }
}

impl Pattern {
    const BYTES_MAX: usize = 256;

    pub fn parse(text: &str) -> Result<Self, PermissionError> {
        if text.is_empty() {
            return Err(PermissionError::PatternEmpty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(PermissionError::PatternTooLong);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(PermissionError::PatternCharacter);
        }
        Ok(Self::new(text))
    }

    /// The same of a text that has been checked otherwise.
    pub fn new(text: &str) -> Self {
        let (start, is_open) = text.strip_suffix('*').map_or((text, false), |start| (start, true));
        let plain = (!start.contains(['*', '?'])).then(|| Plain { start: start.into(), is_open });
        Self { pattern: WildMatch::new(text), plain }
    }

    pub fn matches(&self, text: &str) -> bool {
        match &self.plain {
            Some(Plain { start, is_open: true }) => text.starts_with(&**start),
            Some(Plain { start, is_open: false }) => text == &**start,
            None => self.pattern.matches(text),
        }
    }
}

impl Network {
    pub fn parse(text: &str) -> Result<Self, PermissionError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.into()));
        }
        let network: IpNet = text.parse().map_err(|_| PermissionError::Network)?;
        if network.trunc() == network { Ok(Self(network)) } else { Err(PermissionError::NetworkHostBits) }
    }

    /// Whether `address` is in this range. An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) is the IPv4 one.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pattern.fmt(f)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

impl fmt::Display for PermissionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PatternEmpty => "a pattern cannot be empty; * allows anything",
            Self::PatternTooLong => "a pattern has at most 256 bytes",
            Self::PatternCharacter => "a pattern has no spaces and no control characters",
            Self::Network => "not an address or a network: write 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32",
            Self::NetworkHostBits => "the address has bits beyond its prefix: write the network's first address",
        })
    }
}

impl std::error::Error for PermissionError {}

macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(&std::borrow::Cow::<'de, str>::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    };
}

serde_as_text!(Pattern);
serde_as_text!(Network);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn permissions(json: &str) -> Permissions {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_not_named_is_allowed_and_what_is_named_is_all() {
        let anything = permissions("{}");
        assert!(anything.allow_all() && anything.allow_model("x") && anything.allow_address(None));
        let some = permissions(r#"{"models":["gpt-*","o?"],"endpoints":[]}"#);
        assert!(some.allow_model("gpt-4o") && some.allow_model("o3") && !some.allow_model("claude-5"));
        assert!(!some.allow_endpoint("responses") && some.allow_provider("any"));
        assert_eq!(serde_json::to_string(&some).unwrap(), r#"{"models":["gpt-*","o?"],"endpoints":[]}"#);
    }

    #[test]
    fn networks_hold_addresses_of_their_family() {
        let office = permissions(r#"{"networks":["10.0.0.0/8","2001:db8::/32","192.0.2.7"]}"#);
        let allow = |address: &str| office.allow_address(Some(address.parse().unwrap()));
        assert!(allow("10.1.2.3") && allow("2001:db8::1") && allow("192.0.2.7") && allow("::ffff:10.0.0.1"));
        assert!(!allow("11.0.0.1") && !allow("192.0.2.8") && !allow("::1") && !office.allow_address(None));
        assert_eq!(Network::parse("192.0.2.7").unwrap().to_string(), "192.0.2.7");
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let before = permissions(r#"{"models":["gpt-*"],"endpoints":["chat/*"]}"#);
        let change = |json: &str| serde_json::from_str::<PermissionsChange>(json).unwrap();
        let after = change(r#"{"models":null,"providers":["openai"]}"#).applied_to(before.clone());
        assert_eq!(after, permissions(r#"{"endpoints":["chat/*"],"providers":["openai"]}"#));
        assert_eq!(change("{}").applied_to(before.clone()), before);
        assert!(PermissionsChange::lift().applied_to(before).allow_all());
        assert_eq!(serde_json::to_string(&change(r#"{"models":null}"#)).unwrap(), r#"{"models":null}"#);
    }

    #[test]
    fn typing_errors_are_named() {
        assert_eq!(Network::parse("10.0.0.0/33"), Err(PermissionError::Network));
        assert_eq!(Network::parse("10.0.0.1/8"), Err(PermissionError::NetworkHostBits));
        assert_eq!(Pattern::parse(""), Err(PermissionError::PatternEmpty));
        assert_eq!(Pattern::parse("gpt 4"), Err(PermissionError::PatternCharacter));
        assert!(serde_json::from_str::<Permissions>(r#"{"model":["x"]}"#).is_err());
    }

    proptest! {
        #[test]
        fn plain_patterns_match_as_the_general_search_does(pattern in "[ab*?é]{0,6}", text in "[abé]{0,6}") {
            prop_assert_eq!(Pattern::new(&pattern).matches(&text), WildMatch::new(&pattern).matches(&text));
        }
    }
}
