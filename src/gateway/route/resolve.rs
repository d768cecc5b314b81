//! Names to addresses, remembered for a while.
//!
//! Requests read what is known without a lock. A name is asked for again when its answer is old, by the first
//! request that notices; if that fails, the old answer goes on being used.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use log::warn;

/// How long an answer is used before the name is asked for again.
const FRESH: Duration = Duration::from_secs(30);

/// A name that has no address, or none that could be learned in time.
#[derive(Debug)]
pub struct Unresolved;

/// The addresses of providers.
#[derive(Default)]
pub struct Resolver {
    known: ArcSwap<HashMap<(String, u16), Answer>>,
}

#[derive(Clone)]
struct Answer {
    addresses: Arc<[SocketAddr]>,
    at: Instant,
}

impl Resolver {
    /// The addresses of `host`, in the order of the operating system's resolver; at least one.
    pub async fn addresses(&self, host: &str, port: u16, deadline: Duration) -> Result<Arc<[SocketAddr]>, Unresolved> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok([SocketAddr::new(address, port)].into());
        }
        let name = (host.to_owned(), port);
        let known = self.known.load().get(&name).cloned();
        if let Some(answer) = known.as_ref().filter(|answer| answer.at.elapsed() < FRESH) {
            return Ok(answer.addresses.clone());
        }
        match look_up(host, port, deadline).await {
            Some(addresses) => {
                let answer = Answer { addresses: addresses.clone(), at: Instant::now() };
                self.remember(name, answer);
                Ok(addresses)
            }
            None => {
                let Some(old) = known else { return Err(Unresolved) };
                warn!("cannot resolve {host} at the moment; going on with its last known addresses");
                self.remember(name, Answer { at: Instant::now(), ..old.clone() });
                Ok(old.addresses)
            }
        }
    }

    fn remember(&self, name: (String, u16), answer: Answer) {
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(name.clone(), answer.clone());
            known
        });
    }
}

async fn look_up(host: &str, port: u16, deadline: Duration) -> Option<Arc<[SocketAddr]>> {
    let answer = tokio::time::timeout(deadline, tokio::net::lookup_host((host, port))).await.ok()?.ok()?;
    let addresses: Arc<[SocketAddr]> = answer.collect();
    (!addresses.is_empty()).then_some(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_and_addresses_are_resolved_and_nonsense_is_not() {
        let resolver = Resolver::default();
        let resolve = |host: &'static str| resolver.addresses(host, 80, Duration::from_secs(5));
        assert_eq!(resolve("::1").await.unwrap()[0].to_string(), "[::1]:80");
        assert!(resolve("localhost").await.unwrap().iter().all(|address| address.ip().is_loopback()));
        assert!(resolver.known.load().contains_key(&("localhost".into(), 80)));
        assert!(resolve("no-such-host.invalid").await.is_err());
    }
}
