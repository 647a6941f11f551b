//! Backups of the state file, and putting one back.
//!
//! # Invariants
//! - A backup is one consistent view of the state, encrypted with the state's key; other processes go on meanwhile. It has its name
//!   only when it was read back and proved to be whole.
//! - The file of firm keys is never a part of it: what a backup holds of a firm can be read for as long as the firm's key is kept, and no
//!   longer.
//! - Putting a backup back is one transaction on the state file, which nobody else has open; until it commits, the state is what it was.
//!   What a state restores of firms is paused: the charts may have what it does not know of.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, backup::Backup};
use serde::Serialize;
use skin_assist_core::ports::StateError;

use crate::{
    OpenError, RotationError, SqliteStore, StateKey,
    error::meaning,
    firms, number,
    open::{beside, create, unlock, unlock_with},
    rotation::alone,
    rows,
    sealed::{SEALED, State},
    vault::sync_folder,
};

/// No backup was made, or none put back. The state is what it was.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is a file already.
    #[error("{} exists", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// The backup would lie where the firm keys are.
    #[error("{} is the folder of the firm keys", path.display())]
    BesideFirmKeys {
        /// The folder.
        path: PathBuf,
    },
    /// A file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Another process has the state open.
    #[error("the state file {} is in use", path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("{} cannot be written", path.display())]
    NotWritten {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// SQLite failed.
    #[error("the copy failed")]
    Failed(#[source] rusqlite::Error),
    /// The state failed.
    #[error("the state cannot be read")]
    State(#[from] StateError),
    /// The file is damaged.
    #[error("it is damaged: {what}")]
    Damaged {
        /// What was found.
        what: &'static str,
    },
    /// The copy is not what was copied.
    #[error("the copy is not what was copied: {what}")]
    Differs {
        /// What differs.
        what: String,
    },
    /// Something does not open with the key of its firm.
    #[error("{values} values of the practice `{firm}` do not open with its key")]
    Unreadable {
        /// Whose.
        firm: String,
        /// How many.
        values: u64,
    },
}

impl CopyError {
    /// What a person can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Exists { .. } => {
                "name a file that does not exist; `restore --replace` gives up the state that is there"
            }
            Self::BesideFirmKeys { .. } => {
                "name a file in another folder, on another disk if you can: who removes a practice for good destroys its key, and a copy of \
                 that folder must not bring it back"
            }
            Self::Open(error) => error.hint(),
            Self::InUse { .. } => "stop every `skin-assist` that uses it; nothing was changed",
            Self::NotWritten { .. } => "check the folder and the room on its disk",
            Self::Failed(_) | Self::State(_) => "try again; if it persists, check the disk",
            Self::Damaged { .. } => "use an earlier backup; keep this file for whoever looks into it",
            Self::Differs { .. } => "try again; if it persists, the disk or the memory may be at fault",
            Self::Unreadable { .. } => "the file of firm keys does not belong to this backup: restore its latest copy",
        }
    }
}

impl From<rusqlite::Error> for CopyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<RotationError> for CopyError {
    fn from(error: RotationError) -> Self {
        match error {
            RotationError::InUse { path } => Self::InUse { path },
            RotationError::Open(error) => Self::Open(error),
            RotationError::FirmKeys(error) => Self::State(error.into()),
            RotationError::NotWhole(error) => error,
        }
    }
}

/// What a copy holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// The edition of the file.
    pub edition: u32,
    /// How many rows each table has.
    pub rows: BTreeMap<String, u64>,
    /// How many sealed values of each firm open with its key: all that there are.
    pub sealed: BTreeMap<String, u64>,
    /// Firms of a backup that were shredded after it was made, and whose rows are therefore not put back.
    pub shredded: Vec<String>,
}

/// Reads all of a file: authentication codes of pages, structure, references.
pub(crate) fn sound(connection: &Connection) -> Result<(), CopyError> {
    for (pragma, well, what) in [
        ("cipher_integrity_check", None, "a page was changed"),
        ("integrity_check", Some("ok"), "its structure is broken"),
        ("foreign_key_check", None, "a row refers to one that is not there"),
    ] {
        let mut statement = connection.prepare(&format!("PRAGMA {pragma}"))?;
        let mut complaints = statement.query([])?;
        while let Some(row) = complaints.next()? {
            let is_well = well.is_some_and(|well| row.get::<_, String>(0).is_ok_and(|found| found == well));
            if !is_well {
                return Err(CopyError::Damaged { what });
            }
        }
    }
    Ok(())
}

/// How many rows each table has.
fn counts(connection: &Connection) -> Result<BTreeMap<String, u64>, CopyError> {
    let mut statement =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")?;
    let names: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let count = |name: String| {
        let count: i64 = connection.query_row(&format!("SELECT count(*) FROM \"{name}\""), [], |row| row.get(0))?;
        Ok((name, count.unsigned_abs()))
    };
    names.into_iter().map(count).collect()
}

/// Opens every sealed value of every firm. How many there are of each.
fn readable(state: &State<'_>) -> Result<BTreeMap<String, u64>, CopyError> {
    let mut opened = BTreeMap::new();
    let mut refused: BTreeMap<String, u64> = BTreeMap::new();
    for firm in firms::all_firms(state)? {
        opened.insert(firm.id.as_str().to_owned(), 0);
    }
    for (table, columns) in SEALED {
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        rows(
            state,
            &format!("SELECT firm, {} FROM {table}", names.join(", ")),
            [],
            |row| {
                let firm: String = row.get("firm").map_err(meaning)?;
                for (name, kind) in *columns {
                    let Some(value) = row.get::<_, Option<String>>(*name).map_err(meaning)? else {
                        continue;
                    };
                    let count = match row.open(table, name, *kind, &value) {
                        Ok(_) => &mut opened,
                        Err(_) => &mut refused,
                    };
                    *count.entry(firm.clone()).or_default() += 1;
                }
                Ok(())
            },
        )?;
    }
    match refused.into_iter().next() {
        Some((firm, values)) => Err(CopyError::Unreadable { firm, values }),
        None => Ok(opened),
    }
}

/// Copies one database over another, in one transaction of each.
fn copy(from: &Connection, to: &mut Connection) -> Result<(), CopyError> {
    use rusqlite::backup::StepResult;
    match Backup::new(from, to)?.step(-1)? {
        StepResult::Done => Ok(()),
        _ => Err(CopyError::Differs {
            what: "it was not copied to its end".to_owned(),
        }),
    }
}

/// Removes a file that an earlier attempt left behind, and what SQLite had beside it.
fn remove(path: &Path) -> Result<(), CopyError> {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let file = beside(path, suffix);
        match fs::remove_file(&file) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(CopyError::NotWritten { path: file, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The folder that a file is or will be in, by the name that is the same for all ways to it.
fn folder(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::canonicalize(folder.unwrap_or(Path::new("."))).ok()
}

impl SqliteStore {
    /// Writes a backup of the state into the new file `to`, encrypted with `key`, and reads it back. Other processes go on meanwhile.
    ///
    /// # Errors
    /// See [`CopyError`]. No file of this name is left.
    pub fn back_up(&self, to: &Path, key: &StateKey) -> Result<Contents, CopyError> {
        if fs::symlink_metadata(to).is_ok() {
            return Err(CopyError::Exists { path: to.to_owned() });
        }
        let keys = self.vault.folder();
        if let Some(path) = keys.filter(|keys| folder(to).as_ref() == folder(&keys.join("keys")).as_ref()) {
            return Err(CopyError::BesideFirmKeys { path });
        }
        let partial = beside(to, ".partial");
        remove(&partial)?;
        let outcome = self.write_backup(&partial, key).and_then(|contents| {
            let written = fs::File::open(&partial)
                .and_then(|file| file.sync_all())
                .and_then(|()| fs::rename(&partial, to))
                .and_then(|()| sync_folder(to));
            written.map_err(|source| CopyError::NotWritten {
                path: to.to_owned(),
                source,
            })?;
            Ok(contents)
        });
        if outcome.is_err() {
            // What is left of it is not a backup. That it could not be made is what matters.
            _ = remove(&partial);
        }
        outcome
    }

    fn write_backup(&self, partial: &Path, key: &StateKey) -> Result<Contents, CopyError> {
        create(partial)?;
        let mut copied = unlock(partial, key)?;
        let counted = {
            let mut connection = self.connection();
            // What is counted is what is copied.
            let view = connection.transaction()?;
            let counted = counts(&view)?;
            copy(&view, &mut copied)?;
            counted
        };
        // One file, with no log beside it.
        copied.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
        drop(copied);
        let copied = read_only(partial, key)?;
        sound(&copied)?;
        let contents = contents(&State::new(&copied, &self.vault))?;
        if contents.rows != counted {
            return Err(CopyError::Differs {
                what: "a table has another number of rows".to_owned(),
            });
        }
        Ok(contents)
    }

    /// Puts the backup `from` in the place of the state at `path`: all of it or, where anything is wrong, nothing. `from_key` is the
    /// key of the backup, if it was made before the state's key was changed to `key`. Firms that were shredded since are left out, and all
    /// others are paused.
    ///
    /// # Errors
    /// See [`CopyError`]; [`CopyError::Exists`] for a state that is there, unless `replace`.
    pub fn restore(
        path: &Path,
        firm_keys: &Path,
        key: &StateKey,
        from: &Path,
        from_key: &StateKey,
        replace: bool,
    ) -> Result<Contents, CopyError> {
        let backup = read_only(from, from_key)?;
        sound(&backup)?;
        let target = if fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0) {
            if !replace {
                return Err(CopyError::Exists { path: path.to_owned() });
            }
            // From here on no other process gets the state.
            Some(alone_with(path, key)?)
        } else {
            None
        };
        let scratch = beside(path, ".restoring");
        remove(&scratch)?;
        let outcome = prepare(&scratch, firm_keys, key, &backup).and_then(|contents| {
            let mut target = match target {
                Some(target) => target,
                None if create(path)? => alone_with(path, key)?,
                // Another process has made one meanwhile.
                None => return Err(CopyError::Exists { path: path.to_owned() }),
            };
            copy(&read_only(&scratch, key)?, &mut target)?;
            sound(&target)?;
            Ok(contents)
        });
        remove(&scratch)?;
        outcome
    }
}

fn alone_with(path: &Path, key: &StateKey) -> Result<Connection, CopyError> {
    let target = unlock(path, key)?;
    alone(&target, path)?;
    Ok(target)
}

/// Makes of a backup what is to be the state: of the latest edition, without firms that were shredded, all others paused.
fn prepare(scratch: &Path, firm_keys: &Path, key: &StateKey, backup: &Connection) -> Result<Contents, CopyError> {
    create(scratch)?;
    let mut copied = unlock(scratch, key)?;
    copy(backup, &mut copied)?;
    let before = firm_names(&copied)?;
    drop(copied);
    let store = SqliteStore::open_with(scratch, firm_keys, key)?;
    let contents = store.write(|state| {
        firms::pause_all(state)?;
        Ok(contents(state))
    })??;
    drop(store);
    let copied = unlock(scratch, key)?;
    copied.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    let shredded = before
        .into_iter()
        .filter(|firm| !contents.sealed.contains_key(firm))
        .collect();
    Ok(Contents { shredded, ..contents })
}

fn firm_names(connection: &Connection) -> Result<Vec<String>, CopyError> {
    let mut statement = connection.prepare("SELECT firm FROM firms ORDER BY firm")?;
    let names = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(names)
}

fn contents(state: &State<'_>) -> Result<Contents, CopyError> {
    let edition = number(state, "SELECT user_version FROM pragma_user_version", [])?;
    Ok(Contents {
        edition: u32::try_from(edition).unwrap_or_default(),
        rows: counts(state)?,
        sealed: readable(state)?,
        shredded: Vec::new(),
    })
}

/// A connection that cannot change the file.
fn read_only(path: &Path, key: &StateKey) -> Result<Connection, OpenError> {
    unlock_with(path, key, OpenFlags::SQLITE_OPEN_READ_ONLY)
}
