//! `POST /v1/revocations`: revokes several keys at once: those that are named, or all of a team.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::admin::Admin;
use crate::control::admin::entrance::Caller;
use crate::control::admin::extract::Json;
use crate::control::admin::problem::Problem;
use crate::control::office::Revocations;

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeTokens {
    /// The ids or names of up to 1000 keys: all of them are revoked, or none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<String>,
    /// Instead: the id or name of a team, all of whose keys are revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Why, for the audit records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RevokedTokens {
    /// The ids of the keys that were revoked now.
    pub revoked: Vec<String>,
    /// How many of those named had been before.
    pub already_revoked: usize,
    /// How many gateways have applied it.
    pub gateways: u32,
    /// How long that took, the store included.
    pub applied_ms: f64,
}

#[utoipa::path(
    post, path = "/v1/revocations", operation_id = "revoke_tokens", tag = "tokens", request_body = RevokeTokens,
    responses((status = 200, description = "No request with these keys passes any more", body = RevokedTokens)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Json(asked): Json<RevokeTokens>,
) -> Result<Json<RevokedTokens>, Problem> {
    let which = match (asked.tokens, asked.team) {
        (tokens, None) => Revocations::Keys(tokens),
        (tokens, Some(team)) if tokens.is_empty() => Revocations::Team(team),
        _ => return Err(Problem::request_invalid("name `tokens` or a `team`, not both")),
    };
    let done = admin.office.revoke_keys(which, asked.reason, caller.actor).await?;
    let (already_revoked, applied_ms) = (done.already, done.took.as_secs_f64() * 1e3);
    // The catalog they were published to belongs to this process's gateway.
    Ok(Json(RevokedTokens { revoked: done.keys, already_revoked, gateways: 1, applied_ms }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;

    #[tokio::test]
    async fn a_list_is_revoked_or_none_of_it() {
        let bench = Bench::new().await;
        for name in ["a", "b", "c"] {
            bench.post("/v1/tokens", json!({"name": name})).await.expect(201);
        }
        let unknown = json!({"tokens": ["a", "nobody"]});
        bench.post("/v1/revocations", unknown).await.refuses(404, "token_unknown");
        assert_eq!(bench.get("/v1/tokens/a").await.expect(200)["state"], "active");
        bench.delete("/v1/tokens/c").await.expect(200);
        let done = bench.post("/v1/revocations", json!({"tokens": ["a", "c"], "reason": "left"})).await.expect(200);
        assert_eq!((done["revoked"].as_array().unwrap().len(), &done["already_revoked"]), (1, &json!(1)));
        let a = bench.get("/v1/tokens/a").await.expect(200);
        assert_eq!((&a["state"], &a["revoke_reason"]), (&json!("revoked"), &json!("left")));
        assert_eq!(bench.get("/v1/tokens/b").await.expect(200)["state"], "active");
        assert_eq!(bench.audit_count(a["id"].as_str().unwrap()), 2);
    }

    #[tokio::test]
    async fn all_of_a_team_are_revoked() {
        let bench = Bench::new().await;
        bench.post("/v1/teams", json!({"name": "frontend"})).await.expect(201);
        let mine = bench.post("/v1/tokens", json!({"name": "mine", "team": "frontend"})).await.expect(201);
        bench.post("/v1/tokens", json!({"name": "john"})).await.expect(201);
        let digest = bench.control.pepper.digest(mine["key"].as_str().unwrap());
        let running = bench.control.catalog.load().keys.find(&digest).unwrap().key.state.clone();
        let done = bench.post("/v1/revocations", json!({"team": "frontend"})).await.expect(200);
        assert_eq!(done["revoked"], json!([mine["id"]]));
        assert!(running.is_revoked());
        assert_eq!(bench.get("/v1/tokens/john").await.expect(200)["state"], "active");
        let again = bench.post("/v1/revocations", json!({"team": "frontend"})).await.expect(200);
        assert_eq!(again["revoked"], json!([]));
    }

    #[tokio::test]
    async fn bad_requests_are_refused() {
        let bench = Bench::new().await;
        bench.post("/v1/revocations", json!({})).await.refuses(422, "tokens_invalid");
        bench.post("/v1/revocations", json!({"tokens": ["a"], "team": "b"})).await.refuses(422, "request_invalid");
        bench.post("/v1/revocations", json!({"team": "b"})).await.refuses(404, "team_unknown");
        bench.post("/v1/revocations", json!({"tokens": vec!["a"; 1001]})).await.refuses(422, "tokens_invalid");
    }
}
