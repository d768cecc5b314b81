//! Connections as they arrive: at the office's listeners plain or TLS, how many, how long, and how they end. The edge's
//! are only taken in here; what else they share with these is their identity.
//!
//! Certificates are read where the configuration is, and take effect with it: whoever connects next meets the new one.
//! A connection keeps the one it was greeted with.

mod identity; // a certificate, its key and whose clients are let in
mod gate; // connections of one listener, encrypted if it has an identity
mod serve; // how many connections, how long, and how they end
mod take_in; // the edge's, each in a task of its own

pub use gate::Gate;
pub use identity::{CurrentIdentity, Identity, IdentityError};
pub use serve::{serve, until_closing};
pub use take_in::take_in;
