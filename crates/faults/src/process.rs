//! One process among several: its clock, and the points at which it can be made to crash or to stand still.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use skin_assist_core::{
    domain::{Encounter, FirmId},
    ports::{Page, PageLink, StateError},
    time::{Clock, Timestamp, VirtualClock},
};

use crate::{plan::Mutation, truth::Truth};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A run that panics is over.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all processes of a run share: the time, chance, the faults in force and the truth.
pub(crate) struct Shared {
    pub(crate) clock: VirtualClock,
    pub(crate) random: Mutex<ChaCha8Rng>,
    pub(crate) weather: Mutex<Weather>,
    pub(crate) truth: Mutex<Truth>,
    pub(crate) mutation: Mutation,
}

/// The faults in force.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    /// Writes fail until then.
    pub(crate) disk_full_until: Timestamp,
    /// Each call of the store takes up to so long, until then.
    pub(crate) disk_slow: (Timestamp, Duration),
    /// So many requests or replies are lost.
    pub(crate) losses: u32,
    /// So many requests arrive twice.
    pub(crate) duplicates: u32,
    /// Requests and replies are on their way for up to so long, until then.
    pub(crate) delays: (Timestamp, Duration),
    /// The EHR is away until then.
    pub(crate) outage_until: Timestamp,
    /// Looks that begin before then take longer than any lease: at one process, or at all.
    pub(crate) models_hang: (Timestamp, Option<usize>),
}

impl Shared {
    pub(crate) fn truth(&self) -> MutexGuard<'_, Truth> {
        lock(&self.truth)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Up to `most`, by chance.
    pub(crate) fn up_to(&self, most: Duration) -> Duration {
        Duration::from_millis(lock(&self.random).random_range(0..=most.as_millis() as u64))
    }

    pub(crate) fn below(&self, most: u64) -> u64 {
        lock(&self.random).random_range(0..most)
    }
}

/// The true time and how far a process is off it, until clocks are set right. Who sleeps is woken up a little late, as by any scheduler:
/// of several that wait for the same moment, it is not always the same one that is first.
#[derive(Clone)]
pub(crate) struct SkewedClock {
    clock: VirtualClock,
    ahead_millis: i64,
    set_right_at: Timestamp,
    noise: Arc<AtomicU64>,
}

/// How late a sleeper is woken up at most, in milliseconds.
const LATEST_WAKE: u64 = 20;

impl SkewedClock {
    pub(crate) fn new(clock: VirtualClock, ahead_millis: i64, set_right_at: Timestamp, noise: u64) -> Self {
        Self {
            clock,
            ahead_millis,
            set_right_at,
            noise: Arc::new(AtomicU64::new(noise)),
        }
    }

    fn ahead(&self) -> i64 {
        if self.clock.now() < self.set_right_at {
            self.ahead_millis
        } else {
            0
        }
    }

    fn wakes_late_by(&self) -> i64 {
        // Knuth's linear congruential generator; its upper bits are good enough for this.
        let noise = self.noise.load(Ordering::Relaxed);
        let next = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.noise.store(next, Ordering::Relaxed);
        ((next >> 33) % (LATEST_WAKE + 1)) as i64
    }
}

#[async_trait]
impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.now().as_millis() + self.ahead())
    }

    async fn sleep_until(&self, instant: Timestamp) {
        let late = self.wakes_late_by();
        let truly = instant.as_millis().saturating_sub(self.ahead()).saturating_add(late);
        let truly = if instant == Timestamp::NEVER {
            instant
        } else {
            Timestamp::from_millis(truly)
        };
        self.clock.sleep_until(truly).await;
    }
}

/// What a process is to do at a call of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trap {
    Crash,
    /// Stands still for so long: longer than its leases.
    Freeze(Duration),
}

/// A trap at the call after so many others of the same port's method; of any where none is named.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrapAt {
    pub(crate) place: Option<&'static str>,
    pub(crate) calls: u32,
    pub(crate) trap: Trap,
}

/// One life of a process: from its start to its crash or end.
pub(crate) struct Process {
    /// No other life has this number.
    pub(crate) number: u64,
    /// Which of the processes that run at the same time it is.
    pub(crate) place: usize,
    pub(crate) clock: SkewedClock,
    pub(crate) shared: Arc<Shared>,
    trap: Mutex<Option<TrapAt>>,
    crashing: AtomicBool,
    frozen_until: Mutex<Timestamp>,
    /// How often it stood still.
    freezes: AtomicU64,
    dead: AtomicBool,
    /// The pages of each firm's present search for encounters.
    pub(crate) search: Mutex<BTreeMap<FirmId, Pages>>,
}

/// Pages as they were asked for.
pub(crate) type Pages = Vec<(Option<PageLink>, Page<Encounter>)>;

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Stopped,
    Crashed,
}

/// The disk is full, or another process holds the file.
#[derive(Debug)]
struct DiskFull;

impl std::fmt::Display for DiskFull {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("no room on the simulated disk")
    }
}

impl std::error::Error for DiskFull {}

impl Process {
    pub(crate) fn new(number: u64, place: usize, clock: SkewedClock, shared: Arc<Shared>) -> Self {
        Self {
            number,
            place,
            clock,
            shared,
            trap: Mutex::default(),
            crashing: AtomicBool::new(false),
            frozen_until: Mutex::default(),
            freezes: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            search: Mutex::default(),
        }
    }

    pub(crate) fn set_trap(&self, trap: TrapAt) {
        *lock(&self.trap) = Some(trap);
    }

    /// Crashes it where it is, the next time it is looked at.
    pub(crate) fn crash(&self) {
        self.crashing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn freeze(&self, duration: Duration) {
        *lock(&self.frozen_until) = self.shared.now() + duration;
        self.freezes.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(at = %self.shared.now(), life = self.number, ?duration, "a standstill begins");
        self.shared.truth().fault("process stands still");
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Whether it is neither gone nor has stood still since it had stood still so often.
    pub(crate) fn is_well_since(&self, freezes: u64) -> bool {
        !self.is_dead() && self.freezes.load(Ordering::Relaxed) == freezes
    }

    /// Whether it stood still within the last minute: what it had a grant for then is late.
    pub(crate) fn is_late(&self) -> bool {
        const MINUTE: Duration = Duration::from_secs(60);
        self.has_stood_still() && self.shared.now() < *lock(&self.frozen_until) + MINUTE
    }

    pub(crate) fn has_stood_still(&self) -> bool {
        self.freezes.load(Ordering::Relaxed) > 0
    }

    /// How often it had stood still before now. In the moment in which a standstill begins its other tasks are still driven to where they
    /// wait: what these begin comes before that standstill.
    pub(crate) fn freezes(&self) -> u64 {
        let begins_now = *lock(&self.frozen_until) > self.shared.now();
        self.freezes.load(Ordering::Relaxed) - u64::from(begins_now)
    }

    /// A point between two things that the process does: here it may crash or stand still.
    pub(crate) async fn passes(&self, place: &'static str) {
        let trap = {
            let mut trap = lock(&self.trap);
            match &mut *trap {
                Some(at) if at.place.is_none_or(|of| of == place) => {
                    if at.calls == 0 {
                        trap.take().map(|at| at.trap)
                    } else {
                        at.calls -= 1;
                        None
                    }
                }
                _ => None,
            }
        };
        if trap.is_some() {
            self.shared.truth().happened += 1;
        }
        match trap {
            None => {}
            Some(Trap::Crash) => {
                self.shared.truth().fault("crash at a call");
                self.crash();
                std::future::pending::<()>().await;
            }
            Some(Trap::Freeze(duration)) => {
                self.freeze(duration);
                let until = *lock(&self.frozen_until);
                self.shared.clock.sleep_until(until).await;
            }
        }
    }

    /// Before a call of the store; the error is that of a full disk.
    pub(crate) async fn reaches_disk(&self, method: &'static str, writes: bool) -> Result<(), StateError> {
        self.passes(method).await;
        let now = self.shared.now();
        let (full, slow) = {
            let weather = lock(&self.shared.weather);
            (
                writes && now < weather.disk_full_until,
                (now < weather.disk_slow.0).then_some(weather.disk_slow.1),
            )
        };
        if let Some(slow) = slow {
            self.shared.truth().fault("slow disk");
            let wait = self.shared.up_to(slow);
            self.shared.clock.sleep_until(now + wait).await;
        }
        if full {
            self.shared.truth().fault("full disk");
            return Err(StateError::Unavailable(Box::new(DiskFull)));
        }
        Ok(())
    }

    /// Runs what the process does until it ends or crashes.
    pub(crate) async fn live(&self, work: impl Future<Output = ()>) -> End {
        let end = {
            let mut work = pin!(work);
            let mut thaw = None;
            poll_fn(|context| {
                let frozen_until = *lock(&self.frozen_until);
                if self.crashing.load(Ordering::Relaxed) {
                    return Poll::Ready(End::Crashed);
                }
                if frozen_until <= self.shared.now() {
                    thaw = None;
                    if work.as_mut().poll(context).is_ready() {
                        return Poll::Ready(End::Stopped);
                    }
                    if self.crashing.load(Ordering::Relaxed) {
                        return Poll::Ready(End::Crashed);
                    }
                }
                let frozen_until = *lock(&self.frozen_until);
                if frozen_until > self.shared.now() {
                    let waiting = thaw.get_or_insert_with(|| self.shared.clock.sleep_until(frozen_until));
                    // When it is over, the next look goes on with the work, or waits for longer where it was made to meanwhile.
                    if waiting.as_mut().poll(context).is_ready() {
                        thaw = None;
                        context.waker().wake_by_ref();
                    }
                }
                Poll::Pending
            })
            .await
        };
        self.dead.store(true, Ordering::Relaxed);
        if end == End::Crashed {
            self.shared.truth().crashed(self.number);
        }
        end
    }
}
