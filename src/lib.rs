//! Keeptrusts: an edge gateway for AI traffic. This page is the map, in reading order.

// Planes: they never import each other.
#[rustfmt::skip]
pub mod gateway; // hot: one request's journey, no I/O but HTTP

// Windows: where the planes meet.
#[rustfmt::skip]
pub mod catalog; // knowledge in: one immutable snapshot, and revocation at once
#[rustfmt::skip]
pub mod journal; // facts out: one bounded queue of records; metrics and events are made from them

// The shelf: pure, no clock, no I/O, no async, no configuration.
#[rustfmt::skip]
pub mod providers; // how each provider is addressed and authenticated to
#[rustfmt::skip]
pub mod protocol; // what travels on the wire, bytes in and facts out
#[rustfmt::skip]
pub mod domain; // the words everyone uses
