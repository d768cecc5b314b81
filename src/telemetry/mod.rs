//! How the process tells about itself: its log, its metrics, its health.

mod health; // alive, ready, or why not
mod log; // lines for people or for machines, on standard error
mod scrape; // the listener for `/metrics`, `/livez` and `/readyz`

pub use health::Health;
pub use log::{Format as LogFormat, start_log};
pub use scrape::scrape_routes;
