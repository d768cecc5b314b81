//! Anthropic's list of models.

use serde::Serialize;

use crate::protocol::json;
use crate::protocol::models::ModelEntry;

/// What Anthropic itself sends where a release date is unknown.
const CREATED_AT_UNKNOWN: &str = "1970-01-01T00:00:00Z";

#[derive(Serialize)]
struct List<'a> {
    data: Vec<Model<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Model<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    display_name: &'a str,
    created_at: &'static str,
}

pub(crate) fn list<'a>(models: impl Iterator<Item = ModelEntry<'a>>) -> Vec<u8> {
    let data: Vec<_> = models.map(model).collect();
    let [first_id, last_id] = [data.first(), data.last()].map(|model| model.map(|model| model.id));
    json::written(&List { data, has_more: false, first_id, last_id })
}

pub(crate) fn one(entry: ModelEntry<'_>) -> Vec<u8> {
    json::written(&model(entry))
}

fn model(entry: ModelEntry<'_>) -> Model<'_> {
    Model { kind: "model", id: entry.id, display_name: entry.id, created_at: CREATED_AT_UNKNOWN }
}
