//! What may be said: policies, the detectors they name, redaction. Text in, findings out.
//!
//! A [`Policy`] is compiled once, when a configuration is read, and shared by all requests. Everything here takes
//! time linear in the text, and looks at text that comes in pieces exactly as at text that comes whole: see
//! `scan`. What it does not do: know requests, keep text beyond what could still become a match, or say what it
//! found; a finding is counted, never stored.

mod rules; // what an operator asks for → a compiled policy, or what is wrong with it
mod scope; // whom a policy concerns
mod scan; // text → findings, also of text that has not ended
mod text; // JSON strings, whole or in pieces → what is left of them
mod redact; // a whole body → the edits it gets
mod guard; // an answer as it passes
mod reversible; // placeholders, and what they stand for
pub mod detectors; // what there is to find: one table
mod patterns; // expressions and keywords

pub use guard::Guard;
pub use redact::{Inspected, inspect, try_text};
pub use reversible::Placeholders;
pub use rules::{Action, Fault, PatternSpec, Phase, Policy, Spec};
pub use scan::{Active, Hit, Tally};
pub use scope::{Scope, Subject};
pub use text::{Blocked, Form, Text};
