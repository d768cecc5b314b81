//! A request's head and body go to its provider as one packet.
//!
//! Pingora 0.9.1 writes head and body one after the other, flushes each, and offers no place between them and the
//! socket. What a connection is given while it is corked (tcp(7), `TCP_CORK`) is sent when the cork is pulled, or as soon
//! as it fills a packet. Nothing waits for that: corks are put only while a request is being polled, and pulled before it
//! rests, whatever has been written by then.

use std::cell::Cell;
use std::os::fd::RawFd;

use nix::libc;

/// What the thread is doing.
#[derive(Clone, Copy)]
enum Polled {
    /// Nothing that would pull a cork.
    Nothing,
    /// A request none of whose connections is corked.
    Open,
    Corked(RawFd),
}

thread_local! {
    static POLLED: Cell<Polled> = const { Cell::new(Polled::Nothing) };
}

/// Polls a request, and pulls the cork that was put meanwhile.
pub fn within<T>(poll: impl FnOnce() -> T) -> T {
    struct Pull;
    impl Drop for Pull {
        fn drop(&mut self) {
            if let Polled::Corked(connection) = POLLED.replace(Polled::Nothing) {
                set(connection, false);
            }
        }
    }
    POLLED.set(Polled::Open);
    let _pull = Pull;
    poll()
}

/// Holds back what is written to `connection` until the request rests.
pub fn cork(connection: RawFd) {
    if let Polled::Open = POLLED.get()
        && set(connection, true)
    {
        POLLED.set(Polled::Corked(connection));
    }
}

/// Whether it could be set. A connection that is already gone needs no cork and no pull.
fn set(connection: RawFd, is_corked: bool) -> bool {
    let value = libc::c_int::from(is_corked);
    let size = size_of_val(&value) as libc::socklen_t;
    #[expect(unsafe_code, reason = "Pingora lends its connection to a provider as a number only")]
    // SAFETY: the kernel reads `size` bytes at `value`, which lives on, and writes nothing. A number that has come to be
    // another connection's since ends that one's cork early, which costs a packet.
    let set = unsafe {
        libc::setsockopt(connection, libc::IPPROTO_TCP, libc::TCP_CORK, (&raw const value).cast::<libc::c_void>(), size)
    };
    set == 0
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    /// Both ends of a connection; the second never waits.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gateway = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        gateway.set_nodelay(true).unwrap();
        let provider = listener.accept().unwrap().0;
        provider.set_nonblocking(true).unwrap();
        (gateway, provider)
    }

    fn seen(provider: &mut TcpStream) -> Result<String, ErrorKind> {
        let mut bytes = [0; 64];
        let count = provider.read(&mut bytes).map_err(|error| error.kind())?;
        Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
    }

    #[test]
    fn what_is_written_while_a_request_is_polled_goes_out_together_when_it_rests() {
        let (mut gateway, mut provider) = connection();
        within(|| {
            cork(gateway.as_raw_fd());
            gateway.write_all(b"head").unwrap();
            gateway.write_all(b"body").unwrap();
            assert_eq!(seen(&mut provider), Err(ErrorKind::WouldBlock));
        });
        assert_eq!(seen(&mut provider).as_deref(), Ok("headbody"));
        gateway.write_all(b"more").unwrap();
        assert_eq!(seen(&mut provider).as_deref(), Ok("more"), "no cork is left");
    }

    #[test]
    fn nothing_is_corked_that_nobody_would_uncork() {
        let (mut gateway, mut provider) = connection();
        cork(gateway.as_raw_fd());
        gateway.write_all(b"head").unwrap();
        assert_eq!(seen(&mut provider).as_deref(), Ok("head"));
    }

    #[test]
    fn a_panic_leaves_no_cork() {
        let (mut gateway, mut provider) = connection();
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            within(|| {
                cork(gateway.as_raw_fd());
                gateway.write_all(b"head").unwrap();
                panic!("as a poll may");
            });
        }));
        assert!(polled.is_err());
        assert_eq!(seen(&mut provider).as_deref(), Ok("head"));
        cork(gateway.as_raw_fd());
        gateway.write_all(b"body").unwrap();
        assert_eq!(seen(&mut provider).as_deref(), Ok("body"), "and no thread that corks");
    }
}
