//! `PATCH /v1/tokens/{id}`: changes a key, by id or name. What is absent stays, what is `null` is cleared.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::admin::Admin;
use crate::control::admin::entrance::Caller;
use crate::control::admin::extract::{Json, Path};
use crate::control::admin::openapi::{LimitsSchema, PermissionsSchema};
use crate::control::admin::problem::Problem;
use crate::control::now;
use crate::control::office::KeyPatch;
use crate::domain::{LimitsChange, PermissionsChange, Timestamp, present};

use super::Token;

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateToken {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The id or name of a team; `null` for none.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub team: Option<Option<String>>,
    /// A time to come; `null` for never.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Option<Timestamp>>,
    /// Each list that is there replaces the present one; `null`, for one or for all, lifts the restriction.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PermissionsSchema>)]
    pub permissions: Option<Option<PermissionsChange>>,
    /// A merge patch (RFC 7396): what is absent stays, `null` lifts a limit, or all of them.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LimitsSchema>)]
    pub limits: Option<LimitsChange>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UpdatedToken {
    #[serde(flatten)]
    pub token: Token,
    /// What was done, but probably not meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

#[utoipa::path(
    patch, path = "/v1/tokens/{id}", operation_id = "update_token", tag = "tokens", request_body = UpdateToken,
    params(("id" = String, Path, description = "The key's id or name")),
    responses((status = 200, description = "The key as it is now", body = UpdatedToken)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id_or_name): Path,
    Json(asked): Json<UpdateToken>,
) -> Result<Json<UpdatedToken>, Problem> {
    let UpdateToken { name, team, expires_at, permissions, limits } = asked;
    let permissions = permissions.map(|change| change.unwrap_or_else(PermissionsChange::lift)).unwrap_or_default();
    let patch = KeyPatch { name, team, expires_at, permissions, limits };
    let key = admin.office.update_key(id_or_name, patch, caller.actor).await?;
    let warnings = admin.office.warnings(&key.permissions);
    Ok(Json(UpdatedToken { token: Token::of(key, &admin.catalog.load(), now()), warnings }))
}

#[cfg(test)]
mod tests {

    use serde_json::json;

    use crate::catalog::Interrupt;
    use crate::control::admin::tests::Bench;

    #[tokio::test]
    async fn what_is_absent_stays_and_null_clears() {
        let bench = Bench::new().await;
        for team in ["frontend", "backend"] {
            bench.post("/v1/teams", json!({"name": team})).await.expect(201);
        }
        let body = json!({"name": "jane", "team": "frontend", "expires_at": "2099-01-01T00:00:00Z",
            "permissions": {"models": ["gpt-*"], "endpoints": ["chat/*"]}});
        let created = bench.post("/v1/tokens", body).await.expect(201);
        let id = created["id"].as_str().unwrap();
        let path = format!("/v1/tokens/{id}");
        let changed = bench.patch(&path, json!({"name": "kim", "team": "backend"})).await.expect(200);
        assert_eq!((&changed["name"], &changed["team"]), (&json!("kim"), &json!("backend")));
        assert_eq!(changed["expires_at"], "2099-01-01T00:00:00.000Z");
        assert_eq!(changed["permissions"], created["permissions"]);
        let (action, _, detail) = bench.audited(id);
        assert_eq!(action, "key.update");
        assert!(detail.contains(r#""name":{"from":"jane","to":"kim"}"#), "{detail}");
        let changed =
            bench.patch(&path, json!({"team": null, "expires_at": null, "permissions": {"models": null}})).await;
        let changed = changed.expect(200);
        assert_eq!((&changed["team"], &changed["expires_at"]), (&json!(null), &json!(null)));
        assert_eq!(changed["permissions"], json!({"endpoints": ["chat/*"]}));
        assert_eq!(bench.patch(&path, json!({"permissions": null})).await.expect(200)["permissions"], json!({}));
        let digest = bench.control.pepper.digest(created["key"].as_str().unwrap());
        let known = bench.control.catalog.load().keys.find(&digest).unwrap().key.clone();
        assert!(&*known.name == "kim" && known.team.is_none() && known.state.permissions().is_none());
        let audited = bench.audit_count(id);
        bench.patch(&path, json!({})).await.expect(200);
        bench.patch(&path, json!({"name": "kim"})).await.expect(200);
        assert_eq!(bench.audit_count(id), audited, "nothing was changed, so nothing was recorded");
    }

    #[tokio::test]
    async fn a_running_request_goes_on_under_the_new_permissions() {
        use std::sync::atomic::{AtomicI32, Ordering};
        static WOKEN: AtomicI32 = AtomicI32::new(0);
        let bench = Bench::new().await;
        let created = bench.post("/v1/tokens", json!({"name": "jane"})).await.expect(201);
        let digest = bench.control.pepper.digest(created["key"].as_str().unwrap());
        let running = bench.control.catalog.load().keys.find(&digest).unwrap().clone();
        let interrupt = Interrupt::Call { call: |_| _ = WOKEN.fetch_add(1, Ordering::Relaxed), handle: 0 };
        let _watch = running.running(interrupt);
        bench.patch("/v1/tokens/jane", json!({"permissions": {"models": ["x"]}})).await.expect(200);
        assert_eq!(WOKEN.load(Ordering::Relaxed), 0, "it holds a credential that has not lapsed");
        assert!(!running.key.state.permissions().as_deref().unwrap().allow_model("gpt-4o"), "whose key is the same");
    }

    #[tokio::test]
    async fn bad_changes_are_refused() {
        let bench = Bench::new().await;
        for name in ["jane", "john"] {
            bench.post("/v1/tokens", json!({"name": name})).await.expect(201);
        }
        for (body, code) in [
            (json!({"name": ""}), "name_invalid"),
            (json!({"name": "a\u{7}"}), "name_invalid"),
            (json!({"team": "nobody"}), "team_unknown"),
            (json!({"expires_at": "2020-01-01T00:00:00Z"}), "expiry_past"),
            (json!({"permissions": {"networks": ["10.0.0.0/99"]}}), "request_invalid"),
            (json!({"permisions": {}}), "request_invalid"),
        ] {
            bench.patch("/v1/tokens/jane", body).await.refuses(422, code);
        }
        bench.patch("/v1/tokens/jane", json!({"name": "john"})).await.refuses(409, "name_taken");
        bench.patch("/v1/tokens/nobody", json!({"name": "x"})).await.refuses(404, "token_unknown");
        bench.delete("/v1/tokens/jane").await.expect(200);
        bench.patch("/v1/tokens/jane", json!({"name": "x"})).await.refuses(409, "token_revoked");
    }
}
