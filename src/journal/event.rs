//! The audit event `keeptrusts.event/1`: what is stored, tailed and exported.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{Advisor, Ended, NanoUsd, ServiceTier, Timestamp, Tokens, Usage, UsageSource, Verdict, is_zero};

/// The name and version of the event's form. Members may be added within a version; none is renamed or
/// removed.
pub const SCHEMA: &str = "keeptrusts.event/1";

/// One immutable audit record, as it is read back. It never holds text of a prompt or an answer.
///
/// Events are written by [`super::EventWriter`], in the order of these members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub schema: String,
    /// The event's place in its gateway's log, without gaps.
    pub seq: i64,
    pub time: Timestamp,
    /// UUID version 7, so that ids sort by time.
    pub id: Uuid,
    pub request_id: String,
    pub phase: Phase,
    pub verdict: Verdict,
    pub reason: Option<String>,
    pub key: EventKey,
    pub team: Option<String>,
    pub organization: String,
    pub credential: Credential,
    /// Tells the callers' own provider keys apart without telling them: salted, and too short to be searched for.
    #[serde(default)]
    pub fingerprint: Option<String>,
    pub gateway: String,
    pub provider: Option<String>,
    pub endpoint: String,
    pub dialect: String,
    pub model_requested: Option<String>,
    pub model_served: Option<String>,
    pub client: String,
    pub address: Option<String>,
    pub stream: bool,
    pub status: Option<u16>,
    pub started_at: Timestamp,
    pub first_token_ms: Option<u64>,
    pub duration_ms: Option<u64>,
    pub request_bytes: u64,
    pub response_bytes: Option<u64>,
    pub usage: Option<EventUsage>,
    /// Other models that were asked for the answer; what they used is part of `usage`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advisors: Vec<Advisor>,
    pub cost_nano_usd: Option<u64>,
    pub price_version: Option<String>,
    pub ended: Option<Ended>,
    /// The policies that found something, and how often. What they found is nowhere.
    #[serde(default)]
    pub policies: Vec<EventPolicy>,
    /// Shares of budgets of which the request spent the last part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<EventThreshold>,
    /// In an OUTPUT event: the number of the same request's INPUT event.
    pub input_seq: Option<i64>,
}

/// Which end of the request an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Phase {
    Input,
    Output,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventKey {
    pub id: String,
    pub name: String,
}

/// A policy that found something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPolicy {
    pub name: String,
    /// `redact`, `block` or `observe`.
    pub action: String,
    pub matches: u32,
}

/// A share of a budget, in percent, that has been spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventThreshold {
    /// `key`, `team` or `organization`.
    pub scope: String,
    pub name: String,
    pub budget: String,
    pub model: Option<String>,
    pub percent: u8,
}

/// What kind of credential the request was attributed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    AccessKey,
    /// The caller's own key for the provider; `key` then names no key of ours.
    ProviderKey,
}

impl Credential {
    pub fn label(self) -> &'static str {
        match self {
            Self::AccessKey => "access_key",
            Self::ProviderKey => "provider_key",
        }
    }
}

/// Usage as events show it: cached tokens are part of `input`, reasoning is part of `output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventUsage {
    pub input: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    #[serde(default)]
    pub cache_write_long: u64,
    pub output: u64,
    pub reasoning: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub input_audio: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub input_image: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub output_audio: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub output_image: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub web_searches: u64,
    #[serde(default, skip_serializing_if = "ServiceTier::is_standard")]
    pub tier: ServiceTier,
    pub source: UsageSource,
    pub complete: bool,
}

impl From<&Usage> for EventUsage {
    fn from(usage: &Usage) -> Self {
        let Usage { tokens, tier, web_searches, charged: _, source, complete } = *usage;
        Self {
            input: tokens.input,
            cache_read: tokens.cache_read,
            cache_write: tokens.cache_write,
            cache_write_long: tokens.cache_write_long,
            output: tokens.output,
            reasoning: tokens.reasoning,
            input_audio: tokens.input_audio,
            input_image: tokens.input_image,
            output_audio: tokens.output_audio,
            output_image: tokens.output_image,
            web_searches,
            tier,
            source,
            complete,
        }
    }
}

impl From<&EventUsage> for Usage {
    fn from(usage: &EventUsage) -> Self {
        let EventUsage { input, cache_read, cache_write, cache_write_long, output, reasoning, .. } = *usage;
        let EventUsage { input_audio, input_image, output_audio, output_image, .. } = *usage;
        let EventUsage { web_searches, tier, source, complete, .. } = *usage;
        let tokens = Tokens {
            input,
            cache_read,
            cache_write,
            cache_write_long,
            output,
            reasoning,
            input_audio,
            input_image,
            output_audio,
            output_image,
        };
        Self { tokens, tier, web_searches, charged: None, source, complete }
    }
}

impl Phase {
    pub fn label(self) -> &'static str {
        match self {
            Self::Input => "INPUT",
            Self::Output => "OUTPUT",
        }
    }
}

impl Event {
    /// The line `kt events tail` prints, without the leading time:
    /// `OUTPUT openai chat/completions key:jane-vscode team:frontend PASS model:gpt-4o-mini in:812 …`.
    pub fn line(&self) -> String {
        let mut line = String::with_capacity(160);
        let provider = self.provider.as_deref().unwrap_or(&self.dialect);
        let _ = write!(line, "{} {provider} {} key:{}", self.phase.label(), self.endpoint, self.key.name);
        if let Some(team) = &self.team {
            let _ = write!(line, " team:{team}");
        }
        let _ = write!(line, " {}", self.verdict.label());
        // Where the reason is how it ended, the outcome says so.
        let reason = self.reason.as_deref().filter(|reason| self.ended.is_none_or(|ended| ended.label() != *reason));
        if let Some(reason) = reason {
            let _ = write!(line, " {reason}");
        }
        for EventPolicy { name, action, matches } in &self.policies {
            let _ = write!(line, " {action}:{name}×{matches}");
        }
        for EventThreshold { scope, name, budget, percent, .. } in &self.thresholds {
            let _ = write!(line, " budget:{percent}%:{scope}:{name}:{budget}");
        }
        if self.phase == Phase::Output {
            self.write_outcome(&mut line);
        }
        line
    }

    fn write_outcome(&self, line: &mut String) {
        if let Some(model) = self.model_served.as_ref().or(self.model_requested.as_ref()) {
            let _ = write!(line, " model:{}", Printable(model));
        }
        if let Some(usage) = &self.usage {
            let about = if usage.source == UsageSource::Estimated { "~" } else { "" };
            let _ = write!(line, " in:{about}{} out:{about}{}", usage.input, usage.output);
        }
        match self.cost_nano_usd {
            Some(cost) => _ = write!(line, " cost:{}", NanoUsd(cost)),
            None => line.push_str(" cost:unknown"),
        }
        if let Some(ended) = self.ended.filter(|&ended| ended != Ended::Complete) {
            let _ = write!(line, " ended:{}", ended.label());
        }
        if let Some(millis) = self.duration_ms {
            let _ = write!(line, " {millis}ms");
        }
    }
}

/// A text from outside, with everything that could forge a second field or line replaced.
struct Printable<'a>(&'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if c.is_control() || c.is_whitespace() { '?' } else { c }))
    }
}
