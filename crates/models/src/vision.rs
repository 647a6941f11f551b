//! `PackVision`: packs, a runtime and a few threads behind core's `VisionModel` port.
//!
//! Each worker thread has its own one-thread sessions and takes photos from one bounded queue; who finds it full waits,
//! so memory is bounded by the number of workers and not by the number of photos. Replies go through a oneshot channel:
//! any executor will do. A panic or a hanging model costs the photo, not
//! the next one. A caller that stopped waiting costs
//! nothing: its photo is skipped when its turn comes.

pub mod classify;
pub mod detect;
pub(crate) mod look;
mod worker;

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex as BlockingMutex, mpsc as blocking},
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use futures::{
    SinkExt,
    channel::{mpsc, oneshot},
    lock::Mutex,
};
use skin_assist_core::{
    domain::{Findings, ModelVersion, PhotoBytes, Route},
    ports::{VisionError, VisionModel},
};

use crate::{
    pack::{self, LoadedPack, Pack},
    photo,
    runtime::{self, Runtime},
};
use worker::{Crew, Job};

/// How the packs are run.
#[derive(Debug, Clone, Copy)]
pub struct VisionOptions {
    /// Worker threads: photos in work at a time.
    pub workers: NonZeroUsize,
    /// Photos that may wait for a worker; the next caller waits outside.
    pub queue: usize,
    /// What a photo may ask for.
    pub limits: photo::Limits,
    /// For how long the models may look at one photo.
    pub patience: Duration,
}

impl Default for VisionOptions {
    /// One worker a core, a queue of as many, the default limits, two minutes for a photo.
    fn default() -> Self {
        let workers = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            workers,
            queue: workers.get(),
            limits: photo::Limits::default(),
            patience: Duration::from_secs(120),
        }
    }
}

/// The models cannot be put to work.
#[derive(Debug, thiserror::Error)]
pub enum VisionSetupError {
    /// A pack does not do.
    #[error(transparent)]
    Pack(#[from] pack::Error),
    /// A worker got no session.
    #[error("a worker has no session of the model pack {pack}")]
    Session {
        /// The pack's id.
        pack: String,
        #[source]
        /// What the runtime said.
        source: runtime::Error,
    },
    /// Two packs for one route.
    #[error("the route {route} has two model packs: {first} and {second}")]
    TwoPacks {
        /// The route.
        route: Route,
        /// One pack.
        first: ModelVersion,
        /// The other.
        second: ModelVersion,
    },
    /// The system gives no thread.
    #[error("no thread for a worker")]
    Thread(#[source] std::io::Error),
}

impl VisionSetupError {
    /// What a person can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Pack(error) => error.hint(),
            Self::Session { source, .. } => source.hint(),
            Self::TwoPacks { .. } => "configure one pack for each route",
            Self::Thread(_) => "raise the limit of threads, or configure fewer workers",
        }
    }
}

/// Vision by model packs, in process.
pub struct PackVision {
    versions: Vec<(Route, ModelVersion)>,
    jobs: Mutex<mpsc::Sender<Job>>,
    /// Closed when the workers shall end.
    stop: Option<blocking::Sender<()>>,
    watch: Option<JoinHandle<()>>,
}

impl PackVision {
    /// Loads the packs, tries each model once, and starts the workers. A route without a pack is unavailable.
    pub fn new(runtime: &Runtime, packs: &[Pack], options: VisionOptions) -> Result<Self, VisionSetupError> {
        let mut loaded = Vec::new();
        for pack in packs {
            loaded.push(pack.load(runtime)?);
            tracing::info!(
                pack = %pack.version(), route = %pack.route(), runtime = %runtime.describe(), "model pack loaded"
            );
        }
        Self::with_loaded(loaded, options)
    }

    /// Starts the workers on packs whose models are loaded.
    pub fn with_loaded(packs: Vec<LoadedPack>, options: VisionOptions) -> Result<Self, VisionSetupError> {
        let mut versions: Vec<(Route, ModelVersion)> = Vec::new();
        for pack in &packs {
            let route = pack.manifest().route;
            if let Some((_, first)) = versions.iter().find(|(other, _)| *other == route) {
                let (first, second) = (first.clone(), pack.version());
                return Err(VisionSetupError::TwoPacks { route, first, second });
            }
            versions.push((route, pack.version()));
        }
        let packs: Vec<_> = packs.into_iter().map(Arc::new).collect();
        let (sender, receiver) = mpsc::channel(options.queue);
        let crew = Crew {
            packs,
            options,
            jobs: Arc::new(BlockingMutex::new(receiver)),
        };
        let hands = (0..options.workers.get()).map(|index| crew.hire(index));
        let hands = hands.collect::<Result<Vec<_>, _>>()?;
        let (stop, stopped) = blocking::channel();
        let watch = std::thread::Builder::new()
            .name("vision-watch".to_owned())
            .spawn(move || crew.watch(hands, &stopped))
            .map_err(VisionSetupError::Thread)?;
        Ok(Self {
            versions,
            jobs: Mutex::new(sender),
            stop: Some(stop),
            watch: Some(watch),
        })
    }
}

#[async_trait]
impl VisionModel for PackVision {
    async fn look(&self, route: Route, photo: &PhotoBytes) -> Result<Findings, VisionError> {
        let stopped = VisionError::Unavailable {
            what: "the vision workers have stopped",
        };
        let (reply, findings) = oneshot::channel();
        let job = Job {
            route,
            photo: photo.clone(),
            reply,
        };
        // One sender behind a lock: each clone of it would widen the queue by one.
        if self.jobs.lock().await.send(job).await.is_err() {
            return Err(stopped);
        }
        findings.await.unwrap_or(Err(stopped))
    }

    fn versions(&self, route: Route) -> Vec<ModelVersion> {
        self.versions
            .iter()
            .filter(|(of, _)| *of == route)
            .map(|(_, version)| version.clone())
            .collect()
    }
}

impl Drop for PackVision {
    /// Ends the workers: each finishes the photo in its hands; one that hangs is left to itself after its time.
    fn drop(&mut self) {
        self.jobs.get_mut().close_channel();
        self.stop = None;
        if let Some(watch) = self.watch.take() {
            // Workers catch panics; one that got through all the same is no reason for another.
            let _ = watch.join();
        }
    }
}

impl std::fmt::Debug for PackVision {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PackVision")
            .field("versions", &self.versions)
            .finish_non_exhaustive()
    }
}
