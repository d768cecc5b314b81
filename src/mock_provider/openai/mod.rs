//! The answers of OpenAI: routes, headers, errors, the list of models.

mod chat; // POST /v1/chat/completions
mod responses; // POST /v1/responses
pub(super) mod embeddings; // POST /v1/embeddings

use super::answer::{Answer, Refusal};
use super::ask::Ask;
use super::dialect::{Credential, Question};
use super::words::escaped;

pub(super) fn answer(question: &Question<'_>) -> Result<Answer, Refusal> {
    check_credential(question)?;
    match (question.request.method.as_str(), question.request.path()) {
        ("POST", "/v1/chat/completions") => chat::answer(question, &read(question)?),
        ("POST", "/v1/responses") => Ok(responses::answer(question, &read(question)?)),
        ("POST", "/v1/embeddings") => embeddings::answer(question, &read(question)?),
        ("GET" | "HEAD", "/v1/models") => Ok(models()),
        (method, path) => {
            let message = format!("Invalid URL ({method} {path})");
            Err(Refusal::new(404, message))
        }
    }
}

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
    let message = match question.credential(None) {
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

fn read(question: &Question<'_>) -> Result<Ask, Refusal> {
    let ask = question
        .ask()
        .map_err(|why| Refusal::new(400, format!("We could not parse the JSON body of your request: {why}.")))?;
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
