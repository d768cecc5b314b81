//! Stored things to try a store with.

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;

use crate::domain::{KeyDigest, KeyKind, Limits, Permissions, Timestamp, Verdict};
use crate::journal::{Event, EventNumber, EventWriter, KeyIdentity, KeySeries, Opening, Phase, Record, Reserved};

use super::super::*;

pub(crate) fn audit(action: &'static str) -> Audit {
    Audit { actor: Actor::Socket, action, target: "x".into(), time: Timestamp::from_micros(7), detail: json!({}) }
}

pub(crate) fn key(name: &str, number: u8) -> Key {
    Key {
        id: format!("ak_{name}{number}"),
        kind: KeyKind::Access,
        name: name.into(),
        team: None,
        permissions: Permissions::default(),
        limits: Limits::default(),
        secrets: vec![secret(&format!("ks_{name}{number}"), number)],
        created_at: Timestamp::from_micros(1_000),
        expires_at: None,
        revocation: None,
    }
}

pub(crate) fn secret(id: &str, number: u8) -> KeySecret {
    KeySecret {
        id: id.into(),
        digest: KeyDigest([number; 32]),
        shown: "kt_ak_0123".into(),
        created_at: Timestamp::from_micros(1_000),
        valid_until: None,
        last_use: None,
    }
}

pub(crate) fn team(id: &str, name: &str) -> Team {
    let (permissions, limits, created_at) = (Permissions::default(), Limits::default(), Timestamp::from_micros(5));
    Team { id: id.into(), name: name.into(), created_at, permissions, limits, suspended_at: None }
}

pub(crate) fn opening(request_id: &str) -> Opening {
    Opening {
        request_id: request_id.into(),
        started_at: Timestamp::from_micros(1_705_314_612_000_000),
        time: Timestamp::from_micros(1_705_314_612_000_400),
        verdict: Verdict::Pass,
        refusal: None,
        key: KeyIdentity {
            id: "ak_jane".into(),
            name: "jane".into(),
            series: Arc::new(KeySeries::detached("jane", "frontend")),
        },
        team: Some("frontend".into()),
        organization: "acme".into(),
        credential: crate::journal::Credential::AccessKey,
        fingerprint: None,
        provider: Some("openai".into()),
        endpoint: "chat/completions",
        dialect: "openai",
        model_requested: Some("gpt-4o-mini".into()),
        price: None,
        client: "curl",
        address: None,
        stream: false,
        request_bytes: 10,
        policies: Vec::new(),
        overhead: None,
        number: EventNumber::default(),
        reserved: Reserved::default(),
    }
}

/// An event as it is read back from the log; its number is given when it is appended.
pub(crate) fn event(time_micros: i64) -> Event {
    let record = Record::Opened(Arc::new(opening(&time_micros.to_string())));
    let mut json = Vec::new();
    EventWriter::new("edge-1").write(&record, Uuid::now_v7(), 0, &mut json);
    Event { time: Timestamp::from_micros(time_micros), ..serde_json::from_slice(&json).unwrap() }
}

/// Events as a group after `tip`; numbers them.
pub(crate) fn group(tip: i64, events: &mut [Event]) -> Group {
    let mut group = Group::default();
    group.begin(tip + 1);
    for event in events {
        event.seq = group.next_seq();
        serde_json::to_writer(&mut group.json, event).unwrap();
        let part = match (event.phase, event.input_seq) {
            (Phase::Input, _) if event.status.is_none() => Part::Opens,
            (Phase::Output, Some(input)) => Part::Closes(input),
            _ => Part::Whole,
        };
        group.add(event.time, part);
    }
    group
}

/// Appends events and numbers them.
pub(crate) fn append(store: &impl EventStore, events: &mut [Event]) {
    store.append(&group(store.tip(), events), Wait::Process).unwrap();
}

pub(super) fn revocation() -> Revocation {
    Revocation { time: Timestamp::from_micros(2_000), reason: Some("left".into()) }
}

pub(super) fn some_permissions() -> Permissions {
    serde_json::from_str(r#"{"models":["gpt-*"],"networks":["10.0.0.0/8"]}"#).unwrap()
}

pub(crate) fn read(stored: &StoredEvent) -> Event {
    serde_json::from_str(stored.json.get()).unwrap()
}
