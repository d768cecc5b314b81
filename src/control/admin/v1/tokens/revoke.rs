//! `DELETE /v1/tokens/{id}`: revokes a key, by id or name. Once it answers, no request with the key passes.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::control::admin::Admin;
use crate::control::admin::entrance::Caller;
use crate::control::admin::extract::{Json, Path, Query};
use crate::control::admin::problem::Problem;
use crate::control::now;

use super::Token;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::control::admin) struct RevokeToken {
    /// Why, for the audit record.
    reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RevokedToken {
    #[serde(flatten)]
    pub token: Token,
    /// It had been revoked before; nothing was changed, and `revoked_at` and `revoke_reason` are of then.
    pub already_revoked: bool,
    /// How many gateways have applied it.
    pub gateways: u32,
    /// How long that took, the store included.
    pub applied_ms: f64,
}

#[utoipa::path(
    delete, path = "/v1/tokens/{id}", operation_id = "revoke_token", tag = "tokens",
    params(("id" = String, Path, description = "The key's id or name"), RevokeToken),
    responses((status = 200, description = "No request with the key passes any more", body = RevokedToken)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id_or_name): Path,
    Query(asked): Query<RevokeToken>,
) -> Result<Json<RevokedToken>, Problem> {
    let revoked = admin.office.revoke_key(id_or_name, asked.reason, caller.actor).await?;
    Ok(Json(RevokedToken {
        token: Token::of(revoked.key, &admin.catalog.load(), now()),
        already_revoked: revoked.already,
        // The catalog it was published to belongs to this process's gateway.
        gateways: 1,
        applied_ms: revoked.took.as_secs_f64() * 1e3,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;

    #[tokio::test]
    async fn it_is_effective_when_answered_and_idempotent() {
        let bench = Bench::new().await;
        let created = bench.post("/v1/tokens", json!({"name": "jane"})).await.expect(201);
        let digest = bench.control.pepper.digest(created["key"].as_str().unwrap());
        let running = bench.control.catalog.load().keys.find(&digest).unwrap().key.state.clone();
        let first = bench.delete("/v1/tokens/jane?reason=left%20us").await.expect(200);
        assert!(running.is_revoked(), "a request that runs sees it");
        assert_eq!((&first["already_revoked"], &first["state"]), (&json!(false), &json!("revoked")));
        assert_eq!((&first["revoke_reason"], &first["gateways"]), (&json!("left us"), &json!(1)));
        let id = created["id"].as_str().unwrap();
        let (action, actor, detail) = bench.audited(id);
        assert_eq!((action.as_str(), actor.as_str()), ("key.revoke", "socket"));
        assert!(detail.contains("left us"));

        for which in ["jane", id] {
            let again = bench.delete(&format!("/v1/tokens/{which}?reason=other")).await.expect(200);
            assert_eq!(again["already_revoked"], json!(true));
            assert_eq!((&again["revoked_at"], &again["revoke_reason"]), (&first["revoked_at"], &json!("left us")));
        }
        assert_eq!(bench.audit_count(id), 2, "nothing was changed, so nothing was recorded");
    }

    #[tokio::test]
    async fn bad_requests_are_refused() {
        let bench = Bench::new().await;
        bench.delete("/v1/tokens/nobody").await.refuses(404, "token_unknown");
        bench.post("/v1/tokens", json!({"name": "jane"})).await.expect(201);
        bench.delete("/v1/tokens/jane?reason=").await.refuses(422, "reason_invalid");
        bench.delete("/v1/tokens/jane?reason=a%0Ab").await.refuses(422, "reason_invalid");
        bench.delete("/v1/tokens/jane?raeson=x").await.refuses(422, "request_invalid");
        assert_eq!(bench.get("/v1/tokens/jane").await.expect(200)["state"], "active");
    }
}
