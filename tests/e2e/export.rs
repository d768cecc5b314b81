//! `kt events export`: everything in one go, from the gateway and from its files.

use serde_json::Value;

use crate::harness::{Kt, World};

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_the_log() {
    let mut world = World::start().await;
    let jane = world.key("jane");
    let john = world.key("john");
    for _ in 0..5 {
        world.chat(&jane, false).send().await;
    }
    world.chat(&john, true).send().await;
    let ann = world.key_with("ann", &["--budget", "10tokens/total:soft"]);
    world.chat(&ann, false).send().await;
    world.events_after(14).await;

    let exported = world.kt(&["events", "export"]).succeeded();
    let lines: Vec<Value> = exported.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, world.events());
    assert!(exported.stderr().starts_with("14 events ("), "{}", exported.stderr());
    let of_john = world.kt(&["events", "export", "--key", "john", "--since", "1h"]).succeeded().stdout();
    assert_eq!(of_john.lines().count(), 2);
    assert_eq!(world.kt(&["events", "export", "--until", "1h"]).succeeded().stdout(), "");
    assert_eq!(world.kt(&["events", "list", "--until", "1h"]).succeeded().stdout(), "");

    let table = world.kt(&["events", "export", "--format", "csv"]).succeeded().stdout();
    let names: Vec<_> = table.lines().next().unwrap().split(',').collect();
    let cell = |line: &str, name: &str| {
        line.split(',').nth(names.iter().position(|&named| named == name).unwrap()).unwrap().to_owned()
    };
    let cost: u64 = table.lines().skip(1).filter_map(|line| cell(line, "cost_nano_usd").parse::<u64>().ok()).sum();
    let recorded: u64 = world.events().iter().filter_map(|event| event["cost_nano_usd"].as_u64()).sum();
    assert!(table.lines().count() == 15 && cost == recorded && cost > 0, "{table}");
    let told: Vec<_> =
        table.lines().skip(1).map(|line| cell(line, "thresholds")).filter(|cell| !cell.is_empty()).collect();
    let shares = [50, 80, 100].map(|share| format!("key:ann:10tokens/total:soft:{share}"));
    assert_eq!(told, [shares.join(" ")]);

    // The same from the files, also when nobody serves them any more.
    let offline = ["events", "export", "--offline", "--format", "csv"];
    assert_eq!(world.kt(&offline).succeeded().stdout(), table);
    world.gateway.stop();
    assert_eq!(world.kt(&offline).succeeded().stdout(), table);
    assert_eq!(world.kt(&["events", "export"]).code(), Some(1));
    assert_eq!(Kt::run(&["events", "export", "--offline"], &world.data_dir().join("nowhere")).code(), Some(1));
}
