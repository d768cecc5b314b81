//! The only `impl ProxyHttp`: each phase calls the rooms the table in `gateway/mod.rs` names for it.

use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use http::{StatusCode, Version, header};
use log::{debug, warn};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};

use crate::catalog::{CurrentCatalog, Settings};
use crate::domain::Pepper;
use crate::journal::Journal;
use crate::protocol::coding::Decoder;

use super::CONNECTS_MAX;
use super::authenticate::Passthrough;
use super::failure::{self, Told};
use super::heat::Heat;
use super::journey::{Arrival, Journey, Stage, UnderWay};
use super::pressure::Pressure;
use super::receive::{Reception, receive};
use super::relay::{self, Answer, Commitment};
use super::route::Resolver;
use super::{body, cut, door};

/// The largest body that is sent in one packet with its head, in bytes. A larger one takes packets of its own anyway, and
/// a connection that is corked meanwhile took a fifth more CPU for 200 KB.
const CORKED_BODY_MAX: usize = 16 * 1024;

/// The request path and what it reads and writes: knowledge from the catalog, facts into the journal.
pub struct Gateway {
    pub(super) catalog: Arc<CurrentCatalog>,
    pub(super) journal: Journal,
    pub(super) pepper: Pepper,
    pub(super) pressure: Arc<Pressure>,
    pub(super) heat: Heat,
    passthrough: OnceLock<Passthrough>,
    resolver: Resolver,
    under_way: UnderWay,
}

impl Gateway {
    pub fn new(catalog: Arc<CurrentCatalog>, journal: Journal, pepper: Pepper, pressure: Arc<Pressure>) -> Self {
        let (heat, passthrough, resolver, under_way) = Default::default();
        Self { catalog, journal, pepper, pressure, heat, passthrough, resolver, under_way }
    }

    pub fn catalog(&self) -> &CurrentCatalog {
        &self.catalog
    }

    /// The account of those who send their own key for the provider, where `settings` allow that.
    pub(super) fn passthrough(&self, settings: &Settings) -> Option<&Passthrough> {
        let series = || self.journal.metrics().key_series(Passthrough::NAME, None);
        let account = || self.passthrough.get_or_init(|| Passthrough::new(series()));
        settings.access.provider_key_passthrough.then(account)
    }

    /// How many requests are under way.
    pub(super) fn requests(&self) -> usize {
        self.under_way.count()
    }

    /// The requests under way, to be watched while the gateway stops.
    pub fn under_way(&self) -> UnderWay {
        UnderWay::clone(&self.under_way)
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Journey;

    fn new_ctx(&self) -> Journey {
        Journey::new(self.catalog.load(), &self.under_way)
    }

    /// None: Pingora's own would compress answers, and costs a call for each piece even while it is off.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, journey: &mut Journey) -> Result<()> {
        // A connection of HTTP/1 times this itself; one of HTTP/2 knows nothing of its streams.
        if session.is_http2() {
            session.set_write_timeout(Some(journey.settings.timeouts.write));
        }
        Ok(())
    }

    /// Everything that is decided before a provider is asked. `true`: the answer has been given here.
    async fn request_filter(&self, session: &mut Session, journey: &mut Journey) -> Result<bool> {
        let arrival = Arrival::of(session);
        journey.request_id = Some(arrival.request_id.clone());
        match receive(self, session, journey, arrival).await? {
            Reception::Forward(admission, plan) => {
                journey.stage = Stage::Admitted(admission, plan);
                Ok(false)
            }
            Reception::Answered => {
                journey.stage = Stage::Ended;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, _session: &mut Session, journey: &mut Journey) -> Result<Box<HttpPeer>> {
        let Stage::Admitted(_, plan) = &journey.stage else { return lost() };
        let base_url = &plan.provider.base_url;
        let timeouts = &journey.settings.timeouts;
        let addresses = self.resolver.addresses(base_url.host(), base_url.port(), timeouts.connect).await;
        let unresolved = |_| Error::explain(ErrorType::ConnectNoRoute, "the provider's name has no address").into_up();
        let peer = plan.peer(&addresses.map_err(unresolved)?, timeouts);
        peer.map(Box::new).ok_or_else(|| Error::new(ErrorType::ConnectNoRoute).into_up())
    }

    /// Nothing has been sent yet, so another address may be tried without asking twice for the same answer.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        journey: &mut Journey,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Stage::Admitted(_, plan) = &mut journey.stage {
            plan.connects += 1;
            error.set_retry(plan.connects < CONNECTS_MAX);
        }
        error
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        connection: RawFd,
        _digest: Option<&Digest>,
        journey: &mut Journey,
    ) -> Result<()> {
        journey.provider_connection = Some(connection);
        Ok(())
    }

    /// The last moment before a provider is asked: here the admission becomes a commitment.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        journey: &mut Journey,
    ) -> Result<()> {
        let Stage::Admitted(admission, _) = &journey.stage else { return lost() };
        let watch = cut::watch(session, admission.book().credential());
        // Watched first and asked then: whoever revokes after the question wakes this request.
        if admission.book().credential().lapse_now().is_some() {
            return Err(cut::stop());
        }
        let stage = std::mem::replace(&mut journey.stage, Stage::Ended);
        let Stage::Admitted(admission, plan) = stage else { return lost() };
        journey.silence = door::silence(session);
        journey.wait(journey.settings.timeouts.first_byte);
        let inspected = plan.inspected.clone();
        let answer = Answer::awaited(plan.endpoint, plan.body.clone(), plan.hide_usage, inspected);
        journey.stage = Stage::Relaying(Box::new(Commitment::new(*admission, answer, watch)), plan);
        let Stage::Relaying(_, plan) = &journey.stage else { return lost() };
        relay::address(request, plan)?;
        // Many requests share a connection of HTTP/2.
        let has_corks = request.version == Version::HTTP_11 && plan.body.len() <= CORKED_BODY_MAX;
        if let Some(connection) = journey.provider_connection.filter(|_| has_corks) {
            door::cork(connection);
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        piece: &mut Option<Bytes>,
        end_of_stream: bool,
        journey: &mut Journey,
    ) -> Result<()> {
        let Stage::Relaying(_, plan) = &journey.stage else { return lost() };
        body::forward(&plan.body, piece, end_of_stream);
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        journey: &mut Journey,
    ) -> Result<()> {
        journey.wait(journey.settings.timeouts.idle);
        let Stage::Relaying(commitment, plan) = &mut journey.stage else { return lost() };
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, "an upgrade nobody asked for").into_up());
        }
        if response.status.is_informational() {
            return Ok(());
        }
        if commitment.lapse().is_some() {
            return Err(cut::stop());
        }
        let coding = response.headers.get(header::CONTENT_ENCODING);
        if !plan.inspected.is_empty() && coding.is_some_and(|coding| !Decoder::knows(coding.as_bytes())) {
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, "an encoded answer cannot be looked at").into_up());
        }
        commitment.answer.begin(response.status, &response.headers);
        let version = session.req_header().version;
        relay::complete(response, version, commitment, journey.request_id.as_deref())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        piece: &mut Option<Bytes>,
        end_of_stream: bool,
        journey: &mut Journey,
    ) -> Result<Option<std::time::Duration>> {
        journey.wait(journey.settings.timeouts.idle);
        let Stage::Relaying(commitment, plan) = &mut journey.stage else { return lost() };
        // A stream that has said its last word is not cut for what it has cost.
        if commitment.lapse().is_some() || commitment.cause().is_some() && !commitment.answer.has_ended() {
            return Err(cut::stop());
        }
        let answer = &mut commitment.answer;
        if answer.is_blocked() && answer.is_stream() {
            // The caller has been told; the provider need not go on.
            *piece = None;
            return if end_of_stream { Ok(None) } else { Err(cut::stop()) };
        }
        let mut sent = piece.take().map(|piece| answer.take(piece)).transpose().map_err(relay::undecodable)?;
        if end_of_stream {
            answer.check_end().map_err(relay::undecodable)?;
        }
        if end_of_stream && !answer.is_blocked() {
            let rest = failure::complete(answer, plan, journey.request_id.as_deref());
            if !rest.is_empty() {
                sent = Some(match sent {
                    Some(sent) if !sent.is_empty() => [sent, rest].concat().into(),
                    _ => rest,
                });
            }
        }
        if let Some(policy) = answer.blocked() {
            let last = cut::by_policy(answer, plan, policy, journey.request_id.as_deref(), journey.settings.cut);
            sent = Some([sent.unwrap_or_default(), last.into()].concat().into());
        } else if journey.settings.cut_streams {
            commitment.cover();
        }
        *piece = sent;
        Ok(None)
    }

    /// A provider that has been asked is never asked again: the answer may have cost money already.
    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        _session: &mut Session,
        mut error: Box<Error>,
        _journey: &mut Journey,
        _reused: bool,
    ) -> Box<Error> {
        error.set_retry(false);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, journey: &mut Journey) -> FailToProxy
    where
        Journey: Send + Sync,
    {
        failure::answer(session, error, journey).await
    }

    /// The end of every request that was not dropped on its way: what is still open is settled.
    async fn logging(&self, _session: &mut Session, error: Option<&Error>, journey: &mut Journey) {
        failure::conclude(std::mem::replace(&mut journey.stage, Stage::Ended), error);
    }

    /// Pingora would log each failure with the request's path; the record says it better.
    fn suppress_error_log(&self, _session: &Session, journey: &Journey, error: &Error) -> bool {
        if failure::is_the_clients(error) {
            debug!("client: {}", Told(error));
        } else {
            let provider = match &journey.stage {
                Stage::Admitted(_, plan) | Stage::Relaying(_, plan) => &*plan.provider.name,
                Stage::Arrived | Stage::Ended => "no provider",
            };
            let id = journey.request_id.as_deref().unwrap_or_default();
            warn!("request {id} failed at {provider}: {}", Told(error));
        }
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _journey: &Journey,
        error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        debug!("trying the next address: {}", Told(error));
        true
    }
}

/// A phase met a request in a stage that cannot occur there.
fn lost<T>() -> Result<T> {
    Err(Error::explain(ErrorType::InternalError, "the request is in no stage for this phase"))
}
