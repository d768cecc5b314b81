//! 4 Is there room? The [`Grant`] becomes [`Room`], and with the request on record an [`Admission`].
//!
//! Room now means a place in the journal: a request that could not be recorded is not taken.

use std::sync::Arc;

use crate::domain::PriceTable;
use crate::journal::{Journal, Slot};

use super::authorize::Grant;
use super::refusal::Refusal;
use super::report::{Book, Entry};

/// Everything a granted request needs to be taken. Made only here; dropping it gives it back.
pub struct Room {
    slot: Slot,
}

/// A request that was taken, and of which nothing has been sent yet. Dropping it closes its record.
pub struct Admission {
    book: Book,
}

/// Holds room for a request that was granted.
pub fn hold(_grant: &Grant, journal: &Journal) -> Result<Room, Refusal> {
    let slot = journal.reserve().map_err(|_full| Refusal::AuditUnavailable)?;
    Ok(Room { slot })
}

impl Room {
    /// Takes the request, and records that it was taken.
    pub fn admit(self, entry: Entry, prices: Arc<PriceTable>) -> Admission {
        Admission { book: Book::open(entry, self.slot, prices) }
    }
}

impl Admission {
    pub fn book(&self) -> &Book {
        &self.book
    }

    pub fn into_book(self) -> Book {
        self.book
    }
}
