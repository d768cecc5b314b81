//! The whole control plane: what a start finds, makes and refuses.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::domain::{KeyKind, KeyText};
use crate::journal::{Journal, Metrics, Record};

use super::*;

/// Opens a control plane on `dir`, and the journal that feeds it.
pub(in crate::control) async fn open(dir: &Path) -> Result<(Control, Journal), OpenError> {
    open_with(dir, Routing::default()).await
}

pub(in crate::control) async fn open_with(dir: &Path, routing: Routing) -> Result<(Control, Journal), OpenError> {
    let configured = Configured { organization: "acme".into(), routing: Arc::new(routing), ..Configured::default() };
    let reading = Reading { configured, ..Reading::default() };
    let same = reading.clone();
    open_reading(dir, reading, Arc::new(move || Ok(same.clone()))).await
}

pub(in crate::control) async fn open_reading(
    dir: &Path,
    reading: Reading,
    again: Again,
) -> Result<(Control, Journal), OpenError> {
    let metrics = Arc::new(Metrics::new("test", 100).unwrap());
    let (journal, records) = Journal::new(8192, metrics);
    let settings = Settings { data_dir: dir.into(), pepper: None, gateway: "edge-1".into() };
    Ok((Control::open(settings, reading, again, (&journal, records), None).await?, journal))
}

#[tokio::test]
async fn the_first_start_makes_an_admin_token_and_later_ones_none() {
    let dir = tempfile::tempdir().unwrap();
    let (control, journal) = open(dir.path()).await.unwrap();
    let token = control.first_admin_token.as_ref().unwrap();
    assert_eq!(KeyText::check(token.expose()), Ok(KeyKind::Admin));
    let sql = "SELECT actor || ' ' || action || ' ' || detail FROM audit";
    let db = Connection::open(dir.path().join("keeptrusts.db")).unwrap();
    let audited: String = db.query_row(sql, [], |row| row.get(0)).unwrap();
    assert!(audited.starts_with("start admin_token.create") && !audited.contains(token.expose()), "{audited}");
    close((control, journal)).await;
    let (control, _journal) = open(dir.path()).await.unwrap();
    assert!(control.first_admin_token.is_none());
}

#[tokio::test]
async fn a_directory_serves_one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (_control, _journal) = open(dir.path()).await.unwrap();
    let error = open(dir.path()).await.err().unwrap();
    assert!(matches!(error, OpenError::DataDir(DataDirError::InUse(_))), "{error}");
}

#[tokio::test]
async fn another_pepper_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    close(open(dir.path()).await.unwrap()).await;
    fs::rename(dir.path().join("pepper"), dir.path().join("kept")).unwrap();
    let error = open(dir.path()).await.err().unwrap();
    assert!(matches!(error, OpenError::Pepper(PepperError::Missing(_))), "{error}");
    let other = tempfile::tempdir().unwrap();
    close(open(other.path()).await.unwrap()).await;
    fs::copy(other.path().join("pepper"), dir.path().join("pepper")).unwrap();
    let error = open(dir.path()).await.err().unwrap();
    assert!(matches!(error, OpenError::Pepper(PepperError::Replaced(_))), "{error}");
    fs::rename(dir.path().join("kept"), dir.path().join("pepper")).unwrap();
    assert!(open(dir.path()).await.is_ok());
}

#[tokio::test]
async fn finishing_makes_every_record_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (control, journal) = open(dir.path()).await.unwrap();
    for number in 0..3000 {
        let opening = store::conformance::opening(&number.to_string());
        journal.reserve().unwrap().write(Record::Opened(Arc::new(opening)));
    }
    close((control, journal)).await;
    let (again, _journal) = open(dir.path()).await.unwrap();
    // Each also got an end, because nobody else will bring it one.
    assert_eq!(*again.ledger.tip().borrow(), 6000);
}

async fn close((control, journal): (Control, Journal)) {
    drop(journal);
    let Control { admin, ledger, .. } = control;
    drop(admin);
    // A disk that others keep busy may take its time; how long the ledger waits is not what is looked at here.
    ledger.finish(Duration::from_secs(60)).await.unwrap();
}
