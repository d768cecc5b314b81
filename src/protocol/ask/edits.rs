//! What may be changed of a body, and where.

use std::ops::Range;

use crate::protocol::json::range_in;
use crate::protocol::json::splice::Edit;

use super::members::{INCLUDE_USAGE, Members, STREAM_OPTIONS};
use super::{AskError, AskHead};

/// Where the values stand that an edit may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) names: Vec<Name>,
    /// Behind the brace that begins the body, if a member can be put there.
    pub(super) open: Option<usize>,
    pub(super) is_form: bool,
    pub(super) stream: Option<Range<usize>>,
    pub(super) usage: UsageOption,
}

/// A value that names the model, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) range: Range<usize>,
    /// What stands there before the name itself.
    pub(super) prefix: &'static str,
}

/// What `stream_options` says about usage, and where that could be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum UsageOption {
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
    pub(super) fn read(body: &str, options: &str) -> Result<Self, AskError> {
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

impl AskHead {
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
