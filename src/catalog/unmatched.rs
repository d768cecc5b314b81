//! Patterns that stand for nothing there is: probably mistyped, possibly written ahead of their time.

use crate::domain::{Pattern, Permissions, PriceTable};
use crate::protocol::Endpoint;

use super::Routing;

/// A sentence for each pattern of `permissions` that nothing configured matches.
pub fn unmatched(permissions: &Permissions, routing: &Routing, prices: &PriceTable) -> Vec<String> {
    let is_model = |pattern: &Pattern| {
        let text = pattern.to_string();
        let ruled = |name: &str| pattern.matches(name) || name == text;
        routing.models.iter().any(|rule| ruled(&rule.name) || rule.matches.matches(&text))
            || prices.iter().any(|price| pattern.matches(&price.name))
    };
    let is_provider = |pattern: &Pattern| routing.providers.iter().any(|provider| pattern.matches(&provider.name));
    let is_endpoint = |pattern: &Pattern| Endpoint::ALL.iter().any(|endpoint| pattern.matches(endpoint.label()));
    let mut sentences = Vec::new();
    sentences.extend(misses(&permissions.models, is_model, "models", "no rule for models and no priced model"));
    sentences.extend(misses(&permissions.providers, is_provider, "providers", "no configured provider"));
    sentences.extend(misses(&permissions.endpoints, is_endpoint, "endpoints", "no endpoint"));
    sentences
}

fn misses(
    patterns: &Option<Vec<Pattern>>,
    matches: impl Fn(&Pattern) -> bool,
    list: &str,
    nothing: &str,
) -> Vec<String> {
    let missing = patterns.iter().flatten().filter(|pattern| !matches(pattern));
    missing.map(|pattern| format!("{list}: {:?} matches {nothing}", pattern.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::catalog::ModelRule;
    use crate::providers::{Azure, BaseUrl, Kind, Provider};

    use super::*;

    #[test]
    fn what_matches_nothing_is_named() {
        let base_url = BaseUrl::parse("http://127.0.0.1:9").unwrap();
        let provider = Arc::new(Provider {
            name: "openai".into(),
            kind: Kind::OpenAi,
            base_url,
            credential: None,
            azure: Azure::default(),
            capacity: None,
        });
        let models = vec![ModelRule::new("gpt-*", None, vec![provider.clone()])];
        let routing = Routing { providers: vec![provider], models };
        let of = |json: &str| unmatched(&serde_json::from_str(json).unwrap(), &routing, &PriceTable::default());
        let fine =
            r#"{"models":["*","gpt-*","gpt-5","gpt-5*"],"providers":["open*"],"endpoints":["chat/*","messages"]}"#;
        assert!(of(fine).is_empty(), "{:?}", of(fine));
        let odd = of(r#"{"models":["gtp-*"],"providers":["opnai"],"endpoints":["chat"],"networks":["10.0.0.0/8"]}"#);
        assert_eq!(
            odd,
            [
                "models: \"gtp-*\" matches no rule for models and no priced model",
                "providers: \"opnai\" matches no configured provider",
                "endpoints: \"chat\" matches no endpoint",
            ]
        );
        assert!(of("{}").is_empty());
    }
}
