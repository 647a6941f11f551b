//! Changing the key of the state file.
//!
//! # Invariants
//! - Nobody else has the file open, from before the first page is encrypted anew until the last: a process that has it is not pulled
//!   the ground from under, the rotation is refused instead; and one that comes meanwhile waits and then finds that its key is wrong.
//! - The file is the one of the old key or of the new, whenever the process or the machine stops: SQLCipher writes all pages in one
//!   transaction, and a rollback journal (which holds pages of the old key) is played back by whoever opens the file next.
//! - The file of firm keys can be read with both keys from before that transaction until after it.
//!
//! Copying into a new file and renaming it would leave a process that waits for the old file with a file that has no name any more, and
//! what it writes there would be lost.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use crate::{
    OpenError, SqliteStore, StateKey,
    copies::{CopyError, sound},
    open::{explain, unlock},
    vault::{FirmKeysError, Vault},
};

/// The key was not changed, or it was and the rest has still to be done: the same rotation again finishes it.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The state file does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Another process has it open.
    #[error("the state file {} is in use", path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// The keys of firms could not be wrapped for the new key.
    #[error("the keys of the practices cannot be kept for the new key")]
    FirmKeys(#[from] FirmKeysError),
    /// With the new key the file does not prove to be whole.
    #[error("the state file does not prove to be whole")]
    NotWhole(#[from] CopyError),
}

impl RotationError {
    /// What a person can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Open(error) => error.hint(),
            Self::InUse { .. } => "stop every `skin-assist` that uses it; nothing was changed",
            Self::FirmKeys(error) => error.hint(),
            Self::NotWhole(error) => error.hint(),
        }
    }
}

/// Makes sure that no other connection, of whatever process, has the file, and that none gets it until this one is closed.
pub(crate) fn alone(connection: &Connection, path: &Path) -> Result<(), RotationError> {
    let refused = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => RotationError::InUse { path: path.to_owned() },
        _ => explain(path, error).into(),
    };
    // Whoever has the file open has a lock that leaving the write-ahead log does not get past.
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0))
        .map_err(refused)?;
    if mode != "delete" {
        return Err(RotationError::InUse { path: path.to_owned() });
    }
    connection
        .pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(()))
        .and_then(|()| connection.pragma_update(None, "synchronous", "FULL"))
        .and_then(|()| connection.execute_batch("BEGIN EXCLUSIVE; COMMIT;"))
        .map_err(refused)
}

impl SqliteStore {
    /// Changes the key of the state file at `path` from `old` to `new`, and wraps the firm keys for it. A rotation that was interrupted is
    /// finished by calling this again with the same keys.
    ///
    /// # Errors
    /// See [`RotationError`]. Unless it says otherwise, `old` still opens the file.
    pub fn rotate_key(path: &Path, firm_keys: &Path, old: &StateKey, new: &StateKey) -> Result<(), RotationError> {
        match Self::open_with(path, firm_keys, old) {
            // It has brought the state to the latest edition, and the file of firm keys is there.
            Ok(store) => {
                drop(store);
                encrypt_anew(path, firm_keys, old, new)?;
            }
            // The rotation before this one came so far.
            Err(OpenError::WrongKey { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        prove(path, firm_keys, new)
    }
}

fn encrypt_anew(path: &Path, firm_keys: &Path, old: &StateKey, new: &StateKey) -> Result<(), RotationError> {
    let connection = unlock(path, old)?;
    alone(&connection, path)?;
    let vault = Vault::load(firm_keys, old)?.ok_or_else(|| FirmKeysError::Missing {
        path: firm_keys.to_owned(),
    })?;
    vault.wrap_for(new, true)?;
    connection
        .execute_batch(&new.rekey())
        .map_err(|error| explain(path, error))?;
    Ok(())
}

/// Opens the file anew and reads all of it; then nothing needs the old key any more.
fn prove(path: &Path, firm_keys: &Path, new: &StateKey) -> Result<(), RotationError> {
    let mut connection = unlock(path, new)?;
    sound(&connection)?;
    let failed = |error| RotationError::from(explain(path, error));
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    let vault = Vault::load(firm_keys, new)?.ok_or_else(|| FirmKeysError::Missing {
        path: firm_keys.to_owned(),
    })?;
    vault.wrap_for(new, false)?;
    transaction.commit().map_err(failed)
}
