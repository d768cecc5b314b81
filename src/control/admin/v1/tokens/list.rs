//! `GET /v1/tokens`: keys in the order they were made.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};

use crate::control::admin::Admin;
use crate::control::admin::extract::{Json, Query};
use crate::control::admin::problem::Problem;
use crate::control::admin::v1::limit;
use crate::control::now;
use crate::control::store::KeyQuery;

use super::{Token, TokenKind};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::control::admin) struct ListTokens {
    #[serde(rename = "type")]
    kind: Option<TokenKind>,
    limit: Option<usize>,
    cursor: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenList {
    pub tokens: Vec<Token>,
    /// The `cursor` of the next page; absent after the last.
    pub next_cursor: Option<i64>,
}

pub(in crate::control::admin) async fn handler(
    State(admin): State<Arc<Admin>>,
    Query(asked): Query<ListTokens>,
) -> Result<Json<TokenList>, Problem> {
    let limit = limit(asked.limit)?;
    let query = KeyQuery { kind: asked.kind.map(Into::into), revoked: None, cursor: asked.cursor, limit };
    let page = admin.keys.keys(query).await?;
    let now = now();
    let tokens = page.items.into_iter().map(|key| Token::of(key, now)).collect();
    Ok(Json(TokenList { tokens, next_cursor: page.next }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::control::admin::tests::Bench;

    #[tokio::test]
    async fn it_filters_by_type_and_turns_pages() {
        let bench = Bench::new().await;
        for (name, kind) in [("a", "access"), ("b", "gateway"), ("c", "access")] {
            bench.post("/v1/tokens", json!({"name": name, "type": kind})).await.expect(201);
        }
        let names = |list: &serde_json::Value| -> Vec<String> {
            list["tokens"].as_array().unwrap().iter().map(|token| token["name"].as_str().unwrap().into()).collect()
        };
        assert_eq!(names(&bench.get("/v1/tokens?type=gateway").await.expect(200)), ["b"]);
        let first = bench.get("/v1/tokens?limit=2").await.expect(200);
        assert_eq!(names(&first), ["a", "b"]);
        let rest = bench.get(&format!("/v1/tokens?limit=2&cursor={}", first["next_cursor"])).await.expect(200);
        assert_eq!((names(&rest), &rest["next_cursor"]), (vec!["c".into()], &json!(null)));
    }

    #[tokio::test]
    async fn a_query_it_does_not_know_is_refused() {
        let bench = Bench::new().await;
        for query in ["type=admin", "tpye=access", "limit=0", "limit=1001", "limit=x", "cursor=x"] {
            bench.get(&format!("/v1/tokens?{query}")).await.refuses(422, "request_invalid");
        }
    }
}
