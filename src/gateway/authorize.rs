//! 3 May they use this model, provider and endpoint? The [`Account`] becomes a [`Grant`].

use std::sync::Arc;

use crate::catalog::{Catalog, Choice, NoChoice};
use crate::protocol::Dialect;

use super::attribute::Account;
use super::refusal::Refusal;

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

/// What a request wants to use.
pub struct Wanted<'a> {
    pub dialect: Dialect,
    pub model: &'a str,
    /// The provider that the path names, if it names one.
    pub addressed: Option<&'a str>,
}

/// Decides whether `account` may have what it wants, and from whom.
pub fn authorize(_account: &Account, wanted: &Wanted<'_>, catalog: &Catalog) -> Result<Grant, Refusal> {
    let addressed = wanted.addressed.and_then(|name| catalog.routing.provider(name));
    let choice = catalog.routing.choose(wanted.dialect, wanted.model, addressed);
    choice.map(|choice| Grant { choice: Some(choice) }).map_err(|why| no_choice(&why, wanted))
}

/// The grant for what the gateway answers from its own knowledge.
pub fn authorize_listing(_account: &Account) -> Grant {
    Grant { choice: None }
}

fn no_choice(why: &NoChoice, wanted: &Wanted<'_>) -> Refusal {
    let model = Quoted(wanted.model);
    match why {
        NoChoice::Dialect => Refusal::NoProvider(format!(
            "No provider that takes {} requests is configured. Ask whoever runs this gateway to add one.",
            dialect_name(wanted.dialect),
        )),
        NoChoice::OtherDialect(dialect) => Refusal::ModelUnknown(format!(
            "The model {model} is not served in this API; send the request in the {} API instead.",
            dialect_name(*dialect),
        )),
        NoChoice::Provider => Refusal::ModelUnknown(format!(
            "The provider named in the path does not serve the model {model} in this API; leave the provider out of \
             the path and the gateway chooses one.",
        )),
    }
}

fn dialect_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAi => "OpenAI",
        Dialect::Anthropic => "Anthropic",
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
pub fn listed_models(_account: &Account, catalog: &Catalog, dialect: Dialect) -> Vec<(Arc<str>, Arc<str>)> {
    let routing = &catalog.routing;
    let reachable = |model: &str| routing.choose(dialect, model, None).ok();
    let named = routing.models.iter().filter(|rule| rule.is_exact()).map(|rule| Arc::from(&*rule.name));
    let priced = catalog.prices.iter().filter(|price| {
        let choice = reachable(&price.name);
        choice.is_some_and(|choice| choice.provider.kind.vendor().is_some_and(|vendor| *vendor == *price.vendor))
    });
    let mut models: Vec<(Arc<str>, Arc<str>)> = named
        .chain(priced.map(|price| price.name.clone()))
        .filter_map(|name| Some((name.clone(), reachable(&name)?.provider.name.clone())))
        .collect();
    models.sort();
    models.dedup();
    models
}
