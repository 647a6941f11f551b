//! `PackVision`: packs, a runtime and a few threads behind core's `VisionModel` port.
//!
//! Each worker thread has its own one-thread sessions and takes photos from one bounded queue; who finds it full waits,
//! so memory is bounded by the number of workers and not by the number of photos. Replies go through a oneshot channel:
//! any executor will do. A panic in a worker costs the photo, not the worker. A caller that stopped waiting costs
//! nothing: its photo is skipped when its turn comes.

pub mod classify;
pub mod detect;
mod worker;

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex as BlockingMutex, PoisonError},
    thread::JoinHandle,
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
use worker::{Job, Worker};

/// How the packs are run.
#[derive(Debug, Clone, Copy)]
pub struct VisionOptions {
    /// Worker threads: photos in work at a time.
    pub workers: NonZeroUsize,
    /// Photos that may wait for a worker; the next caller waits outside.
    pub queue: usize,
    /// What a photo may ask for.
    pub limits: photo::Limits,
}

impl Default for VisionOptions {
    /// One worker a core, a queue of as many, the default limits.
    fn default() -> Self {
        let workers = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            workers,
            queue: workers.get(),
            limits: photo::Limits::default(),
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
    workers: Vec<JoinHandle<()>>,
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
        let receiver = Arc::new(BlockingMutex::new(receiver));
        let mut vision = Self {
            versions,
            jobs: Mutex::new(sender),
            workers: Vec::new(),
        };
        for index in 0..options.workers.get() {
            let mut worker = Worker::new(&packs, options.limits)?;
            let jobs = Arc::clone(&receiver);
            let thread = std::thread::Builder::new()
                .name(format!("vision-{index}"))
                .spawn(move || {
                    while let Some(job) = next(&jobs) {
                        worker.serve(job);
                    }
                })
                .map_err(VisionSetupError::Thread)?;
            vision.workers.push(thread);
        }
        Ok(vision)
    }
}

/// The next job; none when `PackVision` is gone and the queue is empty. One worker waits at the queue, the others for
/// the lock.
fn next(jobs: &BlockingMutex<mpsc::Receiver<Job>>) -> Option<Job> {
    let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
    futures::executor::block_on(futures::StreamExt::next(&mut *jobs))
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
    /// Ends the workers: each finishes the photo in its hands.
    fn drop(&mut self) {
        self.jobs.get_mut().close_channel();
        for worker in self.workers.drain(..) {
            // Workers catch panics; one that got through all the same is no reason for another.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for PackVision {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PackVision")
            .field("versions", &self.versions)
            .field("workers", &self.workers.len())
            .finish_non_exhaustive()
    }
}
