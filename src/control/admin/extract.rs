//! Reading requests, with every fault as a problem document.

use std::error::Error;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use utoipa::IntoParams;

use super::problem::Problem;

/// The largest body of a request.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long a body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// A JSON body: in requests read strictly, in answers not to be stored.
pub(super) struct Json<T>(pub(super) T);

/// The query, in which a parameter that `T` does not describe is a fault.
pub(super) struct Query<T>(pub(super) T);

/// The query of an endpoint that shares some of its parameters with others.
pub(super) struct Queries<A, B>(pub(super) A, pub(super) B);

/// The one variable part of the path.
pub(super) struct Path(pub(super) String);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        // A web page can make a browser send other types unasked, but not this one.
        if !is_json(request.headers()) {
            return Err(Problem::media_type_unsupported());
        }
        let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
        let body = timeout(BODY_TIME_MAX, body).await.map_err(|_| Problem::body_too_slow())?;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => Problem::body_too_large(BODY_BYTES_MAX),
            None => Problem::request_malformed("the body broke off"),
        })?;
        serde_json::from_slice(&body.to_bytes()).map(Self).map_err(|error| match error.is_data() {
            true => Problem::request_invalid(error.to_string()),
            false => Problem::request_malformed(format!("the body is not JSON: {error}")),
        })
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        ([(header::CACHE_CONTROL, "no-store")], axum::Json(self.0)).into_response()
    }
}

impl<S: Sync, T: DeserializeOwned + IntoParams> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        knows(&parts.uri, &names::<T>())?;
        query(&parts.uri).map(Self)
    }
}

impl<S: Sync, A: DeserializeOwned + IntoParams, B: DeserializeOwned + IntoParams> FromRequestParts<S>
    for Queries<A, B>
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        knows(&parts.uri, &[names::<A>(), names::<B>()].concat())?;
        Ok(Self(query(&parts.uri)?, query(&parts.uri)?))
    }
}

/// The parameters that `T` describes.
fn names<T: IntoParams>() -> Vec<String> {
    T::into_params(|| None).into_iter().map(|parameter| parameter.name).collect()
}

/// Sees that every parameter is one of `names`.
fn knows(uri: &Uri, names: &[String]) -> Result<(), Problem> {
    let given: Vec<(String, String)> = query(uri)?;
    match given.iter().find(|(name, _)| !names.contains(name)) {
        None => Ok(()),
        Some((unknown, _)) => {
            let there_are = names.join(", ");
            Err(Problem::request_invalid(format!("there is no parameter `{unknown}` here; there are {there_are}")))
        }
    }
}

/// Reads what `T` wants to know, and passes by the rest.
fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    axum::extract::Query::try_from_uri(uri).map(|query| query.0).map_err(|rejection| {
        // The name of the parameter, and what was expected of it.
        let why = rejection.source().map_or_else(|| rejection.body_text(), ToString::to_string);
        Problem::request_invalid(format!("in the query, {why}"))
    })
}

impl<S: Send + Sync> FromRequestParts<S> for Path {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0))
            .map_err(|rejection: PathRejection| Problem::request_malformed(rejection.body_text()))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}
