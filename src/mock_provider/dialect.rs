//! Which dialect a request speaks, whether it may ask, and the answer composed.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::answer::{Answer, Body, Refusal};
use super::ask::Ask;
use super::fault::Fault;
use super::request::Request;
use super::words::{Words, scatter};
use super::{Shared, anthropic, gemini, openai};

/// Everything an answer is made of.
pub(super) struct Question<'a> {
    pub(super) request: &'a Request,
    pub(super) words: &'a Arc<Words>,
    pub(super) seed: u64,
    /// Output tokens, unless the request wants fewer.
    pub(super) tokens: u32,
    /// Now, in seconds since 1970.
    pub(super) created: u64,
    serial: u64,
    expect_credential: Option<&'a str>,
}

#[derive(Clone, Copy)]
enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
}

/// What becomes of the credentials of a request.
pub(super) enum Credential {
    Accepted,
    Missing,
    /// Shown as the provider's message shows it: mostly stars.
    Wrong(String),
}

/// The answer that the question deserves, or the one that the fault puts in its place.
pub(super) fn answer(question: &Question<'_>, fault: Option<Fault>) -> Answer {
    match fault {
        Some(Fault::Html(status)) => return Answer::html(status),
        Some(Fault::Status(status)) => {
            return refuse(question, status, "The mock was told to answer with this status.");
        }
        _ => {}
    }
    let dialect = Dialect::of(question.request);
    let mut answer = match dialect {
        Dialect::OpenAi => openai::answer(question),
        Dialect::Anthropic => anthropic::answer(question),
        Dialect::Gemini => gemini::answer(question),
    }
    .unwrap_or_else(|refusal| dialect.refuse(question, &refusal));
    let plain = matches!(answer.body, Body::Plain(_));
    if plain && matches!(fault, Some(Fault::ErrorEvent(_))) {
        return refuse(question, 500, "The mock was told to fail midway.");
    }
    if answer.headers.is_empty() {
        answer.headers = dialect.headers(question);
    }
    answer
}

/// An error in the shape of the request's dialect.
pub(super) fn refuse(question: &Question<'_>, status: u16, message: impl Into<String>) -> Answer {
    Dialect::of(question.request).refuse(question, &Refusal::new(status, message))
}

impl Dialect {
    fn of(request: &Request) -> Self {
        let path = request.path();
        let messages = path.starts_with("/v1/messages");
        // All have a list of models under the same path.
        let models = path.starts_with("/v1/models");
        let generated = gemini::is_path(path) || models && request.headers.x_goog_api_key.is_some();
        match request.headers.anthropic_version {
            _ if messages => Self::Anthropic,
            Some(_) if models => Self::Anthropic,
            _ if generated => Self::Gemini,
            _ => Self::OpenAi,
        }
    }

    fn refuse(self, question: &Question<'_>, refusal: &Refusal) -> Answer {
        let body = match refusal.status {
            204 | 304 => String::new(),
            _ => match self {
                Self::OpenAi => openai::error(refusal),
                Self::Anthropic => anthropic::error(question, refusal),
                Self::Gemini => gemini::error(refusal),
            },
        };
        let mut headers = self.headers(question);
        if refusal.status == 429 {
            headers.push_str("retry-after: 1\r\n");
        }
        Answer { status: refusal.status, headers, ..Answer::json(body) }
    }

    fn headers(self, question: &Question<'_>) -> String {
        match self {
            Self::OpenAi => openai::headers(question),
            Self::Anthropic => anthropic::headers(question),
            Self::Gemini => gemini::headers(),
        }
    }
}

impl<'a> Question<'a> {
    pub(super) fn new(request: &'a Request, shared: &'a Shared, tokens: u32) -> Self {
        Self {
            request,
            words: &shared.words,
            seed: shared.seed,
            tokens,
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            serial: shared.next_serial(),
            expect_credential: shared.expect_credential.as_deref(),
        }
    }

    /// An id like the provider's: the prefix and `length` letters and digits, its own for each prefix and answer.
    pub(super) fn id(&self, prefix: &str, length: usize) -> String {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let salt = prefix.bytes().fold(self.seed, |salt, byte| scatter(salt, u64::from(byte)));
        let mut random = scatter(salt, self.serial);
        let mut id = String::with_capacity(prefix.len() + length);
        id.push_str(prefix);
        for index in 0..length {
            if index % 8 == 7 {
                random = scatter(random, index as u64);
            }
            id.push(char::from(ALPHABET[(random % 62) as usize]));
            random /= 62;
        }
        id
    }

    /// Looks at the credentials that the provider's SDKs send.
    pub(super) fn credential(&self, header: Option<&str>) -> Credential {
        let headers = &self.request.headers;
        let bearer = headers.authorization.as_deref().and_then(|value| value.strip_prefix("Bearer "));
        let [x_api_key, api_key, x_goog_api_key] =
            [&headers.x_api_key, &headers.api_key, &headers.x_goog_api_key].map(Option::as_deref);
        let shown = [bearer, x_api_key, api_key, x_goog_api_key];
        let leaked = shown.into_iter().flatten().find(|text| text.starts_with("kt_"));
        let found = leaked.or(header).or(bearer).map(str::trim).filter(|text| !text.is_empty());
        match (found, self.expect_credential) {
            (None, _) => Credential::Missing,
            (Some(found), Some(expected)) if found != expected => Credential::Wrong(masked(found)),
            (Some(found), _) if leaked.is_some() => Credential::Wrong(masked(found)),
            (Some(_), _) => Credential::Accepted,
        }
    }

    /// Reads the body. `Err` is serde's own description.
    pub(super) fn ask(&self) -> Result<Ask, String> {
        serde_json::from_slice(&self.request.body).map_err(|error| error.to_string())
    }
}

/// The first and last characters of a credential with stars between, as OpenAI shows it.
fn masked(credential: &str) -> String {
    let characters: Vec<char> = credential.chars().collect();
    let hidden = |index: usize| characters.len() < 12 || (3..characters.len() - 4).contains(&index);
    characters.iter().enumerate().map(|(index, character)| if hidden(index) { '*' } else { *character }).collect()
}
