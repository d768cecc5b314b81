//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// The connections there are.
#[derive(Default)]
pub struct Caps {
    all: AtomicUsize,
    /// Held while one connection begins or ends, never during a request.
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

/// Which cap a connection met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    All,
    Address,
}

/// A connection's place, given back when dropped.
pub struct Place {
    caps: Arc<Caps>,
    source: Option<IpAddr>,
}

impl Caps {
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>, all_max: usize, address_max: usize) -> Result<Place, Full> {
        if self.all.fetch_add(1, Ordering::Relaxed) >= all_max {
            self.all.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::All);
        }
        let mut place = Place { caps: self.clone(), source: None };
        if let Some(source) = address.map(source) {
            let mut addresses = self.addresses.lock();
            let count = addresses.entry(source).or_default();
            if *count >= address_max {
                drop(addresses);
                return Err(Full::Address);
            }
            *count += 1;
            place.source = Some(source);
        }
        Ok(place)
    }

    pub fn count(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.caps.all.fetch_sub(1, Ordering::Relaxed);
        let Some(source) = self.source else { return };
        let mut addresses = self.caps.addresses.lock();
        if let Some(count) = addresses.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&source);
            }
        }
    }
}

/// Whom an address belongs to: one subscriber has a whole /64 of IPv6 addresses.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let caps = Arc::new(Caps::default());
        let address = |text: &str| Some(text.parse().unwrap());
        let enter = |text: &str| caps.enter(address(text), 3, 2);
        let (first, second) = (enter("10.0.0.1").unwrap(), enter("::ffff:10.0.0.1").unwrap());
        assert_eq!(enter("10.0.0.1").err(), Some(Full::Address));
        let third = enter("2001:db8::1").unwrap();
        assert_eq!(enter("10.0.0.2").err(), Some(Full::All));
        drop(first);
        assert_eq!(caps.count(), 2);
        let fourth = enter("2001:db8::ffff").unwrap();
        drop((second, third, fourth));
        assert_eq!((caps.count(), caps.addresses.lock().len()), (0, 0));
    }
}
