//! The audit event `keeptrusts.event/1`: what is stored, tailed and exported.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{Ended, NanoUsd, ServiceTier, Timestamp, Usage, UsageSource, Verdict, is_zero};

use super::record::{Closing, Opening, Record};

/// The name and version of the event's form. Members may be added within a version; none is renamed or
/// removed.
pub const SCHEMA: &str = "keeptrusts.event/1";

/// One immutable audit record. It never holds text of a prompt or an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub schema: String,
    /// UUID version 7, so that ids sort by time.
    pub id: Uuid,
    pub request_id: String,
    pub time: Timestamp,
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
    pub cost_nano_usd: Option<u64>,
    pub price_version: Option<String>,
    pub ended: Option<Ended>,
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

/// What kind of credential the request was attributed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    AccessKey,
    /// The caller's own key for the provider; `key` then names no key of ours.
    ProviderKey,
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

impl Phase {
    pub fn label(self) -> &'static str {
        match self {
            Self::Input => "INPUT",
            Self::Output => "OUTPUT",
        }
    }
}

impl Event {
    /// The event a record stands for, as seen by the gateway called `gateway`.
    pub fn from_record(record: &Record, gateway: &str) -> Self {
        match record {
            Record::Opened(opening) => Self::input(opening, gateway),
            Record::Closed(closing) => Self::output(closing, gateway),
        }
    }

    fn input(opening: &Opening, gateway: &str) -> Self {
        // Destructured without `..`: a new fact has to be placed here before this compiles.
        let Opening {
            request_id,
            started_at,
            time,
            verdict,
            refusal,
            key,
            team,
            organization,
            credential,
            fingerprint,
            provider,
            endpoint,
            dialect,
            model_requested,
            price: _,
            client,
            address,
            stream,
            request_bytes,
            overhead: _,
        } = opening;
        Self {
            schema: SCHEMA.into(),
            id: Uuid::now_v7(),
            request_id: request_id.to_string(),
            time: *time,
            phase: Phase::Input,
            verdict: *verdict,
            reason: refusal.map(|refused| refused.code.into()),
            key: EventKey { id: key.id.to_string(), name: key.name.to_string() },
            team: team.as_deref().map(Into::into),
            organization: organization.to_string(),
            credential: *credential,
            fingerprint: fingerprint.as_deref().map(Into::into),
            gateway: gateway.into(),
            provider: provider.as_deref().map(Into::into),
            endpoint: (*endpoint).into(),
            dialect: (*dialect).into(),
            model_requested: model_requested.as_deref().map(Into::into),
            model_served: None,
            client: (*client).into(),
            address: address.map(|address| address.to_string()),
            stream: *stream,
            status: refusal.map(|refused| refused.status),
            started_at: *started_at,
            first_token_ms: None,
            duration_ms: None,
            request_bytes: *request_bytes,
            response_bytes: None,
            usage: None,
            cost_nano_usd: None,
            price_version: None,
            ended: None,
        }
    }

    fn output(closing: &Closing, gateway: &str) -> Self {
        let Closing {
            opening,
            time,
            verdict,
            reason,
            model_served,
            status,
            first_token,
            duration,
            response_bytes,
            usage,
            cost,
            ended,
        } = closing;
        let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            time: *time,
            phase: Phase::Output,
            verdict: *verdict,
            reason: reason.map(Into::into),
            model_served: model_served.as_deref().map(Into::into),
            status: Some(*status),
            first_token_ms: first_token.map(millis),
            duration_ms: Some(millis(*duration)),
            response_bytes: Some(*response_bytes),
            usage: Some(usage.into()),
            cost_nano_usd: cost.as_ref().map(|cost| cost.amount.0),
            price_version: cost.as_ref().map(|cost| cost.price_version.to_string()),
            ended: Some(*ended),
            ..Self::input(opening, gateway)
        }
    }

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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::domain::{Cost, Tokens, Usage};
    use crate::journal::{KeyIdentity, KeySeries, Refused};

    use super::*;

    fn opening() -> Opening {
        Opening {
            request_id: "r-1".into(),
            started_at: Timestamp::from_micros(1_705_314_612_000_000),
            time: Timestamp::from_micros(1_705_314_612_000_400),
            verdict: Verdict::Pass,
            refusal: None,
            key: KeyIdentity {
                id: "ak_1".into(),
                name: "jane-vscode".into(),
                series: Arc::new(KeySeries::detached("jane-vscode", "frontend")),
            },
            team: Some("frontend".into()),
            organization: "acme".into(),
            credential: Credential::AccessKey,
            fingerprint: None,
            provider: Some("openai".into()),
            endpoint: "chat/completions",
            dialect: "openai",
            model_requested: Some("gpt-4o-mini".into()),
            price: None,
            client: "openai-python",
            address: None,
            stream: true,
            request_bytes: 3_000,
            overhead: None,
        }
    }

    #[test]
    fn an_input_line_names_key_team_and_verdict() {
        let event = Event::from_record(&Record::Opened(Arc::new(opening())), "edge-1");
        assert_eq!(event.line(), "INPUT openai chat/completions key:jane-vscode team:frontend PASS");
        let refusal = Some(Refused { code: "model_not_allowed", status: 403 });
        let denied = Opening { verdict: Verdict::Deny, refusal, team: None, ..opening() };
        let event = Event::from_record(&Record::Opened(Arc::new(denied)), "edge-1");
        assert_eq!(event.line(), "INPUT openai chat/completions key:jane-vscode DENY model_not_allowed");
        assert_eq!(event.status, Some(403));
    }

    #[test]
    fn an_output_line_adds_model_tokens_cost_and_time() {
        let closing = Closing {
            opening: Arc::new(opening()),
            time: Timestamp::from_micros(1_705_314_614_000_000),
            verdict: Verdict::Pass,
            reason: None,
            model_served: Some("gpt-4o-mini evil\nline".into()),
            status: 200,
            first_token: Some(Duration::from_millis(200)),
            duration: Duration::from_millis(1893),
            response_bytes: 900,
            usage: Usage {
                tokens: Tokens { input: 812, output: 164, ..Tokens::default() },
                source: UsageSource::Provider,
                complete: true,
                ..Usage::default()
            },
            cost: Some(Cost { amount: NanoUsd(220_200), price_version: "v1".into() }),
            ended: Ended::Complete,
        };
        let event = Event::from_record(&Record::Closed(Box::new(closing)), "edge-1");
        assert_eq!(
            event.line(),
            "OUTPUT openai chat/completions key:jane-vscode team:frontend PASS model:gpt-4o-mini?evil?line \
             in:812 out:164 cost:$0.000220 1893ms"
        );
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }
}
