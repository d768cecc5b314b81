//! `POST /v1/config/reload`: reads the configuration again and puts it in force for all requests to come.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;

use crate::control::admin::Admin;
use crate::control::admin::entrance::Caller;
use crate::control::admin::extract::Json;
use crate::control::admin::problem::Problem;

use super::ConfigInForce;

#[utoipa::path(
    post, path = "/v1/config/reload", operation_id = "reload_config", tag = "config",
    responses((status = 200, description = "It is in force; running requests keep what they began with", body = ConfigInForce)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<ConfigInForce>, Problem> {
    Ok(Json(admin.office.reload(caller.actor).await?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use serde_json::json;

    use crate::control::admin::tests::Bench;
    use crate::control::{Configured, Reading};

    #[tokio::test]
    async fn what_is_read_again_holds_and_what_is_faulty_does_not() {
        let faulty = Arc::new(AtomicBool::new(false));
        let bench = Bench::with_configuration({
            let faulty = faulty.clone();
            move || match faulty.load(Ordering::Relaxed) {
                true => Err(vec!["kt.yaml:3: lisen: unknown setting".into()]),
                false => {
                    let configured = Configured { organization: "renamed".into(), ..Configured::default() };
                    Ok(Reading { configured, text: "version: 1".into(), ..Reading::default() })
                }
            }
        })
        .await;
        let before = bench.get("/v1/config").await.expect(200);
        let after = bench.post("/v1/config/reload", json!({})).await.expect(200);
        assert_ne!(before["since"], after["since"]);
        assert_eq!(bench.get("/v1/whoami").await.expect(200)["organization"], "renamed");
        assert_eq!(bench.audited("config").0, "config.reload");

        faulty.store(true, Ordering::Relaxed);
        bench.post("/v1/config/reload", json!({})).await.refuses(422, "config_faulty");
        let still = bench.get("/v1/config").await.expect(200);
        assert_eq!((&still["text"], &still["since"]), (&json!("version: 1"), &after["since"]));
        assert!(still["faults"][0].as_str().unwrap().contains("lisen"));
        assert_eq!(
            (bench.audit_count("config"), bench.get("/v1/whoami").await.expect(200)["organization"].as_str()),
            (1, Some("renamed"))
        );
    }

    #[tokio::test]
    async fn a_viewer_reads_it_and_reloads_nothing() {
        let bench = Bench::new().await;
        let made = bench.post("/v1/admin-tokens", json!({"name": "ro", "role": "viewer"})).await.expect(201);
        let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
        bench.get_by_tcp("/v1/config", &bearer).await.expect(200);
        bench.call_by_tcp("POST", "/v1/config/reload", &bearer).await.refuses(403, "role_insufficient");
        bench.call_by_tcp("POST", "/v1/config/reload", &bench.bearer()).await.expect(200);
    }
}
