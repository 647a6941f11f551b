//! The schema's editions: SQL files, applied in order, each in one transaction with the number that records it.
//!
//! A migration that has been released is never edited; a change is a new file at the end of the list.

use rusqlite::{Connection, TransactionBehavior};

use crate::{
    Outcome, audit, begin,
    error::meaning,
    sealed::{self, State},
    vault::Vault,
};

/// The editions, the first at index 0. `PRAGMA user_version` is how many of them a file has.
const EDITIONS: &[&str] = &[
    include_str!("../migrations/0001_state.sql"),
    include_str!("../migrations/0002_polling.sql"),
    include_str!("../migrations/0003_language.sql"),
    include_str!("../migrations/0004_assessments.sql"),
    include_str!("../migrations/0005_sealed.sql"),
    include_str!("../migrations/0006_audit.sql"),
    include_str!("../migrations/0007_subscriptions.sql"),
];

/// The edition from which on what comes from an EHR is sealed.
pub(crate) const SEALED: u32 = 5;

/// What the fifth edition puts back when the audit trail is sealed.
const AUDIT_IS_NOT_CHANGED: &str = "CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN
    SELECT raise(ABORT, 'the audit trail is append-only');
END;";

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
pub(crate) fn migrate(connection: &mut Connection, vault: &Vault) -> Outcome<()> {
    migrate_to(connection, vault, LATEST)
}

/// Brings the file to the edition `target`, if it has an earlier one.
pub(crate) fn migrate_to(connection: &mut Connection, vault: &Vault, target: u32) -> Outcome<()> {
    loop {
        let transaction = begin(connection, TransactionBehavior::Immediate)?;
        let version: u32 = transaction
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(meaning)?;
        if version >= target {
            return Ok(());
        }
        transaction.execute_batch(EDITIONS[version as usize]).map_err(meaning)?;
        let state = State::new(&transaction, vault);
        if version + 1 == SEALED {
            sealed::seal_all(&state)?;
            transaction.execute_batch(AUDIT_IS_NOT_CHANGED).map_err(meaning)?;
        }
        if version + 1 == AUDIT_CHAINS {
            audit::chain_earlier(&state)?;
        }
        transaction
            .pragma_update(None, "application_id", APPLICATION)
            .and_then(|()| transaction.pragma_update(None, "user_version", version + 1))
            .and_then(|()| transaction.commit())
            .map_err(meaning)?;
    }
}
