//! Azure OpenAI: the credential in `api-key`, and deployments that the operator named in place of models.
//!
//! Its older interface has the deployment in the path and a version in the query; its newer one is OpenAI's own below
//! `/openai/v1`, with the deployment as the model. A provider with an `api_version` is asked in the older way.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderName;

use crate::domain::Secret;
use crate::protocol::{Dialect, Endpoint};

use super::{Aim, escaped};

pub(super) const DIALECT: Dialect = Dialect::OpenAi;

/// What only this kind of provider has to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Azure {
    pub api_version: Option<String>,
    /// The deployment of each model; one that is not here is called as the model.
    pub deployments: BTreeMap<String, Arc<str>>,
}

pub(super) fn credential_header(credential: &Secret) -> (HeaderName, Secret) {
    (HeaderName::from_static("api-key"), credential.clone())
}

/// Path and query.
pub(super) fn target(azure: &Azure, aim: &Aim<'_>) -> String {
    let endpoint = aim.endpoint.label();
    let is_deployment = aim.named.is_some();
    let Some(version) = azure.api_version.as_deref().or(is_deployment.then_some("")) else {
        return with_query(&format!("/openai/v1/{endpoint}"), aim.query);
    };
    let path = match aim.endpoint {
        Endpoint::Responses => format!("/openai/{endpoint}"),
        _ => format!("/openai/deployments/{}/{endpoint}", escaped(aim.model)),
    };
    // The version that the caller asks for is the one whose shapes it knows.
    let has_version = aim.query.is_some_and(|query| query.split('&').any(|parameter| parameter.starts_with(VERSION)));
    let query = match aim.query {
        _ if has_version || version.is_empty() => return with_query(&path, aim.query),
        Some(query) => format!("{VERSION}{version}&{query}"),
        None => format!("{VERSION}{version}"),
    };
    with_query(&path, Some(&query))
}

const VERSION: &str = "api-version=";

/// A query without what only Azure understands.
pub(super) fn plain_query(query: &str) -> Option<String> {
    let kept: Vec<_> = query.split('&').filter(|parameter| !parameter.starts_with(VERSION)).collect();
    Some(kept.join("&")).filter(|query| !query.is_empty())
}

pub(super) fn with_query(path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}
