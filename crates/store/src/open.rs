//! Opening the state file: create or recognise it, unlock it, bring it to the latest edition.
//!
//! # Invariants
//! - Nothing is written before the key is known to be right. Until then a checkpoint of the write-ahead log is
//!   switched off too, since SQLite can do that without the key.
//! - The file is created for its owner alone (mode 0600); SQLite gives the log beside it the same mode.
//! - The file is never opened by other means than SQLite while it may be open: closing any other handle to it would
//!   drop this process's locks on it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, config::DbConfig};
use skin_assist_core::ports::StateError;

use crate::{
    SqliteStore, StateKey, begin,
    error::meaning,
    migrations::{self, LATEST},
    sealed::{self, State},
    vault::{FirmKeysError, Vault, give_to_owner_of_folder},
};

/// How long a transaction waits for another process that holds the file, about.
pub const BUSY_WAIT: Duration = Duration::from_secs(5);

/// SQLCipher's page size; every state file is a whole number of pages.
const PAGE_BYTES: u64 = 4096;

/// How often something that another process does at the same time (creating the file) is tried again.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// SQLite's busy handler: waits a little and says whether to try again.
///
/// SQLite's own waits up to 100 ms between two tries, and a process that writes without a pause starves the others for
/// seconds. Short, uneven waits find its gaps.
fn wait_a_little(tries: i32) -> bool {
    const AVERAGE_MICROSECONDS: u64 = 500;
    let tries = u64::from(tries.unsigned_abs());
    if tries * AVERAGE_MICROSECONDS >= BUSY_WAIT.as_micros() as u64 {
        return false;
    }
    thread::sleep(Duration::from_micros(
        100 + tries * 7919 % (2 * AVERAGE_MICROSECONDS - 200),
    ));
    true
}

/// The state file could not be opened. It was not changed, except that a file that did not exist may exist now.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file, or the folder it should be in, cannot be used.
    #[error("the state file {} cannot be opened", path.display())]
    NotAccessible {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file can be read but not written.
    #[error("the state file {} is read-only", path.display())]
    ReadOnly {
        /// Which file.
        path: PathBuf,
    },
    /// The key is not the one that the file was made with.
    #[error("the key does not open the state file {}", path.display())]
    WrongKey {
        /// Which file.
        path: PathBuf,
    },
    /// The file is something else: not a database, one that is not encrypted, or one of another program.
    #[error("{} is not a state file of Skin Assist: {what}", path.display())]
    NotAStateFile {
        /// Which file.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// The file was written by a newer version of this program.
    #[error("the state file {} has edition {found}; this program knows editions up to {known}", path.display())]
    NewerSchema {
        /// Which file.
        path: PathBuf,
        /// The edition of the file.
        found: u32,
        /// The latest edition that this program knows.
        known: u32,
    },
    /// Another process holds the file and did not let go in time.
    #[error("the state file {} is locked by another process", path.display())]
    Locked {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The disk is full.
    #[error("there is no room on the disk of the state file {}", path.display())]
    DiskFull {
        /// Which file.
        path: PathBuf,
    },
    /// The file of firm keys beside it cannot be used.
    #[error("the keys of the practices in {} cannot be used", path.display())]
    FirmKeys {
        /// The state file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: FirmKeysError,
    },
    /// The file is damaged, or SQLite failed in a way that has no better name.
    #[error("the state file {} cannot be used", path.display())]
    Failed {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    /// What a person can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NotAccessible { .. } => "check that the folder exists and that this user may read and write in it",
            Self::ReadOnly { .. } => "let this user write the file, its folder and the -wal and -shm files beside it",
            Self::WrongKey { .. } => {
                "use the key that the file was made with (or the file is damaged, or no state file at all); nothing was \
                 changed, and without its key the file cannot be read by anybody"
            }
            Self::NotAStateFile { .. } => "check the configured path; to start afresh, name a file that does not exist",
            Self::NewerSchema { .. } => "run the version of Skin Assist that wrote it, or a newer one",
            Self::Locked { .. } => "wait until the other process is done; `fuser` on the file names it",
            Self::DiskFull { .. } => "make room on the disk; nothing was lost",
            Self::FirmKeys { source, .. } => source.hint(),
            Self::Failed { .. } => "if it persists, restore the file from a backup together with its -wal file",
        }
    }
}

impl SqliteStore {
    /// Opens the state file at `path` with its key, and creates it when there is none. Its folder has to exist. The keys of firms are
    /// beside it, in a file of the same name with `.firm-keys` added.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, key: &StateKey) -> Result<Self, OpenError> {
        Self::open_with(path, &beside(path, ".firm-keys"), key)
    }

    /// The same, with the keys of firms in the file `firm_keys`, which is made together with a new state file.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with(path: &Path, firm_keys: &Path, key: &StateKey) -> Result<Self, OpenError> {
        // One at a time in this process, so that a handle with which a file is created is closed before SQLite has
        // locks on it.
        static OPENING: Mutex<()> = Mutex::new(());
        let _alone = OPENING.lock().unwrap_or_else(PoisonError::into_inner);

        for _ in 0..ATTEMPTS {
            // Two processes that create one file each draw a salt for it; the one that comes second finds that its
            // own does not fit, and opens the file again, which then has the other's.
            let empty = create(path)?;
            match unlock(path, key) {
                Ok(connection) => return finish(path, firm_keys, key, connection),
                Err(OpenError::WrongKey { .. }) if empty => thread::sleep(PAUSE),
                Err(error) => return Err(error),
            }
        }
        Err(OpenError::WrongKey { path: path.to_owned() })
    }

    /// Opens a state that lives in memory and ends with the store: for tests and trials, without a key.
    ///
    /// # Errors
    /// [`OpenError::Failed`] when SQLite cannot.
    pub fn open_in_memory() -> Result<Self, OpenError> {
        let path = Path::new(":memory:");
        let vault = Vault::in_memory();
        let mut connection = Connection::open_in_memory().map_err(|error| explain(path, error))?;
        configure(&connection).map_err(|error| explain(path, error))?;
        migrations::migrate(&mut connection, &vault).map_err(|error| explain_state(path, error))?;
        Ok(Self::on(connection, vault))
    }
}

/// Creates the file when there is none. Whether it is empty.
pub(crate) fn create(path: &Path) -> Result<bool, OpenError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let inaccessible = |error: io::Error| OpenError::NotAccessible {
        path: path.to_owned(),
        source: Box::new(error),
    };
    match options.open(path) {
        Ok(_) => {
            give_to_owner_of_folder(path).map_err(inaccessible)?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let metadata = fs::metadata(path).map_err(inaccessible)?;
            if metadata.is_dir() {
                return Err(OpenError::NotAStateFile {
                    path: path.to_owned(),
                    what: "it is a folder",
                });
            }
            Ok(metadata.len() == 0)
        }
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Err(OpenError::DiskFull { path: path.to_owned() }),
        Err(error) => Err(inaccessible(error)),
    }
}

/// A connection to the file, with the key proved to be right, or the file to be empty. Writes nothing.
pub(crate) fn unlock(path: &Path, key: &StateKey) -> Result<Connection, OpenError> {
    let connection = unlock_with(path, key, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if connection.is_readonly(rusqlite::MAIN_DB).unwrap_or(false) {
        return Err(OpenError::ReadOnly { path: path.to_owned() });
    }
    Ok(connection)
}

/// The same, in any mode.
pub(crate) fn unlock_with(path: &Path, key: &StateKey, mode: OpenFlags) -> Result<Connection, OpenError> {
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| explain(path, error))?;
    connection
        .busy_handler(Some(wait_a_little))
        .and_then(|()| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true))
        // SQLCipher would write to the standard error by itself.
        .and_then(|_| connection.execute_batch("PRAGMA cipher_log = off; PRAGMA cipher_log_level = NONE;"))
        .and_then(|()| connection.execute_batch(&key.pragma()))
        .map_err(|error| explain(path, error))?;
    // The first read of a page: with a wrong key, its authentication code does not fit.
    let edition = match migrations::edition(&connection) {
        Ok(edition) => edition,
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => return Err(refused(path)),
        Err(error) => return Err(explain(path, error)),
    };
    if !edition.ours {
        return Err(OpenError::NotAStateFile {
            path: path.to_owned(),
            what: "it is the database of another program",
        });
    }
    if edition.version > LATEST {
        return Err(OpenError::NewerSchema {
            path: path.to_owned(),
            found: edition.version,
            known: LATEST,
        });
    }
    Ok(connection)
}

/// Why a file does not open with the key.
fn refused(path: &Path) -> OpenError {
    let path = path.to_owned();
    let plain = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|connection| connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())));
    if plain.is_ok() {
        return OpenError::NotAStateFile {
            path,
            what: "it is a database that is not encrypted",
        };
    }
    match fs::metadata(&path) {
        Ok(metadata) if metadata.len() % PAGE_BYTES != 0 => OpenError::NotAStateFile {
            path,
            what: "it is not a database",
        },
        _ => OpenError::WrongKey { path },
    }
}

/// The rest, once the file is known to be ours.
fn finish(path: &Path, firm_keys: &Path, key: &StateKey, mut connection: Connection) -> Result<SqliteStore, OpenError> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
        .and_then(|_| write_ahead(&connection))
        .and_then(|()| configure(&connection))
        .map_err(|error| explain(path, error))?;
    let vault = vault(path, firm_keys, key, &mut connection)?;
    migrations::migrate(&mut connection, &vault)
        .and_then(|()| {
            let transaction = begin(&mut connection, TransactionBehavior::Immediate)?;
            sealed::settle(&State::new(&transaction, &vault))?;
            transaction.commit().map_err(meaning)
        })
        .map_err(|error| explain_state(path, error))?;
    vault.settled();
    Ok(SqliteStore::on(connection, vault))
}

/// The keys of firms. Their file is made with the state, or when a state of an earlier edition is opened, and never in the place of one
/// that is missing.
pub(crate) fn vault(
    path: &Path,
    firm_keys: &Path,
    key: &StateKey,
    connection: &mut Connection,
) -> Result<Vault, OpenError> {
    let unusable = |source| OpenError::FirmKeys {
        path: path.to_owned(),
        source,
    };
    if let Some(vault) = Vault::load(firm_keys, key).map_err(unusable)? {
        return Ok(vault);
    }
    // Two processes may make it at the same time.
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| explain(path, error))?;
    if let Some(vault) = Vault::load(firm_keys, key).map_err(unusable)? {
        return Ok(vault);
    }
    let has_sealed = || -> rusqlite::Result<bool> {
        let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok(version >= migrations::SEALED
            && transaction.query_row("SELECT EXISTS (SELECT 1 FROM firms)", [], |row| row.get(0))?)
    };
    if has_sealed().map_err(|error| explain(path, error))? {
        return Err(unusable(FirmKeysError::Missing {
            path: firm_keys.to_owned(),
        }));
    }
    Vault::create(firm_keys, key).map_err(unusable)
}

/// A path with something added to its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// An error of the open state in the words of a person who opens a file.
fn explain_state(path: &Path, error: StateError) -> OpenError {
    let source: Box<dyn std::error::Error + Send + Sync> = match error {
        StateError::Unavailable(source) | StateError::Corrupt { source, .. } => source,
        other => Box::new(other),
    };
    let source = match source.downcast::<FirmKeysError>() {
        Ok(source) => {
            return OpenError::FirmKeys {
                path: path.to_owned(),
                source: *source,
            };
        }
        Err(source) => source,
    };
    match source.downcast::<rusqlite::Error>() {
        Ok(error) => explain(path, *error),
        Err(source) => OpenError::Failed {
            path: path.to_owned(),
            source,
        },
    }
}

/// Switches to the write-ahead log. SQLite does not wait when another process is doing the same.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let mut attempt = 1;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())) {
            Err(error) if attempt < ATTEMPTS && error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                attempt += 1;
                thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

/// What every connection is set to.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(wait_a_little))?;
    connection.set_prepared_statement_cache_capacity(128);
    // In KiB: a thousand practices have more under watch than the usual 2,000, and what is not in memory is decrypted again.
    connection.pragma_update(None, "cache_size", -32_768)?;
    // A plan is made once for a statement. Otherwise it is made anew whenever another number is bound to a LIMIT, which for what the steps
    // acquire takes longer than the work itself.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // A commit waits for the disk: "returned" means "durable", as the ports promise.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Nothing of a row in temporary files (which SQLCipher does not encrypt) or in freed pages.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    // Texts in double quotes are names and nothing else: a misspelt column is an error.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    Ok(())
}

/// An error of SQLite in the words of a person who opens a file.
pub(crate) fn explain(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    // The file beside it that processes share could not be made as large as it has to be.
    if error.sqlite_extended_error_code() == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) {
        return OpenError::DiskFull { path };
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => OpenError::NotAccessible {
            path,
            source: Box::new(error),
        },
        Some(ErrorCode::ReadOnly) => OpenError::ReadOnly { path },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked {
            path,
            source: Box::new(error),
        },
        Some(ErrorCode::DiskFull) => OpenError::DiskFull { path },
        _ => OpenError::Failed {
            path,
            source: Box::new(error),
        },
    }
}
