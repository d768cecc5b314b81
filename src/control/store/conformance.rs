//! What every store must do, whatever it is made of. A backend runs [`keys`] or [`events`] on an empty store.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use crate::control::data_dir::DataDir;
use crate::domain::{KeyDigest, KeyKind, KeyStanding, Limits, Permissions, Timestamp, Verdict};
use crate::journal::{Event, EventNumber, EventWriter, KeyIdentity, KeySeries, Opening, Phase, Record, Reserved};

use super::sqlite::SqliteStore;
use super::*;

/// Every law of a store of keys.
pub(crate) async fn keys(keys: &impl KeyStore) {
    a_pepper_check_is_kept(keys).await;
    admin_tokens_are_kept(keys).await;
    teams_have_unique_names(keys).await;
    keys_are_found_by_id_and_name(keys).await;
    live_names_are_unique(keys).await;
    keys_are_listed_in_pages(keys).await;
    changes_of_a_key_are_kept(keys).await;
    a_rotation_needs_the_newest_text(keys).await;
    uses_are_kept_where_they_are_later(keys).await;
    standings_agree_with_the_filter(keys).await;
    many_are_revoked_at_once(keys).await;
    a_team_in_use_stays(keys).await;
}

/// Every law of an event log.
pub(crate) async fn events(events: &impl EventStore) {
    events_are_numbered_and_repeatable(events).await;
    searches_agree_with_the_filter(events).await;
    pages_meet_without_gap_or_overlap(events).await;
    groups_follow_one_another(events);
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
    let token = |id: &str, name: &str, number, role| AdminToken {
        id: id.into(),
        name: name.into(),
        shown: "kt_admin_x".into(),
        digest: KeyDigest([number; 32]),
        created_at: Timestamp::from_micros(5),
        role,
    };
    let create = |token| store.create_admin_token(token, audit("admin_token.create"));
    create(token("adm_1", "first", 8, AdminRole::Admin)).await.unwrap();
    create(token("adm_2", "auditor", 9, AdminRole::Viewer)).await.unwrap();
    let again = create(token("adm_3", "first", 7, AdminRole::Admin)).await;
    assert!(matches!(again, Err(StoreError::NameTaken)));
    let kept = store.admin_tokens().await.unwrap();
    assert_eq!((kept.len(), &*kept[0].id, kept[0].digest.0), (2, "adm_1", [8; 32]));
    assert_eq!((kept[0].role, kept[1].role), (AdminRole::Admin, AdminRole::Viewer));
    let remove = |id| store.remove_admin_token(id, audit("admin_token.revoke"));
    assert_eq!(remove("adm_1").await.unwrap(), AdminTokenRemoval::Last, "a viewer cannot take its place");
    assert_eq!(remove("adm_2").await.unwrap(), AdminTokenRemoval::Removed);
    assert_eq!(remove("adm_2").await.unwrap(), AdminTokenRemoval::Unknown);
    create(token("adm_4", "auditor", 6, AdminRole::Admin)).await.unwrap();
    assert_eq!(remove("adm_1").await.unwrap(), AdminTokenRemoval::Removed);
}

async fn teams_have_unique_names(store: &impl KeyStore) {
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
        assert_eq!(
            (found.team, found.expires_at, found.secrets[0].digest.0),
            (jane.team.clone(), jane.expires_at, [1; 32])
        );
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
    let list =
        |kind, revoked, cursor, limit| store.keys(KeyQuery { kind, revoked, cursor, limit, ..KeyQuery::default() });
    let first = list(None, None, None, 2).await.unwrap();
    let rest = list(None, None, first.next, 2).await.unwrap();
    assert_eq!((first.items.len(), rest.items.len(), rest.next), (2, 1, None));
    assert_eq!(list(Some(KeyKind::Gateway), None, None, 9).await.unwrap().items[0].name, "edge");
    assert_eq!(list(None, Some(true), None, 9).await.unwrap().items[0].id, "ak_jane1");
    assert_eq!(list(Some(KeyKind::Access), Some(false), None, 9).await.unwrap().items.len(), 1);
}

fn some_permissions() -> Permissions {
    serde_json::from_str(r#"{"models":["gpt-*"],"networks":["10.0.0.0/8"]}"#).unwrap()
}

async fn changes_of_a_key_are_kept(store: &impl KeyStore) {
    let mut kim = key("kim", 20);
    kim.permissions = some_permissions();
    store.create_key(kim.clone(), audit("key.create")).await.unwrap();
    assert_eq!(store.find_key("kim").await.unwrap().unwrap().permissions, some_permissions());
    kim.name = "kimberly".into();
    kim.team = Some(TeamRef { id: "team_2".into(), name: "backend".into() });
    kim.expires_at = Some(Timestamp::from_micros(5_000));
    kim.permissions = Permissions::default();
    assert!(store.update_key(kim.clone(), audit("key.update")).await.unwrap());
    let kept = store.find_key("ak_kim20").await.unwrap().unwrap();
    assert_eq!((kept.name, kept.team, kept.expires_at), (kim.name.clone(), kim.team.clone(), kim.expires_at));
    assert!(kept.permissions.allow_all() && kept.secrets.len() == 1);
    // Its own name is not taken, another's is.
    assert!(store.update_key(kim.clone(), audit("key.update")).await.unwrap());
    let taken = store.update_key(Key { name: "jane".into(), ..kim.clone() }, audit("key.update")).await;
    assert!(matches!(taken, Err(StoreError::NameTaken)));
    store.revoke_key("ak_kim20", revocation(), audit("key.revoke")).await.unwrap();
    assert!(!store.update_key(kim, audit("key.update")).await.unwrap(), "a revoked key stays as it is");
}

async fn a_rotation_needs_the_newest_text(store: &impl KeyStore) {
    store.create_key(key("rose", 30), audit("key.create")).await.unwrap();
    let end = Timestamp::from_micros(9_000);
    let rotation = |expected: &str, id: &str, number| Rotation {
        key: "ak_rose30".into(),
        expected: expected.into(),
        secret: secret(id, number),
        ends: vec![(expected.into(), end)],
        forgotten: Vec::new(),
    };
    let (one, two) = tokio::join!(
        store.rotate_key(rotation("ks_rose30", "ks_a", 31), audit("key.rotate")),
        store.rotate_key(rotation("ks_rose30", "ks_b", 32), audit("key.rotate")),
    );
    assert!(one.unwrap() != two.unwrap(), "of two simultaneous rotations one wins");
    let rose = store.find_key("rose").await.unwrap().unwrap();
    assert_eq!(rose.secrets.iter().map(|secret| secret.valid_until).collect::<Vec<_>>(), [Some(end), None]);
    let newest = rose.newest().unwrap().id.clone();
    let mut next = rotation(&newest, "ks_c", 33);
    next.forgotten = vec!["ks_rose30".into()];
    assert!(store.rotate_key(next, audit("key.rotate")).await.unwrap());
    let rose = store.find_key("rose").await.unwrap().unwrap();
    assert_eq!(rose.secrets.iter().map(|secret| &*secret.id).collect::<Vec<_>>(), [&*newest, "ks_c"]);
    store.revoke_key("ak_rose30", revocation(), audit("key.revoke")).await.unwrap();
    assert!(!store.rotate_key(rotation("ks_c", "ks_d", 34), audit("key.rotate")).await.unwrap());
}

async fn uses_are_kept_where_they_are_later(store: &impl KeyStore) {
    store.create_key(key("used", 40), audit("key.create")).await.unwrap();
    let note = |micros, client| {
        let address = Some("192.0.2.7".parse().unwrap());
        let last_use = LastUse { at: Timestamp::from_micros(micros), client, address };
        let unknown = NotedUse { digest: KeyDigest([99; 32]), last_use };
        store.note_uses(vec![unknown, NotedUse { digest: KeyDigest([40; 32]), last_use }])
    };
    note(7_000, "curl").await.unwrap();
    note(6_000, "codex").await.unwrap();
    let used = store.find_key("used").await.unwrap().unwrap();
    let last = used.secrets[0].last_use.as_ref().unwrap();
    assert_eq!((last.at.as_micros(), &*last.client), (7_000, "curl"));
    assert_eq!(last.address, Some("192.0.2.7".parse().unwrap()));
    let unused_since = |micros| {
        let unused_since = Some(Timestamp::from_micros(micros));
        store.keys(KeyQuery { unused_since, limit: 99, ..KeyQuery::default() })
    };
    let has = |page: &Page<Key>, name: &str| page.items.iter().any(|key| key.name == name);
    let late = unused_since(8_000).await.unwrap();
    assert!(has(&late, "used") && has(&late, "edge"));
    let early = unused_since(7_000).await.unwrap();
    assert!(!has(&early, "used") && has(&early, "edge"));
    assert!(unused_since(1_000).await.unwrap().items.is_empty(), "younger keys had no chance");
}

async fn standings_agree_with_the_filter(store: &impl KeyStore) {
    let now = Timestamp::from_micros(1_000_000);
    let day = Duration::from_secs(24 * 60 * 60);
    let kinds = [("soon", Some(now.saturating_add(day)), None), ("later", Some(now.saturating_add(day * 8)), None)];
    let kinds = kinds.into_iter().chain([("over", Some(now), None), ("turned", None, Some(now.saturating_add(day)))]);
    for (number, (name, expires_at, valid_until)) in (50..).zip(kinds) {
        let mut made = key(name, number);
        made.expires_at = expires_at;
        made.secrets[0].valid_until = valid_until;
        store.create_key(made, audit("key.create")).await.unwrap();
    }
    let all = store.keys(KeyQuery { limit: 99, ..KeyQuery::default() }).await.unwrap().items;
    for standing in KeyStanding::ALL {
        let query = KeyQuery { standing: Some((standing, now)), limit: 99, ..KeyQuery::default() };
        let found: Vec<_> = store.keys(query).await.unwrap().items.into_iter().map(|key| key.id).collect();
        let expected: Vec<_> = all.iter().filter(|key| key.standing(now) == standing).map(|key| &*key.id).collect();
        assert_eq!(found, expected, "{standing:?}");
        assert!(!found.is_empty(), "{standing:?}");
    }
}

async fn many_are_revoked_at_once(store: &impl KeyStore) {
    let ids = ["ak_soon50", "ak_over52", "ak_jane1", "ak_nobody"];
    let keys = ids.map(|id| (id.to_owned(), audit("key.revoke"))).to_vec();
    assert_eq!(store.revoke_keys(keys, revocation()).await.unwrap(), [true, true, false, false]);
    assert_eq!(store.find_key("ak_soon50").await.unwrap().unwrap().revocation, Some(revocation()));
}

async fn a_team_in_use_stays(store: &impl KeyStore) {
    let mut tools = team("team_9", "tools");
    tools.permissions = some_permissions();
    store.create_team(tools.clone(), audit("team.create")).await.unwrap();
    assert_eq!(store.find_team("tools").await.unwrap(), Some(tools.clone()));
    tools.permissions = Permissions::default();
    tools.suspended_at = Some(Timestamp::from_micros(3));
    assert!(store.update_team(tools.clone(), audit("team.update")).await.unwrap());
    assert_eq!(store.find_team("team_9").await.unwrap(), Some(tools.clone()));
    let mut tool = key("tool", 60);
    tool.team = Some(TeamRef { id: "team_9".into(), name: "tools".into() });
    store.create_key(tool, audit("key.create")).await.unwrap();
    let query = KeyQuery { team: Some("team_9".into()), limit: 9, ..KeyQuery::default() };
    assert_eq!(store.keys(query).await.unwrap().items[0].id, "ak_tool60");
    let remove = || store.remove_team("team_9", audit("team.delete"));
    assert_eq!(remove().await.unwrap(), TeamRemoval::InUse { keys: 1 });
    store.revoke_key("ak_tool60", revocation(), audit("key.revoke")).await.unwrap();
    assert_eq!(remove().await.unwrap(), TeamRemoval::Removed);
    assert_eq!(remove().await.unwrap(), TeamRemoval::Unknown);
    assert!(!store.update_team(tools, audit("team.update")).await.unwrap());
    assert_eq!(store.find_key("ak_tool60").await.unwrap().unwrap().team, None);
}

async fn events_are_numbered_and_repeatable(store: &impl EventStore) {
    assert_eq!(store.tip(), 0);
    let mut events = [3, 1, 2].map(|second| event(second * 1_000_000));
    let group = group(0, &mut events);
    for wait in [Wait::Process, Wait::Disk] {
        store.append(&group, wait).unwrap();
        assert_eq!(store.tip(), 3);
    }
    let order = EventOrder::OldestFirst { after: 1 };
    let found = store.events(EventQuery { filter: EventFilter::default(), order, limit: 10 }).await.unwrap();
    assert_eq!(found.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [2, 3]);
    assert_eq!((found.reached, found.more), (3, false));
    assert_eq!(found.events.iter().map(read).collect::<Vec<_>>(), events[1..]);
}

async fn searches_agree_with_the_filter(store: &impl EventStore) {
    let mut events = Vec::new();
    for number in 0..64i64 {
        let mut event = event((10 + number) * 1_000_000);
        let bit = |at: i64| number >> at & 1 == 1;
        event.key.name = if bit(0) { "jane" } else { "john \"the\" \n" }.into();
        event.key.id = format!("ak_{}", if bit(0) { "jane" } else { "john" });
        event.team = bit(1).then(|| "frontend".into());
        event.model_requested = bit(2).then(|| "gpt-4o".into());
        event.provider = bit(3).then(|| "anthropic".into());
        event.verdict = if bit(4) { Verdict::Deny } else { Verdict::Pass };
        event.phase = if bit(5) { Phase::Output } else { Phase::Input };
        events.push(event);
    }
    // The clock goes back once.
    events.swap(3, 40);
    append(store, &mut events);
    let all = || EventFilter { since: Some(Timestamp::from_micros(10_000_000)), ..EventFilter::default() };
    let filters = [
        all(),
        EventFilter { since: Some(Timestamp::from_micros(40_000_000)), ..all() },
        EventFilter { until: Some(Timestamp::from_micros(40_000_000)), ..all() },
        EventFilter { key: Some(EventKeyFilter::parse("jane")), ..all() },
        EventFilter { key: Some(EventKeyFilter::parse("john \"the\" \n")), ..all() },
        EventFilter { key: Some(EventKeyFilter::parse("ak_john")), ..all() },
        EventFilter { team: Some("frontend".into()), ..all() },
        EventFilter { model: Some("gpt-4o".into()), ..all() },
        EventFilter { provider: Some("anthropic".into()), ..all() },
        EventFilter { verdict: Some(Verdict::Deny), ..all() },
        EventFilter { verdict: Some(Verdict::Pass), phase: Some(Phase::Output), ..all() },
        EventFilter { phase: Some(Phase::Input), ..all() },
        EventFilter { team: Some("nobody' OR 1=1 --".into()), ..all() },
    ];
    for filter in filters {
        let expected: Vec<_> = events.iter().filter(|event| filter.matches(event)).cloned().collect();
        let query = EventQuery { filter, order: EventOrder::NewestFirst { before: None }, limit: 100 };
        let mut found: Vec<_> = store.events(query.clone()).await.unwrap().events.iter().map(read).collect();
        found.reverse();
        assert_eq!(found, expected, "{query:?}");
        let query = EventQuery { order: EventOrder::OldestFirst { after: 0 }, ..query };
        let found: Vec<_> = store.events(query.clone()).await.unwrap().events.iter().map(read).collect();
        assert_eq!(found, expected, "{query:?}");
    }
}

async fn pages_meet_without_gap_or_overlap(store: &impl EventStore) {
    let moment = Timestamp::from_micros(500_000_000);
    let mut events: Vec<_> = (0..50).map(|_| event(moment.as_micros())).collect();
    append(store, &mut events);
    let filter = EventFilter { since: Some(moment.saturating_sub(Duration::from_secs(1))), ..EventFilter::default() };
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let order = EventOrder::NewestFirst { before };
        let page = store.events(EventQuery { filter: filter.clone(), order, limit: 7 }).await.unwrap();
        found.extend(page.events.iter().map(read));
        before = Some(page.reached);
        if !page.more {
            break;
        }
    }
    found.reverse();
    assert_eq!(found, events);
    found.clear();
    let mut after = 0;
    loop {
        let order = EventOrder::OldestFirst { after };
        let page = store.events(EventQuery { filter: filter.clone(), order, limit: 7 }).await.unwrap();
        found.extend(page.events.iter().map(read));
        after = page.reached;
        if !page.more {
            break;
        }
    }
    assert_eq!((found, after), (events, store.tip()));
}

fn groups_follow_one_another(store: &impl EventStore) {
    let tip = store.tip();
    let skipping = group(tip + 1, &mut [event(1)]);
    assert!(store.append(&skipping, Wait::Process).is_err());
    assert_eq!(store.tip(), tip);
}

pub(crate) fn read(stored: &StoredEvent) -> Event {
    serde_json::from_str(stored.json.get()).unwrap()
}
