//! `GET /v1/explain`: which rule would admit or refuse a call, asked of the same function as the gateway asks.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::catalog::{
    Choice, Credential, Demand, Denial, Hit, Lapse, LimitDocument, Moment, NoChoice, NotServed, Scope, Scopes, Size,
    Wait, Wanted, What, check, choose, standings,
};
use crate::control::admin::Admin;
use crate::control::admin::extract::{Json, Query};
use crate::control::admin::openapi::{LimitSchema, PermissionsSchema};
use crate::control::admin::problem::Problem;
use crate::control::now;
use crate::domain::{KeyKind, Permissions, ServiceTier};
use crate::protocol::Endpoint;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::control::admin) struct Explain {
    /// The id or name of an access key.
    key: String,
    /// The model as a client would ask for it.
    model: String,
    /// The endpoint by its name in events. Default: chat/completions.
    endpoint: Option<String>,
    /// Where the caller would connect from.
    #[param(value_type = Option<String>)]
    address: Option<IpAddr>,
    /// The most output tokens the call would ask for. Default: what the key usually gets.
    tokens: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    pub allowed: bool,
    /// The code of the refusal that a caller would get; absent if the call would be admitted.
    pub code: Option<String>,
    /// Whose rule decides: key, team or organization.
    pub scope: Option<String>,
    /// Which of its lists: models, providers, endpoints or networks.
    pub list: Option<String>,
    /// The same in a sentence.
    pub detail: String,
    /// Every limit that concerns the key, with what is left and when it is whole again.
    #[schema(value_type = Vec<LimitSchema>)]
    pub limits: Vec<LimitDocument>,
    /// Where the call would go.
    pub provider: Option<String>,
    /// The name of the key's team.
    pub team: Option<String>,
    #[schema(value_type = PermissionsSchema)]
    pub key_permissions: Permissions,
    #[schema(value_type = PermissionsSchema)]
    pub team_permissions: Permissions,
    #[schema(value_type = PermissionsSchema)]
    pub organization_permissions: Permissions,
}

#[utoipa::path(
    get, path = "/v1/explain", operation_id = "explain", tag = "explain", params(Explain),
    responses((status = 200, description = "Which rule decides", body = Explanation)),
)]
pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Query(asked): Query<Explain>,
) -> Result<Json<Explanation>, Problem> {
    let key = admin.keys.find_key(&asked.key).await?.ok_or_else(Problem::token_unknown)?;
    if key.kind != KeyKind::Access {
        return Err(Problem::request_invalid("this is a gateway key, which authorises no traffic"));
    }
    let endpoint = endpoint(asked.endpoint.as_deref().unwrap_or(Endpoint::ChatCompletions.label()))?;
    let catalog = admin.catalog.load();
    let known = key.newest().and_then(|secret| catalog.keys.find(&secret.digest));
    let credential = known.ok_or_else(Problem::token_unknown)?;
    let wanted = Wanted {
        dialect: endpoint.dialect(),
        model: &asked.model,
        endpoint: endpoint.label(),
        address: asked.address,
        addressed: None,
    };
    let scopes = Scopes::of(credential, &catalog.payer);
    let moment = Moment::now();
    let limited = |choice: &Choice| {
        let served = choice.serves.as_deref().unwrap_or(&asked.model);
        let price = catalog.prices.find(&choice.provider.name, served, now()).map(|price| &**price);
        let (output_tokens_max, tier) = (asked.tokens, ServiceTier::Standard);
        let size = Size { body_bytes: 0, input_tokens: 0, output_tokens_max, price, tier };
        let demand = Demand::new(&asked.model, size, credential.key.state.learned());
        check(scopes, &demand, moment)
    };
    let limits = standings(scopes, moment).iter().map(LimitDocument::from).collect();
    let (decision, provider) = match (credential.lapse(now()), choose(&catalog, &credential.key, &wanted)) {
        (Some(lapse), _) => (Err(lapsed(lapse)), None),
        (None, Err(NotServed::Nowhere(why))) => (Err(nowhere(&why)), None),
        (None, Err(NotServed::Denied(denial))) => (Err(denied(denial, &wanted)), None),
        (None, Ok(choice)) => {
            (limited(&choice).map_or(Ok(()), |hit| Err(hit_by(&hit))), Some(choice.provider.name.to_string()))
        }
    };
    Ok(Json(Explanation { limits, ..explanation(decision, provider, credential, &catalog.permissions) }))
}

/// Why a call would be refused.
struct Refused {
    code: &'static str,
    denial: Option<Denial>,
    scope: Option<Scope>,
    detail: String,
}

fn explanation(
    decision: Result<(), Refused>,
    provider: Option<String>,
    credential: &Credential,
    organization: &Permissions,
) -> Explanation {
    let team = credential.key.team.as_ref();
    let refused = decision.err();
    let denial = refused.as_ref().and_then(|refused| refused.denial);
    Explanation {
        allowed: refused.is_none(),
        code: refused.as_ref().map(|refused| refused.code.into()),
        scope: refused.as_ref().and_then(|refused| refused.scope).map(|scope| scope.label().into()),
        list: denial.map(|denial| denial.what.list().into()),
        limits: Vec::new(),
        detail: refused.map_or_else(|| "key, team and organization allow this call".into(), |refused| refused.detail),
        provider,
        team: team.map(|team| team.name.to_string()),
        key_permissions: credential.key.state.permissions().as_deref().cloned().unwrap_or_default(),
        team_permissions: team.map(|team| Permissions::clone(&team.state.permissions())).unwrap_or_default(),
        organization_permissions: organization.clone(),
    }
}

fn denied(denial: Denial, asked: &Wanted<'_>) -> Refused {
    let (code, value) = match denial.what {
        What::Address => match asked.address {
            Some(address) => ("address_not_allowed", address.to_string()),
            None => ("address_not_allowed", "an unknown address (name one to ask about it)".into()),
        },
        What::Endpoint => ("endpoint_not_allowed", asked.endpoint.into()),
        What::Model => ("model_not_allowed", asked.model.into()),
        What::Provider => ("provider_not_allowed", "any provider that serves this model".into()),
    };
    Refused {
        code,
        denial: Some(denial),
        scope: Some(denial.scope),
        detail: format!("{denial} do not include {value}"),
    }
}

fn hit_by(hit: &Hit) -> Refused {
    let detail = match hit.wait {
        Wait::Never => format!("the call may use more than {} allows at all", hit.standing),
        Wait::Running => format!("running requests take up {}", hit.standing),
        Wait::For(time) => format!("{} is used up for {:.1} seconds", hit.standing, time.as_secs_f64()),
        Wait::Window => match hit.standing.resets_at {
            Some(at) => {
                format!("what is left of {} is less than the call may cost; it begins anew at {at}", hit.standing)
            }
            None => format!("what is left of {} is less than the call may cost", hit.standing),
        },
    };
    Refused { code: hit.code(), denial: None, scope: Some(hit.standing.scope), detail }
}

fn lapsed(lapse: Lapse) -> Refused {
    let (code, detail) = match lapse {
        Lapse::Revoked => ("key_revoked", "the key is revoked"),
        Lapse::Expired => ("key_expired", "the key has expired"),
        Lapse::Rotated => ("key_expired", "the key's text was rotated away"),
        Lapse::TeamSuspended => ("team_suspended", "the key's team is suspended"),
    };
    Refused { code, denial: None, scope: None, detail: detail.into() }
}

fn nowhere(why: &NoChoice) -> Refused {
    let (code, detail) = match why {
        NoChoice::Dialect => ("no_provider", "no configured provider speaks the dialect of this endpoint"),
        NoChoice::OtherDialect(_) => ("model_unknown", "the providers of this model do not serve this endpoint"),
        NoChoice::Provider => ("model_unknown", "the provider does not serve this model"),
    };
    Refused { code, denial: None, scope: None, detail: detail.into() }
}

fn endpoint(name: &str) -> Result<Endpoint, Problem> {
    let found = Endpoint::ALL.into_iter().find(|endpoint| endpoint.label() == name);
    let known = || Endpoint::ALL.map(Endpoint::label).join(", ");
    found.ok_or_else(|| Problem::request_invalid(format!("endpoint is one of {}", known())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;

    #[tokio::test]
    async fn it_names_the_rule_that_decides() {
        let bench = Bench::with_provider().await;
        bench.post("/v1/teams", json!({"name": "front", "permissions": {"models": ["gpt-*"]}})).await.expect(201);
        let permissions = json!({"endpoints": ["chat/*"], "networks": ["10.0.0.0/8"]});
        let body = json!({"name": "jane", "team": "front", "permissions": permissions});
        bench.post("/v1/tokens", body).await.expect(201);
        let explained = async |query: &str| {
            let found = bench.get(&format!("/v1/explain?key=jane&{query}")).await.expect(200);
            (found["allowed"].clone(), found["code"].clone(), found["scope"].clone(), found["list"].clone())
        };
        let refused = |code: &str, scope: &str, list: &str| (json!(false), json!(code), json!(scope), json!(list));
        let inside = "address=10.1.2.3";
        let allowed = (json!(true), json!(null), json!(null), json!(null));
        assert_eq!(explained(&format!("model=gpt-4o&{inside}")).await, allowed);
        assert_eq!(explained("model=gpt-4o").await, refused("address_not_allowed", "key", "networks"));
        assert_eq!(
            explained(&format!("model=gpt-4o&endpoint=responses&{inside}")).await,
            refused("endpoint_not_allowed", "key", "endpoints")
        );
        assert_eq!(explained(&format!("model=o3&{inside}")).await, refused("model_not_allowed", "team", "models"));
        bench.post("/v1/teams/front/suspend", json!({})).await.expect(200);
        assert_eq!(explained(&format!("model=gpt-4o&{inside}")).await.1, "team_suspended");
        bench.delete("/v1/tokens/jane").await.expect(200);
        assert_eq!(explained(&format!("model=gpt-4o&{inside}")).await.1, "key_revoked");
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_refused() {
        let bench = Bench::with_provider().await;
        bench.get("/v1/explain?key=nobody&model=x").await.refuses(404, "token_unknown");
        bench.post("/v1/tokens", json!({"name": "edge", "type": "gateway"})).await.expect(201);
        bench.get("/v1/explain?key=edge&model=x").await.refuses(422, "request_invalid");
        bench.post("/v1/tokens", json!({"name": "jane"})).await.expect(201);
        for query in ["", "model=x&endpoint=chat", "model=x&address=10.0.0.0/8", "model=x&tokens=-5"] {
            bench.get(&format!("/v1/explain?key=jane&{query}")).await.refuses(422, "request_invalid");
        }
        let nowhere = bench.get("/v1/explain?key=jane&model=x&endpoint=messages").await.expect(200);
        assert_eq!(nowhere["code"], "no_provider");
    }
}
