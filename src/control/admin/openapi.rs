//! `GET /openapi.json`: this API, for programs.
//!
//! Each endpoint describes itself where it is; what all share is added here: that every refusal is a problem
//! document, and how to authenticate. It is served like everything else: over TCP to holders of a token.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use utoipa::{OpenApi, ToSchema};

use super::extract::Json;
use super::problem::ProblemDocument;
use super::v1::{admin_tokens, config, events, explain, prices, revocations, teams, tokens, upgrade, usage, whoami};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Keeptrusts admin API",
        description = "Access keys, teams, what became of requests, and what they cost."
    ),
    paths(
        tokens::list::handler,
        tokens::create::handler,
        tokens::show::handler,
        tokens::update::handler,
        tokens::rotate::handler,
        tokens::revoke::handler,
        revocations::handler,
        teams::list::handler,
        teams::create::handler,
        teams::show::handler,
        teams::update::handler,
        teams::suspend::handler,
        teams::resume::handler,
        teams::delete::handler,
        admin_tokens::list::handler,
        admin_tokens::create::handler,
        admin_tokens::revoke::handler,
        events::handler,
        events::export::handler,
        events::verify::handler,
        usage::handler,
        prices::handler,
        explain::handler,
        config::show::handler,
        config::reload::handler,
        whoami::handler,
        upgrade::handler,
    ),
    components(schemas(ProblemDocument))
)]
struct Described;

/// What may be used. A list that is absent allows anything; one that is there allows what it names and nothing
/// else. `*` stands for any characters, `?` for one.
#[derive(ToSchema)]
#[schema(as = Permissions)]
#[expect(dead_code, reason = "it only describes `domain::Permissions`, which knows nothing of this API")]
pub(super) struct PermissionsSchema {
    /// Models by the name the caller asks for.
    #[schema(required = false, max_items = 64)]
    models: Option<Vec<String>>,
    /// Providers by their configured name.
    #[schema(required = false, max_items = 64)]
    providers: Option<Vec<String>>,
    /// Endpoints by their name in events, such as `chat/completions`.
    #[schema(required = false, max_items = 64)]
    endpoints: Option<Vec<String>>,
    /// Addresses and networks the caller connects from, such as `10.0.0.0/8`.
    #[schema(required = false, max_items = 64)]
    networks: Option<Vec<String>>,
}

/// How much may be used. What is absent is not limited.
#[derive(ToSchema)]
#[schema(as = Limits)]
#[expect(dead_code, reason = "it only describes `domain::Limits`, which knows nothing of this API")]
pub(super) struct LimitsSchema {
    /// The share of a busy provider, in turns, from 1 to 1000. A key has its own, else its team's, else 1.
    #[schema(required = false)]
    weight: Option<u64>,
    #[schema(inline)]
    #[serde(flatten)]
    all: BoundsSchema,
    /// By patterns for models, as the caller names them: limits for the requests of those models together. At most
    /// twelve.
    #[schema(required = false)]
    models: Option<BTreeMap<String, BoundsSchema>>,
}

/// A limit as it stands.
#[derive(ToSchema)]
#[schema(as = Limit)]
#[expect(dead_code, reason = "it only describes `catalog::LimitDocument`")]
pub(super) struct LimitSchema {
    /// Who sets it: key, team or organization.
    scope: String,
    name: String,
    /// `rpm`, `tpm`, `concurrency`, …; of a budget, the budget itself, such as `50usd/month`.
    limit: String,
    model: Option<String>,
    /// requests, tokens, bytes or usd.
    unit: String,
    max: f64,
    remaining: f64,
    /// What running requests may still spend of a budget.
    reserved: f64,
    utilization: f64,
    resets_in_seconds: Option<f64>,
    #[schema(format = DateTime)]
    resets_at: Option<String>,
    hard: bool,
}

/// Limits that hold for the same requests: whole numbers from 1 to a million million.
#[derive(ToSchema)]
#[schema(as = Bounds)]
#[expect(dead_code, reason = "it only describes `domain::Bounds`")]
pub(super) struct BoundsSchema {
    /// Requests a minute.
    #[schema(required = false)]
    rpm: Option<u64>,
    /// How many of a minute's requests may come at once. Default: all of them.
    #[schema(required = false)]
    burst: Option<u64>,
    /// Tokens a minute, input and output together.
    #[schema(required = false)]
    tpm: Option<u64>,
    #[schema(required = false)]
    input_tpm: Option<u64>,
    #[schema(required = false)]
    output_tpm: Option<u64>,
    /// Requests at the same time.
    #[schema(required = false)]
    concurrency: Option<u64>,
    #[schema(required = false)]
    body_bytes_max: Option<u64>,
    /// Tokens that one request may let the model produce.
    #[schema(required = false)]
    output_tokens_max: Option<u64>,
    #[schema(required = false, max_items = 4)]
    budgets: Option<Vec<BudgetSchema>>,
}

/// Either `usd` or `tokens` in each window of a period.
#[derive(ToSchema)]
#[schema(as = Budget)]
#[expect(dead_code, reason = "it only describes `domain::Budget`")]
pub(super) struct BudgetSchema {
    /// Dollars, as a text so that nothing is rounded: "12.50".
    #[schema(required = false)]
    usd: Option<String>,
    #[schema(required = false)]
    tokens: Option<u64>,
    per: PeriodSchema,
    /// Whose calendar the windows follow, such as Europe/Berlin. Default: UTC.
    #[schema(required = false)]
    time_zone: Option<String>,
    /// Whether a request that does not fit is refused. Default: true.
    #[schema(required = false)]
    hard: Option<bool>,
}

#[derive(ToSchema)]
#[schema(as = Period, rename_all = "lowercase")]
#[expect(dead_code, reason = "it only describes `domain::Period`")]
pub(super) enum PeriodSchema {
    Hour,
    Day,
    Week,
    Month,
    Total,
}

/// Where a key is in its life.
#[derive(ToSchema)]
#[schema(as = TokenState, rename_all = "lowercase")]
#[expect(dead_code, reason = "it only describes `domain::KeyStanding`")]
pub(super) enum TokenStateSchema {
    Revoked,
    Expired,
    Expiring,
    Rotated,
    Active,
}

/// An admin may do everything, a viewer read.
#[derive(ToSchema)]
#[schema(as = AdminRole, rename_all = "lowercase")]
#[expect(dead_code, reason = "it only describes `store::AdminRole`")]
pub(super) enum AdminRoleSchema {
    Admin,
    Viewer,
}

pub(super) async fn handler() -> Json<&'static Value> {
    Json(document())
}

fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        let described = serde_json::to_value(Described::openapi());
        // It is made of texts and lists alone, which are JSON.
        described.map(complete).unwrap_or_default()
    });
    &DOCUMENT
}

/// Adds what all operations share.
fn complete(mut document: Value) -> Value {
    let problem = json!({
        "description": "Why not, and what to do",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    });
    let paths = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    for operation in paths.filter_map(Value::as_object_mut).flat_map(|path| path.values_mut()) {
        operation["responses"]["default"] = problem.clone();
    }
    document["components"]["securitySchemes"] =
        json!({"admin_token": {"type": "http", "scheme": "bearer", "description": "An admin token, kt_admin_…"}});
    document["security"] = json!([{"admin_token": []}]);
    document
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::http::Method;

    use crate::control::admin::tests::Bench;
    use crate::control::admin::v1;
    use crate::control::store::AdminRole;
    use crate::domain::KeyStanding;

    use super::*;

    #[tokio::test]
    async fn every_route_is_described_and_every_description_is_a_route() {
        let mut bench = Bench::new().await;
        // Nobody hears of upgrades here.
        bench.control.upgrades.close();
        let document = bench.get("/openapi.json").await.expect(200);
        assert_eq!(&document, super::document());
        let described: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(|path| &**path).collect();
        let routed: Vec<String> = v1::routes().iter().map(|(path, _)| format!("/v1{path}")).collect();
        assert_eq!(described, routed.iter().map(|path| &**path).collect());
        for path in described {
            for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                let named = document["paths"][path].get(method.as_str().to_lowercase()).is_some();
                let status = bench.status(method.clone(), &path.replace("{id}", "nobody")).await;
                assert_eq!(named, status != 405, "{method} {path}: {status}");
            }
        }
    }

    #[tokio::test]
    async fn every_reference_leads_somewhere_and_every_refusal_is_a_problem() {
        let text = document().to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document().pointer(pointer).is_some(), "{pointer}");
        }
        let operations = document()["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap());
        let mut ids = BTreeSet::new();
        for (method, operation) in operations {
            let schema = "/responses/default/content/application~1problem+json/schema/$ref";
            assert!(operation.pointer(schema).is_some(), "{method} {operation}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{operation}");
        }
        let words = |schema: &str| document()["components"]["schemas"][schema]["enum"].clone();
        assert_eq!(words("TokenState"), json!(KeyStanding::ALL.map(KeyStanding::label)));
        assert_eq!(words("AdminRole"), json!(AdminRole::ALL.map(AdminRole::label)));
    }

    #[tokio::test]
    async fn strangers_do_not_read_it() {
        Bench::new().await.get_by_tcp("/openapi.json", "").await.refuses(401, "token_missing");
    }
}
