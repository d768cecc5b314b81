//! The answers of OpenAI: routes, headers, errors, the list of models.

mod chat; // POST /v1/chat/completions
mod completions; // POST /v1/completions
mod media; // POST /v1/images/…, /v1/audio/…, /v1/moderations
mod responses; // POST /v1/responses
pub(super) mod embeddings; // POST /v1/embeddings

use super::answer::{Answer, Refusal};
use super::ask::Ask;
use super::dialect::{Credential, Question};
use super::words::escaped;

pub(super) fn answer(question: &Question<'_>) -> Result<Answer, Refusal> {
    check_credential(question)?;
    let path = question.request.path();
    let (deployment, endpoint) = asked(path).unwrap_or((None, ""));
    if deployment.is_some() && !question.request.has_query_named("api-version") {
        return Err(Refusal::new(404, "Resource not found"));
    }
    let read = || read(question, deployment);
    match (question.request.method.as_str(), endpoint) {
        ("POST", "chat/completions") => chat::answer(question, &read()?),
        ("POST", "completions") => Ok(completions::answer(question, &read()?)),
        ("POST", "responses") => Ok(responses::answer(question, &read()?)),
        ("POST", "embeddings") => embeddings::answer(question, &read()?),
        ("POST", "images/generations") => Ok(media::image(question, &read()?)),
        ("POST", "audio/speech") => read().map(|_| media::speech(question)),
        ("POST", "audio/transcriptions" | "audio/translations") => media::transcript(question),
        ("POST", "moderations") => Ok(media::moderation(question, &read()?)),
        ("GET" | "HEAD", "models") => Ok(models()),
        (method, _) => {
            let message = format!("Invalid URL ({method} {path})");
            Err(Refusal::new(404, message))
        }
    }
}

/// The deployment, where the path is one of Azure's older interface, and the endpoint.
fn asked(path: &str) -> Option<(Option<&str>, &str)> {
    match path.strip_prefix("/openai/deployments/") {
        Some(rest) => rest.split_once('/').map(|(deployment, endpoint)| (Some(deployment), endpoint)),
        None => path.strip_prefix("/openai").unwrap_or(path).strip_prefix("/v1/").map(|endpoint| (None, endpoint)),
    }
}

/// Whether a request is to Azure, by its path.
pub(super) fn is_azure(question: &Question<'_>) -> bool {
    question.request.path().starts_with("/openai/")
}

/// What a stream of completions says when it fails midway.
const STREAM_ERROR: &str = concat!(
    r#"data: {"error":{"message":"The server had an error while processing your request. Sorry about that!","#,
    r#""type":"server_error","param":null,"code":null}}"#,
    "\n\n"
);

pub(super) fn error(refusal: &Refusal) -> String {
    let kind = match (refusal.status, refusal.code) {
        (402, _) => "billing_error",
        (429, _) => "requests",
        (500.., _) => "server_error",
        _ => "invalid_request_error",
    };
    let code = refusal.code.or(if refusal.status == 429 { Some("rate_limit_exceeded") } else { None });
    let quoted = |text: Option<&str>| text.map_or_else(|| "null".to_owned(), |text| format!("\"{text}\""));
    format!(
        "{{\n  \"error\": {{\n    \"message\": \"{}\",\n    \"type\": \"{kind}\",\n    \"param\": {},\n    \"code\": {}\n  }}\n}}",
        escaped(&refusal.message, false),
        quoted(refusal.param),
        quoted(code)
    )
}

pub(super) fn headers(question: &Question<'_>) -> String {
    format!(
        "x-request-id: {}\r\n\
         openai-organization: mock-provider\r\n\
         openai-processing-ms: 1\r\n\
         openai-version: 2020-10-01\r\n\
         x-ratelimit-limit-requests: 10000\r\n\
         x-ratelimit-limit-tokens: 2000000\r\n\
         x-ratelimit-remaining-requests: 9999\r\n\
         x-ratelimit-remaining-tokens: 1999900\r\n\
         x-ratelimit-reset-requests: 6ms\r\n\
         x-ratelimit-reset-tokens: 3ms\r\n\
         strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n\
         x-content-type-options: nosniff\r\n",
        question.id("req_", 32)
    )
}

fn check_credential(question: &Question<'_>) -> Result<(), Refusal> {
    let header = question.request.headers.api_key.as_deref().filter(|_| is_azure(question));
    let message = match question.credential(header) {
        Credential::Accepted => return Ok(()),
        Credential::Missing => "You didn't provide an API key. You need to provide your API key in an Authorization \
                                header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
            .to_owned(),
        Credential::Wrong(masked) => format!(
            "Incorrect API key provided: {masked}. You can find your API key at https://platform.openai.com/account/api-keys."
        ),
    };
    Err(Refusal { code: Some("invalid_api_key"), ..Refusal::new(401, message) })
}

fn read(question: &Question<'_>, deployment: Option<&str>) -> Result<Ask, Refusal> {
    let mut ask = question
        .ask()
        .map_err(|why| Refusal::new(400, format!("We could not parse the JSON body of your request: {why}.")))?;
    if let Some(deployment) = deployment {
        deployment.clone_into(&mut ask.model);
    }
    if ask.model.is_empty() {
        return Err(Refusal::new(400, "you must provide a model parameter"));
    }
    if ask.model.starts_with("unknown") {
        let message = format!("The model `{}` does not exist or you do not have access to it.", ask.model);
        return Err(Refusal { code: Some("model_not_found"), ..Refusal::new(404, message) });
    }
    Ok(ask)
}

fn models() -> Answer {
    const MODELS: [&str; 6] =
        ["gpt-4o", "gpt-4o-mini", "gpt-4o-cached", "gpt-4o-tools", "o4-reason", "text-embedding-3-small"];
    let model = |id: &&str| format!(r#"{{"id":"{id}","object":"model","created":1715367049,"owned_by":"system"}}"#);
    let models: Vec<String> = MODELS.iter().map(model).collect();
    Answer::json(format!(r#"{{"object":"list","data":[{}]}}"#, models.join(",")))
}
