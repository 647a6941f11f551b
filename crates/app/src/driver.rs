//! The driver: runs the stages in one process.
//!
//! Five loops share one task: discovery of firms, polling as the policy says, and one loop for each step of the
//! pipeline. None of them owns anything that matters: all progress is in the state store, guarded by leases, so a crash
//! at any point costs at most a lease's time, and several processes on one store share the work.
//!
//! A signal between loops only makes the next look come sooner; each loop also looks by itself once a second, so a
//! lost signal loses nothing. The driver reads no clock and starts no task: under a virtual clock a whole clinic day
//! runs deterministically in one future.

mod bulkhead;
mod firms;
mod going_on;
mod meanwhile;
mod pipeline;
mod stepped;
mod sweep_memory;
mod telling;
mod tokens;
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, join, stream::FuturesUnordered};
use skin_assist_core::{
    domain::{
        AssessmentId, Cursor, DocumentId, EncounterId, Firm, FirmId, GatheringWindows, PollerId, Reason, Stage,
        SubscriptionId, WatchList,
    },
    lease::Lease,
    polling::{
        Decision, Hold, Observation, PipelineShares, PolicyFigures, PolicyName, PolicySettings, PollCall, PollPolicy,
        Shedding, is_better_paused,
    },
    ports::{
        Class, Ehr, Grant, LanguageModel, Photos, QuotaKey, RetractedDraft, StateError, StateStore, TokenEndpoint,
        VisionModel,
    },
    stages::{
        DocumentsPolled, GrantInHand, NoToken, PollDocuments, PollEncounters, Quota, StageError, SweepNotes, Told,
        retry,
    },
    time::{Clock, Timestamp},
};
use tokio::sync::{Notify, watch};

use bulkhead::Bulkhead;
use going_on::Waiting;
use meanwhile::meanwhile;
use pipeline::Step;
pub use stepped::{Outcome, Stepped, SteppedPhoto};
pub use sweep_memory::SweepMemory;
pub use telling::Telling;
use tokens::Tokens;
pub use turns::{EncounterPolls, Handled, Item, Refreshed, Shard, Swept};

/// How often active firms are discovered, tokens looked after and expired rows swept.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(5);

/// For how long a firm's watch list is leased: what a poller that dies costs its firms. Renewed with the housekeeping.
const LIST_LEASE: Duration = Duration::from_secs(20);

/// How often what was learned is kept.
const REMEMBER_EVERY: Duration = Duration::from_secs(60);

/// How long a poll waits whose firm has as many under way as it may.
const PLACE_PAUSE: Duration = Duration::from_millis(250);

/// How long the policy waits at least when the quota has nothing.
const GRANT_PAUSE: Duration = Duration::from_millis(1);

/// How often each loop of the pipeline looks for due items by itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long to hold still when the state store cannot be used.
const STATE_PAUSE: Duration = Duration::from_secs(1);

/// How many firms' rows are read at once.
const READ_AT_ONCE: usize = 16;

/// What the driver needs: every port, wired.
#[derive(Clone)]
pub struct Engine {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Our own state.
    pub state: Arc<dyn StateStore>,
    /// Photos between download and inference.
    pub photos: Arc<dyn Photos>,
    /// The EHR.
    pub ehr: Arc<dyn Ehr>,
    /// Where tokens are asked for: the EHR's own endpoint, or one in front of it that knows the proofs.
    pub token_endpoint: Arc<dyn TokenEndpoint>,
    /// The vision models.
    pub vision: Arc<dyn VisionModel>,
    /// The language model, or the composer.
    pub language: Arc<dyn LanguageModel>,
    /// The quotas that calls count against.
    pub quotas: Quotas,
    /// Which policy polls.
    pub policy: PolicyName,
    /// What the policy has to know.
    pub settings: PolicySettings,
    /// How long further photos of a visit are waited for.
    pub windows: GatheringWindows,
    /// How much is done at once.
    pub workers: Workers,
    /// Who is told what happens.
    pub observer: Observer,
}

/// The quotas that calls count against: one for each API key, or one for each firm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quotas {
    /// Their name in the store.
    pub name: String,
    /// Calls that each allows.
    pub calls: u32,
    /// In any window of this length.
    pub window: Duration,
    /// Whether each firm has its own.
    pub each_firm: bool,
}

impl Quotas {
    /// The quota that a firm's calls count against.
    pub fn of(&self, firm: &Firm) -> QuotaKey {
        let (name, firm_id) = (&self.name, &firm.id);
        QuotaKey {
            name: match &firm.api_key {
                _ if self.each_firm => format!("{name}/{firm_id}"),
                Some(key) => format!("{name}:{key}"),
                None => name.clone(),
            },
            calls: self.calls,
            window: self.window,
        }
    }
}

/// How much is done at once.
#[derive(Debug, Clone, Copy)]
pub struct Workers {
    /// Poll calls in flight.
    pub poll: usize,
    /// Downloads.
    pub download: usize,
    /// Photos at the models.
    pub infer: usize,
    /// Drafts in flight.
    pub write_back: usize,
}

/// Who is told what happens. Ids and codes only.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Firms were looked after: the engine is alive.
    LookedAfter {
        /// When, by our clock.
        at: Timestamp,
        /// Whether the state could be used.
        is_usable: bool,
    },
    /// A step of the pipeline was taken.
    Stepped(Box<Stepped>),
    /// A photo was found.
    Detected {
        /// Whose.
        firm: FirmId,
        /// The visit.
        encounter: EncounterId,
        /// The photo.
        document: DocumentId,
    },
    /// A document is one step further.
    Advanced {
        /// Whose.
        firm: FirmId,
        /// The photo.
        document: DocumentId,
        /// The stage it has behind it.
        stage: Stage,
    },
    /// A draft is in the chart.
    Delivered {
        /// Whose.
        firm: FirmId,
        /// The assessment.
        assessment: AssessmentId,
    },
    /// A result is kept back.
    Withheld {
        /// Whose.
        firm: FirmId,
        /// The assessment.
        assessment: AssessmentId,
        /// Why.
        reason: Reason,
    },
    /// A photo was retracted whose draft is or may be in the chart: the clinic has to know.
    Retracted(RetractedDraft),
    /// Nobody knows whether a draft is in the chart.
    Uncertain {
        /// Whose.
        firm: FirmId,
        /// The assessment.
        assessment: AssessmentId,
        /// Why.
        reason: Reason,
    },
    /// An item waits and will be tried again.
    Waiting {
        /// Whose.
        firm: FirmId,
        /// Document or assessment.
        subject: String,
        /// At which stage.
        stage: Stage,
        /// Until when.
        until: Timestamp,
        /// Why.
        reason: Reason,
    },
    /// A subscriber was told what waited for it.
    SubscriberTold {
        /// Whose.
        subscription: SubscriptionId,
        /// What came of it.
        told: Told,
    },
    /// An item was given up.
    Buried {
        /// Whose.
        firm: FirmId,
        /// Document or assessment.
        subject: String,
        /// At which stage.
        stage: Stage,
        /// Why.
        reason: Reason,
    },
    /// A firm cannot be served for a while, alone.
    Resting {
        /// Which.
        firm: FirmId,
        /// Until when.
        until: Timestamp,
        /// Why.
        reason: Reason,
    },
}

/// Asks a running driver to stop: it starts nothing new, finishes what it has begun, and returns.
#[derive(Clone)]
pub struct StopSignal(watch::Receiver<bool>);

/// The other end of a [`StopSignal`].
pub struct Stopper(watch::Sender<bool>);

/// A stop signal and its other end. Dropping the other end stops too.
pub fn stop_signal() -> (Stopper, StopSignal) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), StopSignal(receiver))
}

impl Stopper {
    /// Asks to stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl StopSignal {
    fn is_stopping(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until a stop is asked for.
    pub async fn stopped(&self) {
        // An error means that the other end is gone, which stops too.
        _ = self.0.clone().wait_for(|stop| *stop).await;
    }
}

impl Engine {
    /// Runs until `stop`, then finishes what was begun and returns.
    pub async fn run(&self, stop: StopSignal) {
        let driver = self.driver(stop, Timestamp::NEVER);
        join!(
            driver.look_after_firms(),
            driver.poll(),
            driver.pipeline(Step::Download),
            driver.pipeline(Step::Infer),
            driver.pipeline(Step::WriteBack),
        );
    }

    /// A run that begins no poll after `horizon`.
    fn driver(&self, stop: StopSignal, horizon: Timestamp) -> Driver<'_> {
        Driver {
            engine: self,
            stop,
            horizon,
            poller: poller_id(),
            firms: Mutex::default(),
            lists: Mutex::default(),
            told_up_to: Mutex::default(),
            polled: Mutex::default(),
            figures: Mutex::default(),
            tokens: Tokens::default(),
            shares: Mutex::default(),
            shedding: Mutex::default(),
            waiting: Waiting::default(),
            notes: SweepNotes::default(),
            memory: None,
            next_cycle: Timestamp::NEVER,
            paused: AtomicBool::new(false),
            observations: Mutex::default(),
            observed: Notify::new(),
            wake: [Notify::new(), Notify::new(), Notify::new()],
            poll_places: Mutex::new(Bulkhead::new(self.workers.poll)),
            step_places: [self.workers.download, self.workers.infer, self.workers.write_back]
                .map(|places| Mutex::new(Bulkhead::new(places))),
        }
    }
}

/// A name for this run that no other has.
fn poller_id() -> PollerId {
    let mut random = [0_u8; 8];
    // Without randomness, two pollers of one name would be counted as one; nothing else depends on the name.
    _ = getrandom::fill(&mut random);
    PollerId(hex::encode(random))
}

/// One run of an [`Engine`].
struct Driver<'a> {
    engine: &'a Engine,
    stop: StopSignal,
    /// No poll begins after this, and a run that has nothing to poll before it is over: a sweep.
    horizon: Timestamp,
    poller: PollerId,
    /// The active firms: this process may work on what was found in any of them.
    firms: Mutex<BTreeMap<FirmId, Arc<Firm>>>,
    /// The watch lists that this process holds: it polls these firms.
    lists: Mutex<BTreeMap<FirmId, Lease<WatchList>>>,
    /// The firms that the policy was told to poll.
    polled: Mutex<BTreeSet<FirmId>>,
    /// How its policy stands.
    figures: Mutex<PolicyFigures>,
    tokens: Tokens,
    /// What reads and drafts of each firm may use of the quota.
    shares: Mutex<PipelineShares>,
    /// Whether calls are short, and who waits then.
    shedding: Mutex<Shedding>,
    /// Polls that wait for a grant to go on.
    waiting: Waiting,
    /// What a sweep knows, and looks that it records when it gives the watch lists back.
    notes: SweepNotes,
    /// Of a sweep.
    memory: Option<&'a SweepMemory>,
    /// When the next cycle begins, of a sweep.
    next_cycle: Timestamp,
    /// Whether the sweep found a pause until then the better bargain.
    paused: AtomicBool,
    /// What the policy is to be told by the other loops.
    observations: Mutex<Vec<Observation>>,
    observed: Notify,
    /// Wakes the loop of each pipeline step.
    wake: [Notify; 3],
    /// How far encounters had been read when the policy was last told of all that the store knows, or of what a poll showed since.
    told_up_to: Mutex<HashMap<FirmId, Option<Cursor>>>,
    /// How many polls each firm has under way.
    poll_places: Mutex<Bulkhead>,
    /// The same of each pipeline step.
    step_places: [Mutex<Bulkhead>; 3],
}

/// Whether a call of the policy may be made.
enum Admission {
    /// Now: it has its grant and its place.
    Granted(GrantInHand),
    /// Not before then: nor may others on the same quota.
    NotYet(Timestamp),
    /// Not before then, for reasons of its firm alone.
    FirmWaits(Timestamp),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Driver<'_> {
    fn now(&self) -> Timestamp {
        self.engine.clock.now()
    }

    /// Whether no poll is begun any more.
    fn is_ending(&self) -> bool {
        self.stop.is_stopping() || self.now() >= self.horizon
    }

    fn quota<'a>(&'a self, key: &'a QuotaKey) -> Quota<'a> {
        Quota {
            grants: &*self.engine.state,
            key,
            clock: &*self.engine.clock,
            in_hand: None,
        }
    }

    fn emit(&self, event: &Event) {
        (self.engine.observer)(event);
    }

    fn firm(&self, firm: &FirmId) -> Option<Arc<Firm>> {
        lock(&self.firms).get(firm).cloned()
    }

    fn tell_policy(&self, observation: Observation) {
        lock(&self.observations).push(observation);
        self.observed.notify_one();
    }

    fn state_trouble(&self, stage: Stage, error: &StateError) -> Timestamp {
        tracing::error!(event = "state.unavailable", %stage, error = %error, cause = ?std::error::Error::source(error));
        self.now() + STATE_PAUSE
    }

    // ---- polling -----------------------------------------------------------------------------------------------

    async fn poll(&self) {
        self.poll_by(self.engine.policy.build(self.engine.settings)).await;
    }

    async fn poll_by(&self, mut policy: Box<dyn PollPolicy>) {
        let mut running: FuturesUnordered<BoxFuture<'_, Vec<Observation>>> = FuturesUnordered::new();
        let mut remembered_at = self.now();
        let mut refused_until = Timestamp::ALWAYS;
        loop {
            self.pass_on(&mut *policy);
            let mut wait_until = Timestamp::NEVER;
            while !self.is_ending() && running.len() < self.engine.workers.poll {
                let call = match policy.next(self.now()) {
                    Decision::Poll(call) => call,
                    Decision::Wait(until) => {
                        wait_until = until.max(self.now() + GRANT_PAUSE);
                        break;
                    }
                };
                // The grant first: what is decided is done at once, and never on old knowledge.
                let admission = async {
                    if self.may_make(&call).await {
                        Some(self.admit(&call).await)
                    } else {
                        None
                    }
                };
                let mut ended = Vec::new();
                match meanwhile(&mut running, |observations| ended.push(observations), admission).await {
                    Some(Admission::Granted(grant)) => running.push(self.make(call, grant).boxed()),
                    Some(Admission::NotYet(until)) => {
                        let now = self.now();
                        refused_until = until.max(now + GRANT_PAUSE);
                        policy.observe(Observation::NotGranted(call, refused_until), now);
                    }
                    Some(Admission::FirmWaits(until)) => {
                        // The quota has calls for the others.
                        let (now, firm) = (self.now(), call.firm().clone());
                        policy.observe(Observation::NotGranted(call, now), now);
                        policy.observe(Observation::Resting { firm, until }, now);
                    }
                    None => {
                        // Nothing is waited for: the policy was told that somebody else polls the firm.
                        policy.observe(Observation::NotGranted(call, self.now()), self.now());
                        self.pass_on(&mut *policy);
                    }
                }
                self.observe(&mut *policy, ended.into_iter().flatten());
            }
            let ends = running.is_empty() && (self.is_ending() || self.is_swept(&*policy, wait_until, refused_until));
            if ends || self.now() >= remembered_at + REMEMBER_EVERY {
                remembered_at = self.now();
                let mut ended = Vec::new();
                let kept = self.remember(&mut *policy);
                meanwhile(&mut running, |observations| ended.push(observations), kept).await;
                self.observe(&mut *policy, ended.into_iter().flatten());
            }
            *lock(&self.figures) = policy.figures();
            if ends {
                self.give_lists_back().await;
                // A sweep never said that it was there.
                if self.horizon == Timestamp::NEVER {
                    self.leave_the_pollers().await;
                }
                return;
            }
            tokio::select! {
                biased;
                Some(observations) = running.next() => self.observe(&mut *policy, observations),
                () = self.observed.notified() => {}
                () = self.stop.stopped(), if !self.stop.is_stopping() => {}
                () = self.engine.clock.sleep_until(wait_until.min(remembered_at + REMEMBER_EVERY).min(self.horizon)),
                    if !self.is_ending() => {}
            }
        }
    }

    /// Whether the call's firm is this run's to poll. A sweep leases the watch list of a firm when it has a call for it.
    async fn may_make(&self, call: &PollCall) -> bool {
        let needs_the_list = !matches!(call, PollCall::Encounters { .. });
        self.memory.is_none() || !needs_the_list || self.hold(call.firm()).await
    }

    /// Whether a sweep is over whose policy has nothing to do before `wait_until`: when that is for longer than it lasts, or when a pause
    /// until the next cycle is the better bargain. Never while a call waits for its grant, which was refused until `refused_until`: what has
    /// to be looked at is.
    fn is_swept(&self, policy: &dyn PollPolicy, wait_until: Timestamp, refused_until: Timestamp) -> bool {
        if self.horizon == Timestamp::NEVER || wait_until <= self.now() {
            return false;
        }
        let pause = self.next_cycle.since(self.now());
        let price = self.engine.settings.least_price;
        let pauses = refused_until <= self.now() && is_better_paused(policy, pause, price);
        if pauses {
            self.paused.store(true, Ordering::Relaxed);
        }
        pauses || wait_until >= self.horizon
    }

    /// Keeps what the policy has learned.
    async fn remember(&self, policy: &mut dyn PollPolicy) {
        let mut gained = policy.gained();
        lock(&self.shares).gained(&mut gained);
        if gained.is_empty() {
            return;
        }
        // What cannot be kept now is lost to later runs, not to this one.
        let (state, now) = (&self.engine.state, self.now());
        let kept = match self.memory {
            Some(memory) => memory.remember(&**state, &gained, now).await,
            None => state.add_learned(&gained, now).await,
        };
        if let Err(error) = kept {
            _ = self.state_trouble(Stage::PollDocuments, &error);
        }
    }

    /// Takes a place and a grant for a call of the policy. [`Self::make`] gives the place back.
    async fn admit(&self, call: &PollCall) -> Admission {
        let now = self.now();
        let Some(firm) = self.firm(call.firm()) else {
            return Admission::NotYet(now + HOUSEKEEPING_EVERY);
        };
        if let Some(until) = self.engine.ehr.rests_until(&firm, call.kind(), now) {
            return Admission::FirmWaits(until);
        }
        let key = self.engine.quotas.of(&firm);
        if let Some(until) = self.waiting.until(&key, call.kind()) {
            return Admission::NotYet(until);
        }
        let firms = lock(&self.polled).len();
        if !lock(&self.poll_places).enter(&firm.id, firms, self.tokens.is_ill(&firm.id, now)) {
            return Admission::FirmWaits(now + PLACE_PAUSE);
        }
        let until = match self.engine.state.take(&key, call.kind(), now).await {
            Ok(Grant::Granted) => return Admission::Granted(GrantInHand::asked_at(now)),
            Ok(Grant::Wait(until)) => until,
            Err(error) => self.state_trouble(Stage::PollDocuments, &error),
        };
        lock(&self.poll_places).leave(&firm.id, None);
        Admission::NotYet(until)
    }

    fn pass_on(&self, policy: &mut dyn PollPolicy) {
        let observations = std::mem::take(&mut *lock(&self.observations));
        self.observe(policy, observations);
    }

    fn observe(&self, policy: &mut dyn PollPolicy, observations: impl IntoIterator<Item = Observation>) {
        let now = self.now();
        for observation in observations {
            policy.observe(observation, now);
        }
    }

    /// Makes a call of the policy and says what it showed.
    async fn make(&self, call: PollCall, grant: GrantInHand) -> Vec<Observation> {
        let Some(firm) = self.firm(call.firm()) else {
            lock(&self.poll_places).leave(call.firm(), None);
            return vec![Observation::Ended(call)];
        };
        let mut observations = Vec::new();
        let outcome = self.attempt(&firm, &call, &grant, &mut observations).await;
        let went_well = match &outcome {
            Ok(()) => Some(true),
            Err(StageError::State(_)) => None,
            Err(_) => Some(false),
        };
        lock(&self.poll_places).leave(&firm.id, went_well);
        match outcome {
            Ok(()) => {}
            Err(error) if error.class() == Class::LeaseLost => {}
            Err(StageError::NoToken(NoToken { until, .. })) => observations.push(Observation::Resting {
                firm: firm.id.clone(),
                until,
            }),
            Err(error) => {
                let until = self.rest(&firm.id, &error);
                observations.push(Observation::Resting {
                    firm: firm.id.clone(),
                    until,
                });
            }
        }
        observations.push(Observation::Ended(call));
        observations
    }

    async fn attempt(
        &self,
        firm: &Firm,
        call: &PollCall,
        grant: &GrantInHand,
        observations: &mut Vec<Observation>,
    ) -> Result<(), StageError> {
        let key = self.engine.quotas.of(firm);
        let is_served = || self.firm(&firm.id).is_some();
        let grants = self.waiting.grants(&*self.engine.state, &key, &is_served);
        let quota = Quota {
            grants: &grants,
            in_hand: Some(grant),
            ..self.quota(&key)
        };
        let (chart, state) = (&*self.engine.ehr, &*self.engine.state);
        let held = || lock(&self.lists).get(&firm.id).map(Lease::for_a_step);
        let documents = PollDocuments {
            tokens: self,
            chart,
            watch: state,
            lists: state,
            quota,
            notes: self.memory.map(|_| &self.notes),
            windows: self.engine.windows,
        };
        match call {
            PollCall::Encounters { .. } => {
                let stage = PollEncounters {
                    tokens: self,
                    chart,
                    watch: state,
                    quota,
                };
                let polled = stage.run(firm).await?;
                if polled.unreadable > 0 {
                    let unreadable = polled.unreadable;
                    tracing::warn!(event = "encounters.unreadable", firm = %firm.id, unreadable);
                }
                observations.extend(self.what_others_recorded(firm, polled.from, polled.next).await?);
                if let Some(answer) = polled.answer {
                    observations.push(Observation::EncountersSeen {
                        firm: firm.id.clone(),
                        encounters: polled.encounters,
                        answer,
                    });
                }
            }
            PollCall::Documents { encounters, hold, .. } => {
                let mut polled = DocumentsPolled::default();
                let outcome = match hold {
                    Hold::Batch(lease_for) => {
                        documents
                            .lease_and_look(firm, encounters, *lease_for, &mut polled)
                            .await
                    }
                    Hold::WatchList => documents.look(firm, &held, encounters, &mut polled).await,
                };
                for (looks, answer) in std::mem::take(&mut polled.answers) {
                    observations.push(Observation::DocumentsSeen {
                        firm: firm.id.clone(),
                        looks,
                        answer,
                    });
                }
                // What was found before an error counts all the same.
                self.tell_documents(firm, polled);
                outcome?;
            }
            PollCall::ChangedDocuments { .. } => {
                let mut polled = DocumentsPolled::default();
                let outcome = documents.look_at_changes(firm, &held, &mut polled).await;
                for (looks, answer) in std::mem::take(&mut polled.answers) {
                    observations.push(Observation::AllDocumentsSeen {
                        firm: firm.id.clone(),
                        looks,
                        stray: polled.stray,
                        answer,
                    });
                }
                self.tell_documents(firm, polled);
                outcome?;
            }
        }
        self.tokens.well(&firm.id);
        Ok(())
    }

    fn tell_documents(&self, firm: &Firm, polled: DocumentsPolled) {
        for (encounter, document) in polled.new {
            self.emit(&Event::Detected {
                firm: firm.id.clone(),
                encounter,
                document,
            });
            self.wake[Step::Download as usize].notify_one();
        }
        for draft in polled.retracted {
            let (document, code) = (&draft.document, &draft.reference_code);
            tracing::error!(event = "draft.photo-retracted", firm = %firm.id, %document, %code);
            self.emit(&Event::Retracted(draft));
        }
    }

    /// Lets a firm rest after a failed poll, longer each time.
    fn rest(&self, firm: &FirmId, error: &StageError) -> Timestamp {
        let failures = self.tokens.ill(firm);
        let wait = retry::backoff(failures).min(Duration::from_secs(60));
        let told = if let Class::Transient(Some(told)) = error.class() {
            told
        } else {
            Duration::ZERO
        };
        let until = self.now() + wait.max(told);
        self.tokens.rests(firm, until);
        let reason = error.reason();
        self.tokens.troubled(firm, &reason, self.now());
        let (code, hint) = (reason.code(), reason.hint());
        tracing::warn!(event = "firm.resting", %firm, reason = code, hint, error = %error, %until);
        self.emit(&Event::Resting {
            firm: firm.clone(),
            until,
            reason,
        });
        until
    }
}
