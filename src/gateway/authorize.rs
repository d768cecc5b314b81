//! 3 May they use this model, provider and endpoint? The [`Account`] becomes a [`Grant`].

use std::sync::Arc;

use crate::catalog::{Asked, Catalog, Choice, NoChoice, NotServed, Wanted, choose, judge};
use crate::protocol::Dialect;

use super::attribute::Account;
use super::refusal::Refusal;
use super::report::Entry;

/// Permission for one request. Made only here; without one nothing is admitted.
pub struct Grant {
    /// Where the request may go; `None` if the gateway answers it itself.
    choice: Option<Choice>,
}

impl Grant {
    pub fn choice(&self) -> Option<&Choice> {
        self.choice.as_ref()
    }
}

/// A model the account may use, and who serves it.
pub struct Listed {
    pub name: Arc<str>,
    pub owner: Arc<str>,
}

/// Decides what can be decided before the body is read: may the account use this endpoint, from this address?
pub fn authorize_entry(account: &Account, entry: &Entry, catalog: &Catalog) -> Result<(), Refusal> {
    let facts = &entry.facts;
    let asked = Asked { model: None, provider: None, endpoint: facts.endpoint, address: facts.address };
    judge(catalog, &account.credential().key, &asked).map_err(Refusal::NotAllowed)
}

/// Decides whether the account may have what it wants, and from whom.
pub fn authorize(account: &Account, wanted: &Wanted<'_>, catalog: &Catalog) -> Result<Grant, Refusal> {
    match choose(catalog, &account.credential().key, wanted) {
        Ok(choice) => Ok(Grant { choice: Some(choice) }),
        Err(NotServed::Denied(denial)) => Err(Refusal::NotAllowed(denial)),
        Err(NotServed::Nowhere(why)) => Err(no_choice(&why, wanted)),
    }
}

/// The grant for what the gateway answers from its own knowledge.
pub fn authorize_own_answer(_account: &Account) -> Grant {
    Grant { choice: None }
}

fn no_choice(why: &NoChoice, wanted: &Wanted<'_>) -> Refusal {
    let model = Quoted(wanted.model);
    match why {
        NoChoice::Dialect => Refusal::NoProvider(format!(
            "No provider that takes {} requests is configured. Ask whoever runs this gateway to add one.",
            wanted.dialect.name(),
        )),
        NoChoice::OtherDialect(dialect) => Refusal::ModelUnknown(format!(
            "The model {model} is not served in this API; send the request in the {} API instead.",
            dialect.name(),
        )),
        NoChoice::Provider => Refusal::ModelUnknown(format!(
            "The provider named in the path does not serve the model {model} in this API; leave the provider out of \
             the path and the gateway chooses one.",
        )),
    }
}

/// A model's name as a caller wrote it, cut to a readable length.
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cut: String = self.0.chars().take(64).collect();
        write!(f, "{cut:?}")
    }
}

/// The models an account may use, for `GET /v1/models`: the names that rules spell out, and the priced models
/// that the configured providers serve.
pub fn listed_models(account: &Account, entry: &Entry, catalog: &Catalog, dialect: Dialect) -> Vec<Listed> {
    let routing = &catalog.routing;
    let granted = |model: &str| {
        let (endpoint, address) = (entry.facts.endpoint, entry.facts.address);
        let wanted = Wanted { dialect, model, endpoint, address, addressed: None };
        authorize(account, &wanted, catalog).ok().and_then(|grant| grant.choice)
    };
    let named = routing.models.iter().filter(|rule| rule.is_exact()).map(|rule| Arc::from(&*rule.name));
    let priced = catalog.prices.iter().filter(|price| {
        let choice = granted(&price.name);
        choice.is_some_and(|choice| choice.provider.kind.vendor().is_some_and(|vendor| *vendor == *price.vendor))
    });
    let names = named.chain(priced.map(|price| price.name.clone()));
    let listed = names.filter_map(|name| Some(Listed { owner: granted(&name)?.provider.name.clone(), name }));
    let mut models: Vec<Listed> = listed.collect();
    models.sort_by(|one, other| one.name.cmp(&other.name));
    models.dedup_by(|one, other| one.name == other.name);
    models
}
