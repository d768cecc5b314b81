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
    with_if(db, audit, |changed| *changed, change)
}

/// Like [`with`], for a change whose outcome says more; `changed` tells whether it is to be kept.
pub(super) fn with_if<T>(
    db: &mut Connection,
    audit: &Audit,
    changed: impl FnOnce(&T) -> bool,
    change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // Dropping the transaction on an early return takes everything back.
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let outcome = change(&transaction)?;
    if changed(&outcome) {
        insert(&transaction, audit)?;
        transaction.commit()?;
    }
    Ok(outcome)
}

/// Runs `change` for each target and writes the records of those it changed, all in one transaction.
pub(super) fn with_each(
    db: &mut Connection,
    targets: &[(String, Audit)],
    change: impl Fn(&Transaction<'_>, &str) -> Result<bool, StoreError>,
) -> Result<Vec<bool>, StoreError> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut outcomes = Vec::with_capacity(targets.len());
    for (target, audit) in targets {
        let changed = change(&transaction, target)?;
        if changed {
            insert(&transaction, audit)?;
        }
        outcomes.push(changed);
    }
    transaction.commit()?;
    Ok(outcomes)
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
