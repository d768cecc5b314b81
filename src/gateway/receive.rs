//! Everything that happens to a request before a provider is asked, in the order of the table.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode, Uri, header};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::catalog::{Catalog, Credential, Moment, Wanted, nanos_of};
use crate::domain::{Ended, Unknown, Verdict};
use crate::journal;
use crate::protocol::ask::{self, AskError, AskHead};
use crate::protocol::models::{self, ModelEntry};
use crate::protocol::route::{Line, Route, RouteError, Target, locate};
use crate::protocol::{Dialect, Endpoint};
use crate::providers::{Aim, Kind};

use super::admit::{self, Admission, Room, hold_own_answer, place};
use super::attribute::{Account, attribute};
use super::authenticate::{Authority, Unauthenticated, authenticate};
use super::authorize::{Grant, Listed, authorize, authorize_entry, authorize_own_answer, listed_models};
use super::body::{self, BodyError};
use super::frame;
use super::inspect::{Inspection, inspect};
use super::journey::{Arrival, Facts, Journey};
use super::me;
use super::phases::Gateway;
use super::pressure::Held;
use super::refusal::Refusal;
use super::report::{Barred, Entry, Receipt};
use super::respond;
use super::route::Plan;
use super::wait::{Unserved, wait};

const JSON: &str = "application/json";

/// What came of a request before any provider was asked.
pub enum Reception {
    Forward(Box<Admission>, Box<Plan>),
    /// The gateway answered, by itself or with a refusal.
    Answered,
}

/// Why a request goes no further.
enum Stop {
    Refused(Refusal),
    /// The client went away; there is nobody to answer.
    Gone(Box<pingora::Error>),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Unserved> for Stop {
    fn from(unserved: Unserved) -> Self {
        match unserved {
            Unserved::Refused(refusal) => Self::Refused(refusal),
            Unserved::Client(error) => Self::Gone(error),
        }
    }
}

/// A request that was judged and may go on, and the room held for it.
enum Judged {
    Forward(Room, Box<Plan>),
    /// The gateway answers with this body.
    Answer(Room, Vec<u8>),
}

/// Judges a request, records the verdict and gives the answers that need no provider.
///
/// A request may wait long for its body: what is only said or done after that stands apart (`Box::pin`), so that it takes no
/// room until then.
pub async fn receive(
    gateway: &Gateway,
    session: &mut Session,
    journey: &mut Journey,
    arrival: Arrival,
) -> Result<Reception> {
    // A request waits long for its answer, and a catalog is large: it is kept no longer than it is needed.
    let catalog = journey.catalog.take().unwrap_or_else(|| gateway.catalog.load());
    let (method, uri) = (session.req_header().method.clone(), session.req_header().uri.clone());
    let request_id = arrival.request_id.clone();
    let located = locate(line(&method, &uri, session.req_header()), &|name| catalog.routing.provider(name).is_some());
    let dialect = dialect(&located);
    journey.dialect = Some(dialect);
    if let Ok(Route { target: Target::Hello | Target::Health, .. }) = located {
        let hello = Bytes::from_static(b"ok\n");
        Box::pin(respond::answer(session, StatusCode::OK, "text/plain", hello, &request_id)).await?;
        return Ok(Reception::Answered);
    }
    let (account, mut entry) = match enter(gateway, &catalog, session.req_header(), arrival, dialect, &located) {
        Ok(entered) => entered,
        Err(barred) => {
            let barred = journey.barred.insert(barred);
            Box::pin(respond::refuse(session, barred.refusal(), Some(dialect), &request_id)).await?;
            return Ok(Reception::Answered);
        }
    };
    match judge(gateway, session, &catalog, &account, &mut entry, &uri, located).await {
        Ok(Judged::Forward(room, plan)) => {
            match room.admit_to_forward(entry, catalog.prices.clone(), catalog.settings.audit).await {
                Ok(admission) => Ok(Reception::Forward(Box::new(admission), plan)),
                Err(refusal) => {
                    Box::pin(respond::refuse(session, &refusal, Some(dialect), &request_id)).await?;
                    Ok(Reception::Answered)
                }
            }
        }
        Ok(Judged::Answer(room, body)) => {
            let admission = room.admit(entry, catalog.prices.clone());
            let receipt = Receipt::unused(Verdict::Pass, None, StatusCode::OK.as_u16(), Ended::Complete);
            admission.into_book().close(Receipt { response_bytes: body.len() as u64, ..receipt });
            Box::pin(respond::answer(session, StatusCode::OK, JSON, body.into(), &request_id)).await?;
            Ok(Reception::Answered)
        }
        Err(Stop::Refused(refusal)) => {
            entry.refuse(&refusal);
            Box::pin(respond::refuse(session, &refusal, Some(dialect), &request_id)).await?;
            Ok(Reception::Answered)
        }
        Err(Stop::Gone(error)) => Err(error),
    }
}

/// Steps 1 and 2: whose request is it, and where will it be recorded?
fn enter(
    gateway: &Gateway,
    catalog: &Catalog,
    head: &RequestHeader,
    arrival: Arrival,
    dialect: Dialect,
    located: &Result<Route<'_>, RouteError>,
) -> Result<(Account, Entry), Box<Barred>> {
    let (client, address, arrived_at) = (arrival.client, arrival.address, arrival.started_at);
    let authority = Authority { catalog, pepper: &gateway.pepper, passthrough: gateway.passthrough(&catalog.settings) };
    let facts = |credential, organization| facts(arrival, credential, organization, dialect, located);
    match authenticate(&head.headers, &authority, arrived_at) {
        Ok(caller) => {
            let account = attribute(&caller, catalog);
            let slot = match place(&gateway.journal, catalog.settings.audit) {
                Ok(slot) => slot,
                Err(refusal) => {
                    gateway.journal.metrics().journal_dropped(1);
                    return Err(Barred::new(gateway.journal.clone(), refusal, None));
                }
            };
            let facts = Facts {
                kind: account.kind(),
                fingerprint: account.own_key().map(|own| own.fingerprint.clone()),
                ..facts(account.credential().clone(), account.organization().clone())
            };
            account.credential().secret.used(facts.started_at, client, address);
            Ok((account, Entry::new(facts, slot)))
        }
        Err(Unauthenticated { refusal, credential }) => {
            // Nobody is told that a WebSocket needs a key: clients then try again for seconds, while 426 makes
            // them fall back to a POST at once, which tells them.
            let heated = gateway.heat.failed(address, catalog.settings.access.failures_per_minute);
            let refusal = match refusal {
                _ if is_socket(located) => Refusal::WebsocketUnsupported,
                _ if heated => Refusal::TooManyFailures,
                refusal => refusal,
            };
            let facts = credential.map(|credential| facts(credential, catalog.organization.clone()));
            Err(Barred::new(gateway.journal.clone(), refusal, facts))
        }
    }
}

/// Steps 3, 4 and 6: what does it ask for, may it have that, is there room, and where does it go?
async fn judge(
    gateway: &Gateway,
    session: &mut Session,
    catalog: &Catalog,
    account: &Account,
    entry: &mut Entry,
    uri: &Uri,
    located: Result<Route<'_>, RouteError>,
) -> Result<Judged, Stop> {
    if session.is_http2() {
        frame::check_http2(session.req_header(), &catalog.settings.door.head)?;
    }
    let route = located.map_err(|error| match error {
        RouteError::Unknown { .. } => Refusal::RouteUnknown,
        RouteError::Method { allow, .. } => Refusal::MethodNotAllowed { allow },
    })?;
    // Whoever is refused is told to look there, so what a key is may be asked whatever else it may not.
    if route.target != Target::Me {
        authorize_entry(account, entry, catalog)?;
    }
    match route.target {
        Target::Ask(endpoint) => {
            if !session.is_http2() && frame::is_last(&session.req_header().headers) {
                session.set_keepalive(None);
            }
            frame::check(uri.query(), &session.req_header().headers)?;
            admit::look_in(account, catalog, Moment::of(entry.facts.started, entry.facts.started_at))?;
            let held = gateway.pressure.enter(gateway.requests(), &catalog.settings.overload)?;
            let (body, came) = read_body(catalog, account, session, entry, held).await?;
            let asked = Asked { endpoint, route: &route, head: session.req_header(), body: &body, came };
            let (room, mut plan) = admit_asked(gateway, catalog, account, entry, &asked)?;
            let (turn, waited) = wait(session, account, catalog, &plan.provider, gateway.journal.metrics()).await?;
            plan.turn = turn;
            entry.facts.waited += waited;
            Ok(Judged::Forward(room, plan))
        }
        Target::Models(dialect) => {
            let models = listed_models(account, entry, catalog, dialect);
            let entries = models.iter().map(|Listed { name, owner }| ModelEntry { id: name, owner });
            let room = hold_own_answer(&authorize_own_answer(account), &gateway.journal, catalog.settings.audit)?;
            Ok(Judged::Answer(room, models::list(dialect, entries)))
        }
        Target::Model { dialect, id } => {
            let models = listed_models(account, entry, catalog, dialect);
            let found = models.iter().find(|listed| *listed.name == *id);
            let unknown = || Refusal::ModelUnknown("This model is not among those GET /v1/models lists.".into());
            let Listed { name, owner } = found.ok_or_else(unknown)?;
            let room = hold_own_answer(&authorize_own_answer(account), &gateway.journal, catalog.settings.audit)?;
            Ok(Judged::Answer(room, models::one(dialect, ModelEntry { id: name, owner })))
        }
        Target::Me => {
            let room = hold_own_answer(&authorize_own_answer(account), &gateway.journal, catalog.settings.audit)?;
            Ok(Judged::Answer(room, me::describe(account, catalog)))
        }
        Target::ResponsesSocket => Err(Refusal::WebsocketUnsupported.into()),
        Target::Hello | Target::Health => Err(Refusal::RouteUnknown.into()),
    }
}

/// What is asked of a provider, now that its body is there.
struct Asked<'a> {
    endpoint: Endpoint,
    route: &'a Route<'a>,
    head: &'a RequestHeader,
    body: &'a Bytes,
    came: Moment,
}

/// Steps 3 to 6, all that takes no waiting.
fn admit_asked(
    gateway: &Gateway,
    catalog: &Catalog,
    account: &Account,
    entry: &mut Entry,
    asked: &Asked<'_>,
) -> Result<(Room, Box<Plan>), Refusal> {
    let Asked { endpoint, route, head, body, came } = *asked;
    let (grant, ask) = ask_provider(catalog, account, entry, head, route, endpoint, body)?;
    let (body_bytes, price) = (entry.facts.request_bytes, entry.facts.price.as_deref());
    let counted = admit::Asked { endpoint, ask: &ask, body_bytes, price };
    let room = admit::hold(&grant, account, catalog, &gateway.journal, &counted, came)?;
    let inspection = inspect(catalog, &mut entry.facts, body)?;
    let plan = plan(account, &grant, head, route, endpoint, &ask, body, inspection)?;
    repeats(account, &plan, catalog.settings.repeats)?;
    Ok((room, Box::new(plan)))
}

/// Reads the body. Also: when it was there.
async fn read_body(
    catalog: &Catalog,
    account: &Account,
    session: &mut Session,
    entry: &mut Entry,
    held: Held<'_>,
) -> Result<(Bytes, Moment), Stop> {
    let begun = Instant::now();
    let own = catalog.settings.body_bytes_max;
    let tighter = admit::body_bytes_max(account, catalog).filter(|(limit, _)| *limit < own as u64);
    let bytes_max = tighter.map_or(own, |(limit, _)| limit as usize);
    let settings = &catalog.settings;
    let limits = body::Limits { bytes_max, patience: settings.timeouts.body, rate_min: settings.body_rate_min };
    let body = body::read(session, &limits, held).await;
    let came = Instant::now();
    entry.facts.waited = came - begun;
    let body = body.map_err(|error| match error {
        BodyError::Refused(Refusal::BodyTooLarge { limit, .. }) => {
            Stop::Refused(Refusal::BodyTooLarge { limit, scope: tighter.map(|(_, scope)| scope) })
        }
        BodyError::Refused(refusal) => Stop::Refused(refusal),
        BodyError::Client(error) => Stop::Gone(error),
    })?;
    let Facts { started, started_at, .. } = entry.facts;
    entry.facts.request_bytes = body.len() as u64;
    Ok((body, Moment::of(came, started_at.saturating_add(came - started))))
}

/// Reads what a body asks for, and finds who may answer it.
fn ask_provider(
    catalog: &Catalog,
    account: &Account,
    entry: &mut Entry,
    head: &RequestHeader,
    route: &Route<'_>,
    endpoint: Endpoint,
    body: &Bytes,
) -> Result<(Grant, AskHead), Refusal> {
    let ask = read_ask(endpoint, route.model, head, body).map_err(unreadable)?;
    entry.facts.stream = ask.stream;
    entry.facts.model = Some(ask.model.as_str().into());
    let Facts { dialect, endpoint: label, address, .. } = entry.facts;
    let is_deployed = route.model.is_some() && endpoint.dialect() == Dialect::OpenAi;
    let azure = || catalog.routing.azure_for(&ask.model).filter(|_| is_deployed);
    let addressed = route.provider.or_else(azure);
    let wanted = Wanted { dialect, model: &ask.model, endpoint: label, address, addressed };
    let grant = authorize(account, &wanted, catalog)?;
    let Some(choice) = grant.choice() else { return Err(Refusal::RouteUnknown) };
    entry.facts.provider = Some(choice.provider.name.clone());
    let served = choice.serves.as_deref();
    let priced = served.unwrap_or(&ask.model);
    entry.facts.price = catalog.prices.find(&choice.provider.name, priced, entry.facts.started_at).cloned();
    let is_unknown = entry.facts.price.is_none() && !endpoint.is_free();
    if is_unknown && catalog.prices.unknown() == Unknown::Deny {
        return Err(Refusal::PriceUnknown);
    }
    Ok((grant, ask))
}

/// Refuses what its sender seems to send again and again without end.
fn repeats(account: &Account, plan: &Plan, limit: Option<u32>) -> Result<(), Refusal> {
    let Some(limit) = limit else { return Ok(()) };
    let repeats = account.credential().key.state.repeats();
    if !repeats.are_watched() {
        return Ok(());
    }
    let counted = repeats.count(&plan.sent(), limit, nanos_of(Instant::now()));
    counted.map_err(|wait| Refusal::Repeated { limit, seconds: wait.as_secs_f64().ceil() as u32 })
}

/// Where the request goes and what is sent there.
#[expect(clippy::too_many_arguments, reason = "everything that was worked out about the request meets here")]
fn plan(
    account: &Account,
    grant: &Grant,
    head: &RequestHeader,
    route: &Route<'_>,
    endpoint: Endpoint,
    ask: &AskHead,
    body: &Bytes,
    inspection: Inspection,
) -> Result<Plan, Refusal> {
    let Some(choice) = grant.choice() else { return Err(Refusal::RouteUnknown) };
    let hide_usage = ask.lacks_usage(endpoint);
    let is_deployed = route.model.is_some() && endpoint.dialect() == Dialect::OpenAi;
    let (provider, own_key) = (choice.provider.clone(), account.own_key().cloned());
    let model: Arc<str> = choice.serves.clone().unwrap_or_else(|| ask.model.as_str().into());
    let own_name = provider.own_name(&model);
    // What the body says besides the path is made to agree with it; Azure does not look.
    let needs_name = is_deployed && !ask.says(body, &own_name) || ask.leaves_model_open();
    let renames = match provider.kind {
        Kind::Azure if is_deployed => false,
        _ => *own_name != *ask.model || needs_name,
    };
    let mut edits = ask.edits(renames.then_some(&*own_name), hide_usage);
    edits.extend(inspection.edits);
    edits.sort_by_key(|edit| edit.range.start);
    let body = ask::splice(body, &edits);
    let target = provider.target(&Aim {
        endpoint,
        path: route.path,
        query: head.uri.query(),
        named: route.model,
        model: &own_name,
    });
    let inspected = inspection.answer;
    Ok(Plan { provider, own_key, endpoint, model, target, body, hide_usage, inspected, turn: None, connects: 0 })
}

/// Reads the head of a body, which is JSON but for endpoints that take files.
fn read_ask(endpoint: Endpoint, named: Option<&str>, head: &RequestHeader, body: &[u8]) -> Result<AskHead, AskError> {
    let content_type = head.headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    match (ask::boundary(content_type).filter(|_| endpoint.takes_forms()), named) {
        (Some(boundary), _) => ask::read_form(boundary, named, body),
        (None, Some(model)) => ask::read_about(endpoint, model, body),
        (None, None) => ask::read(endpoint, body),
    }
}

fn facts(
    arrival: Arrival,
    credential: Credential,
    organization: Arc<str>,
    dialect: Dialect,
    located: &Result<Route<'_>, RouteError>,
) -> Facts {
    Facts {
        request_id: arrival.request_id,
        started: arrival.started,
        started_at: arrival.started_at,
        client: arrival.client,
        address: arrival.address,
        dialect,
        endpoint: endpoint_label(located),
        credential,
        organization,
        kind: journal::Credential::AccessKey,
        fingerprint: None,
        provider: None,
        model: None,
        price: None,
        stream: false,
        request_bytes: 0,
        policies: Vec::new(),
        waited: Duration::ZERO,
    }
}

fn line<'a>(method: &'a Method, uri: &'a Uri, head: &RequestHeader) -> Line<'a> {
    let upgrade = head.headers.get(header::UPGRADE);
    Line {
        method: method.as_str(),
        path: uri.path(),
        has_anthropic_version: head.headers.contains_key("anthropic-version"),
        has_goog_api_key: head.headers.contains_key("x-goog-api-key"),
        is_websocket_upgrade: upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket")),
    }
}

fn dialect(located: &Result<Route<'_>, RouteError>) -> Dialect {
    match located {
        Ok(route) => route.target.dialect(),
        Err(RouteError::Unknown { dialect } | RouteError::Method { dialect, .. }) => *dialect,
    }
}

/// The endpoint's name in events; `unknown` for paths the gateway does not have.
fn endpoint_label(located: &Result<Route<'_>, RouteError>) -> &'static str {
    match located {
        Ok(Route { target: Target::Ask(endpoint), .. }) => endpoint.label(),
        Ok(Route { target: Target::Models(_) | Target::Model { .. }, .. }) => Endpoint::Models.label(),
        Ok(Route { target: Target::ResponsesSocket, .. }) => Endpoint::Responses.label(),
        Ok(Route { target: Target::Me, .. }) => "me",
        Ok(Route { target: Target::Hello | Target::Health, .. }) | Err(_) => "unknown",
    }
}

fn is_socket(located: &Result<Route<'_>, RouteError>) -> bool {
    matches!(located, Ok(Route { target: Target::ResponsesSocket, .. }))
}

fn unreadable(error: AskError) -> Refusal {
    match error {
        AskError::Ambiguous { .. } | AskError::ModelsDiffer => Refusal::RequestAmbiguous(error.to_string()),
        error => Refusal::RequestMalformed(error.to_string()),
    }
}
