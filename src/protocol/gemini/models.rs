//! Gemini's list of models.

use serde::Serialize;

use crate::protocol::json;
use crate::protocol::models::ModelEntry;

#[derive(Serialize)]
struct List<'a> {
    models: Vec<Model<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Model<'a> {
    name: String,
    display_name: &'a str,
    /// Clients offer a model for what stands here; the gateway does not know better than the provider.
    supported_generation_methods: [&'static str; 4],
}

pub(crate) fn list<'a>(models: impl Iterator<Item = ModelEntry<'a>>) -> Vec<u8> {
    json::written(&List { models: models.map(model).collect() })
}

pub(crate) fn one(entry: ModelEntry<'_>) -> Vec<u8> {
    json::written(&model(entry))
}

fn model(entry: ModelEntry<'_>) -> Model<'_> {
    Model {
        name: format!("models/{}", entry.id),
        display_name: entry.id,
        supported_generation_methods: ["generateContent", "streamGenerateContent", "countTokens", "embedContent"],
    }
}
