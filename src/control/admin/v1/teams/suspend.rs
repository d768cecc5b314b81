//! `POST /v1/teams/{id}/suspend`: lets no request of the team's keys pass until it is resumed. Running ones are cut.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;

use crate::control::admin::Admin;
use crate::control::admin::entrance::Caller;
use crate::control::admin::extract::{Json, Path};
use crate::control::admin::problem::Problem;
use crate::control::office::TeamPatch;

use super::Team;

#[utoipa::path(
    post, path = "/v1/teams/{id}/suspend", operation_id = "suspend_team", tag = "teams",
    params(("id" = String, Path, description = "The team's id or name")),
    responses((status = 200, description = "No request of the team's keys passes any more", body = Team)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(id_or_name): Path,
) -> Result<Json<Team>, Problem> {
    let patch = TeamPatch { suspended: Some(true), ..TeamPatch::default() };
    let team = admin.office.update_team(id_or_name, patch, caller.actor).await?;
    Ok(Json(team.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::catalog::Lapse;
    use crate::control::admin::tests::Bench;
    use crate::control::now;

    #[tokio::test]
    async fn a_suspended_team_stops_and_goes_on() {
        let bench = Bench::new().await;
        let made = bench.post("/v1/teams", json!({"name": "frontend"})).await.expect(201);
        let key = bench.post("/v1/tokens", json!({"name": "jane", "team": "frontend"})).await.expect(201);
        let digest = bench.control.pepper.digest(key["key"].as_str().unwrap());
        let running = bench.control.catalog.load().keys.find(&digest).unwrap().clone();
        let first = bench.post("/v1/teams/frontend/suspend", json!({})).await.expect(200);
        assert_eq!(running.lapse(now()), Some(Lapse::TeamSuspended));
        let again = bench.post("/v1/teams/frontend/suspend", json!({})).await.expect(200);
        assert_eq!(first["suspended_at"], again["suspended_at"]);
        let id = made["id"].as_str().unwrap();
        assert_eq!((bench.audited(id).0.as_str(), bench.audit_count(id)), ("team.suspend", 2));
        // A key that joins the team is suspended with it.
        let late = bench.post("/v1/tokens", json!({"name": "late", "team": "frontend"})).await.expect(201);
        let digest = bench.control.pepper.digest(late["key"].as_str().unwrap());
        let late = bench.control.catalog.load().keys.find(&digest).unwrap().clone();
        assert_eq!(late.lapse(now()), Some(Lapse::TeamSuspended));
        let resumed = bench.post("/v1/teams/frontend/resume", json!({})).await.expect(200);
        assert_eq!((&resumed["suspended_at"], running.lapse(now()), late.lapse(now())), (&json!(null), None, None));
        bench.post("/v1/teams/nobody/suspend", json!({})).await.refuses(404, "team_unknown");
        bench.post("/v1/teams/nobody/resume", json!({})).await.refuses(404, "team_unknown");
    }
}
