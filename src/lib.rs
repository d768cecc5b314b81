//! Keeptrusts: an edge gateway for AI traffic. This page is the map, in reading order.

// Entrance: wires everything, decides nothing.
pub mod cli; // one file a command
pub mod app; // settings → rooms → services, in narrative order
pub mod config; // what the operator wrote → resolved settings, all faults at once
pub mod telemetry; // the log, metrics for a scraper, health

// Planes: they never import each other.
pub mod gateway; // hot: one request's journey, no I/O but HTTP
pub mod control; // cold: the store, what is published from it, the ledger, the admin API
pub mod mock_provider; // beside both: the pretend provider behind `kt demo`, tests and load tests

// What the planes stand on.
pub mod listen; // connections as they arrive: plain or TLS, how many, how long

// Windows: where the planes meet.
pub mod catalog; // knowledge in: one immutable snapshot, and each key's own state
pub mod journal; // facts out: one bounded queue of records; metrics and events are made from them

// The shelf: pure, no clock, no I/O, no async, no configuration.
pub mod policy; // what may be said: detectors, patterns, redaction; text in, findings out
pub mod providers; // how each provider is addressed and authenticated to
pub mod protocol; // what travels on the wire, bytes in and facts out
pub mod domain; // the words everyone uses

// Beside the house.
#[cfg(any(test, fuzzing))]
pub mod fuzz; // what must hold whatever bytes come
