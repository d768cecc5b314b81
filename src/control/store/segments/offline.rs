//! The log in the data directory of a gateway that does not run. Only what is whole is read, so it may also be one that
//! does; nothing is put right here.

use std::io;
use std::path::Path;
use std::time::Instant;

use crate::control::store::{EventPage, EventQuery, SEARCH_TIME_MAX};

use super::search::{self, View};
use super::verify::{self, Verification};
use super::{folder, head, recover};

/// An event log that nobody has to serve.
pub struct OfflineEvents {
    view: View,
}

impl OfflineEvents {
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let segments = recover::segments(&folder(data_dir))?;
        Ok(Self { view: View { segments: segments.into(), tip: i64::MAX } })
    }

    /// Reads back like the log of a running gateway.
    pub(crate) fn events(&self, query: &EventQuery) -> io::Result<EventPage> {
        search::run(&self.view, query, Instant::now() + SEARCH_TIME_MAX)
    }

    pub fn verify(data_dir: &Path) -> io::Result<Verification> {
        let folder = folder(data_dir);
        let view = Self::open(data_dir)?.view;
        verify::view(&view, head::read(&folder)?)
    }
}
