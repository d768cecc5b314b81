//! Laws about who may open the store and its admin API.

use crate::domain::{KeyDigest, Timestamp};

use super::super::*;
use super::samples::*;

pub(super) async fn a_pepper_check_is_kept(store: &impl KeyStore) {
    assert!(store.pepper_check().await.unwrap().is_none());
    store.keep_pepper_check(KeyDigest([9; 32])).await.unwrap();
    assert_eq!(store.pepper_check().await.unwrap().unwrap().0, [9; 32]);
}

pub(super) async fn admin_tokens_are_kept(store: &impl KeyStore) {
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
