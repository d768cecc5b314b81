//! A Pingora proxy that does nothing but pass requests on: what the gateway's own cost is measured against.
//!
//! `bare_proxy LISTEN UPSTREAM`, both as address and port. Threads, allocator, pages, pool and time limits are
//! the gateway's.

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::proxy::{ProxyHttp, Session};
use pingora::server::Fds;
use pingora::server::configuration::ServerConf;
use pingora::services::Service;
use pingora::upstreams::peer::HttpPeer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As many connections to the provider are kept as the gateway keeps.
const POOL: usize = 1024;

struct Bare {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut ()) -> pingora::Result<()> {
        session.set_keepalive(Some(75));
        session.set_write_timeout(Some(Duration::from_secs(60)));
        Ok(())
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        #[expect(clippy::disallowed_methods, reason = "the address is resolved: nothing blocks and nothing can fail")]
        let mut peer = HttpPeer::new(self.upstream, false, String::new());
        let options = &mut peer.options;
        options.connection_timeout = Some(Duration::from_secs(5));
        options.total_connection_timeout = Some(Duration::from_secs(5));
        options.read_timeout = Some(Duration::from_secs(120));
        options.write_timeout = Some(Duration::from_secs(60));
        options.idle_timeout = Some(Duration::from_secs(45));
        Ok(Box::new(peer))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    nix::sys::prctl::set_thp_disable(true)?;
    let mut arguments = std::env::args().skip(1);
    let mut address = || -> Result<SocketAddr, Box<dyn Error>> {
        Ok(arguments.next().ok_or("usage: bare_proxy LISTEN UPSTREAM")?.parse()?)
    };
    let (listen, upstream) = (address()?, address()?);
    let conf = ServerConf { upstream_keepalive_pool_size: POOL, ..ServerConf::default() };
    let mut service = pingora::proxy::http_proxy_service(&Arc::new(conf), Bare { upstream });
    service.add_tcp(&listen.to_string());
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let mut fds = Fds::new();
    fds.add(listen.to_string(), listener.into_raw_fd());
    let threads = std::thread::available_parallelism()?.get();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let (_running, stopped) = tokio::sync::watch::channel(false);
    runtime.block_on(async move { service.start_service(Some(Arc::new(Mutex::new(fds))), stopped, 1).await });
    Ok(())
}
