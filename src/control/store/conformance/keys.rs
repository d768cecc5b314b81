//! Laws about keys.

use std::time::Duration;

use crate::catalog::LastUse;
use crate::domain::{KeyDigest, KeyKind, KeyStanding, Permissions, Timestamp};

use super::super::*;
use super::samples::*;

pub(super) async fn keys_are_found_by_id_and_name(store: &impl KeyStore) {
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

pub(super) async fn live_names_are_unique(store: &impl KeyStore) {
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

pub(super) async fn keys_are_listed_in_pages(store: &impl KeyStore) {
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

pub(super) async fn changes_of_a_key_are_kept(store: &impl KeyStore) {
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

pub(super) async fn a_rotation_needs_the_newest_text(store: &impl KeyStore) {
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

pub(super) async fn uses_are_kept_where_they_are_later(store: &impl KeyStore) {
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

pub(super) async fn standings_agree_with_the_filter(store: &impl KeyStore) {
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

pub(super) async fn many_are_revoked_at_once(store: &impl KeyStore) {
    let ids = ["ak_soon50", "ak_over52", "ak_jane1", "ak_nobody"];
    let keys = ids.map(|id| (id.to_owned(), audit("key.revoke"))).to_vec();
    assert_eq!(store.revoke_keys(keys, revocation()).await.unwrap(), [true, true, false, false]);
    assert_eq!(store.find_key("ak_soon50").await.unwrap().unwrap().revocation, Some(revocation()));
}
