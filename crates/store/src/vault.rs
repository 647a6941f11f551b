//! The file of firm keys: beside the state's key, never in the state or its backups.
//!
//! # Invariants
//! - Whoever changes the file holds the write lock of the state file: there is one writer at a time, in all processes.
//! - The file is replaced as a whole (written beside, synced, renamed), and where a key was destroyed, what it replaced is
//!   overwritten.
//! - A key is in the file before a row is sealed with it, and has left the file before the firm's rows are deleted.
//!
//! # When it fails
//! Without the file, or with one that was changed or belongs to another state, the state is not opened, and a store that is open
//! does nothing until the file is there again. Nothing is made in its place: that would hide that it is lost.

use std::{
    ffi::OsString,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use skin_assist_core::{domain::FirmId, ports::StateError, time::Timestamp};
use skin_assist_vault::{DataKey, KeyRing, RingError, WrappingKey};

use crate::{StateKey, error::unavailable};

/// How often the file is read again that another process replaced while it was read.
const READS: usize = 5;

/// The file of firm keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FirmKeysError {
    /// It is not there, and the state has firms.
    #[error("the file of firm keys {} is not there", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("the file of firm keys {} cannot be used", path.display())]
    NotAccessible {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It was changed, belongs to another state, or is something else.
    #[error("the file of firm keys {} cannot be used", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: RingError,
    },
    /// It is older than the state: it lacks the key of a firm, and does not say that the key was destroyed.
    #[error("the file of firm keys {} has no key for the practice `{firm}`, and does not say that it was destroyed", path.display())]
    KeyMissing {
        /// Which file.
        path: PathBuf,
        /// Whose key.
        firm: String,
    },
}

impl FirmKeysError {
    /// What a person can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } => {
                "restore it from its copy, or name it as state.firm_keys; without it nobody can read what is stored of the \
                 practices, and nothing is made in its place"
            }
            Self::NotAccessible { .. } => {
                "check the path, and that this user may read and write the file and its folder"
            }
            Self::Unusable { .. } => {
                "it belongs to one state file and its key: restore it from its copy, or check state.firm_keys and state.key_file"
            }
            Self::KeyMissing { .. } => "it is older than the state: restore its latest copy",
        }
    }
}

/// How a file is known again without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<std::time::SystemTime>,
    #[cfg(unix)]
    inode: u64,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(metadata),
        }
    }
}

struct KeyFile {
    path: PathBuf,
    wrapping: WrappingKey,
}

struct Held {
    ring: KeyRing,
    /// Of the file as it was read; nothing when it has to be read again in any case.
    stamp: Option<Stamp>,
    /// Whether it was read since the firms of the state were compared with it.
    news: bool,
}

/// The keys of firms, as this process knows them.
pub(crate) struct Vault {
    file: Option<KeyFile>,
    held: Mutex<Held>,
}

impl KeyFile {
    fn inaccessible(&self) -> impl FnOnce(io::Error) -> FirmKeysError {
        let path = self.path.clone();
        |source| FirmKeysError::NotAccessible { path, source }
    }

    fn unusable(&self) -> impl FnOnce(RingError) -> FirmKeysError {
        let path = self.path.clone();
        |source| FirmKeysError::Unusable { path, source }
    }

    /// What is in the file; nothing when there is none.
    fn read(&self) -> Result<Option<Held>, FirmKeysError> {
        let mut attempt = 1;
        loop {
            let stamp = match fs::metadata(&self.path) {
                Ok(metadata) => Stamp::of(&metadata),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(self.inaccessible()(error)),
            };
            let text = fs::read(&self.path).map_err(self.inaccessible())?;
            let text = String::from_utf8(text).map_err(|_| RingError::NotARing);
            match text.and_then(|text| KeyRing::read(&text, &self.wrapping)) {
                Ok(ring) => {
                    return Ok(Some(Held {
                        ring,
                        stamp: Some(stamp),
                        news: true,
                    }));
                }
                // What another process replaced is overwritten, perhaps while it was read here.
                Err(_) if attempt < READS => attempt += 1,
                Err(error) => return Err(self.unusable()(error)),
            }
        }
    }

    /// Replaces the file. What it replaces is overwritten where it has something that the new one lacks.
    fn write(&self, ring: &KeyRing, wrapping: &[&WrappingKey], lacks: bool) -> Result<Held, FirmKeysError> {
        let text = ring.write(wrapping).map_err(self.unusable())?;
        let replaced = put(&self.path, text.as_bytes()).map_err(self.inaccessible())?;
        if let Some(replaced) = replaced.filter(|_| lacks) {
            overwrite(replaced).map_err(self.inaccessible())?;
        }
        let stamp = fs::metadata(&self.path).map_err(self.inaccessible())?;
        Ok(Held {
            ring: ring.clone(),
            stamp: Some(Stamp::of(&stamp)),
            news: false,
        })
    }
}

/// Replaces a file of secrets as a whole, for its owner alone, and overwrites what it replaced.
///
/// # Errors
/// What the system says. The file is the old or the new one, never a mixture.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, bytes)?.map_or(Ok(()), overwrite)
}

/// Overwrites a file that has no name any more.
fn overwrite(mut file: fs::File) -> io::Result<()> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or_default();
    file.write_all(&vec![0; length])?;
    file.sync_all()
}

/// Replaces a file, and gives what it replaced.
fn put(path: &Path, bytes: &[u8]) -> io::Result<Option<fs::File>> {
    let mut beside = OsString::from(path);
    beside.push(".writing");
    let beside = PathBuf::from(beside);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    give_to_owner_of_folder(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let replaced = match fs::OpenOptions::new().write(true).open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    fs::rename(&beside, path)?;
    sync_folder(path)?;
    Ok(replaced)
}

/// Makes a change in the folder of a file durable.
///
/// # Errors
/// What the system says.
pub fn sync_folder(file: &Path) -> io::Result<()> {
    #[cfg(unix)]
    fs::File::open(folder_of(file))?.sync_all()?;
    Ok(())
}

/// The folder that a file is in.
#[cfg(unix)]
fn folder_of(file: &Path) -> &Path {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// What root makes in a folder of somebody else's belongs to them, as SQLite has it with the files beside its own: a service could not
/// read what the command of an operator made for it.
#[cfg(unix)]
pub(crate) fn give_to_owner_of_folder(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let (owner, made) = (fs::metadata(folder_of(file))?, fs::metadata(file)?);
    if owner.uid() == made.uid() {
        return Ok(());
    }
    match chown(file, Some(owner.uid()), Some(owner.gid())) {
        // Nobody but root can give a file away.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        given => given,
    }
}

/// Files have no owners of this kind.
#[cfg(not(unix))]
pub(crate) fn give_to_owner_of_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

impl Vault {
    /// For a state in memory: its keys follow from the names of the firms, so that runs under virtual time stay deterministic.
    pub(crate) fn in_memory() -> Self {
        Self {
            file: None,
            held: Mutex::new(Held {
                ring: KeyRing::derived_from(&[0; 32]),
                stamp: None,
                news: false,
            }),
        }
    }

    /// From its file; nothing when there is none.
    pub(crate) fn load(path: &Path, key: &StateKey) -> Result<Option<Self>, FirmKeysError> {
        let file = KeyFile {
            path: path.to_owned(),
            wrapping: key.wrapping(),
        };
        Ok(file.read()?.map(|held| Self {
            file: Some(file),
            held: Mutex::new(held),
        }))
    }

    /// A new one, without a key, under the state's write lock.
    pub(crate) fn create(path: &Path, key: &StateKey) -> Result<Self, FirmKeysError> {
        let file = KeyFile {
            path: path.to_owned(),
            wrapping: key.wrapping(),
        };
        let held = KeyRing::new()
            .map_err(file.unusable())
            .and_then(|ring| file.write(&ring, &[&file.wrapping], false))?;
        Ok(Self {
            file: Some(file),
            held: Mutex::new(held),
        })
    }

    /// Writes the file so that `key` opens it, and what opened it until now if `and_before`; under the state's write lock.
    pub(crate) fn wrap_for(&self, key: &StateKey, and_before: bool) -> Result<(), FirmKeysError> {
        let Some(file) = &self.file else { return Ok(()) };
        let new = key.wrapping();
        let mut held = self.held();
        let wrapping: &[&WrappingKey] = if and_before { &[&file.wrapping, &new] } else { &[&new] };
        *held = file.write(&held.ring, wrapping, true)?;
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file again if another process changed it.
    fn refresh(&self) -> Result<(), FirmKeysError> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut held = self.held();
        let stamp = fs::metadata(&file.path).ok().map(|metadata| Stamp::of(&metadata));
        if stamp.is_none() || stamp != held.stamp {
            *held = file.read()?.ok_or_else(|| FirmKeysError::Missing {
                path: file.path.clone(),
            })?;
        }
        Ok(())
    }

    /// Looks at the file. Whether it was read since the firms of the state were compared with it.
    pub(crate) fn has_news(&self) -> Result<bool, FirmKeysError> {
        self.refresh()?;
        Ok(self.held().news)
    }

    /// The firms of the state were compared with the keys.
    pub(crate) fn settled(&self) {
        self.held().news = false;
    }

    /// Lets the next look read the file in any case.
    pub(crate) fn doubt(&self) {
        self.held().stamp = None;
    }

    /// The firm's key. One that another process made a moment ago is found too.
    pub(crate) fn key(&self, firm: &str) -> Option<Arc<DataKey>> {
        if let Some(key) = self.held().ring.key(firm) {
            return Some(Arc::clone(key));
        }
        // A firm that was removed is asked for now and then: a look at the file's stamp, and nothing else.
        self.refresh().ok()?;
        self.held().ring.key(firm).cloned()
    }

    /// The firm's key, which is made if there is none; under the state's write lock.
    pub(crate) fn add(&self, firm: &str) -> Result<Arc<DataKey>, FirmKeysError> {
        self.refresh()?;
        let mut held = self.held();
        if let Some(key) = held.ring.key(firm) {
            return Ok(Arc::clone(key));
        }
        match &self.file {
            None => held.ring.add_derived(firm),
            Some(file) => {
                let mut ring = held.ring.clone();
                ring.add(firm).map_err(file.unusable())?;
                *held = file.write(&ring, &[&file.wrapping], false)?;
            }
        }
        held.ring.key(firm).cloned().ok_or_else(|| FirmKeysError::KeyMissing {
            path: self.path(),
            firm: firm.to_owned(),
        })
    }

    /// Destroys the firm's key; under the state's write lock. Whether there was one.
    pub(crate) fn destroy(&self, firm: &FirmId, at: Timestamp) -> Result<bool, FirmKeysError> {
        self.refresh()?;
        let mut held = self.held();
        let mut ring = held.ring.clone();
        if !ring.destroy(firm.as_str(), at.as_millis()) {
            return Ok(false);
        }
        match &self.file {
            None => held.ring = ring,
            Some(file) => *held = file.write(&ring, &[&file.wrapping], true)?,
        }
        Ok(true)
    }

    /// When the key of this name was destroyed, if it was.
    pub(crate) fn was_destroyed(&self, key: &str) -> bool {
        self.held()
            .ring
            .destroyed()
            .iter()
            .any(|destroyed| destroyed.key == key)
    }

    /// When a key of the firm was destroyed last, in milliseconds.
    pub(crate) fn last_destroyed(&self, firm: &str) -> Option<i64> {
        let held = self.held();
        let of_firm = held.ring.destroyed().iter().filter(|destroyed| destroyed.firm == firm);
        of_firm.map(|destroyed| destroyed.at_ms).max()
    }

    /// The folder that the file is in.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        let folder = self.file.as_ref()?.path.parent()?;
        Some(if folder.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            folder.to_owned()
        })
    }

    fn path(&self) -> PathBuf {
        self.file.as_ref().map_or_else(PathBuf::new, |file| file.path.clone())
    }

    /// The firm has a key of another name, or none, and nobody says why.
    pub(crate) fn lacks(&self, firm: &str) -> FirmKeysError {
        FirmKeysError::KeyMissing {
            path: self.path(),
            firm: firm.to_owned(),
        }
    }
}

/// As a store that is open reports it.
impl From<FirmKeysError> for StateError {
    fn from(error: FirmKeysError) -> Self {
        unavailable(error)
    }
}
