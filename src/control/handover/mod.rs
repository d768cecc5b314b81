//! From one process to the next without a pause: the old one gives the data directory away, and goes on with the requests
//! it has begun as a guest of the new one.
//!
//! A process that is to take over (`Heir`) prepares all it can and says that it is ready. The old one then lets go of
//! databases, event log and lock, and leaves an estate: what its running requests may still spend. From now on
//!
//! - its records go to the new one, which counts, sums and writes them like its own (`outlet` → `records`); what cannot
//!   be told any more waits in a file for the next process (`spool`);
//! - limits are counted by the new one: what running requests hold is held there too, until their end is on record, and
//!   whoever is still admitted by the old one is asked for there (`successor` → `held`);
//! - what takes something away holds in both before it is acknowledged (`predecessor` → `obey`). A predecessor that does
//!   not obey within a second is killed: then nothing more goes out.
//!
//! The one ends when its last request has; the other notices, and closes what has no end as after a crash.

mod wire; // what the two say to each other
mod successor; // the old process, once it has handed over
mod outlet; // its records, on their way into the other's log
mod spool; // its records, when the other cannot be reached
mod obey; // what the other has changed, in force here
mod predecessor; // the new process: what it inherits, and the way to the one before
mod held; // what the old one's requests hold of limits
mod records; // the old one's records, counted and written as its own

pub use predecessor::{Heir, Predecessor};
pub use spool::is_handed_over;
pub use successor::{Candidate, Leaving, Successor};

pub(super) use predecessor::Inheritance;
pub(super) use spool::adopt;
pub(super) use wire::Change;
