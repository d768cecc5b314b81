//! A list of models, in the caller's dialect.

use super::{Dialect, anthropic, gemini, openai};

/// One model a key may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelEntry<'a> {
    pub id: &'a str,
    /// Who serves it; OpenAI's list has a place for that.
    pub owner: &'a str,
}

/// The answer to `GET /v1/models`.
pub fn list<'a>(dialect: Dialect, models: impl Iterator<Item = ModelEntry<'a>>) -> Vec<u8> {
    match dialect {
        Dialect::OpenAi => openai::models::list(models),
        Dialect::Anthropic => anthropic::models::list(models),
        Dialect::Gemini => gemini::models::list(models),
    }
}

/// The answer to `GET /v1/models/{id}`.
pub fn one(dialect: Dialect, model: ModelEntry<'_>) -> Vec<u8> {
    match dialect {
        Dialect::OpenAi => openai::models::one(model),
        Dialect::Anthropic => anthropic::models::one(model),
        Dialect::Gemini => gemini::models::one(model),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const MODELS: [ModelEntry<'_>; 2] =
        [ModelEntry { id: "gpt-4o-mini", owner: "openai" }, ModelEntry { id: "a\"b", owner: "local" }];

    fn listed(dialect: Dialect, models: &[ModelEntry<'_>]) -> Value {
        serde_json::from_slice(&list(dialect, models.iter().copied())).unwrap()
    }

    #[test]
    fn openai_clients_get_openai_s_list() {
        let first = json!({"id": "gpt-4o-mini", "object": "model", "created": 0, "owned_by": "openai"});
        let second = json!({"id": "a\"b", "object": "model", "created": 0, "owned_by": "local"});
        assert_eq!(listed(Dialect::OpenAi, &MODELS), json!({"object": "list", "data": [first, second]}));
        assert_eq!(serde_json::from_slice::<Value>(&one(Dialect::OpenAi, MODELS[0])).unwrap(), first);
    }

    #[test]
    fn anthropic_clients_get_anthropic_s_list() {
        let entry = |id| json!({"type": "model", "id": id, "display_name": id, "created_at": "1970-01-01T00:00:00Z"});
        let expected = json!({
            "data": [entry("gpt-4o-mini"), entry("a\"b")],
            "has_more": false, "first_id": "gpt-4o-mini", "last_id": "a\"b",
        });
        assert_eq!(listed(Dialect::Anthropic, &MODELS), expected);
        assert_eq!(serde_json::from_slice::<Value>(&one(Dialect::Anthropic, MODELS[1])).unwrap(), entry("a\"b"));
    }

    #[test]
    fn gemini_clients_get_gemini_s_list() {
        let list = listed(Dialect::Gemini, &MODELS);
        assert_eq!(list["models"][0]["name"], "models/gpt-4o-mini");
        assert_eq!(list["models"][1]["displayName"], "a\"b");
        let first = serde_json::from_slice::<Value>(&one(Dialect::Gemini, MODELS[0])).unwrap();
        assert_eq!(first, list["models"][0]);
    }

    #[test]
    fn an_empty_list_is_a_list() {
        assert_eq!(listed(Dialect::OpenAi, &[]), json!({"object": "list", "data": []}));
        assert_eq!(listed(Dialect::Gemini, &[]), json!({"models": []}));
        let expected = json!({"data": [], "has_more": false, "first_id": null, "last_id": null});
        assert_eq!(listed(Dialect::Anthropic, &[]), expected);
    }
}
