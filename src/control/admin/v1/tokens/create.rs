//! `POST /v1/tokens`: makes a key and shows it, this once.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::admin::Admin;
use crate::control::admin::entrance::Caller;
use crate::control::admin::extract::Json;
use crate::control::admin::openapi::{LimitsSchema, PermissionsSchema};
use crate::control::admin::problem::Problem;
use crate::control::office::NewKey;
use crate::domain::{Limits, Permissions, Timestamp};

use super::TokenKind;

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    pub name: String,
    /// The id or name of a team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    #[serde(rename = "type", default)]
    pub kind: TokenKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// What is not named is not restricted.
    #[serde(default, skip_serializing_if = "Permissions::allow_all")]
    #[schema(value_type = PermissionsSchema, required = false)]
    pub permissions: Permissions,
    /// What is not named is not limited.
    #[serde(default, skip_serializing_if = "Limits::limit_nothing")]
    #[schema(value_type = LimitsSchema, required = false)]
    pub limits: Limits,
}

/// Besides [`super::rotate::RotatedToken`] the only answer that ever holds a key. It has no `Debug`, so that no
/// log line can.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    pub id: String,
    pub name: String,
    pub key: String,
    pub team: Option<String>,
    #[serde(rename = "type")]
    pub kind: TokenKind,
    #[schema(value_type = PermissionsSchema)]
    pub permissions: Permissions,
    #[schema(value_type = LimitsSchema)]
    pub limits: Limits,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// What was done, but probably not meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

#[utoipa::path(
    post, path = "/v1/tokens", operation_id = "create_token", tag = "tokens", request_body = CreateToken,
    responses((status = 201, description = "The key with its secret, which is never shown again", body = CreatedToken)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Json(asked): Json<CreateToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Problem> {
    let CreateToken { name, team, kind, expires_at, permissions, limits } = asked;
    let new = NewKey { name, team, kind: kind.into(), expires_at, permissions, limits };
    let (key, text) = admin.office.create_key(new, caller.actor).await?;
    let created = CreatedToken {
        id: key.id,
        name: key.name,
        key: text.expose().to_owned(),
        team: key.team.map(|team| team.name),
        kind,
        warnings: admin.office.warnings(&key.permissions),
        permissions: key.permissions,
        limits: key.limits,
        created_at: key.created_at,
        expires_at: key.expires_at,
    };
    Ok((StatusCode::CREATED, Json(created)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;
    use crate::domain::{KeyKind, KeyText};

    #[tokio::test]
    async fn the_key_is_shown_once_works_and_is_audited_without_its_text() {
        let bench = Bench::new().await;
        bench.post("/v1/teams", json!({"name": "frontend"})).await.expect(201);
        let body = json!({"name": "jane", "team": "frontend", "expires_at": "2099-01-01T00:00:00Z"});
        let created = bench.post("/v1/tokens", body).await.expect(201);
        let text = created["key"].as_str().unwrap();
        assert_eq!(KeyText::check(text), Ok(KeyKind::Access));
        assert_eq!(created["type"], "access");
        assert_eq!(created["team"], "frontend");
        assert_eq!(created["expires_at"], "2099-01-01T00:00:00.000Z");
        let catalog = bench.control.catalog.load();
        let known = catalog.keys.find(&bench.control.pepper.digest(text)).unwrap();
        assert_eq!((&*known.key.name, &*known.key.team.as_ref().unwrap().name), ("jane", "frontend"));

        let listed = bench.get("/v1/tokens").await.expect(200).to_string();
        assert!(!listed.contains(text) && listed.contains(&text[..10]), "{listed}");
        let (action, actor, detail) = bench.audited(created["id"].as_str().unwrap());
        assert_eq!((action.as_str(), actor.as_str()), ("key.create", "socket"));
        assert!(detail.contains("\"jane\"") && !detail.contains(&text[10..]), "{detail}");
    }

    #[tokio::test]
    async fn permissions_hold_at_once_and_what_matches_nothing_is_told() {
        let bench = Bench::new().await;
        let permissions = json!({"models": ["gpt-*"], "endpoints": ["chat/*"], "networks": ["10.0.0.0/8"]});
        let created = bench.post("/v1/tokens", json!({"name": "jane", "permissions": permissions})).await.expect(201);
        assert_eq!(created["permissions"], permissions);
        assert_eq!(created["warnings"], json!(["models: \"gpt-*\" matches no rule for models and no priced model"]));
        let digest = bench.control.pepper.digest(created["key"].as_str().unwrap());
        let known = bench
            .control
            .catalog
            .load()
            .keys
            .find(&digest)
            .unwrap()
            .key
            .state
            .permissions()
            .as_deref()
            .cloned()
            .unwrap();
        assert!(known.allow_model("gpt-4o") && !known.allow_model("claude-5"));
        assert_eq!(bench.get("/v1/tokens/jane").await.expect(200)["permissions"], permissions);
    }

    #[tokio::test]
    async fn a_gateway_key_is_no_key_for_traffic() {
        let bench = Bench::new().await;
        let created = bench.post("/v1/tokens", json!({"name": "edge", "type": "gateway"})).await.expect(201);
        let text = created["key"].as_str().unwrap();
        assert!(created["id"].as_str().unwrap().starts_with("gk_") && text.starts_with("kt_gk_"));
        assert!(bench.control.catalog.load().keys.is_empty());
    }

    #[tokio::test]
    async fn a_name_is_given_once() {
        let bench = Bench::new().await;
        let (one, two) = tokio::join!(
            bench.post("/v1/tokens", json!({"name": "jane"})),
            bench.post("/v1/tokens", json!({"name": "jane"})),
        );
        let mut statuses = [one.status, two.status];
        statuses.sort();
        assert_eq!(statuses, [201, 409]);
        bench.post("/v1/tokens", json!({"name": "jane"})).await.refuses(409, "name_taken");
        bench.delete("/v1/tokens/jane").await.expect(200);
        bench.post("/v1/tokens", json!({"name": "jane"})).await.expect(201);
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_refused_and_changes_nothing() {
        let bench = Bench::new().await;
        for (body, code) in [
            (json!({"name": ""}), "name_invalid"),
            (json!({"name": "two words"}), "name_invalid"),
            (json!({"name": "x".repeat(65)}), "name_invalid"),
            (json!({"name": "a\nb"}), "name_invalid"),
            (json!({"name": "other"}), "name_invalid"),
            (json!({"name": "ak_1"}), "name_invalid"),
            (json!({"name": "kt_ak_0123456789"}), "name_invalid"),
            (json!({"name": "jane", "team": "nobody"}), "team_unknown"),
            (json!({"name": "jane", "expires_at": "2020-01-01T00:00:00Z"}), "expiry_past"),
            (json!({"name": "jane", "expires_at": "tomorrow"}), "request_invalid"),
            (json!({"name": "jane", "type": "admin"}), "request_invalid"),
            (json!({"name": "jane", "expires_at": "3999-01-01T00:00:00Z"}), "expiry_far"),
            (json!({"name": "jane", "nmae": "typo"}), "request_invalid"),
            (json!({"name": "jane", "permissions": {"networks": ["10.0.0.1/8"]}}), "request_invalid"),
            (json!({"name": "jane", "permissions": {"networks": ["10.0.0/8"]}}), "request_invalid"),
            (json!({"name": "jane", "permissions": {"models": [""]}}), "request_invalid"),
            (json!({"name": "jane", "permissions": {"model": ["x"]}}), "request_invalid"),
            (json!({"name": "jane", "permissions": {"models": vec!["x"; 65]}}), "permissions_invalid"),
            (json!({}), "request_invalid"),
        ] {
            bench.post("/v1/tokens", body).await.refuses(422, code);
        }
        assert_eq!(bench.get("/v1/tokens").await.expect(200)["tokens"], json!([]));
    }
}
