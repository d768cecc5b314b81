//! How HTTP/1.1 requests are delimited: a policy a little stricter than RFC 9110 and RFC 9112, each rule with its
//! section. What two parsers could read differently is refused here, before any of them sees it.
//!
//! What it does not do: read from a connection, or know what to answer.

mod head; // the bytes of a request's head → where it ends and how its body is framed
mod chunks; // a chunked body as it passes: extensions and trailers taken out
mod bytes; // which bytes belong where

pub use chunks::{ChunkFault, Chunks, Passed};
pub use head::{BodyFraming, Fault, Head, HeadLimits, HeadScan, check_target, takes_body};
