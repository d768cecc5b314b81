//! The journal's other way out, once the log is the successor's: records become events here, and get their numbers there.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::journal::{EventWriter, Queued, Record, Records, Waited};

use super::spool::Spool;
use super::successor::Line;
use super::wire::{Passed, ToSuccessor};

/// The most records of one batch.
const BATCH_MAX: usize = 256;
/// How long a batch waits for more.
const WINDOW: Duration = Duration::from_millis(2);
/// How often the outlet looks for records: the journal wakes the ledger's thread, which has ended.
const LOOK: Duration = Duration::from_millis(10);
/// How long a batch may take to be written. A successor whose disk fails says nothing for so long.
const WRITTEN_PATIENCE: Duration = Duration::from_secs(60);

/// A running outlet.
pub(super) struct Outlet {
    ended: oneshot::Receiver<()>,
}

struct Clerk {
    records: Records,
    events: EventWriter,
    line: Arc<Line>,
    written: Receiver<u64>,
    spool: Spool,
    batch: u64,
}

impl Outlet {
    /// Begins to pass on `taken` and all that comes from `records`.
    pub(super) fn start(
        records: Records,
        taken: Vec<Queued>,
        gateway: &str,
        line: Arc<Line>,
        spool: Spool,
    ) -> io::Result<Self> {
        let (report, written) = sync_channel(1);
        line.report_written_to(report);
        let clerk = Clerk { records, events: EventWriter::new(gateway), line, written, spool, batch: 0 };
        let (end, ended) = oneshot::channel();
        let run = move || {
            clerk.run(taken);
            let _ = end.send(());
        };
        thread::Builder::new().name("outlet".into()).spawn(run)?;
        Ok(Self { ended })
    }

    /// Returns when every journal is gone and everything is told.
    pub(super) async fn ended(self) {
        let _ = self.ended.await;
    }
}

impl Clerk {
    fn run(mut self, mut taken: Vec<Queued>) {
        loop {
            if !taken.is_empty() {
                let passed = taken.iter().filter_map(|queued| self.event(&queued.record)).collect();
                self.pass_on(passed);
                self.records.done(taken.len());
                for waiter in taken.drain(..).filter_map(|queued| queued.waiter) {
                    // Whoever waited may have given up.
                    let _ = waiter.send(());
                }
            }
            match self.records.wait(1, LOOK) {
                Waited::Closed => break,
                Waited::InVain => {}
                waited => {
                    if waited != Waited::Urgent {
                        self.records.wait(BATCH_MAX, WINDOW);
                    }
                    self.records.take(&mut taken, BATCH_MAX);
                }
            }
        }
    }

    fn event(&mut self, record: &Record) -> Option<Passed> {
        let (opening, is_refused) = match record {
            Record::Opened(opening) => (opening, opening.refusal.is_some()),
            Record::Closed(closing) => (&closing.opening, false),
        };
        if !is_refused && opening.number.get().is_none() {
            opening.number.set(self.line.number());
        }
        let number = opening.number.get().unwrap_or(0);
        let mut json = Vec::new();
        self.events.write(record, Uuid::now_v7(), number, &mut json);
        let event = serde_json::from_slice(&json).inspect_err(|error| log::error!("an event has no form: {error}"));
        Some(Passed { number, reserved: opening.reserved.get(), event: event.ok()? })
    }

    /// Returns when the records are on disk, here or there.
    fn pass_on(&mut self, records: Vec<Passed>) {
        self.batch += 1;
        let again: Vec<_> = records.iter().map(Passed::copy).collect();
        self.line.say(ToSuccessor::Records { batch: self.batch, records });
        let begun = Instant::now();
        while !self.line.is_gone() && begun.elapsed() < WRITTEN_PATIENCE {
            match self.written.recv_timeout(WINDOW) {
                Ok(batch) if batch == self.batch => return,
                Ok(_) | Err(_) => {}
            }
        }
        if let Err(error) = self.spool.write(&again) {
            log::error!("{} records could not be kept for the next process and are lost: {error}", again.len());
        }
    }
}

impl Passed {
    fn copy(&self) -> Self {
        Self { number: self.number, reserved: self.reserved, event: self.event.clone() }
    }
}
