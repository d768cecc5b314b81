//! `POST /v1/upgrade`: has the installed program take over from the running one.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::ToSchema;

use crate::control::admin::Admin;
use crate::control::admin::extract::Json;
use crate::control::admin::problem::Problem;
use crate::control::office::OfficeError;

/// One process of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessDocument {
    pub pid: u32,
    pub version: String,
}

/// An upgrade that cannot be refused any more: the new process has read its configuration and is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpgradeBegun {
    pub from: ProcessDocument,
    /// It takes over now. `GET /v1/whoami` says `pid`, when it has.
    pub to: ProcessDocument,
}

#[utoipa::path(
    post, path = "/v1/upgrade", operation_id = "upgrade", tag = "whoami",
    responses(
        (status = 202, description = "The new process is ready and takes over; running requests end in the old one", body = UpgradeBegun),
        (status = 409, description = "Nothing has changed; the detail says why", content_type = "application/problem+json"),
    ),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
) -> Result<(StatusCode, Json<UpgradeBegun>), Problem> {
    let (upgrade, begun) = oneshot::channel();
    admin.upgrade.send(upgrade).await.map_err(|_| OfficeError::Stopping)?;
    match begun.await {
        Ok(Ok(begun)) => Ok((StatusCode::ACCEPTED, Json(begun))),
        Ok(Err(why)) => Err(Problem::upgrade_refused(why)),
        Err(_stopped) => Err(OfficeError::Stopping.into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;

    use super::{ProcessDocument, UpgradeBegun};

    #[tokio::test]
    async fn an_upgrade_is_begun_or_says_why_not() {
        let mut bench = Bench::new().await;
        let mut upgrades = std::mem::replace(&mut bench.control.upgrades, tokio::sync::mpsc::channel(1).1);
        let process = |pid| ProcessDocument { pid, version: "1.0.0".into() };
        let begun = UpgradeBegun { from: process(1), to: process(2) };
        let operator = async {
            let answer = bench.post("/v1/upgrade", json!({})).await.expect(202);
            assert_eq!(answer["to"]["pid"], 2);
            bench.post("/v1/upgrade", json!({})).await.refuses(409, "upgrade_refused");
        };
        let process = async {
            upgrades.recv().await.unwrap().send(Ok(begun)).unwrap();
            upgrades.recv().await.unwrap().send(Err("the file is gone".into())).unwrap();
        };
        tokio::join!(operator, process);
    }

    #[tokio::test]
    async fn a_viewer_upgrades_nothing() {
        let bench = Bench::new().await;
        let made = bench.post("/v1/admin-tokens", json!({"name": "ro", "role": "viewer"})).await.expect(201);
        let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
        bench.call_by_tcp("POST", "/v1/upgrade", &bearer).await.refuses(403, "role_insufficient");
    }
}
