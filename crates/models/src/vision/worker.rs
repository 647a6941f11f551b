//! The workers: a photo in, findings out; and the one who watches them.
//!
//! A model that hangs cannot be stopped from outside: its thread is left to itself and ends when the model comes back.
//! Its caller gets an error, and another worker takes its place, so that the next photo is not affected.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::Duration,
};

use futures::channel::{mpsc, oneshot};
use skin_assist_core::{
    domain::{Findings, PhotoBytes, Route},
    ports::VisionError,
};

use super::{VisionOptions, VisionSetupError, look::PackSessions};
use crate::{pack::LoadedPack, photo, preprocess::Reducer};

/// How often the watch looks at each worker within the time that a photo may take.
const GLANCES: u32 = 20;

type Outcome = Result<Findings, VisionError>;

/// A photo to look at, and where the findings go.
pub(super) struct Job {
    pub(super) route: Route,
    pub(super) photo: PhotoBytes,
    pub(super) reply: oneshot::Sender<Outcome>,
}

/// What all workers have in common.
pub(super) struct Crew {
    pub(super) packs: Vec<Arc<LoadedPack>>,
    pub(super) options: VisionOptions,
    pub(super) jobs: Arc<Mutex<mpsc::Receiver<Job>>>,
}

/// A worker as the watch sees it.
pub(super) struct Hand {
    desk: Arc<Desk>,
    thread: JoinHandle<()>,
    /// The photo that it had at the last glance, and at how many glances in a row.
    seen: (u64, u32),
}

/// What a worker has in hand.
#[derive(Default)]
struct Desk {
    current: Mutex<Current>,
    /// Somebody else has its place.
    is_replaced: AtomicBool,
}

#[derive(Default)]
struct Current {
    /// Counts the photos.
    number: u64,
    /// Of the photo in hand; none between photos, or when the caller got an answer already.
    reply: Option<oneshot::Sender<Outcome>>,
    /// There is a photo in hand, whether or not its caller got an answer.
    is_busy: bool,
}

impl Desk {
    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crew {
    /// Starts a worker.
    pub(super) fn hire(&self, index: usize) -> Result<Hand, VisionSetupError> {
        let mut worker = Worker::new(&self.packs, self.options.limits)?;
        let (jobs, desk) = (Arc::clone(&self.jobs), Arc::<Desk>::default());
        let own = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name(format!("vision-{index}"))
            .spawn(move || {
                while !own.is_replaced.load(Ordering::Relaxed)
                    && let Some(job) = next(&jobs)
                {
                    worker.serve(job, &own);
                }
            })
            .map_err(VisionSetupError::Thread)?;
        Ok(Hand {
            desk,
            thread,
            seen: (0, 0),
        })
    }

    /// Watches the workers until `stop` is closed and all are done.
    pub(super) fn watch(&self, mut hands: Vec<Hand>, stop: &Receiver<()>) {
        let glance = (self.options.patience / GLANCES).max(Duration::from_millis(1));
        while matches!(stop.recv_timeout(glance), Err(RecvTimeoutError::Timeout)) {
            for (index, hand) in hands.iter_mut().enumerate() {
                if !hand.is_late() {
                    continue;
                }
                tracing::error!("a model takes too long; another worker takes its place");
                match self.hire(index) {
                    Ok(another) => std::mem::replace(hand, another).give_up(),
                    Err(error) => {
                        tracing::error!(%error, "no other worker; the one that hangs keeps its place");
                        hand.answer();
                        // Another is looked for again when as much time has passed once more.
                        hand.seen.1 = 0;
                    }
                }
            }
        }
        // No more photos come: each finishes the one in its hands, for which it has its whole time.
        let mut left = self.options.patience;
        while !left.is_zero() && !hands.iter().all(|hand| hand.thread.is_finished()) {
            let moment = left.min(Duration::from_millis(2));
            std::thread::sleep(moment);
            left -= moment;
        }
        for hand in hands.into_iter().filter(|hand| !hand.thread.is_finished()) {
            hand.give_up();
        }
    }
}

impl Hand {
    /// Whether it has had the same photo in hand for too long.
    fn is_late(&mut self) -> bool {
        let current = self.desk.current();
        if !current.is_busy || current.number != self.seen.0 {
            self.seen = (current.number, 0);
            return false;
        }
        self.seen.1 += 1;
        self.seen.1 >= GLANCES
    }

    /// Answers for it, and leaves it to itself.
    fn give_up(self) {
        self.desk.is_replaced.store(true, Ordering::Relaxed);
        self.answer();
    }

    /// Tells the caller of the photo in hand that there are no findings, if nobody has told anything yet.
    fn answer(&self) {
        if let Some(reply) = self.desk.current().reply.take() {
            // The caller may have gone: nobody misses the error then.
            let _ = reply.send(Err(VisionError::Model {
                what: "it took too long",
            }));
        }
    }
}

/// The next job; none when `PackVision` is gone and the queue is empty. One worker waits at the queue, the others for
/// the lock.
fn next(jobs: &Mutex<mpsc::Receiver<Job>>) -> Option<Job> {
    let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
    futures::executor::block_on(futures::StreamExt::next(&mut *jobs))
}

/// The sessions of one thread, and its buffers.
struct Worker {
    packs: Vec<PackSessions>,
    reducer: Reducer,
    limits: photo::Limits,
}

impl Worker {
    fn new(packs: &[Arc<LoadedPack>], limits: photo::Limits) -> Result<Self, VisionSetupError> {
        Ok(Self {
            packs: packs.iter().map(PackSessions::new).collect::<Result<_, _>>()?,
            reducer: Reducer::default(),
            limits,
        })
    }

    /// Looks at the photo and replies; whatever happens, the worker can take the next.
    fn serve(&mut self, job: Job, desk: &Desk) {
        if job.reply.is_canceled() {
            return;
        }
        {
            let mut current = desk.current();
            current.number += 1;
            current.reply = Some(job.reply);
            current.is_busy = true;
        }
        let findings =
            catch_unwind(AssertUnwindSafe(|| self.look(job.route, &job.photo))).unwrap_or(Err(VisionError::Model {
                what: "it stopped unexpectedly",
            }));
        if let Err(error) = &findings {
            tracing::debug!(route = %job.route, %error, "no findings");
        }
        let reply = {
            let mut current = desk.current();
            current.is_busy = false;
            current.reply.take()
        };
        if let Some(reply) = reply {
            // The caller may have gone: nobody misses the findings then.
            let _ = reply.send(findings);
        }
    }

    fn look(&mut self, route: Route, bytes: &PhotoBytes) -> Outcome {
        let sessions =
            self.packs
                .iter_mut()
                .find(|sessions| sessions.route() == route)
                .ok_or(VisionError::Unavailable {
                    what: "no model pack serves this route",
                })?;
        let photo = photo::open(bytes.expose(), self.limits)?;
        sessions.look(&photo, &mut self.reducer)
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use skin_assist_core::ports::VisionModel;

    use super::*;
    use crate::{
        PackVision, VisionOptions,
        pack::{LoadedPack, Pack},
        runtime::{Error, Model, Session, Tensor},
    };

    /// A model that panics while the first photos are looked at, then answers with too many numbers.
    struct Unreliable;

    struct UnreliableSession(u32);

    impl Model for Unreliable {
        fn session(&self) -> Result<Box<dyn Session>, Error> {
            Ok(Box::new(UnreliableSession(0)))
        }
    }

    impl Session for UnreliableSession {
        fn run_all(&mut self, _input: &Tensor) -> Result<Vec<Tensor>, Error> {
            self.0 += 1;
            assert!(self.0 > 2, "on purpose");
            Ok(vec![Tensor {
                shape: vec![1, 1000],
                data: vec![0.0; 1000],
            }])
        }
    }

    #[test]
    fn a_panic_costs_the_photo_and_not_the_worker() {
        let manifest = Pack::reference(Route::Widespread).expect("a pack").manifest().clone();
        let pack = LoadedPack::new(manifest, None, Box::new(Unreliable));
        let options = VisionOptions {
            workers: std::num::NonZeroUsize::MIN,
            ..VisionOptions::default()
        };
        let vision = PackVision::with_loaded(vec![pack], options).expect("a worker");
        let photo = include_bytes!("../../tests/fixtures/upright.png");
        let photo = PhotoBytes::new(bytes::Bytes::from_static(photo));
        let look = || match block_on(vision.look(Route::Widespread, &photo)) {
            Err(VisionError::Model { what }) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!([look(), look()], ["it stopped unexpectedly"; 2]);
        assert!(look().contains("another shape"));
    }

    /// A model that hangs until it is let go, at each first photo of a session.
    struct Hanging {
        gate: Arc<std::sync::Barrier>,
        hangs: Arc<AtomicBool>,
        /// After so many sessions, so many tries give none.
        sessions: Mutex<(u32, u32)>,
    }

    struct HangingSession(Arc<std::sync::Barrier>, Arc<AtomicBool>);

    impl Model for Hanging {
        fn session(&self) -> Result<Box<dyn Session>, Error> {
            let mut sessions = self.sessions.lock().expect("no panic");
            match *sessions {
                (0, 0) => {}
                (0, ref mut refused) => {
                    *refused -= 1;
                    return Err(Error::Elsewhere(VisionError::Unavailable { what: "on purpose" }));
                }
                (ref mut granted, _) => *granted -= 1,
            }
            Ok(Box::new(HangingSession(
                Arc::clone(&self.gate),
                Arc::clone(&self.hangs),
            )))
        }
    }

    impl Session for HangingSession {
        fn run_all(&mut self, _input: &Tensor) -> Result<Vec<Tensor>, Error> {
            if self.1.swap(false, Ordering::Relaxed) {
                self.0.wait();
            }
            Ok(vec![Tensor {
                shape: vec![1, 4],
                data: vec![9.0, 0.0, 0.0, 0.0],
            }])
        }
    }

    #[test]
    fn a_model_that_hangs_costs_the_photo_and_not_the_next() {
        hang_once((1, 0));
    }

    #[test]
    fn who_waits_is_answered_although_nobody_takes_the_place_at_once() {
        hang_once((1, 2));
    }

    /// One worker hangs at its first photo; another takes its place at the first try, or after some that fail.
    fn hang_once(sessions: (u32, u32)) {
        let manifest = Pack::reference(Route::Widespread).expect("a pack").manifest().clone();
        let (gate, hangs) = (Arc::new(std::sync::Barrier::new(2)), Arc::new(AtomicBool::new(true)));
        let model = Hanging {
            gate: Arc::clone(&gate),
            hangs,
            sessions: Mutex::new(sessions),
        };
        let pack = LoadedPack::new(manifest, None, Box::new(model));
        let options = VisionOptions {
            workers: std::num::NonZeroUsize::MIN,
            patience: Duration::from_millis(200),
            ..VisionOptions::default()
        };
        let vision = PackVision::with_loaded(vec![pack], options).expect("a worker");
        let photo = PhotoBytes::new(bytes::Bytes::from_static(include_bytes!(
            "../../tests/fixtures/upright.png"
        )));
        let look = || block_on(vision.look(Route::Widespread, &photo));
        let error = look().expect_err("it hangs");
        assert!(
            matches!(
                error,
                VisionError::Model {
                    what: "it took too long"
                }
            ),
            "{error}"
        );
        let findings = look().expect("another worker has taken over");
        assert!(findings.ranked[0].probability > 0.9);
        // The one that hung ends when it can, and takes no more photos.
        gate.wait();
        assert_eq!(look().expect("findings"), findings);
    }
}
