//! Laws about teams.

use crate::domain::{Permissions, Timestamp};

use super::super::*;
use super::samples::*;

pub(super) async fn teams_have_unique_names(store: &impl KeyStore) {
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

pub(super) async fn a_team_in_use_stays(store: &impl KeyStore) {
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
