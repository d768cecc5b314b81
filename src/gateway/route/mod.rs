//! 6 Where does it go, and where next? The choice becomes a [`Plan`]: one provider, its addresses in turn.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pingora::protocols::ALPN;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};

use crate::catalog::{Sent, Timeouts, Turn};
use crate::policy::Active;
use crate::protocol::Endpoint;
use crate::providers::Provider;

use super::authenticate::OwnKey;

mod resolve; // names to addresses, remembered for a while

pub use resolve::Resolver;

/// Requests at once on one HTTP/2 connection to a provider.
const H2_STREAMS_MAX: usize = 100;
/// How long an unused connection to a provider is kept. Shorter than what providers' front ends allow, so that
/// a request seldom meets one that is just being closed.
const IDLE_CONNECTION_KEPT: Duration = Duration::from_secs(45);
/// Connections tried for one request before it is given up. Nothing has been sent on any of them.
pub const CONNECTS_MAX: usize = 3;

/// Where a request goes and what is sent there.
pub struct Plan {
    pub provider: Arc<Provider>,
    /// The caller's own key, used instead of the provider's configured one.
    pub own_key: Option<OwnKey>,
    pub endpoint: Endpoint,
    /// The model that is asked of the provider.
    pub model: Arc<str>,
    /// Path and query, with the provider's prefix.
    pub target: String,
    pub body: Bytes,
    /// The body asks for usage figures that the caller did not ask for: they are kept from it.
    pub hide_usage: bool,
    /// What the answer is looked at for.
    pub inspected: Active,
    /// Its turn at a provider that is asked only so many requests at once.
    pub turn: Option<Turn>,
    /// Connections that could not be made so far.
    pub connects: usize,
}

impl Plan {
    /// What makes it the same request as another one of its key.
    pub fn sent(&self) -> Sent<'_> {
        Sent { caller: self.own_key.as_ref().map(|own| &*own.fingerprint), target: &self.target, body: &self.body }
    }

    /// The peer for the next connection, at `addresses` of the plan's provider.
    pub fn peer(&self, addresses: &[SocketAddr], timeouts: &Timeouts) -> Option<HttpPeer> {
        let address = addresses.get(self.connects % addresses.len().max(1))?;
        let base_url = &self.provider.base_url;
        #[expect(clippy::disallowed_methods, reason = "the address is resolved: nothing blocks and nothing can fail")]
        let mut peer = HttpPeer::new(*address, base_url.tls(), base_url.host().to_owned());
        let options = &mut peer.options;
        if base_url.tls() {
            options.alpn = ALPN::H2H1;
            options.max_h2_streams = H2_STREAMS_MAX;
        }
        options.connection_timeout = Some(timeouts.connect);
        options.total_connection_timeout = Some(timeouts.connect);
        // Which of the two it is, the client's connection tells (`door::Silence`), except over HTTP/2.
        options.read_timeout = Some(timeouts.first_byte.max(timeouts.idle));
        options.write_timeout = Some(timeouts.write);
        options.idle_timeout = Some(IDLE_CONNECTION_KEPT);
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        Some(peer)
    }
}
