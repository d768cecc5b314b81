//! May this key use that? The one decision that both the gateway and `kt explain` ask for.
//!
//! Permissions of the key, its team and the organization hold together, so the tightest wins. Where several
//! refuse, the one nearest to the caller is named: its holder is the first who can do something about it.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::domain::Permissions;
use crate::protocol::Dialect;
use crate::providers::Provider;

use super::{Catalog, Choice, KeyRecord, NoChoice};

/// What a request would use. What is not known, or plays no part, is not asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// By the name the caller asks for, not the one an alias stands for.
    pub model: Option<&'a str>,
    pub provider: Option<&'a str>,
    /// By its name in events, such as `chat/completions`.
    pub endpoint: &'a str,
    pub address: Option<IpAddr>,
}

/// Which list refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    pub scope: Scope,
    pub what: What,
}

/// A request for a model, as permissions and routes are asked about it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub dialect: Dialect,
    pub model: &'a str,
    pub endpoint: &'a str,
    pub address: Option<IpAddr>,
    /// The provider that the path names, if it names one.
    pub addressed: Option<&'a str>,
}

/// Why a request for a model goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotServed {
    Denied(Denial),
    Nowhere(NoChoice),
}

/// Whose permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    Key,
    Team,
    Organization,
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Address,
    Endpoint,
    Model,
    Provider,
}

/// Who serves what `key` wants: the first provider that could and that it may use. A model that is not allowed is
/// denied as such, also where nobody serves it.
pub fn choose(catalog: &Catalog, key: &KeyRecord, wanted: &Wanted<'_>) -> Result<Choice, NotServed> {
    let Wanted { dialect, model, endpoint, address, addressed } = *wanted;
    let asked = Asked { model: Some(model), provider: None, endpoint, address };
    judge(catalog, key, &asked).map_err(NotServed::Denied)?;
    let may_use = |provider: &str| {
        each_scope(catalog, key, |permissions, scope| match permissions.allow_provider(provider) {
            true => Ok(()),
            false => Err(Denial { scope, what: What::Provider }),
        })
    };
    let addressed = addressed.and_then(|name| catalog.routing.provider(name));
    let prefers = |provider: &Provider| may_use(&provider.name).is_ok();
    let choice = catalog.routing.choose(dialect, model, addressed, prefers).map_err(NotServed::Nowhere)?;
    may_use(&choice.provider.name).map_err(NotServed::Denied)?;
    Ok(choice)
}

/// Whether `key` may use what is asked, as of now. It does not look at whether the key has lapsed.
pub fn judge(catalog: &Catalog, key: &KeyRecord, asked: &Asked<'_>) -> Result<(), Denial> {
    each_scope(catalog, key, |permissions, scope| permit(permissions, scope, asked))
}

/// Asks those whose permissions hold together, the one nearest to the caller first.
fn each_scope(
    catalog: &Catalog,
    key: &KeyRecord,
    ask: impl Fn(&Permissions, Scope) -> Result<(), Denial>,
) -> Result<(), Denial> {
    if let Some(permissions) = &*key.state.permissions() {
        ask(permissions, Scope::Key)?;
    }
    if let Some(team) = &key.team {
        ask(&team.state.permissions(), Scope::Team)?;
    }
    ask(&catalog.permissions, Scope::Organization)
}

/// What a caller knows for certain is looked at before what was worked out for it: the provider follows from
/// the model.
fn permit(permissions: &Permissions, scope: Scope, asked: &Asked<'_>) -> Result<(), Denial> {
    let what = if !permissions.allow_address(asked.address) {
        What::Address
    } else if !permissions.allow_endpoint(asked.endpoint) {
        What::Endpoint
    } else if asked.model.is_some_and(|model| !permissions.allow_model(model)) {
        What::Model
    } else if asked.provider.is_some_and(|provider| !permissions.allow_provider(provider)) {
        What::Provider
    } else {
        return Ok(());
    };
    Err(Denial { scope, what })
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Key, Self::Team, Self::Organization];

    pub fn label(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Team => "team",
            Self::Organization => "organization",
        }
    }
}

impl What {
    pub const ALL: [Self; 4] = [Self::Address, Self::Endpoint, Self::Model, Self::Provider];

    /// The name of the list in [`Permissions`].
    pub fn list(self) -> &'static str {
        match self {
            Self::Address => "networks",
            Self::Endpoint => "endpoints",
            Self::Model => "models",
            Self::Provider => "providers",
        }
    }

    /// What the list is about, in a sentence.
    pub fn label(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Endpoint => "endpoint",
            Self::Model => "model",
            Self::Provider => "provider",
        }
    }
}

/// `the team's models`.
impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {}'s {}", self.scope.label(), self.what.list())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::catalog::{KeyIndex, KeyState, Routing, Team, TeamState};
    use crate::domain::PriceTable;
    use crate::journal::KeySeries;

    use super::*;

    fn permissions(json: &str) -> Permissions {
        serde_json::from_str(json).unwrap()
    }

    /// What is decided about an ordinary request, under the permissions of key, team and organization.
    fn judged(key: &str, team: &str, organization: &str) -> Result<(), Denial> {
        let catalog = Catalog {
            organization: "acme".into(),
            permissions: Arc::new(permissions(organization)),
            payer: Arc::default(),
            keys: KeyIndex::default(),
            routing: Arc::new(Routing::default()),
            queues: Default::default(),
            prices: Arc::new(PriceTable::default()),
            settings: Arc::default(),
        };
        let state = Arc::new(KeyState::new(Arc::new(KeySeries::detached("jane", "none"))));
        state.permit(permissions(key));
        let team = Team { id: "team_1".into(), name: "a".into(), state: TeamState::new(permissions(team)) };
        let key = KeyRecord { id: "ak_1".into(), name: "jane".into(), team: Some(Arc::new(team)), state };
        let address = Some("10.1.2.3".parse().unwrap());
        let asked = Asked { model: Some("gpt-4o"), provider: Some("openai"), endpoint: "chat/completions", address };
        judge(&catalog, &key, &asked)
    }

    #[test]
    fn all_three_must_allow_and_the_nearest_refusal_is_named() {
        const MINI: &str = r#"{"models":["gpt-4o-mini"]}"#;
        let denied = |scope, what| Err(Denial { scope, what });
        assert_eq!(judged("{}", "{}", "{}"), Ok(()));
        assert_eq!(judged(r#"{"models":["gpt-*"]}"#, r#"{"models":["*4o"]}"#, r#"{"models":["gpt-4o"]}"#), Ok(()));
        assert_eq!(judged(MINI, MINI, MINI), denied(Scope::Key, What::Model));
        assert_eq!(judged("{}", MINI, MINI), denied(Scope::Team, What::Model));
        assert_eq!(judged("{}", "{}", MINI), denied(Scope::Organization, What::Model));
        // A key that allows cannot lift what its team or the organization refuses.
        assert_eq!(judged(r#"{"models":["*"]}"#, "{}", MINI), denied(Scope::Organization, What::Model));
    }

    #[test]
    fn every_list_is_asked() {
        for (list, what) in [
            (r#"{"networks":["192.0.2.0/24"]}"#, What::Address),
            (r#"{"endpoints":["messages"]}"#, What::Endpoint),
            (r#"{"models":[]}"#, What::Model),
            (r#"{"providers":["anthropic"]}"#, What::Provider),
        ] {
            assert_eq!(judged("{}", list, "{}"), Err(Denial { scope: Scope::Team, what }), "{list}");
            assert!(list.contains(what.list()));
        }
        let all = r#"{"networks":["10.0.0.0/8"],"endpoints":["chat/*"],"models":["gpt-4?"],"providers":["open*"]}"#;
        assert_eq!(judged(all, all, all), Ok(()));
        assert_eq!(Denial { scope: Scope::Key, what: What::Address }.to_string(), "the key's networks");
    }
}
