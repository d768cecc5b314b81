//! The head of a request body, and the edits it may get.
//!
//! The whole body is checked to be one JSON object, in one pass that keeps nothing but a few byte ranges.
//! Nesting costs no stack: values that decide nothing are skipped iteratively.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::domain::ServiceTier;

pub use super::json::splice::{Edit, splice};

use super::json::lenient::{Count, Text};
use super::json::range_in;
use super::json::skim::{self, NotAnObject};
use super::{Dialect, Endpoint};

mod form; // a body of several parts, with files among them
mod gemini; // what is particular to Gemini's requests

pub use form::{boundary, read_form};

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

/// Why a request body cannot be understood. Nothing here holds any of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskError {
    Empty,
    /// A byte order mark, which JSON on the wire may not have.
    ByteOrderMark,
    /// The first byte that is not UTF-8.
    NotUtf8 {
        offset: usize,
    },
    /// Where JSON ends to be JSON.
    NotJson {
        line: usize,
        column: usize,
    },
    NotAnObject,
    ModelMissing,
    ModelNotText,
    ModelEmpty,
    ModelTooLong,
    ModelHasControls,
    /// The body names another model than the path does.
    ModelsDiffer,
    /// No form that can be read in one way only.
    NotAForm,
    StreamNotBool,
    /// A member that decides something stands there twice; each parser would pick its own.
    Ambiguous {
        member: &'static str,
    },
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

    /// The changes that name the model `serves` instead of the caller's, and ask for usage.
    pub fn edits(&self, serves: Option<&str>, ask_for_usage: bool) -> Vec<Edit> {
        let rename = |(name, serves): (&Name, &str)| {
            let text = match self.at.is_form {
                true => serves.to_owned(),
                false => serde_json::to_string(&format!("{}{serves}", name.prefix)).ok()?,
            };
            Some(Edit { range: name.range.clone(), text })
        };
        let add = |(at, serves): (usize, &str)| {
            let text = format!("\"model\":{},", serde_json::to_string(serves).ok()?);
            Some(Edit { range: at..at, text })
        };
        let added = self.at.open.zip(serves).filter(|_| self.at.names.is_empty()).and_then(add);
        let renamed = self.at.names.iter().filter_map(|name| rename((name, serves?))).chain(added);
        let asked = if ask_for_usage { self.usage_edit() } else { None };
        let mut edits: Vec<_> = renamed.chain(asked).collect();
        edits.sort_by_key(|edit| edit.range.start);
        edits
    }

    fn usage_edit(&self) -> Option<Edit> {
        let insert = |at, text: &str| Some(Edit { range: at..at, text: text.into() });
        match &self.at.usage {
            UsageOption::Asked | UsageOption::Strange => None,
            UsageOption::Absent => insert(self.at.stream.as_ref()?.end, r#","stream_options":{"include_usage":true}"#),
            UsageOption::Null(range) => Some(Edit { range: range.clone(), text: r#"{"include_usage":true}"#.into() }),
            UsageOption::EmptyObject(at) => insert(*at, r#""include_usage":true"#),
            UsageOption::Object(at) => insert(*at, r#""include_usage":true,"#),
            UsageOption::Refused(range) => Some(Edit { range: range.clone(), text: "true".into() }),
        }
    }
}

/// Whether a stream of this endpoint says what it used only if asked to.
fn has_usage_option(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions)
}

/// Where the values stand that an edit may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Places {
    names: Vec<Name>,
    /// Behind the brace that begins the body, if a member can be put there.
    open: Option<usize>,
    is_form: bool,
    stream: Option<Range<usize>>,
    usage: UsageOption,
}

/// A value that names the model, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    range: Range<usize>,
    /// What stands there before the name itself.
    prefix: &'static str,
}

/// What `stream_options` says about usage, and where that could be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum UsageOption {
    #[default]
    Absent,
    Null(Range<usize>),
    /// An object without the option, and the offset behind its brace.
    EmptyObject(usize),
    Object(usize),
    /// The value of an `include_usage` that is `false` or `null`.
    Refused(Range<usize>),
    Asked,
    /// No shape we know; the provider shall judge it.
    Strange,
}

impl UsageOption {
    fn read(body: &str, options: &str) -> Result<Self, AskError> {
        let Some(range) = range_in(body.as_bytes(), options.as_bytes()) else { return Ok(Self::Strange) };
        if options == "null" {
            return Ok(Self::Null(range));
        }
        if !options.starts_with('{') {
            return Ok(Self::Strange);
        }
        let members = Members::read(options)?;
        if members.duplicate.is_some() {
            return Err(AskError::Ambiguous { member: STREAM_OPTIONS });
        }
        Ok(match members.value(INCLUDE_USAGE) {
            Some("true") => Self::Asked,
            Some(value @ ("false" | "null")) => match range_in(body.as_bytes(), value.as_bytes()) {
                Some(range) => Self::Refused(range),
                None => Self::Strange,
            },
            Some(_) => Self::Strange,
            None if members.count == 0 => Self::EmptyObject(range.start + 1),
            None => Self::Object(range.start + 1),
        })
    }
}

const MODEL: &str = "model";
const STREAM: &str = "stream";
const STREAM_OPTIONS: &str = "stream_options";
const ANSWERS: [&str; 2] = ["n", "best_of"];
const SERVICE_TIER: [&str; 2] = ["service_tier", "serviceTier"];
const SPEED: &str = "speed";
const INCLUDE_USAGE: &str = "include_usage";
const OUTPUT_LIMITS: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

/// Members that decide where a request goes, what it may cost or what the model is told: one of each at most.
const DECIDING: [&str; 26] = [
    MODEL,
    STREAM,
    STREAM_OPTIONS,
    INCLUDE_USAGE,
    OUTPUT_LIMITS[0],
    OUTPUT_LIMITS[1],
    OUTPUT_LIMITS[2],
    ANSWERS[0],
    ANSWERS[1],
    SERVICE_TIER[0],
    SERVICE_TIER[1],
    SPEED,
    "messages",
    "input",
    "instructions",
    "system",
    "tools",
    "contents",
    "content",
    "requests",
    "generationConfig",
    "generation_config",
    "systemInstruction",
    "system_instruction",
    "generateContentRequest",
    "generate_content_request",
];

/// The deciding members of one object.
#[derive(Default)]
struct Members<'a> {
    values: [Option<&'a str>; DECIDING.len()],
    duplicate: Option<&'static str>,
    /// All members, deciding or not.
    count: usize,
}

impl<'a> Members<'a> {
    fn read(text: &'a str) -> Result<Self, AskError> {
        Self::skim(text).map_err(|NotAnObject| misplaced(text))
    }

    fn skim(text: &'a str) -> Result<Self, NotAnObject> {
        let (mut skimmed, mut members) = (skim::Members::of(text.as_bytes()), Self::default());
        while let Some(member) = skimmed.next()? {
            members.count += 1;
            let name = skimmed.name(&member)?;
            let deciding = DECIDING.iter().zip(&mut members.values).find(|(deciding, _)| deciding.as_bytes() == &*name);
            let Some((deciding, slot)) = deciding else { continue };
            if slot.replace(text.get(member.value).ok_or(NotAnObject)?).is_some() {
                members.duplicate.get_or_insert(deciding);
            }
        }
        Ok(members)
    }

    fn value(&self, member: &str) -> Option<&'a str> {
        let index = DECIDING.iter().position(|name| *name == member)?;
        self.values.get(index).copied().flatten()
    }
}

/// An object whose members are read and thrown away, their names as texts.
#[derive(Deserialize)]
struct AnyObject {}

/// Where a text that begins like an object ceases to be one.
fn misplaced(text: &str) -> AskError {
    let nowhere = AskError::NotJson { line: 0, column: 0 };
    serde_json::from_str(text).map_or_else(not_json, |AnyObject {}| nowhere)
}

fn not_json(error: serde_json::Error) -> AskError {
    AskError::NotJson { line: error.line(), column: error.column() }
}

fn checked_members(text: &str) -> Result<Members<'_>, AskError> {
    let members = Members::read(text)?;
    match members.duplicate {
        Some(member) => Err(AskError::Ambiguous { member }),
        None => Ok(members),
    }
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

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the request body is empty; send a JSON object"),
            Self::ByteOrderMark => f.write_str("the request body begins with a byte order mark; send plain UTF-8"),
            Self::NotUtf8 { offset } => write!(f, "the request body is not UTF-8 at byte {offset}"),
            Self::NotJson { line, column } => {
                write!(f, "the request body is not valid JSON at line {line}, column {column}")
            }
            Self::NotAnObject => f.write_str("the request body must be a JSON object"),
            Self::ModelMissing => f.write_str("the request names no \"model\""),
            Self::ModelNotText => f.write_str("\"model\" must be a text"),
            Self::ModelEmpty => f.write_str("\"model\" is empty"),
            Self::ModelTooLong => write!(f, "\"model\" is longer than {MODEL_BYTES_MAX} bytes"),
            Self::ModelHasControls => f.write_str("\"model\" has control characters"),
            Self::ModelsDiffer => f.write_str("the body names another \"model\" than the path"),
            Self::NotAForm => f.write_str("its form has parts that cannot be told apart with certainty"),
            Self::StreamNotBool => f.write_str("\"stream\" must be true or false"),
            Self::Ambiguous { member } => write!(f, "\"{member}\" stands more than once in the request body"),
        }
    }
}

impl std::error::Error for AskError {}

#[cfg(test)]
mod tests;
