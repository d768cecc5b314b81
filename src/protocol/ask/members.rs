//! The members of a body that decide something.

use serde::Deserialize;

use crate::protocol::json::skim::{self, NotAnObject};

use super::AskError;

pub(super) const MODEL: &str = "model";
pub(super) const STREAM: &str = "stream";
pub(super) const STREAM_OPTIONS: &str = "stream_options";
pub(super) const ANSWERS: [&str; 2] = ["n", "best_of"];
pub(super) const SERVICE_TIER: [&str; 2] = ["service_tier", "serviceTier"];
pub(super) const SPEED: &str = "speed";
pub(super) const INCLUDE_USAGE: &str = "include_usage";
pub(super) const OUTPUT_LIMITS: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

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
pub(super) struct Members<'a> {
    values: [Option<&'a str>; DECIDING.len()],
    pub(super) duplicate: Option<&'static str>,
    /// All members, deciding or not.
    pub(super) count: usize,
}

impl<'a> Members<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, AskError> {
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

    pub(super) fn value(&self, member: &str) -> Option<&'a str> {
        let index = DECIDING.iter().position(|name| *name == member)?;
        self.values.get(index).copied().flatten()
    }
}

pub(super) fn checked_members(text: &str) -> Result<Members<'_>, AskError> {
    let members = Members::read(text)?;
    match members.duplicate {
        Some(member) => Err(AskError::Ambiguous { member }),
        None => Ok(members),
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

pub(super) fn not_json(error: serde_json::Error) -> AskError {
    AskError::NotJson { line: error.line(), column: error.column() }
}
