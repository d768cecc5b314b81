//! The journey of a request, room by room.

#[rustfmt::skip]
mod settings;       // what the operator can set about it

pub use settings::{Settings, Timeouts};
