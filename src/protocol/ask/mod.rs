//! The head of a request body, and the edits it may get.
//!
//! The whole body is checked to be one JSON object, in one pass that keeps nothing but a few byte ranges.
//! Nesting costs no stack: values that decide nothing are skipped iteratively.

use serde::de::IgnoredAny;

use crate::domain::ServiceTier;

pub use super::json::splice::{Edit, splice};

use super::json::lenient::{Count, Text};
use super::json::range_in;
use super::{Dialect, Endpoint};

mod error; // why a body cannot be understood
mod members; // the members that decide something
mod edits; // what may be changed, and where
mod form; // a body of several parts, with files among them
mod gemini; // what is particular to Gemini's requests

pub use error::AskError;
pub use form::{boundary, read_form};

use edits::{Name, Places, UsageOption};
use members::{
    ANSWERS, MODEL, Members, OUTPUT_LIMITS, SERVICE_TIER, SPEED, STREAM, STREAM_OPTIONS, checked_members, not_json,
};

/// The longest model name, in bytes.
pub const MODEL_BYTES_MAX: usize = 256;

/// What a request body says about how to treat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskHead {
    pub model: String,
    pub stream: bool,
    /// The most tokens the caller wants back; the largest where it gives several limits.
    pub output_tokens_max: Option<u64>,
    /// How many answers the caller wants; each may have as many tokens.
    pub answers: u64,
    /// The service tier the caller asks for, where it would be dearer.
    pub tier: ServiceTier,
    /// `stream_options.include_usage` is true.
    pub includes_usage: bool,
    at: Places,
}

/// Reads the head of a request to `endpoint` whose body names the model.
pub fn read(endpoint: Endpoint, body: &[u8]) -> Result<AskHead, AskError> {
    let text = checked_text(body)?;
    let members = checked_members(text)?;
    let model = match (members.value(MODEL), endpoint.default_model()) {
        (Some(value), _) => model(value)?,
        (None, Some(default)) => default.to_owned(),
        (None, None) => return Err(AskError::ModelMissing),
    };
    openai_head(endpoint, model, &members, text)
}

/// Reads the head of a request to `endpoint` of OpenAI's, about `model`.
fn openai_head(endpoint: Endpoint, model: String, members: &Members<'_>, text: &str) -> Result<AskHead, AskError> {
    let stream = match members.value(STREAM) {
        Some("true") => true,
        Some("false" | "null") | None => false,
        Some(_) => return Err(AskError::StreamNotBool),
    };
    let limits = OUTPUT_LIMITS.iter().filter_map(|&member| serde_json::from_str(members.value(member)?).ok());
    let output_tokens_max = limits.filter_map(|Count(limit)| limit).max();
    let answers = ANSWERS.iter().filter_map(|&member| serde_json::from_str(members.value(member)?).ok());
    let answers = answers.filter_map(|Count(count)| count).max().map_or(1, |count| count.max(1));
    let options = members.value(STREAM_OPTIONS).filter(|_| has_usage_option(endpoint));
    let usage = options.map_or(Ok(UsageOption::Absent), |options| UsageOption::read(text, options))?;
    let place = |value: &str| range_in(text.as_bytes(), value.as_bytes());
    let named = members.value(MODEL).and_then(place);
    let names = named.map(|range| Name { range, prefix: "" }).into_iter().collect();
    let open = text.find('{').map(|brace| brace + 1).filter(|_| members.count > 0);
    let at = Places { names, open, is_form: false, stream: members.value(STREAM).and_then(place), usage };
    let (tier, includes_usage) = (tier(members), at.usage == UsageOption::Asked);
    Ok(AskHead { model, stream, output_tokens_max, answers, tier, includes_usage, at })
}

/// The tier at which a request wants to be served, where that would be dearer.
fn tier(members: &Members<'_>) -> ServiceTier {
    let word = |member| members.value(member).and_then(|value| serde_json::from_str::<Text>(value).ok());
    let says = |member, wanted| word(member).is_some_and(|word| word.as_str().eq_ignore_ascii_case(wanted));
    if says(SPEED, "fast") {
        ServiceTier::Fast
    } else if SERVICE_TIER.iter().any(|member| says(member, "priority")) {
        ServiceTier::Priority
    } else {
        ServiceTier::Standard
    }
}

/// Reads the head of a request to `endpoint` whose path names the model.
pub fn read_about(endpoint: Endpoint, model: &str, body: &[u8]) -> Result<AskHead, AskError> {
    let text = checked_text(body)?;
    let members = checked_members(text)?;
    if endpoint.dialect() == Dialect::OpenAi {
        // Azure goes by the path alone, whatever the body says.
        members.value(MODEL).map(self::model).transpose()?;
        return openai_head(endpoint, model.into(), &members, text);
    }
    let mut names = Vec::new();
    for value in gemini::models(&members)? {
        let text = self::model(value)?;
        if !gemini::is_same(&text, model) {
            return Err(AskError::ModelsDiffer);
        }
        names.extend(range_in(body, value.as_bytes()).map(|range| Name { range, prefix: gemini::prefix(&text) }));
    }
    let (output_tokens_max, answers) = gemini::limits(&members)?;
    // In whatever order the members stand.
    names.sort_by_key(|name| name.range.start);
    Ok(AskHead {
        model: model.into(),
        stream: endpoint == Endpoint::StreamGenerateContent,
        output_tokens_max,
        answers,
        tier: tier(&members),
        includes_usage: true,
        at: Places { names, ..Places::default() },
    })
}

impl AskHead {
    /// Whether usage must be asked for on the client's behalf, and hidden from it again.
    pub fn lacks_usage(&self, endpoint: Endpoint) -> bool {
        let can_be_added = !matches!(self.at.usage, UsageOption::Asked | UsageOption::Strange);
        has_usage_option(endpoint) && self.stream && can_be_added
    }

    /// Whether the body leaves the model to the provider's default, which need not be the one that was judged.
    pub fn leaves_model_open(&self) -> bool {
        self.at.names.is_empty() && self.at.open.is_some()
    }

    /// Whether the body itself says that it is for `model`, once and plainly.
    pub fn says(&self, body: &[u8], model: &str) -> bool {
        let written = |name: &Name| {
            let text = body.get(name.range.clone())?;
            Some(if self.at.is_form {
                text == model.as_bytes()
            } else {
                serde_json::from_slice::<&str>(text).ok()? == model
            })
        };
        matches!(self.at.names.as_slice(), [name] if written(name) == Some(true))
    }
}

/// Whether a stream of this endpoint says what it used only if asked to.
fn has_usage_option(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions)
}

/// The body as text that is an object, if it is JSON at all.
fn checked_text(body: &[u8]) -> Result<&str, AskError> {
    if body.starts_with(b"\xEF\xBB\xBF") {
        return Err(AskError::ByteOrderMark);
    }
    let text = simdutf8::compat::from_utf8(body).map_err(|error| AskError::NotUtf8 { offset: error.valid_up_to() })?;
    match text.trim_ascii_start().chars().next() {
        None => Err(AskError::Empty),
        Some('{') => Ok(text),
        // Not left to the reader of objects, whose message would quote what it found.
        Some(_) => Err(match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => AskError::NotAnObject,
            Err(error) => not_json(error),
        }),
    }
}

fn model(value: &str) -> Result<String, AskError> {
    if !value.starts_with('"') {
        return Err(AskError::ModelNotText);
    }
    // Six bytes is the longest escape of one.
    if value.len() > 6 * MODEL_BYTES_MAX + 2 {
        return Err(AskError::ModelTooLong);
    }
    // Fails for half a surrogate pair only: the value has been read as JSON already.
    let model: String = serde_json::from_str(value).map_err(|_| AskError::ModelNotText)?;
    match model {
        model if model.is_empty() => Err(AskError::ModelEmpty),
        model if model.len() > MODEL_BYTES_MAX => Err(AskError::ModelTooLong),
        model if model.contains(char::is_control) => Err(AskError::ModelHasControls),
        model => Ok(model),
    }
}

#[cfg(test)]
mod tests;
