//! The journey of a request, room by room.

mod settings; // what the operator can set about it

pub use settings::{Settings, Timeouts};
