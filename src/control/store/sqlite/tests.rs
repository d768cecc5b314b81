use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use crate::control::data_dir::DataDir;
use crate::control::store::conformance::{self, audit, key};
use crate::control::store::{AdminRole, KeyStore, Revocation, StoreError};
use crate::domain::Timestamp;

use super::{SqliteStore, SqliteUsage};

#[tokio::test]
async fn it_keeps_every_law_of_a_store() {
    let (_dir, store) = conformance::sqlite();
    conformance::key_store(&*store).await;
}

#[tokio::test]
async fn every_file_is_private() {
    let (dir, store) = conformance::sqlite();
    store.create_key(key("jane", 1), audit("key.create")).await.unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        seen += 1;
    }
    // The database with its two log files, and the lock.
    assert_eq!(seen, 4);
}

#[tokio::test]
async fn a_change_whose_audit_record_fails_is_taken_back() {
    let (dir, store) = conformance::sqlite();
    store.create_key(key("kept", 1), audit("key.create")).await.unwrap();
    let other = Connection::open(dir.path().join("keeptrusts.db")).unwrap();
    other
        .execute_batch("CREATE TRIGGER refuse BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no room'); END")
        .unwrap();
    assert!(store.create_key(key("jane", 2), audit("key.create")).await.is_err());
    assert!(store.find_key("jane").await.unwrap().is_none());
    let revocation = Revocation { time: Timestamp::from_micros(1), reason: None };
    assert!(store.revoke_key("ak_kept1", revocation, audit("key.revoke")).await.is_err());
    assert_eq!(store.find_key("kept").await.unwrap().unwrap().revocation, None);
    other.execute_batch("DROP TRIGGER refuse").unwrap();
    store.create_key(key("jane", 2), audit("key.create")).await.unwrap();
}

/// What a kill leaves behind is what is in the files at that moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_leaves_whole_changes() {
    let (dir, store) = conformance::sqlite();
    let done = Arc::new(AtomicBool::new(false));
    let changes = tokio::spawn({
        let (store, done) = (store.clone(), done.clone());
        async move {
            let mut number = 0u8;
            while !done.load(Ordering::SeqCst) && number < 200 {
                number += 1;
                store.create_key(key("k", number), audit("key.create")).await.unwrap();
                let revocation = Revocation { time: Timestamp::from_micros(1), reason: None };
                store.revoke_key(&format!("ak_k{number}"), revocation, audit("key.revoke")).await.unwrap();
            }
            i64::from(number)
        }
    });
    let mut least = 0;
    for _ in 0..40 {
        let found = changes_after_kill(dir.path());
        assert!(found >= least, "what was durable stays");
        least = found;
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    done.store(true, Ordering::SeqCst);
    let made = changes.await.unwrap();
    assert_eq!(changes_after_kill(dir.path()), made * 2);
}

/// Copies the database as a kill would leave it, opens the copy and compares changes with audit records.
fn changes_after_kill(dir: &Path) -> i64 {
    let copy = tempfile::tempdir().unwrap();
    // The database first: until a checkpoint, which these few changes do not reach, all news is in the log.
    for file in ["keeptrusts.db", "keeptrusts.db-wal"] {
        fs::copy(dir.join(file), copy.path().join(file)).unwrap();
    }
    let db = Connection::open(copy.path().join("keeptrusts.db")).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let changes = count("SELECT count(*) + count(revoked_at) FROM keys");
    assert_eq!(count("SELECT count(*) FROM audit"), changes);
    changes
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = || SqliteStore::open(Arc::new(DataDir::open(dir.path()).unwrap())).unwrap();
    let store = open();
    store.create_key(key("jane", 1), audit("key.create")).await.unwrap();
    drop(store);
    assert!(open().find_key("jane").await.unwrap().is_some());
}

#[tokio::test]
async fn a_store_of_the_first_version_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = Arc::new(DataDir::open(dir.path()).unwrap());
    let old = Connection::open(dir.path().join("keeptrusts.db")).unwrap();
    old.execute_batch(include_str!("keys_1.sql")).unwrap();
    old.execute_batch(
        "INSERT INTO teams (id, name, created_at) VALUES ('team_1', 'frontend', 1);
         INSERT INTO keys (seq, id, kind, name, team_id, digest, shown, created_at, expires_at, revoked_at, revoke_reason)
         VALUES (3, 'ak_gone', 'access', 'jane', NULL, zeroblob(32), 'kt_ak_0000', 5, NULL, 9, 'left'),
                (7, 'ak_jane', 'access', 'jane', 'team_1', randomblob(32), 'kt_ak_1111', 6, 77, NULL, NULL);
         INSERT INTO admin_tokens (id, name, digest, shown, created_at)
         VALUES ('adm_1', 'first', zeroblob(32), 'kt_admin_1', 1);
         INSERT INTO audit (time, actor, action, target, detail) VALUES (5, 'socket', 'key.create', 'ak_gone', '{}');
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(old);
    let store = SqliteStore::open(data_dir).unwrap();
    let jane = store.find_key("jane").await.unwrap().unwrap();
    assert_eq!((&*jane.id, jane.expires_at), ("ak_jane", Some(Timestamp::from_micros(77))));
    assert_eq!(jane.team.as_ref().map(|team| &*team.name), Some("frontend"));
    assert!(jane.permissions.allow_all());
    let [text] = &jane.secrets[..] else { panic!("{:?}", jane.secrets) };
    assert_eq!((&*text.id, &*text.shown, text.created_at.as_micros()), ("ks_jane", "kt_ak_1111", 6));
    let gone = store.find_key("ak_gone").await.unwrap().unwrap();
    assert_eq!((gone.secrets[0].digest.0, gone.revocation.unwrap().reason), ([0; 32], Some("left".into())));
    assert_eq!(store.admin_tokens().await.unwrap()[0].role, AdminRole::Admin);
    assert_eq!(store.find_team("frontend").await.unwrap().unwrap().suspended_at, None);
    assert!(matches!(store.create_key(key("jane", 1), audit("key.create")).await, Err(StoreError::NameTaken)));
    let db = Connection::open(dir.path().join("keeptrusts.db")).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM audit"), 1);
    assert_eq!(count("SELECT count(*) FROM pragma_foreign_key_check"), 0);
}

#[tokio::test]
async fn room_is_kept_behind_the_log_of_changes() {
    let (dir, store) = conformance::sqlite();
    for number in 1..=200 {
        store.create_key(key("k", number), audit("key.create")).await.unwrap();
        let revocation = Revocation { time: Timestamp::from_micros(1), reason: None };
        store.revoke_key(&format!("ak_k{number}"), revocation, audit("key.revoke")).await.unwrap();
        let log = fs::metadata(dir.path().join("keeptrusts.db-wal")).unwrap();
        assert!(log.blocks() * 512 >= log.len() + 8 * 1024 * 1024, "{log:?}");
    }
}

#[tokio::test]
async fn a_store_from_the_future_is_refused() {
    let (dir, store) = conformance::sqlite();
    drop(store);
    Connection::open(dir.path().join("keeptrusts.db")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = SqliteStore::open(Arc::new(DataDir::open(dir.path()).unwrap())).err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
}

#[tokio::test]
async fn a_damaged_store_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["keeptrusts.db", "usage.db"] {
        fs::write(dir.path().join(file), [b'x'; 8192]).unwrap();
    }
    let data_dir = Arc::new(DataDir::open(dir.path()).unwrap());
    let error = SqliteStore::open(data_dir.clone()).err().unwrap().to_string();
    assert!(error.contains("keeptrusts.db: ") && error.ends_with("restore it from a backup"), "{error}");
    let error = SqliteUsage::open(data_dir).err().unwrap().to_string();
    assert!(error.contains("usage.db: ") && error.ends_with("made anew from the events"), "{error}");
}
