//! What is particular to Gemini's requests: the model stands in the path, and may stand in the body again.

use serde::Deserialize;

use crate::protocol::json::lenient::{Count, Object};

use super::{AskError, Members};

/// Before a model's name in a body.
const PREFIX: &str = "models/";

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    #[serde(alias = "max_output_tokens")]
    max_output_tokens: Count,
    #[serde(alias = "candidate_count")]
    candidate_count: Count,
}

/// The member of an object that Gemini takes under either of two names.
fn either<'a>(members: &Members<'a>, names: [&'static str; 2]) -> Result<Option<&'a str>, AskError> {
    match names.map(|name| members.value(name)) {
        [Some(_), Some(_)] => Err(AskError::Ambiguous { member: names[0] }),
        [one, other] => Ok(one.or(other)),
    }
}

/// The most tokens the caller wants back in an answer, and how many answers.
pub(super) fn limits(members: &Members<'_>) -> Result<(Option<u64>, u64), AskError> {
    either(members, ["systemInstruction", "system_instruction"])?;
    let Some(config) = either(members, ["generationConfig", "generation_config"])? else { return Ok((None, 1)) };
    // It fails for a member that stands there twice.
    let config = serde_json::from_str::<Object<Config>>(config);
    let config = config.map_err(|_| AskError::Ambiguous { member: "generationConfig" })?;
    let config = config.or_default();
    Ok((config.max_output_tokens.0, config.candidate_count.0.map_or(1, |count| count.max(1))))
}

/// Every value in the body that names a model, as it stands there.
pub(super) fn models<'a>(members: &Members<'a>) -> Result<Vec<&'a str>, AskError> {
    let mut models: Vec<&str> = members.value(super::MODEL).into_iter().collect();
    let inner = either(members, ["generateContentRequest", "generate_content_request"])?;
    let many = members.value("requests").filter(|value| value.starts_with('['));
    let many: Vec<&serde_json::value::RawValue> = match many {
        Some(many) => serde_json::from_str(many).map_err(super::not_json)?,
        None => Vec::new(),
    };
    let objects = inner.into_iter().chain(many.into_iter().map(|request| request.get()));
    for object in objects.filter(|text| text.starts_with('{')) {
        let members = Members::read(object)?;
        if let Some(member) = members.duplicate {
            return Err(AskError::Ambiguous { member });
        }
        models.extend(members.value(super::MODEL));
    }
    Ok(models)
}

/// Whether a name written in the body is that of the model in the path.
pub(super) fn is_same(written: &str, model: &str) -> bool {
    written.strip_prefix(PREFIX).unwrap_or(written) == model
}

/// What stands before the model's own name, if anything.
pub(super) fn prefix(written: &str) -> &'static str {
    if written.starts_with(PREFIX) { PREFIX } else { "" }
}
