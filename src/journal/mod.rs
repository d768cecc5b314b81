//! What happened: the window through which facts leave the gateway.
//!
//! A request is told to the journal as a [`Record`]. Metrics are counted from it at once; the record then
//! waits in a bounded queue for the plane that makes it durable. The journal does not know who that is.

mod record; // the facts of one request, when it is judged and when it has ended
mod limit_gauges; // how limits stand, read when the metrics are
mod metrics; // the table of metrics; handles are kept with each key
mod queue; // the bounded queue, with places that are held before they are needed
mod event; // `keeptrusts.event/1`, as it is read back
pub mod csv; // the event as a line of comma-separated values
mod revive; // the facts again, from an event that another process made of them
mod write; // the event made from a record: JSON, straight into the buffer it is stored from

pub use event::{Credential, Event, EventKey, EventUsage, Phase, SCHEMA};
pub use limit_gauges::LimitReading;
pub use metrics::{KeySeries, Metrics, Row as MetricRow};
pub use queue::{Bell, Full, Journal, Queued, Records, Slot, Waited};
pub use record::{Closing, EventNumber, KeyIdentity, Opening, Record, Refused, Reserved, Threshold};
pub use write::EventWriter;
