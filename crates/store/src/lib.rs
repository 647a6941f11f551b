//! The embedded state store: one SQLite file, encrypted as a whole with SQLCipher.
//!
//! # What it owns
//! The state of all firms on one machine: [`SqliteStore`] implements every state port of [`skin_assist_core::ports`]
//! except [`Photos`](skin_assist_core::ports::Photos), whose bytes never come near a disk.
//!
//! # Invariants
//! - Each port method is one transaction. `synchronous = FULL` on a write-ahead log: a method that has returned is on
//!   disk, and a power cut afterwards does not take it back.
//! - Writes begin with `BEGIN IMMEDIATE`, so a transaction never finds out halfway that it read something old. Several
//!   processes may work on one file.
//! - The firm is part of every key, and every row of a firm goes when the firm goes; only the audit trail stays.
//! - Fences only grow, even across the deletion of a row.
//! - What comes from a firm's EHR is sealed with the firm's own key ([`skin_assist_vault`]), which is kept in another file: who destroys
//!   it ([`SqliteStore::shred_firm`]) makes all of that unreadable, in every backup too. The list is in `sealed`.
//!
//! # When it fails
//! A transaction that did not commit changed nothing. A file that is locked by another process is waited for,
//! [`BUSY_WAIT`] at the most; then the method returns [`StateError::Unavailable`], as it does for a full disk.
//!
//! # Blocking
//! The methods run their transaction inline, without an await and without another thread: it takes microseconds to a
//! few milliseconds, and runs under virtual time stay deterministic. Only a file that another process has locked can
//! hold a caller up, for [`BUSY_WAIT`] at the most.

mod assessments;
mod audit;
mod codec;
mod copies;
mod credentials;
mod deliveries;
mod documents;
mod encounters;
mod error;
mod events;
mod firms;
mod grants;
mod inference;
mod key;
mod migrations;
mod open;
mod operations;
mod polling_memory;
mod proposals;
mod retention;
mod rotation;
mod sealed;
mod spending;
mod subscriptions;
mod vault;
mod watch_lists;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use skin_assist_core::{
    lease::{Fence, Lease},
    ports::{AuditRecord, StateError},
    time::Timestamp,
};

pub use copies::{Contents, CopyError};
pub use key::{InvalidKey, StateKey};
pub use open::{BUSY_WAIT, OpenError};
pub use rotation::RotationError;
pub use vault::{FirmKeysError, replace, sync_folder};

use codec::Columns;
use error::meaning;
use sealed::{Row, State};
use vault::Vault;

type Outcome<T> = Result<T, StateError>;

/// The state of all firms, in one encrypted file. Shared by reference between tasks and threads.
pub struct SqliteStore {
    connection: Arc<Mutex<Connection>>,
    vault: Arc<Vault>,
    /// What the next transaction writes into the audit trail beside its own.
    beside: Mutex<Option<AuditRecord>>,
}

impl SqliteStore {
    fn on(connection: Connection, vault: Vault) -> Self {
        Self {
            connection: Arc::new(Mutex::new(connection)),
            vault: Arc::new(vault),
            beside: Mutex::default(),
        }
    }

    /// The same state, by a handle whose next transaction writes the entry, too.
    fn with_entry(&self, record: AuditRecord) -> Self {
        Self {
            connection: Arc::clone(&self.connection),
            vault: Arc::clone(&self.vault),
            beside: Mutex::new(Some(record)),
        }
    }

    /// Ends a transaction, with the entry that it has to write beside its own.
    fn commit(&self, transaction: Transaction<'_>) -> Outcome<()> {
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = &*beside {
            audit::append(&State::new(&transaction, &self.vault), record)?;
        }
        transaction.commit().map_err(meaning)?;
        *beside = None;
        Ok(())
    }

    /// The connection. A panic under the lock leaves no half-done transaction: it was rolled back as it unwound.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of keys of firms that another process changed.
    fn take_news(&self) -> Outcome<()> {
        let mut connection = self.connection();
        let transaction = begin(&mut connection, TransactionBehavior::Immediate)?;
        if self.vault.has_news()? {
            sealed::settle(&State::new(&transaction, &self.vault))?;
            transaction.commit().map_err(meaning)?;
            self.vault.settled();
        }
        Ok(())
    }

    /// Runs `work` on one consistent view of the state.
    fn read<T>(&self, work: impl FnOnce(&State<'_>) -> Outcome<T>) -> Outcome<T> {
        // What another process shredded, or connected under the same name, is not read with the key from before.
        if self.vault.has_news()? {
            self.take_news()?;
        }
        let mut connection = self.connection();
        let transaction = begin(&mut connection, TransactionBehavior::Deferred)?;
        work(&State::new(&transaction, &self.vault))
    }

    /// The same as [`Self::write`]; rolls back when `work` says false, too.
    fn write_if(&self, work: impl FnOnce(&State<'_>) -> Outcome<bool>) -> Outcome<bool> {
        self.transact(work, |done| *done)
    }

    /// Runs `work` alone, and makes what it did durable. Rolls back when it returns an error.
    fn write<T>(&self, work: impl FnOnce(&State<'_>) -> Outcome<T>) -> Outcome<T> {
        self.transact(work, |_| true)
    }

    fn transact<T>(&self, work: impl FnOnce(&State<'_>) -> Outcome<T>, stays: impl FnOnce(&T) -> bool) -> Outcome<T> {
        let mut connection = self.connection();
        let transaction = begin(&mut connection, TransactionBehavior::Immediate)?;
        let state = State::new(&transaction, &self.vault);
        // Under the lock that whoever changes the keys of firms has too.
        let news = self.vault.has_news()?;
        if news {
            sealed::settle(&state)?;
        }
        let done = work(&state)?;
        if stays(&done) {
            self.commit(transaction)?;
            if news {
                self.vault.settled();
            }
        }
        Ok(done)
    }
}

fn begin(connection: &mut Connection, behavior: TransactionBehavior) -> Outcome<Transaction<'_>> {
    connection.transaction_with_behavior(behavior).map_err(meaning)
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SqliteStore")
    }
}

/// Runs a statement that changes rows; how many it changed.
fn execute(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Outcome<usize> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(parameters))
        .map_err(meaning)
}

/// Runs a statement and reads all its rows.
fn rows<T>(
    state: &State<'_>,
    sql: &str,
    parameters: impl rusqlite::Params,
    mut read: impl FnMut(&Row<'_>) -> Outcome<T>,
) -> Outcome<Vec<T>> {
    let mut statement = state.prepare_cached(sql).map_err(meaning)?;
    let mut rows = statement.query(parameters).map_err(meaning)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().map_err(meaning)? {
        all.push(read(&Row::new(row, state.vault))?);
    }
    Ok(all)
}

/// Runs a statement that leases rows of `table`, and gives the leases, those that waited for longest first.
fn acquired<T>(
    state: &State<'_>,
    table: &'static str,
    sql: &str,
    parameters: impl rusqlite::Params,
    locked_until: Timestamp,
    mut read: impl FnMut(&Row<'_>) -> Outcome<T>,
) -> Outcome<Vec<Lease<T>>> {
    let mut leases = rows(state, sql, parameters, |row| {
        let columns = Columns { table, row };
        let place = (columns.time("waited_since")?, columns.get::<i64>("rowid")?);
        let fence = Fence(columns.count("fence")?);
        let lease = Lease::granted(read(row)?, fence, locked_until, columns.count("attempt")?);
        Ok((place, lease))
    })?;
    // SQLite returns them in no particular order.
    leases.sort_by_key(|(place, _)| *place);
    Ok(leases.into_iter().map(|(_, lease)| lease).collect())
}

/// Runs a statement and reads its first row, if it has one. Reads to the end, so that a change is done in full.
fn first<T>(
    state: &State<'_>,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> Outcome<T>,
) -> Outcome<Option<T>> {
    Ok(rows(state, sql, parameters, read)?.into_iter().next())
}

/// A single integer.
fn number(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Outcome<i64> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row(parameters, |row| row.get(0)))
        .map_err(meaning)
}

/// What a write that is conditional on a fence has to find: the one row, still under that fence.
const fn fenced(changed: usize) -> Outcome<()> {
    if changed == 0 {
        Err(StateError::LeaseLost)
    } else {
        Ok(())
    }
}

/// What a write about something named has to find.
const fn found(changed: usize, what: &'static str) -> Outcome<()> {
    if changed == 0 {
        Err(StateError::NotFound { what })
    } else {
        Ok(())
    }
}

/// The fence that a new row starts with: at or above that of every row deleted so far.
fn fence_floor(connection: &Connection) -> Outcome<i64> {
    number(connection, "SELECT floor FROM fence_floor", [])
}

/// Raises the floor to `fence`, before rows with fences up to it are deleted.
fn raise_fence_floor(connection: &Connection, fence: i64) -> Outcome<()> {
    execute(connection, "UPDATE fence_floor SET floor = max(floor, ?1)", [fence]).map(|_| ())
}

#[cfg(test)]
mod tests;
