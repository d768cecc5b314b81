//! The configuration that is in force.

pub mod show;
pub mod reload;

pub use crate::control::configuration::ConfigInForce;
