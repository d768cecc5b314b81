//! Which provider serves which model.

use std::sync::Arc;

use crate::domain::Pattern;
use crate::protocol::Dialect;
use crate::providers::{Kind, Provider};

/// The operator's providers and model rules, in the order they were written.
#[derive(Debug, Default)]
pub struct Routing {
    pub providers: Vec<Arc<Provider>>,
    /// The first rule that matches decides.
    pub models: Vec<ModelRule>,
}

/// Where requests for some models go.
#[derive(Debug)]
pub struct ModelRule {
    /// The model's name as clients write it; `*` stands for any characters.
    pub name: String,
    pub matches: Pattern,
    /// The name the provider is asked for instead: the rule is an alias.
    pub serves: Option<Arc<str>>,
    pub providers: Vec<Arc<Provider>>,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Choice {
    pub provider: Arc<Provider>,
    /// What the body's `model` is replaced by, if anything.
    pub serves: Option<Arc<str>>,
}

/// Why a request goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoChoice {
    /// No provider speaks the request's dialect.
    Dialect,
    /// A rule names the model, but none of its providers speaks the request's dialect.
    OtherDialect(Dialect),
    /// The path names a provider that does not serve this model, or not in this dialect.
    Provider,
}

impl ModelRule {
    pub fn new(name: &str, serves: Option<&str>, providers: Vec<Arc<Provider>>) -> Self {
        Self { name: name.into(), matches: Pattern::new(name), serves: serves.map(Into::into), providers }
    }

    /// Whether the rule stands for exactly one model.
    pub fn is_exact(&self) -> bool {
        !self.name.contains(['*', '?'])
    }
}

impl Routing {
    pub fn provider(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.iter().find(|provider| &*provider.name == name)
    }

    /// Where a request for `model` goes: to the first provider of the first rule that matches and `prefers`;
    /// where no rule does, to the provider of the request's dialect. `addressed` is the provider that the path
    /// names, if any. If no provider is preferred, the first that could serve is chosen all the same.
    pub fn choose(
        &self,
        dialect: Dialect,
        model: &str,
        addressed: Option<&Arc<Provider>>,
        prefers: impl Fn(&Provider) -> bool,
    ) -> Result<Choice, NoChoice> {
        let speaks = |provider: &&Arc<Provider>| provider.kind.dialect() == dialect;
        let rule = self.models.iter().find(|rule| rule.matches.matches(model));
        if let Some(addressed) = addressed {
            let serves = rule.filter(|rule| rule.providers.iter().any(|provider| Arc::ptr_eq(provider, addressed)));
            let serves = serves.and_then(|rule| rule.serves.clone());
            return match speaks(&addressed) {
                true => Ok(Choice { provider: addressed.clone(), serves }),
                false => Err(NoChoice::Provider),
            };
        }
        let Some(rule) = rule else {
            let provider = self.default_provider(dialect).ok_or(NoChoice::Dialect)?;
            return Ok(Choice { provider: provider.clone(), serves: None });
        };
        let speakers = || rule.providers.iter().filter(speaks);
        match speakers().find(|provider| prefers(provider)).or_else(|| speakers().next()) {
            Some(provider) => Ok(Choice { provider: provider.clone(), serves: rule.serves.clone() }),
            None => Err(rule.providers.first().map_or(NoChoice::Dialect, |p| NoChoice::OtherDialect(p.kind.dialect()))),
        }
    }

    /// The provider for models that no rule names: the dialect's own maker, else the first that speaks it.
    fn default_provider(&self, dialect: Dialect) -> Option<&Arc<Provider>> {
        let speakers = || self.providers.iter().filter(|provider| provider.kind.dialect() == dialect);
        let known = |provider: &&Arc<Provider>| provider.kind != Kind::OpenAiCompatible;
        speakers()
            .find(|provider| provider.kind.vendor().is_some())
            .or_else(|| speakers().find(known))
            .or_else(|| speakers().next())
    }

    /// The provider for a request in Azure's form whose model no rule names.
    pub fn azure_for(&self, model: &str) -> Option<&str> {
        let is_ruled = self.models.iter().any(|rule| rule.matches.matches(model));
        let provider = self.providers.iter().find(|provider| provider.kind == Kind::Azure).filter(|_| !is_ruled)?;
        Some(&provider.name)
    }
}

#[cfg(test)]
mod tests {
    use crate::providers::{Azure, BaseUrl};

    use super::*;

    fn provider(name: &str, kind: Kind) -> Arc<Provider> {
        let base_url = BaseUrl::parse("http://127.0.0.1:9").unwrap();
        Arc::new(Provider {
            name: name.into(),
            kind,
            base_url,
            credential: None,
            azure: Azure::default(),
            capacity: None,
        })
    }

    fn routing() -> Routing {
        let local = provider("local", Kind::OpenAiCompatible);
        let openai = provider("openai", Kind::OpenAi);
        let anthropic = provider("anthropic", Kind::Anthropic);
        let models = vec![
            ModelRule::new("fast", Some("gpt-4o-mini"), vec![openai.clone()]),
            ModelRule::new("llama-*", None, vec![local.clone()]),
            ModelRule::new("claude-*", None, vec![anthropic.clone()]),
        ];
        Routing { providers: vec![local, openai, anthropic], models }
    }

    #[test]
    fn the_first_rule_decides_and_the_dialect_is_the_fallback() {
        let chosen = |dialect, model| {
            let choice = routing().choose(dialect, model, None, |_| true)?;
            Ok((choice.provider.name.to_string(), choice.serves.map(|model| model.to_string())))
        };
        assert_eq!(chosen(Dialect::OpenAi, "fast"), Ok(("openai".into(), Some("gpt-4o-mini".into()))));
        assert_eq!(chosen(Dialect::OpenAi, "llama-4"), Ok(("local".into(), None)));
        assert_eq!(chosen(Dialect::OpenAi, "anything"), Ok(("openai".into(), None)));
        assert_eq!(chosen(Dialect::Anthropic, "anything"), Ok(("anthropic".into(), None)));
        assert_eq!(chosen(Dialect::OpenAi, "claude-5"), Err(NoChoice::OtherDialect(Dialect::Anthropic)));
        assert_eq!(Routing::default().choose(Dialect::OpenAi, "x", None, |_| true).unwrap_err(), NoChoice::Dialect);
    }

    #[test]
    fn a_preferred_provider_comes_before_the_first() {
        let [one, two] = ["one", "two"].map(|name| provider(name, Kind::OpenAiCompatible));
        let models = vec![ModelRule::new("*", None, vec![one.clone(), two.clone()])];
        let routing = Routing { providers: vec![one, two], models };
        let chosen = |wish: &str| {
            let choice = routing.choose(Dialect::OpenAi, "x", None, |provider| &*provider.name == wish);
            choice.unwrap().provider.name.to_string()
        };
        assert_eq!((chosen("two"), chosen("nobody")), ("two".into(), "one".into()));
    }

    #[test]
    fn a_provider_in_the_path_decides_where_it_can() {
        let routing = routing();
        let [local, openai, anthropic] = [0, 1, 2].map(|at| &routing.providers[at]);
        let to = |provider| routing.choose(Dialect::OpenAi, "fast", Some(provider), |_| true);
        assert_eq!(to(local).map(|choice| choice.serves), Ok(None));
        assert_eq!(to(openai).map(|choice| choice.serves), Ok(Some("gpt-4o-mini".into())));
        assert_eq!(to(anthropic).unwrap_err(), NoChoice::Provider);
    }
}
