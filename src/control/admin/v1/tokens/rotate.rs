//! `POST /v1/tokens/{id}/rotate`: gives a key a new text. The one before goes on for a while, so that nothing
//! breaks; then it ends by itself.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::admin::Admin;
use crate::control::admin::entrance::Caller;
use crate::control::admin::extract::{Json, Path};
use crate::control::admin::problem::Problem;
use crate::domain::Timestamp;

/// How long the old secret keeps working unless said otherwise.
pub const OVERLAP_SECONDS: u64 = 24 * 60 * 60;

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateToken {
    /// How long the current secret keeps working; 0 ends it at once. A day if absent, at most 90 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_seconds: Option<u64>,
    /// The id of the secret believed to be the newest. If it is not, nothing is changed: somebody else has
    /// rotated the key in the meantime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
}

/// It has no `Debug`, so that no log line can hold a key.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct RotatedToken {
    pub id: String,
    pub name: String,
    /// The new secret.
    pub key: String,
    /// The id of the new secret.
    pub secret: String,
    /// Until when the old secret is still accepted.
    #[schema(value_type = String, format = DateTime)]
    pub old_valid_until: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

#[utoipa::path(
    post, path = "/v1/tokens/{id}/rotate", operation_id = "rotate_token", tag = "tokens", request_body = RotateToken,
    params(("id" = String, Path, description = "The key's id or name")),
    responses((status = 200, description = "The key with its new secret, which is never shown again", body = RotatedToken)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id_or_name): Path,
    Json(asked): Json<RotateToken>,
) -> Result<Json<RotatedToken>, Problem> {
    let overlap = Duration::from_secs(asked.overlap_seconds.unwrap_or(OVERLAP_SECONDS));
    let rotated = admin.office.rotate_key(id_or_name, overlap, asked.expected, caller.actor).await?;
    let secret = rotated.key.newest().map(|secret| secret.id.clone()).unwrap_or_default();
    Ok(Json(RotatedToken {
        id: rotated.key.id,
        name: rotated.key.name,
        key: rotated.text.expose().to_owned(),
        secret,
        old_valid_until: rotated.old_valid_until,
        expires_at: rotated.key.expires_at,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::catalog::{Credential, Lapse};
    use crate::control::admin::tests::Bench;
    use crate::control::now;

    fn known(bench: &Bench, made: &Value) -> Option<Credential> {
        let digest = bench.control.pepper.digest(made["key"].as_str().unwrap());
        bench.control.catalog.load().keys.find(&digest).cloned()
    }

    fn lapse(bench: &Bench, made: &Value) -> Option<Lapse> {
        known(bench, made).unwrap().lapse(now())
    }

    #[tokio::test]
    async fn both_texts_work_until_the_overlap_ends() {
        let bench = Bench::new().await;
        let first = bench.post("/v1/tokens", json!({"name": "jane"})).await.expect(201);
        let second = bench.post("/v1/tokens/jane/rotate", json!({})).await.expect(200);
        assert_eq!((&second["id"], &second["name"]), (&first["id"], &first["name"]));
        assert_ne!(first["key"], second["key"]);
        assert_eq!((lapse(&bench, &first), lapse(&bench, &second)), (None, None));
        let shown = bench.get("/v1/tokens/jane").await.expect(200);
        assert_eq!(shown["state"], "rotated");
        assert_eq!(shown["secrets"][0]["valid_until"], second["old_valid_until"]);
        assert_eq!(
            (&shown["secrets"][1]["id"], &shown["secrets"][1]["valid_until"]),
            (&second["secret"], &json!(null))
        );
        assert!(!shown.to_string().contains(second["key"].as_str().unwrap()));
        let (action, _, detail) = bench.audited(first["id"].as_str().unwrap());
        assert!(action == "key.rotate" && !detail.contains(&second["key"].as_str().unwrap()[10..]), "{detail}");

        // A rotation within the overlap ends the oldest text at once: never are more than two accepted.
        let third = bench.post("/v1/tokens/jane/rotate", json!({"overlap_seconds": 60})).await.expect(200);
        assert_eq!(lapse(&bench, &first), Some(Lapse::Rotated));
        assert_eq!((lapse(&bench, &second), lapse(&bench, &third)), (None, None));

        let fourth = bench.post("/v1/tokens/jane/rotate", json!({"overlap_seconds": 0})).await.expect(200);
        let lapses = [&first, &second, &third, &fourth].map(|made| lapse(&bench, made));
        assert_eq!(lapses, [Some(Lapse::Rotated), Some(Lapse::Rotated), Some(Lapse::Rotated), None]);
        assert_eq!(bench.get("/v1/tokens/jane").await.expect(200)["state"], "active");
        bench.delete("/v1/tokens/jane").await.expect(200);
        assert_eq!(lapse(&bench, &fourth), Some(Lapse::Revoked));
    }

    #[tokio::test]
    async fn of_two_simultaneous_rotations_one_is_told() {
        let bench = Bench::new().await;
        let first = bench.post("/v1/tokens", json!({"name": "jane"})).await.expect(201);
        let newest = bench.get("/v1/tokens/jane").await.expect(200)["secrets"][0]["id"].clone();
        let body = json!({"overlap_seconds": 0, "expected": newest});
        let (one, two) = tokio::join!(
            bench.post("/v1/tokens/jane/rotate", body.clone()),
            bench.post("/v1/tokens/jane/rotate", body.clone()),
        );
        let (won, lost) = if one.status == 200 { (one, two) } else { (two, one) };
        lost.refuses(409, "rotation_conflict");
        let won = won.expect(200);
        assert_eq!((lapse(&bench, &won), lapse(&bench, &first)), (None, Some(Lapse::Rotated)));
        assert_eq!(bench.audit_count(first["id"].as_str().unwrap()), 2);
    }

    #[tokio::test]
    async fn only_so_many_old_texts_are_remembered() {
        let bench = Bench::new().await;
        let first = bench.post("/v1/tokens", json!({"name": "jane"})).await.expect(201);
        for _ in 0..7 {
            bench.post("/v1/tokens/jane/rotate", json!({})).await.expect(200);
        }
        assert_eq!(lapse(&bench, &first), Some(Lapse::Rotated));
        bench.post("/v1/tokens/jane/rotate", json!({})).await.expect(200);
        assert!(known(&bench, &first).is_none());
        assert_eq!(bench.get("/v1/tokens/jane").await.expect(200)["secrets"].as_array().unwrap().len(), 8);
        assert_eq!(bench.control.catalog.load().keys.len(), 8);
    }

    #[tokio::test]
    async fn what_cannot_be_rotated_is_told() {
        let bench = Bench::new().await;
        bench.post("/v1/tokens/nobody/rotate", json!({})).await.refuses(404, "token_unknown");
        bench.post("/v1/tokens", json!({"name": "jane"})).await.expect(201);
        let long = json!({"overlap_seconds": 90 * 86_400 + 1});
        bench.post("/v1/tokens/jane/rotate", long).await.refuses(422, "overlap_invalid");
        bench.post("/v1/tokens/jane/rotate", json!({"overlap_seconds": -1})).await.refuses(422, "request_invalid");
        bench.post("/v1/tokens/jane/rotate", json!({"expected": "ks_x"})).await.refuses(409, "rotation_conflict");
        bench.delete("/v1/tokens/jane").await.expect(200);
        bench.post("/v1/tokens/jane/rotate", json!({})).await.refuses(409, "token_revoked");
        let soon = now().saturating_add(std::time::Duration::from_millis(80));
        let soon = json!({"name": "brief", "expires_at": soon});
        bench.post("/v1/tokens", soon).await.expect(201);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        bench.post("/v1/tokens/brief/rotate", json!({})).await.refuses(409, "token_expired");
    }
}
