//! What every store must do, whatever it is made of. A backend runs [`all`] on an empty store.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::control::data_dir::DataDir;
use crate::domain::{KeyDigest, KeyKind, Timestamp, Verdict};
use crate::journal::{Event, KeyIdentity, KeySeries, Opening, Phase, Record};

use super::sqlite::SqliteStore;
use super::*;

/// Every law, on one store.
pub(crate) async fn all(keys: &(impl KeyStore + 'static), events: &(impl EventStore + 'static)) {
    a_pepper_check_is_kept(keys).await;
    admin_tokens_are_kept(keys).await;
    teams_have_unique_names(keys).await;
    keys_are_found_by_id_and_name(keys).await;
    live_names_are_unique(keys).await;
    keys_are_listed_in_pages(keys).await;
    events_are_numbered_and_repeatable(events).await;
    searches_agree_with_the_filter(events).await;
    pages_meet_without_gap_or_overlap(events).await;
}

/// An empty SQLite store; the directory lives as long as the first value.
pub(crate) fn sqlite() -> (TempDir, Arc<SqliteStore>) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(Arc::new(DataDir::open(dir.path()).unwrap())).unwrap();
    (dir, Arc::new(store))
}

pub(crate) fn audit(action: &'static str) -> Audit {
    Audit { actor: Actor::Socket, action, target: "x".into(), time: Timestamp::from_micros(7), detail: json!({}) }
}

pub(crate) fn key(name: &str, number: u8) -> Key {
    Key {
        id: format!("ak_{name}{number}"),
        kind: KeyKind::Access,
        name: name.into(),
        team: None,
        digest: KeyDigest([number; 32]),
        shown: "kt_ak_0123".into(),
        created_at: Timestamp::from_micros(1_000),
        expires_at: None,
        revocation: None,
    }
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
        overhead: None,
    }
}

pub(crate) fn event(time_micros: i64) -> Event {
    let record = Record::Opened(Arc::new(opening(&time_micros.to_string())));
    Event { time: Timestamp::from_micros(time_micros), ..Event::from_record(&record, "edge-1") }
}

fn revocation() -> Revocation {
    Revocation { time: Timestamp::from_micros(2_000), reason: Some("left".into()) }
}

async fn a_pepper_check_is_kept(store: &impl KeyStore) {
    assert!(store.pepper_check().await.unwrap().is_none());
    store.keep_pepper_check(KeyDigest([9; 32])).await.unwrap();
    assert_eq!(store.pepper_check().await.unwrap().unwrap().0, [9; 32]);
}

async fn admin_tokens_are_kept(store: &impl KeyStore) {
    assert!(store.admin_tokens().await.unwrap().is_empty());
    let (id, name, shown) = ("adm_1".into(), "first".into(), "kt_admin_x".into());
    let token = AdminToken { id, name, shown, digest: KeyDigest([8; 32]), created_at: Timestamp::from_micros(5) };
    store.create_admin_token(token, audit("admin_token.create")).await.unwrap();
    let kept = store.admin_tokens().await.unwrap();
    assert_eq!((kept.len(), &*kept[0].id, kept[0].digest.0), (1, "adm_1", [8; 32]));
}

async fn teams_have_unique_names(store: &impl KeyStore) {
    let team = |id: &str, name: &str| Team { id: id.into(), name: name.into(), created_at: Timestamp::from_micros(5) };
    for (id, name) in [("team_1", "frontend"), ("team_2", "backend")] {
        store.create_team(team(id, name), audit("team.create")).await.unwrap();
    }
    let again = store.create_team(team("team_3", "frontend"), audit("team.create")).await;
    assert!(matches!(again, Err(StoreError::NameTaken)));
    assert_eq!(store.find_team("frontend").await.unwrap().unwrap().id, "team_1");
    assert_eq!(store.find_team("team_2").await.unwrap().unwrap().name, "backend");
    assert!(store.find_team("team_3").await.unwrap().is_none());
    let page = store.teams(None, 1).await.unwrap();
    assert_eq!(page.items, [team("team_1", "frontend")]);
    assert_eq!(store.teams(page.next, 5).await.unwrap().items, [team("team_2", "backend")]);
}

async fn keys_are_found_by_id_and_name(store: &impl KeyStore) {
    let mut jane = key("jane", 1);
    jane.team = Some(TeamRef { id: "team_1".into(), name: "frontend".into() });
    jane.expires_at = Some(Timestamp::from_micros(9_000));
    store.create_key(jane.clone(), audit("key.create")).await.unwrap();
    for wanted in ["jane", "ak_jane1"] {
        let found = store.find_key(wanted).await.unwrap().unwrap();
        assert_eq!((found.team, found.expires_at, found.digest.0), (jane.team.clone(), jane.expires_at, [1; 32]));
    }
    assert!(store.find_key("ak_nobody").await.unwrap().is_none());
    assert!(store.revoke_key("ak_jane1", revocation(), audit("key.revoke")).await.unwrap());
    let later = Revocation { time: Timestamp::from_micros(3_000), reason: None };
    assert!(!store.revoke_key("ak_jane1", later, audit("key.revoke")).await.unwrap());
    assert_eq!(store.find_key("ak_jane1").await.unwrap().unwrap().revocation, Some(revocation()));
    assert!(!store.revoke_key("ak_nobody", revocation(), audit("key.revoke")).await.unwrap());
}

async fn live_names_are_unique(store: &impl KeyStore) {
    // jane was revoked above, so the name is free; of two simultaneous takers one gets it.
    let (one, two) = tokio::join!(
        store.create_key(key("jane", 2), audit("key.create")),
        store.create_key(key("jane", 3), audit("key.create")),
    );
    assert!(one.is_ok() != two.is_ok());
    assert!(matches!(one.and(two), Err(StoreError::NameTaken)));
    assert_ne!(store.find_key("jane").await.unwrap().unwrap().id, "ak_jane1", "the live one is meant");
    let mut stray = key("stray", 4);
    stray.team = Some(TeamRef { id: "team_none".into(), name: "none".into() });
    assert!(store.create_key(stray, audit("key.create")).await.is_err(), "a key's team must exist");
}

async fn keys_are_listed_in_pages(store: &impl KeyStore) {
    let mut gateway = key("edge", 5);
    gateway.kind = KeyKind::Gateway;
    store.create_key(gateway, audit("key.create")).await.unwrap();
    let list = |kind, revoked, cursor, limit| store.keys(KeyQuery { kind, revoked, cursor, limit });
    let first = list(None, None, None, 2).await.unwrap();
    let rest = list(None, None, first.next, 2).await.unwrap();
    assert_eq!((first.items.len(), rest.items.len(), rest.next), (2, 1, None));
    assert_eq!(list(Some(KeyKind::Gateway), None, None, 9).await.unwrap().items[0].name, "edge");
    assert_eq!(list(None, Some(true), None, 9).await.unwrap().items[0].id, "ak_jane1");
    assert_eq!(list(Some(KeyKind::Access), Some(false), None, 9).await.unwrap().items.len(), 1);
}

async fn events_are_numbered_and_repeatable(store: &impl EventStore) {
    assert_eq!(store.tip().await.unwrap(), 0);
    let group: Arc<[_]> = [3, 1, 2].map(|second| Arc::new(event(second * 1_000_000))).into();
    let numbers = store.append(group.clone()).await.unwrap();
    assert!(numbers.is_sorted() && numbers.len() == 3);
    assert_eq!(store.append(group.clone()).await.unwrap(), numbers);
    assert_eq!(store.tip().await.unwrap(), numbers[2]);
    let after = EventOrder::Appended { after: numbers[0] };
    let query = EventQuery { filter: EventFilter::default(), order: after, limit: 10 };
    let stored = store.events(query).await.unwrap();
    assert_eq!(stored.iter().map(|event| event.position.seq).collect::<Vec<_>>(), numbers[1..]);
    assert_eq!(serde_json::from_str::<Event>(stored[0].json.get()).unwrap(), *group[1]);
}

async fn searches_agree_with_the_filter(store: &impl EventStore) {
    let mut group = Vec::new();
    for number in 0..64i64 {
        let mut event = event((10 + number) * 1_000_000);
        let bit = |at: i64| number >> at & 1 == 1;
        event.key.name = if bit(0) { "jane" } else { "john" }.into();
        event.key.id = format!("ak_{}", event.key.name);
        event.team = bit(1).then(|| "frontend".into());
        event.model_requested = bit(2).then(|| "gpt-4o".into());
        event.provider = bit(3).then(|| "anthropic".into());
        event.verdict = if bit(4) { Verdict::Deny } else { Verdict::Pass };
        event.phase = if bit(5) { Phase::Output } else { Phase::Input };
        group.push(Arc::new(event));
    }
    store.append(group.clone().into()).await.unwrap();
    let all = || EventFilter { since: Some(Timestamp::from_micros(10_000_000)), ..EventFilter::default() };
    let filters = [
        all(),
        EventFilter { since: Some(Timestamp::from_micros(40_000_000)), ..all() },
        EventFilter { key: Some(EventKeyFilter::parse("jane")), ..all() },
        EventFilter { key: Some(EventKeyFilter::parse("ak_john")), ..all() },
        EventFilter { team: Some("frontend".into()), ..all() },
        EventFilter { model: Some("gpt-4o".into()), ..all() },
        EventFilter { provider: Some("anthropic".into()), ..all() },
        EventFilter { verdict: Some(Verdict::Deny), ..all() },
        EventFilter { verdict: Some(Verdict::Pass), phase: Some(Phase::Output), ..all() },
        EventFilter { team: Some("nobody' OR 1=1 --".into()), ..all() },
    ];
    for filter in filters {
        let expected: Vec<_> = group.iter().filter(|event| filter.matches(event)).map(|event| event.id).collect();
        let query = EventQuery { filter, order: EventOrder::NewestFirst { before: None }, limit: 100 };
        let mut found: Vec<_> = store.events(query.clone()).await.unwrap().iter().map(id).collect();
        found.reverse();
        assert_eq!(found, expected, "{query:?}");
        let tip = store.tip().await.unwrap();
        let query = EventQuery { order: EventOrder::OldestFirst { after: None, tip }, ..query };
        let found: Vec<_> = store.events(query.clone()).await.unwrap().iter().map(id).collect();
        assert_eq!(found, expected, "{query:?}");
    }
}

async fn pages_meet_without_gap_or_overlap(store: &impl EventStore) {
    // Many events of one moment: the cursor must tell them apart.
    let moment = Timestamp::from_micros(500_000_000);
    let group: Vec<_> = (0..50).map(|_| Arc::new(event(moment.as_micros()))).collect();
    store.append(group.clone().into()).await.unwrap();
    let filter = EventFilter { since: Some(moment.saturating_sub(Duration::from_secs(1))), ..EventFilter::default() };
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let query = EventQuery { filter: filter.clone(), order: EventOrder::NewestFirst { before }, limit: 7 };
        let page = store.events(query).await.unwrap();
        found.extend(page.iter().map(id));
        before = page.last().map(|event| event.position);
        if before.is_none() {
            break;
        }
    }
    found.reverse();
    assert_eq!(found, group.iter().map(|event| event.id).collect::<Vec<_>>());
}

fn id(stored: &StoredEvent) -> uuid::Uuid {
    serde_json::from_str::<Event>(stored.json.get()).unwrap().id
}
