//! The facts again, from an event that another process made of them: when a process hands over, what it has still to say
//! comes as events, and is counted, summed and written by the next one like facts of its own.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::{Advisor, Cost, ModelPrice, NanoUsd, Usage};
use crate::policy::{Action, Hit};

use super::event::{Event, EventPolicy, EventThreshold};
use super::record::{Closing, EventNumber, KeyIdentity, Opening, Refused, Reserved, Threshold};
use super::{KeySeries, Phase};

/// How many words are told apart. There are a few dozen: endpoints, dialects, clients and reasons.
const WORDS_MAX: usize = 1024;
/// What words beyond them become.
const WORD_TOO_MANY: &str = "other";

impl Event {
    /// What was known of the request when it was judged. The key's metrics and the model's price are this process's own.
    pub fn opening(&self, series: Arc<KeySeries>, price: Option<Arc<ModelPrice>>) -> Opening {
        let is_input = self.phase == Phase::Input;
        let code = self.reason.as_deref().map_or("", word);
        let refusal = self.status.filter(|_| is_input).map(|status| Refused { code, status });
        let number = EventNumber::default();
        number.set(if is_input { self.seq } else { self.input_seq.unwrap_or(0) });
        Opening {
            request_id: self.request_id.as_str().into(),
            started_at: self.started_at,
            time: self.time,
            verdict: self.verdict,
            refusal,
            key: KeyIdentity { id: self.key.id.as_str().into(), name: self.key.name.as_str().into(), series },
            team: shared(self.team.as_deref()),
            organization: self.organization.as_str().into(),
            credential: self.credential,
            fingerprint: shared(self.fingerprint.as_deref()),
            provider: shared(self.provider.as_deref()),
            endpoint: word(&self.endpoint),
            dialect: word(&self.dialect),
            model_requested: shared(self.model_requested.as_deref()),
            price,
            client: word(&self.client),
            address: self.address.as_deref().and_then(|address| address.parse().ok()),
            stream: self.stream,
            request_bytes: self.request_bytes,
            policies: if is_input { hits(&self.policies) } else { Vec::new() },
            overhead: None,
            number,
            reserved: Reserved::default(),
        }
    }

    /// What the request came to; `None` of an event that does not tell it.
    pub fn closing(&self, opening: Arc<Opening>) -> Option<Closing> {
        let (usage, ended) = (self.usage.as_ref()?, self.ended?);
        let priced = self.cost_nano_usd.zip(self.price_version.as_deref());
        Some(Closing {
            opening,
            time: self.time,
            verdict: self.verdict,
            reason: self.reason.as_deref().map(word),
            model_served: shared(self.model_served.as_deref()),
            status: self.status.unwrap_or(0),
            first_token: self.first_token_ms.map(Duration::from_millis),
            duration: Duration::from_millis(self.duration_ms.unwrap_or(0)),
            response_bytes: self.response_bytes.unwrap_or(0),
            usage: Usage::from(usage),
            advisors: Vec::<Advisor>::clone(&self.advisors),
            cost: priced.map(|(cost, version)| Cost { amount: NanoUsd(cost), price_version: version.into() }),
            ended,
            policies: hits(&self.policies),
            thresholds: self.thresholds.iter().map(threshold).collect(),
        })
    }
}

fn threshold(told: &EventThreshold) -> Threshold {
    let EventThreshold { scope, name, budget, model, percent } = told;
    let (scope, name, budget) = (word(scope), name.as_str().into(), budget.clone());
    Threshold { scope, name, budget, model: model.clone(), percent: *percent }
}

fn hits(policies: &[EventPolicy]) -> Vec<Hit> {
    let hit = |EventPolicy { name, action, matches }: &EventPolicy| {
        let action = Action::ALL.into_iter().find(|known| known.label() == action)?;
        Some(Hit { policy: name.as_str().into(), action, matches: *matches })
    };
    policies.iter().filter_map(hit).collect()
}

fn shared(text: Option<&str>) -> Option<Arc<str>> {
    text.map(Into::into)
}

/// One of few words, kept for good.
fn word(text: &str) -> &'static str {
    static KNOWN: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock();
    if let Some(word) = known.get(text) {
        return word;
    }
    if known.len() >= WORDS_MAX {
        return WORD_TOO_MANY;
    }
    let word: &'static str = Box::leak(text.into());
    known.insert(word);
    word
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use crate::journal::write::tests::{closing, opening};
    use crate::journal::{EventWriter, Record};

    use super::*;

    fn written(record: &Record) -> Event {
        let mut json = Vec::new();
        EventWriter::new("edge-1").write(record, Uuid::from_u128(7), 12, &mut json);
        serde_json::from_slice(&json).unwrap()
    }

    fn series() -> Arc<KeySeries> {
        Arc::new(KeySeries::detached("jane-vscode", "frontend"))
    }

    #[test]
    fn the_event_made_of_revived_facts_is_the_event() {
        let hit = Hit { policy: "mail".into(), action: Action::Redact, matches: 2 };
        let passed = Opening { policies: vec![hit.clone()], address: Some([127, 0, 0, 1].into()), ..opening() };
        let refusal = Some(Refused { code: "model_not_allowed", status: 403 });
        for made in [passed.clone(), Opening { refusal, verdict: crate::domain::Verdict::Deny, ..opening() }] {
            let event = written(&Record::Opened(Arc::new(made)));
            let again = event.opening(series(), None);
            assert_eq!(again.number.get(), Some(12));
            assert_eq!(written(&Record::Opened(Arc::new(again))), event);
        }
        passed.number.set(9);
        let threshold = Threshold {
            scope: "team",
            name: "frontend".into(),
            budget: "50usd/month".into(),
            model: None,
            percent: 80,
        };
        let made = Closing { policies: vec![hit], thresholds: vec![threshold], ..closing(passed) };
        let event = written(&Record::Closed(Box::new(made)));
        // From the OUTPUT event alone: its INPUT event may be gone.
        let again = event.closing(Arc::new(event.opening(series(), None))).unwrap();
        assert_eq!(written(&Record::Closed(Box::new(again))), event);
    }
}
