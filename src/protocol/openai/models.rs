//! OpenAI's list of models.

use serde::Serialize;

use crate::protocol::json;
use crate::protocol::models::ModelEntry;

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    /// Clients require the member; the gateway does not know the day.
    created: u64,
    owned_by: &'a str,
}

pub(crate) fn list<'a>(models: impl Iterator<Item = ModelEntry<'a>>) -> Vec<u8> {
    json::written(&List { object: "list", data: models.map(model).collect() })
}

pub(crate) fn one(entry: ModelEntry<'_>) -> Vec<u8> {
    json::written(&model(entry))
}

fn model(entry: ModelEntry<'_>) -> Model<'_> {
    Model { id: entry.id, object: "model", created: 0, owned_by: entry.owner }
}
