//! What the caller reads: what is the matter, and what to do next.

use std::fmt;

use crate::catalog::{Denial, Hit, Lapse, Named, Scope, Unit, Wait};
use crate::domain::NanoUsd;
use crate::providers::Capacity;

use super::{Busy, COOLS_IN_SECONDS, Refusal};

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestMalformed(what) => write!(f, "The request cannot be read: {what}."),
            Self::RequestAmbiguous(what) => write!(f, "The request can be read in two ways: {what}."),
            Self::ConflictingCredentials => f.write_str(
                "The request carries two different Keeptrusts keys. Send one access key; if your client has two \
                 settings for a key, set only one of them.",
            ),
            Self::KeyMissing => f.write_str(
                "No access key was sent. Set your client's API key to your Keeptrusts access key (kt_ak_…); it is \
                 read from Authorization: Bearer, x-api-key, api-key or x-goog-api-key.",
            ),
            Self::KeyMalformed(error) => write!(f, "The access key cannot be right: {error}."),
            Self::KeyUnknown => f.write_str(
                "This access key is well-formed but not known here. Check that it was made for this installation, \
                 or ask whoever runs it for a new one.",
            ),
            Self::Lapsed(Lapse::Expired) => {
                f.write_str("This access key has expired. Ask whoever issued it for a new one.")
            }
            Self::Lapsed(Lapse::Rotated) => f.write_str(
                "This access key was rotated, and its old secret no longer works. Use the new one, or ask whoever rotated it.",
            ),
            Self::Lapsed(Lapse::Revoked) => {
                f.write_str("This access key was revoked. Ask whoever issued it for a new one.")
            }
            Self::Lapsed(Lapse::TeamSuspended) => {
                f.write_str("The team of this access key is suspended. Ask whoever runs this gateway.")
            }
            Self::KeyWrongKind(kind) => {
                write!(f, "This is a {kind} key, which cannot be used for traffic. Use an access key (kt_ak_…).")
            }
            Self::PassthroughDisabled => f.write_str(
                "This looks like a provider's own key, and this gateway does not pass those through. Set your \
                 client's API key to your Keeptrusts access key (kt_ak_…).",
            ),
            Self::NotAllowed(denial @ Denial { what, .. }) => write!(
                f,
                "This access key may not use this {}: {denial} do not name it. GET /keeptrusts/me shows what the key \
                 may use; whoever issued it can change that.",
                what.label()
            ),
            Self::TooManyFailures => write!(
                f,
                "Too many requests without a valid access key came from this address. Check the key, and wait \
                 {COOLS_IN_SECONDS} seconds before trying again; requests with a valid key are not concerned.",
            ),
            Self::RouteUnknown => f.write_str(
                "The gateway has no such path. Check the base URL: OpenAI clients use …/v1, Anthropic clients the \
                 address alone.",
            ),
            Self::ModelUnknown(why) => f.write_str(why),
            Self::PriceUnknown => f.write_str(
                "This gateway passes no requests for models whose price it does not know. Ask for another model, or \
                 ask whoever runs the gateway to give this one a price (`kt prices`).",
            ),
            Self::MethodNotAllowed { allow } => {
                write!(f, "This path exists, but takes only {allow}: check the request's method.")
            }
            Self::BodyTooLarge { limit, scope } => {
                let whose = scope.map_or("this gateway's", whose);
                write!(f, "The request body is larger than {whose} limit of {limit} bytes. Send a smaller one.")
            }
            Self::OutputTooLarge { wanted, limit, scope } => write!(
                f,
                "The request asks for up to {wanted} output tokens, and {} limit is {limit} for a request. Ask for fewer \
                 (max_tokens).",
                whose(*scope)
            ),
            Self::Limited(hit) => limited(hit, f),
            Self::Repeated { limit, seconds } => write!(
                f,
                "This same request was sent more than {limit} times within ten seconds after its answer had been cut or had \
                 broken off. Whatever sends it seems to go on without end: stop it and look at what the last answer said, \
                 or wait {seconds} seconds."
            ),
            Self::BudgetExhausted => f.write_str(
                "A budget ran out while this answer was being written. GET /keeptrusts/me shows which one and when it \
                 begins anew; whoever sets it can raise it.",
            ),
            Self::BodyTimeout => f.write_str("The request body did not arrive in time. Send the request again."),
            Self::HeaderTimeout => f.write_str("The request's head did not arrive in time. Send the request again."),
            Self::HeadersTooLarge { bytes, fields } => write!(
                f,
                "The request's head is larger than this gateway takes ({bytes} bytes, {fields} header fields). Send \
                 fewer or shorter headers."
            ),
            Self::TargetTooLong { limit } => {
                write!(f, "The request's path and query are longer than this gateway takes ({limit} bytes).")
            }
            Self::MethodUnknown => f.write_str("The request's method is none this gateway knows. Check its spelling."),
            Self::VersionUnsupported => {
                f.write_str("This gateway speaks HTTP/1.1, and HTTP/2 over TLS. Send the request in one of them.")
            }
            Self::ProviderBusy(busy) => {
                let Busy { provider, capacity: Capacity { concurrency, queue, queue_time }, waited, seconds } = &**busy;
                write!(f, "The provider {provider} is asked at most {concurrency} requests at once, and ")?;
                match waited {
                    true => write!(f, "this one has waited {} seconds for its turn.", queue_time.as_secs_f64())?,
                    false => write!(f, "{queue} wait already.")?,
                }
                write!(f, " Try again in {seconds} seconds.")
            }
            Self::Overloaded(what) => write!(f, "The gateway {what} at the moment. Try again shortly."),
            Self::WebsocketUnsupported => f.write_str(
                "This gateway takes no WebSocket connections. Send the request as an HTTP POST; clients that try \
                 WebSockets first fall back to it by themselves.",
            ),
            Self::PolicyBlocked { policy, .. } => write!(
                f,
                "The policy {policy} does not let this pass. Take out what it is about and send the rest; whoever runs \
                 this gateway can say what that is.",
            ),
            Self::AuditUnavailable => f.write_str(
                "The gateway cannot record requests at the moment and therefore takes none. Try again shortly.",
            ),
            Self::NoProvider(why) => f.write_str(why),
            Self::UpstreamFailed(_) => {
                f.write_str("The provider could not be reached or broke off its answer. Try again shortly.")
            }
            Self::UpstreamTimeout => f.write_str("The provider did not answer in time. Try again shortly."),
        }
    }
}

fn limited(hit: &Hit, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Hit { standing, asked, wait } = hit;
    let amount = |figure| match standing.unit {
        Unit::Money => format!("${}", NanoUsd(figure).dollars()),
        unit => format!("{figure} {}", unit.label()),
    };
    match (standing.named, wait) {
        (Named::Budget, Wait::Never) => write!(
            f,
            "This request may cost up to {}, which is more than {standing} allows at all. Ask for fewer output tokens, or \
             send less.",
            amount(*asked)
        ),
        (Named::Budget, Wait::Window) => {
            let left = amount(standing.remaining);
            write!(f, "Of {standing}, {left} is left, and this request may cost up to {}. ", amount(*asked))?;
            match standing.resets_at {
                Some(at) => write!(f, "It begins anew at {at}; whoever sets it can raise it before."),
                None => f.write_str("Whoever sets it can raise it."),
            }
        }
        (Named::Budget, _) => write!(
            f,
            "What is left of {standing} is held for requests that are running ({}). Try again shortly: what they do not \
             use is given back.",
            amount(standing.reserved)
        ),
        (_, Wait::Never) => write!(
            f,
            "This request alone may use {}, which is more than {standing} allows at once. Ask for fewer output tokens, or \
             send less.",
            amount(*asked)
        ),
        (Named::Concurrency, _) => write!(f, "As many requests are running as {standing} allows. Wait for one to end."),
        (_, Wait::For(time)) => {
            write!(f, "This exceeds {standing}. Try again in {:.1} seconds.", time.as_secs_f64().max(0.1))
        }
        (_, Wait::Window | Wait::Running) => write!(f, "This exceeds {standing}. Try again shortly."),
    }
}

fn whose(scope: Scope) -> &'static str {
    match scope {
        Scope::Key => "this key's",
        Scope::Team => "its team's",
        Scope::Organization => "the organization's",
    }
}
