//! Who changed what, when.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::control::store::{Audit, StoreError};

/// Runs `change` and writes its record, in one transaction. A change that says it changed nothing (false) is
/// not recorded.
pub(super) fn with(
    db: &mut Connection,
    audit: &Audit,
    change: impl FnOnce(&Transaction<'_>) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    // Dropping the transaction on an early return takes everything back.
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let changed = change(&transaction)?;
    if changed {
        insert(&transaction, audit)?;
        transaction.commit()?;
    }
    Ok(changed)
}

fn insert(db: &Connection, audit: &Audit) -> Result<(), StoreError> {
    let mut statement =
        db.prepare_cached("INSERT INTO audit (time, actor, action, target, detail) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    statement.execute((
        audit.time.as_micros(),
        audit.actor.label(),
        audit.action,
        &audit.target,
        audit.detail.to_string(),
    ))?;
    Ok(())
}
