//! End to end: the real binary, a real store, a mock provider, real connections.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in tests, what must hold is unwrapped")]

mod harness;

mod bodies;
mod policies;
mod access;
mod answers;
mod gemini;
mod azure;
mod media;
mod streams;
mod refusals;
mod upgrade;
mod upstream_faults;
mod commands;
mod dashboards;
mod crash;
mod full_disk;
mod export;
mod webhook;
mod kept;
mod keys;
mod kills;
mod life_of_a_key;
mod lifecycle;
mod reload;
mod manager;
mod revocation;
mod scale;
mod door;
mod chaos;
mod overload;
mod corpus;
mod framing;
mod compressed;
mod money;
mod limits;
mod fairness;
mod repeats;
mod races;
mod clock;
mod crowd;
mod mixed;
mod tls;
mod listeners;
