//! The words everyone uses: names, key texts, money, tokens, time, secrets.
//!
//! Everything here is a value with a meaning of its own. Nothing here reads a clock, draws randomness,
//! does I/O or knows a protocol; whoever needs those passes them in.

mod name; // what keys, teams and providers may be called
mod key_text; // `kt_ak_…`: how a key is written, checked and digested
mod money; // nano-USD and pico-USD per token, in integers
mod usage; // tokens by kind, and where the figures came from
mod price; // the price table: usage × rates = cost; known, free or unknown
mod permissions; // what a key, a team or the organization may use
mod limits; // how much a key, a team or the organization may use
mod standing; // where a key is in its life
mod secret; // a text that no log, error or Debug output can show
mod time; // a moment in UTC
mod verdict; // what became of a request
pub mod csv; // fields of comma-separated values

pub use key_text::{KeyDigest, KeyKind, KeyText, KeyTextError, Pepper};
pub use limits::{
    Allowance, Bounds, Budget, BudgetError, Count, Limits, LimitsChange, LimitsError, Period, Spending, TimeZone,
    Window,
};
pub use money::{NanoUsd, PicoUsd};
pub use name::{Name, NameError};
pub use permissions::{Network, Pattern, PermissionError, Permissions, PermissionsChange, present};
pub use price::{Cost, Factor, Factors, ModelPrice, PriceRow, PriceTable, Rates, Tier, Unknown, undated};
pub use secret::Secret;
pub use standing::KeyStanding;
pub use time::Timestamp;
pub use usage::{Advisor, ServiceTier, Tokens, Usage, UsageSource, is_zero};
pub use verdict::{Ended, Verdict};
