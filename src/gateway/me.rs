//! What a key is and may use, told to its holder: `GET /keeptrusts/me`.

use serde_json::{Value, json};

use crate::catalog::{Catalog, LimitDocument, Moment, Scopes, standings};
use crate::domain::Permissions;

use super::attribute::Account;

/// The answer's body. Permissions stand by who sets them; what is absent is not restricted.
pub fn describe(account: &Account, catalog: &Catalog) -> Vec<u8> {
    let key = &account.credential().key;
    let team = key.team.as_ref();
    let set_by = |permissions: Option<&Permissions>| permissions.map_or(json!({}), |permissions| json!(permissions));
    let of_key = key.state.permissions();
    let of_team = team.map(|team| team.state.permissions());
    let answer = json!({
        "key": {
            "id": key.id,
            "name": key.name,
            "expires_at": key.state.expires_at(),
            "text_ends_at": account.credential().secret.valid_until(),
        },
        "team": team.map(|team| &team.name),
        "organization": account.organization(),
        "permissions": {
            "key": set_by(of_key.as_deref()),
            "team": set_by(of_team.as_deref().map(AsRef::as_ref)),
            "organization": set_by(Some(&catalog.permissions)),
        },
        "limits": limits(account, catalog),
        "providers": reachable(account, catalog),
    });
    answer.to_string().into_bytes()
}

/// Every limit that concerns the key, with who sets it, what is left and when it is whole again.
fn limits(account: &Account, catalog: &Catalog) -> Vec<LimitDocument> {
    let scopes = Scopes::of(account.credential(), &catalog.payer);
    standings(scopes, Moment::now()).iter().map(LimitDocument::from).collect()
}

/// The configured providers that nobody's permissions exclude.
fn reachable(account: &Account, catalog: &Catalog) -> Vec<Value> {
    let key = &account.credential().key;
    let allows = |name: &str| {
        let by_key = key.state.permissions().as_ref().is_none_or(|permissions| permissions.allow_provider(name));
        let by_team = key.team.as_ref().is_none_or(|team| team.state.permissions().allow_provider(name));
        by_key && by_team && catalog.permissions.allow_provider(name)
    };
    let providers = catalog.routing.providers.iter().filter(|provider| allows(&provider.name));
    providers.map(|provider| json!({"name": provider.name, "api": provider.kind.dialect().label()})).collect()
}
