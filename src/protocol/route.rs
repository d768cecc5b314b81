//! Method and path → what is asked, in which dialect.
//!
//! The dialect is decided by path and `anthropic-version`, never by the header that carries the key.
//! Paths are compared byte for byte: nothing is percent-decoded, no dot segment resolved, no double slash
//! folded, so that what is authorized here is exactly what is sent on.

use super::ask::MODEL_BYTES_MAX;
use super::{Dialect, Endpoint};

/// What a request line and two headers say. The query string is no part of `path`.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// There is an `anthropic-version` header.
    pub has_anthropic_version: bool,
    /// There is an `x-goog-api-key` header: Gemini's clients list their models where OpenAI's do.
    pub has_goog_api_key: bool,
    /// The request asks for `Upgrade: websocket`.
    pub is_websocket_upgrade: bool,
}

/// Where a request leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    pub target: Target<'a>,
    /// The configured provider that the path addresses by name.
    pub provider: Option<&'a str>,
    /// The path without that name: what the provider is asked for.
    pub path: &'a str,
    /// The model, where the path names it: a part of `path`.
    pub model: Option<&'a str>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A body in, an answer out: never `Endpoint::Models`.
    Ask(Endpoint),
    /// The models this key may use.
    Models(Dialect),
    /// One of them; `id` as it stands in the path, slashes included (`meta-llama/Llama-4`).
    Model { dialect: Dialect, id: &'a str },
    /// `GET /v1/responses` with `Upgrade: websocket`.
    ResponsesSocket,
    /// What the caller's key is and may use.
    Me,
    /// Claude Code's pre-connect.
    Hello,
    /// The gateway's own health.
    Health,
}

/// Why a request leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteError {
    Unknown {
        dialect: Dialect,
    },
    /// The path is known, but not with this method. `allow` is the value of the `allow` header.
    Method {
        dialect: Dialect,
        allow: &'static str,
    },
}

/// Finds what a request asks for. `is_provider` says whether a first path segment names a configured
/// provider; a provider can therefore not take a path away from the gateway's own.
pub fn locate<'a>(line: Line<'a>, is_provider: &dyn Fn(&str) -> bool) -> Result<Route<'a>, RouteError> {
    if line.path == "/healthz" {
        let target = Target::Health.with(line.method, READ, Dialect::OpenAi)?;
        return Ok(Route { target, provider: None, path: line.path, model: None });
    }
    if line.path == "/keeptrusts/me" {
        let target = Target::Me.with(line.method, READ, Dialect::OpenAi)?;
        return Ok(Route { target, provider: None, path: line.path, model: None });
    }
    if let Some(target) = target(line, line.path) {
        return Ok(Route { target: target?, provider: None, path: line.path, model: model(line.path) });
    }
    if let Some((provider, path)) = addressed(line.path)
        && let Some(target) = target(line, path)
        && is_provider(provider)
    {
        return Ok(Route { target: target?, provider: Some(provider), path, model: model(path) });
    }
    // Azure's newer interface is OpenAI's in another place. A provider called openai comes first.
    if let Some(path) = line.path.strip_prefix("/openai").filter(|path| path.starts_with("/v1/"))
        && let Some(target) = target(line, path)
    {
        return Ok(Route { target: target?, provider: None, path, model: None });
    }
    Err(RouteError::Unknown { dialect: list_dialect(line) })
}

const READ: &str = "GET, HEAD";
const POST: &str = "POST";

/// The target of a path without a provider's name; `None` if there is none.
fn target<'a>(line: Line<'a>, path: &'a str) -> Option<Result<Target<'a>, RouteError>> {
    let ask = |endpoint, dialect| Target::Ask(endpoint).with(line.method, POST, dialect);
    Some(match path {
        "/v1/responses" if line.method == "GET" && line.is_websocket_upgrade => Ok(Target::ResponsesSocket),
        "/v1/messages" => ask(Endpoint::Messages, Dialect::Anthropic),
        "/v1/messages/count_tokens" => ask(Endpoint::CountTokens, Dialect::Anthropic),
        "/v1/models" => Target::Models(list_dialect(line)).with(line.method, READ, list_dialect(line)),
        "/v1beta/models" => Target::Models(Dialect::Gemini).with(line.method, READ, Dialect::Gemini),
        "/api/hello" => Target::Hello.with(line.method, READ, Dialect::Anthropic),
        _ => {
            if let Some((_, endpoint)) = generating(path) {
                return Some(ask(endpoint, Dialect::Gemini));
            }
            let deployed = deployed(path).map(|(_, endpoint)| endpoint);
            if let Some(endpoint) = deployed.or_else(|| openai_endpoint(path.strip_prefix("/v1/")?)) {
                return Some(ask(endpoint, Dialect::OpenAi));
            }
            let id = |prefix| path.strip_prefix(prefix).filter(|id| is_plain(id));
            let (dialect, id) = match id("/v1beta/models/") {
                Some(id) => (Dialect::Gemini, id),
                None => (list_dialect(line), id("/v1/models/")?),
            };
            Target::Model { dialect, id }.with(line.method, READ, dialect)
        }
    })
}

/// The model that a path names, where it is the path that does.
fn model(path: &str) -> Option<&str> {
    generating(path).or_else(|| deployed(path)).map(|(model, _)| model)
}

/// The endpoint of OpenAI's that has this path below the version.
fn openai_endpoint(path: &str) -> Option<Endpoint> {
    let endpoint = Endpoint::ALL.into_iter().find(|endpoint| endpoint.label() == path)?;
    (endpoint.dialect() == Dialect::OpenAi && endpoint != Endpoint::Models).then_some(endpoint)
}

/// `/openai/deployments/our-gpt/chat/completions` → Azure's name for the model, and the endpoint.
fn deployed(path: &str) -> Option<(&str, Endpoint)> {
    let (deployment, rest) = path.strip_prefix("/openai/deployments/")?.split_once('/')?;
    let endpoint = openai_endpoint(rest).filter(|_| is_model(deployment))?;
    Some((deployment, endpoint))
}

/// `/v1beta/models/gemini-3.8-flash:generateContent` → model and endpoint.
fn generating(path: &str) -> Option<(&str, Endpoint)> {
    let named = ["/v1beta/models/", "/v1/models/", "/models/"].iter().find_map(|prefix| path.strip_prefix(prefix))?;
    let (model, verb) = named.rsplit_once(':').filter(|(model, _)| is_model(model))?;
    let endpoint = VERBS.into_iter().find(|endpoint| endpoint.label() == verb)?;
    Some((model, endpoint))
}

const VERBS: [Endpoint; 5] = [
    Endpoint::GenerateContent,
    Endpoint::StreamGenerateContent,
    Endpoint::CountContentTokens,
    Endpoint::EmbedContent,
    Endpoint::BatchEmbedContents,
];

/// Whether a part of a path can be a model's name, and means the same to everyone: one segment, nothing escaped.
fn is_model(segment: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@:+".contains(&byte);
    (1..=MODEL_BYTES_MAX).contains(&segment.len()) && segment.bytes().all(is_plain) && self::is_plain(segment)
}

/// `/{provider}/rest` → the provider's name and `/rest`.
fn addressed(path: &str) -> Option<(&str, &str)> {
    let inner = path.strip_prefix('/')?;
    let (provider, rest) = inner.split_at_checked(inner.find('/')?)?;
    (!provider.is_empty()).then_some((provider, rest))
}

/// The dialect where the path alone does not tell.
fn list_dialect(line: Line<'_>) -> Dialect {
    let is_gemini_only = || ["/v1beta/", "/models/"].iter().any(|start| line.path.starts_with(start));
    match line {
        Line { has_anthropic_version: true, .. } => Dialect::Anthropic,
        Line { has_goog_api_key: true, .. } => Dialect::Gemini,
        _ if is_gemini_only() => Dialect::Gemini,
        _ => Dialect::OpenAi,
    }
}

/// Whether no segment is empty, `.` or `..`.
fn is_plain(path: &str) -> bool {
    path.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

impl Target<'_> {
    /// The dialect in which to answer and refuse.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Ask(endpoint) => endpoint.dialect(),
            Self::Hello => Dialect::Anthropic,
            Self::Models(dialect) | Self::Model { dialect, .. } => dialect,
            Self::ResponsesSocket | Self::Me | Self::Health => Dialect::OpenAi,
        }
    }

    fn with(self, method: &str, allow: &'static str, dialect: Dialect) -> Result<Self, RouteError> {
        let is_allowed = allow.split(", ").any(|allowed| allowed == method);
        if is_allowed { Ok(self) } else { Err(RouteError::Method { dialect, allow }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENAI: Dialect = Dialect::OpenAi;
    const ANTHROPIC: Dialect = Dialect::Anthropic;

    fn line<'a>(method: &'a str, path: &'a str) -> Line<'a> {
        Line { method, path, has_anthropic_version: false, has_goog_api_key: false, is_websocket_upgrade: false }
    }

    fn located(line: Line<'_>) -> Result<Route<'_>, RouteError> {
        locate(line, &|name| matches!(name, "openai" | "v1" | "healthz"))
    }

    #[test]
    fn every_endpoint_is_found_by_its_path() {
        for (path, endpoint, dialect) in [
            ("/v1/chat/completions", Endpoint::ChatCompletions, OPENAI),
            ("/v1/responses", Endpoint::Responses, OPENAI),
            ("/v1/embeddings", Endpoint::Embeddings, OPENAI),
            ("/v1/completions", Endpoint::Completions, OPENAI),
            ("/v1/moderations", Endpoint::Moderations, OPENAI),
            ("/v1/images/generations", Endpoint::ImageGenerations, OPENAI),
            ("/v1/images/edits", Endpoint::ImageEdits, OPENAI),
            ("/v1/audio/speech", Endpoint::Speech, OPENAI),
            ("/v1/audio/transcriptions", Endpoint::Transcriptions, OPENAI),
            ("/v1/messages", Endpoint::Messages, ANTHROPIC),
            ("/v1/messages/count_tokens", Endpoint::CountTokens, ANTHROPIC),
        ] {
            let route = located(line("POST", path)).unwrap();
            assert_eq!(route, Route { target: Target::Ask(endpoint), provider: None, path, model: None });
            assert_eq!(route.target.dialect(), dialect);
            assert_eq!(located(line("GET", path)), Err(RouteError::Method { dialect, allow: "POST" }));
        }
    }

    #[test]
    fn a_provider_in_front_is_taken_off_the_path() {
        let route = located(line("POST", "/openai/v1/responses")).unwrap();
        assert_eq!((route.provider, route.path), (Some("openai"), "/v1/responses"));
        let hello = located(line("HEAD", "/openai/api/hello")).unwrap();
        assert_eq!((hello.provider, hello.target), (Some("openai"), Target::Hello));
        for path in ["/other/v1/responses", "/openai", "/openai/", "//v1/responses", "/openai/healthz"] {
            assert_eq!(located(line("POST", path)), Err(RouteError::Unknown { dialect: OPENAI }), "{path}");
        }
    }

    #[test]
    fn a_provider_cannot_take_a_path_from_the_gateway() {
        assert_eq!(located(line("POST", "/v1/messages")).unwrap().provider, None);
        assert_eq!(located(line("GET", "/healthz")).unwrap().target, Target::Health);
        assert_eq!(located(line("GET", "/keeptrusts/me")).unwrap().target, Target::Me);
    }

    #[test]
    fn models_are_listed_in_the_dialect_that_asks() {
        let anthropic = Line { has_anthropic_version: true, ..line("GET", "/v1/models") };
        assert_eq!(located(anthropic).unwrap().target, Target::Models(ANTHROPIC));
        assert_eq!(located(line("HEAD", "/v1/models")).unwrap().target, Target::Models(OPENAI));
        assert_eq!(
            located(line("POST", "/v1/models")),
            Err(RouteError::Method { dialect: OPENAI, allow: "GET, HEAD" })
        );
    }

    #[test]
    fn gemini_names_its_model_in_the_path() {
        for prefix in ["/v1beta/models/", "/v1/models/", "/models/", "/openai/v1beta/models/"] {
            for endpoint in VERBS {
                let path = format!("{prefix}gemini-3.8-flash:{}", endpoint.label());
                let route = located(line("POST", &path)).unwrap();
                assert_eq!((route.target, route.model), (Target::Ask(endpoint), Some("gemini-3.8-flash")), "{path}");
                assert_eq!(route.target.dialect(), Dialect::Gemini);
                let refused = Err(RouteError::Method { dialect: Dialect::Gemini, allow: "POST" });
                assert_eq!(located(line("GET", &path)), refused);
            }
        }
        let tuned = located(line("POST", "/v1beta/models/llama3:8b:countTokens")).unwrap();
        assert_eq!(tuned.model, Some("llama3:8b"));
        for path in [
            "/v1beta/models/:generateContent",
            "/v1beta/models/a%2Fb:generateContent",
            "/v1beta/models/a/b:generateContent",
            "/v1beta/models/..:generateContent",
            "/v1beta/models/a:predict",
            "/v1beta/files",
        ] {
            let post = located(line("POST", path));
            assert!(
                matches!(post, Err(RouteError::Unknown { dialect: Dialect::Gemini } | RouteError::Method { .. })),
                "{path}: {post:?}"
            );
        }
    }

    #[test]
    fn azure_s_paths_lead_to_openai_s_endpoints() {
        let path = "/openai/deployments/our-gpt/chat/completions";
        let route = located(line("POST", path)).unwrap();
        assert_eq!((route.target, route.model), (Target::Ask(Endpoint::ChatCompletions), Some("our-gpt")));
        assert_eq!((route.provider, route.path), (None, path));
        let addressed = located(line("POST", "/openai/openai/deployments/d/embeddings")).unwrap();
        assert_eq!((addressed.provider, addressed.model), (Some("openai"), Some("d")));
        for path in [
            "/openai/deployments//embeddings",
            "/openai/deployments/a%2fb/embeddings",
            "/openai/deployments/d",
            "/openai/deployments/d/models",
        ] {
            assert!(located(line("POST", path)).is_err(), "{path}");
        }
        // Without a provider of that name, the newer interface is found, too.
        let route = locate(line("POST", "/openai/v1/responses"), &|_| false).unwrap();
        assert_eq!(
            (route.target, route.path, route.provider),
            (Target::Ask(Endpoint::Responses), "/v1/responses", None)
        );
    }

    #[test]
    fn gemini_s_clients_list_models_in_their_own_dialect() {
        let target = |line| located(line).unwrap().target;
        assert_eq!(target(line("GET", "/v1beta/models")), Target::Models(Dialect::Gemini));
        assert_eq!(target(line("GET", "/v1beta/models/x")), Target::Model { dialect: Dialect::Gemini, id: "x" });
        let keyed = |path| Line { has_goog_api_key: true, ..line("GET", path) };
        assert_eq!(target(keyed("/v1/models")), Target::Models(Dialect::Gemini));
        assert_eq!(target(keyed("/v1/models/x")), Target::Model { dialect: Dialect::Gemini, id: "x" });
    }

    #[test]
    fn one_model_is_found_by_an_id_that_may_have_slashes() {
        let id = |path| located(line("GET", path)).map(|route| route.target);
        let model = |id| Ok(Target::Model { dialect: OPENAI, id });
        assert_eq!(id("/v1/models/gpt-4o"), model("gpt-4o"));
        assert_eq!(id("/v1/models/meta-llama/Llama-4"), model("meta-llama/Llama-4"));
        for path in ["/v1/models/", "/v1/models//a", "/v1/models/../keys", "/v1/models/a/"] {
            assert_eq!(id(path), Err(RouteError::Unknown { dialect: OPENAI }), "{path}");
        }
    }

    #[test]
    fn a_websocket_is_told_from_a_wrong_method() {
        let upgrade = Line { is_websocket_upgrade: true, ..line("GET", "/v1/responses") };
        assert_eq!(located(upgrade).unwrap().target, Target::ResponsesSocket);
        let elsewhere = Line { is_websocket_upgrade: true, ..line("GET", "/v1/messages") };
        assert_eq!(located(elsewhere), Err(RouteError::Method { dialect: ANTHROPIC, allow: "POST" }));
    }

    #[test]
    fn paths_that_only_look_alike_are_unknown() {
        for path in [
            "",
            "/",
            "v1/messages",
            "/v1/messages/",
            "/V1/messages",
            "/v1//messages",
            "/v1/./messages",
            "/v1/m%65ssages",
        ] {
            assert_eq!(located(line("POST", path)), Err(RouteError::Unknown { dialect: OPENAI }), "{path}");
        }
        let anthropic = Line { has_anthropic_version: true, ..line("POST", "/v1/complete") };
        assert_eq!(located(anthropic), Err(RouteError::Unknown { dialect: ANTHROPIC }));
    }
}
