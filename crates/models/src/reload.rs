//! Packs that are replaced while the program runs.
//!
//! A folder is looked at every few seconds. When it has changed and then stayed as it is for a while, its packs are loaded
//! and tried as at the start; only if all is well do they take over, between two photos: a photo that is being looked at
//! is finished by the packs that began it. Packs that do not do are reported once and the old ones stay.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use skin_assist_core::{
    domain::{Findings, ModelVersion, PhotoBytes, Route},
    ports::{VisionError, VisionModel},
};

use crate::{
    PackVision, VisionOptions, VisionSetupError,
    pack::{self, Pack},
    runtime::Runtime,
};

/// Vision by the packs of a folder, whichever are there.
pub struct ReloadingVision {
    current: Arc<RwLock<Arc<PackVision>>>,
    stop: Option<mpsc::Sender<()>>,
    watch: Option<JoinHandle<()>>,
}

impl ReloadingVision {
    /// Loads the packs of `folder`, and looks at it again each time `every` has passed.
    pub fn new(
        runtime: Runtime,
        folder: PathBuf,
        options: VisionOptions,
        every: Duration,
    ) -> Result<Self, VisionSetupError> {
        let seen = fingerprint(&folder);
        let first = Arc::new(load(&runtime, &folder, options)?);
        let current = Arc::new(RwLock::new(first));
        let (stop, stopped) = mpsc::channel();
        let shared = Arc::clone(&current);
        let watch = std::thread::Builder::new()
            .name("model-packs".to_owned())
            .spawn(move || watch(&runtime, &folder, options, every, seen, &shared, &stopped))
            .map_err(VisionSetupError::Thread)?;
        Ok(Self {
            current,
            stop: Some(stop),
            watch: Some(watch),
        })
    }

    fn current(&self) -> Arc<PackVision> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn load(runtime: &Runtime, folder: &Path, options: VisionOptions) -> Result<PackVision, VisionSetupError> {
    let unreadable = |source| pack::Error::ManifestUnreadable {
        pack: folder.display().to_string(),
        source,
    };
    let packs = pack::find(folder).map_err(unreadable)?;
    if packs.is_empty() {
        return Err(unreadable(std::io::ErrorKind::NotFound.into()).into());
    }
    let packs = packs
        .iter()
        .map(|pack| Pack::open(pack))
        .collect::<Result<Vec<_>, _>>()?;
    PackVision::new(runtime, &packs, options)
}

/// Looks at the folder until `stopped` is closed.
fn watch(
    runtime: &Runtime,
    folder: &Path,
    options: VisionOptions,
    every: Duration,
    mut loaded: Vec<u8>,
    current: &RwLock<Arc<PackVision>>,
    stopped: &mpsc::Receiver<()>,
) {
    let mut before = loaded.clone();
    while matches!(stopped.recv_timeout(every), Err(mpsc::RecvTimeoutError::Timeout)) {
        let now = fingerprint(folder);
        // Somebody may still be copying: what changed since the last look is left for the next.
        let is_quiet = now == before;
        before.clone_from(&now);
        if now == loaded || !is_quiet {
            continue;
        }
        loaded = now;
        match load(runtime, folder, options) {
            Ok(packs) => {
                let versions: Vec<_> = Route::ALL.into_iter().flat_map(|route| packs.versions(route)).collect();
                let versions: Vec<_> = versions.iter().map(ToString::to_string).collect();
                tracing::info!(packs = versions.join(", "), "changed model packs take over");
                let old = {
                    let mut current = current.write().unwrap_or_else(PoisonError::into_inner);
                    std::mem::replace(&mut *current, Arc::new(packs))
                };
                // Ends here, and not in a caller's hands, when nobody else has it any more.
                drop(old);
            }
            Err(error) => {
                let hint = error.hint();
                let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
                let causes: Vec<_> = causes.map(ToString::to_string).collect();
                tracing::error!(
                    hint,
                    "changed model packs cannot be used, the old ones stay: {}",
                    causes.join(": ")
                );
            }
        }
    }
}

/// Changes when a file of a pack does: manifests by their content, other files by size and time.
fn fingerprint(folder: &Path) -> Vec<u8> {
    let mut digest = Sha256::new();
    for pack in pack::find(folder).unwrap_or_default() {
        digest.update(pack.as_os_str().as_encoded_bytes());
        digest.update(fs::read(pack.join(pack::MANIFEST)).unwrap_or_default());
        let mut files: Vec<_> = fs::read_dir(&pack).into_iter().flatten().flatten().collect();
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files {
            let Ok(data) = file.metadata() else { continue };
            let changed = data
                .modified()
                .ok()
                .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            digest.update(file.file_name().as_encoded_bytes());
            digest.update(data.len().to_le_bytes());
            digest.update(changed.unwrap_or_default().as_nanos().to_le_bytes());
        }
    }
    digest.finalize().to_vec()
}

#[async_trait]
impl VisionModel for ReloadingVision {
    async fn look(&self, route: Route, photo: &PhotoBytes) -> Result<Findings, VisionError> {
        let packs = self.current();
        packs.look(route, photo).await
    }

    fn versions(&self, route: Route) -> Vec<ModelVersion> {
        self.current().versions(route)
    }
}

impl Drop for ReloadingVision {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(watch) = self.watch.take() {
            // It catches nothing and holds nothing that another panic would help.
            let _ = watch.join();
        }
    }
}
