//! The disk is full. The data directory is on a small one of its own, which needs a user who may make namespaces (or root);
//! without that these tests say so and pass.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use crate::harness::{World, eventually, namespace};

/// A world whose data directory is on a disk of 64 MiB.
async fn world(more: &str) -> Option<World> {
    let may = namespace().args(["mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !may.is_ok_and(|tried| tried.status.success()) {
        // Not by a macro, whose output is shown only of tests that fail.
        let _ = writeln!(std::io::stderr(), "skipped: no namespace can be made for a small disk");
        return None;
    }
    Some(
        World::with(|setup| {
            setup.disk_mib = Some(64);
            setup.more = more.into();
        })
        .await,
    )
}

/// Something else takes all of the disk that is left.
fn fill(world: &World) -> PathBuf {
    let path = world.data_dir().join("ballast");
    let mut ballast = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    for piece in [&[0; 1 << 20][..], &[0; 4096], &[0; 1]] {
        while ballast.write_all(piece).is_ok() {}
    }
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_revoked_on_a_full_disk_and_none_are_made() {
    let Some(mut world) = world("").await else { return };
    world.kt(&["teams", "create", "--name", "red"]).succeeded();
    let (jane, joe, ann) = (world.key("jane"), world.key("joe"), world.key_with("ann", &["--team", "red"]));
    let crowd: Vec<_> = (0..100).map(|number| format!("crowd-{number}")).collect();
    for name in &crowd {
        world.key(name);
    }
    assert_eq!(world.chat(&jane, false).send().await.status, 200);
    let ballast = fill(&world);

    // As long as nothing has to be taken from what is kept, keys are made.
    let refused = (0..400).map(|number| world.kt(&["keys", "create", "--name", &format!("late-{number}")]));
    let refused = refused.into_iter().find(|made| made.code() != Some(0)).unwrap();
    assert_eq!(refused.code(), Some(1), "{}", refused.stdout());
    assert!(refused.stderr().contains("the disk is full"), "{}", refused.stderr());

    world.kt(&["keys", "revoke", "jane", "--reason", "leaked"]).succeeded();
    let answer = world.chat(&jane, false).send().await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (401, &"key_revoked".into()));
    world.kt(&["keys", "update", "joe", "--rpm", "1"]).succeeded();
    assert_eq!(world.chat(&joe, false).send().await.status, 200, "served while the journal has room");
    assert_eq!(world.chat(&joe, false).send().await.status, 429);
    world.kt(&["teams", "suspend", "red"]).succeeded();
    assert_eq!(world.chat(&ann, false).send().await.status, 403);
    for name in &crowd {
        world.kt(&["keys", "revoke", name]).succeeded();
    }

    fs::remove_file(ballast).unwrap();
    world.events_after(7).await;
    world.key("late");
    let revoked = world.kt(&["keys", "show", "jane", "--json"]).succeeded().json();
    assert_eq!(revoked["revoke_reason"], "leaked", "{revoked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_makes_room_on_a_full_disk() {
    let Some(mut world) = world("audit: {bytes_max: 16MiB}").await else { return };
    let key = world.key("jane");
    world.is_large = true;
    // Segments have an eighth of what is kept.
    let count = || {
        fs::read_dir(world.data_dir().join("events"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "jsonl"))
            .count()
    };
    while count() < 4 {
        for _ in 0..100 {
            assert_eq!(world.chat(&key, false).send().await.status, 200);
        }
    }
    fill(&world);
    for _ in 0..20 {
        assert_eq!(world.chat(&key, false).send().await.status, 200, "the journal has room");
    }
    eventually(|| world.gateway.log().contains("failed to write events").then_some(())).await;
    world.rewrite(|text| text.replace("bytes_max: 16MiB", "bytes_max: 4MiB"));
    world.kt(&["config", "reload"]).succeeded();
    eventually(|| world.gateway.log().contains("events are being written again").then_some(())).await;
    eventually(|| (world.metric("keeptrusts_journal_queue_depth") == 0.0).then_some(())).await;
    assert!(world.metric("keeptrusts_events_removed_total") > 0.0);
    world.kt(&["events", "verify"]).succeeded();
}
