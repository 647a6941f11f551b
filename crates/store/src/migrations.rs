//! The schema's editions: SQL files, applied in order, each in one transaction with the number that records it.
//!
//! A migration that has been released is never edited; a change is a new file at the end of the list.

use rusqlite::{Connection, TransactionBehavior};

use crate::audit;

/// The editions, the first at index 0. `PRAGMA user_version` is how many of them a file has.
const EDITIONS: &[&str] = &[
    include_str!("../migrations/0001_state.sql"),
    include_str!("../migrations/0002_polling.sql"),
    include_str!("../migrations/0003_language.sql"),
    include_str!("../migrations/0004_assessments.sql"),
    // The fifth has no table of its own.
    "",
    include_str!("../migrations/0006_audit.sql"),
];

/// The edition that this program reads and writes.
pub(crate) const LATEST: u32 = EDITIONS.len() as u32;

/// The edition whose audit trail is chains: what is there before it has to be given hashes, which SQL cannot.
const AUDIT_CHAINS: u32 = 6;

/// `PRAGMA application_id`: marks a file as ours ("SkAs").
pub(crate) const APPLICATION: i32 = 0x536b_4173;

/// What a file says about itself.
pub(crate) struct Edition {
    /// How many migrations it has.
    pub(crate) version: u32,
    /// Whether it is ours: marked, or empty.
    pub(crate) ours: bool,
}

/// Reads the file's edition. Changes nothing. All of it as of one moment: another process may be migrating the file.
pub(crate) fn edition(connection: &Connection) -> rusqlite::Result<Edition> {
    let connection = connection.unchecked_transaction()?;
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(Edition {
        version,
        ours: application == APPLICATION || (objects == 0 && version == 0),
    })
}

/// Brings the file to the latest edition. Another process may be doing the same: each step asks again under the lock.
pub(crate) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    migrate_to(connection, LATEST)
}

/// Brings the file to the edition `target`, if it has an earlier one.
pub(crate) fn migrate_to(connection: &mut Connection, target: u32) -> rusqlite::Result<()> {
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version >= target {
            return Ok(());
        }
        transaction.execute_batch(EDITIONS[version as usize])?;
        if version + 1 == AUDIT_CHAINS {
            audit::chain_earlier(&transaction)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", version + 1)?;
        transaction.commit()?;
    }
}
