//! A run: the practices, the processes on one store, and what goes wrong; until all is settled.

use std::{
    collections::{BTreeMap, HashSet},
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{
    channel::mpsc,
    future::{Either, join, join_all, select},
};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use skin_assist::driver::{Engine, Quotas, StopSignal, Workers, stop_signal};
use skin_assist_core::{
    domain::{CategoryCode, CategoryUse, Cursor, Firm, FirmId, FirmStatus, Mode, NewCredential, PhotoDigest},
    phi::{Phi, Secret},
    photos::MemoryPhotos,
    polling::PolicySettings,
    ports::{ChartReader as _, FirmAdministration as _, LanguageModel, Operations as _, Photos, StateStore},
    synthesis::{Composer, Knowledge},
    time::{Clock, Timestamp, VirtualClock},
};
use skin_assist_ehr::{ClientAuthentication, DraftSearchRule, EhrClient, EhrConnection, HostPattern, Limits, Profile};
use skin_assist_simulator::{
    CallKind, Dialect, ExpectedRoute, FailNext, Options, PhotoContent, PhotoReport, PhotoSpec, PracticeEhr, PublicKey,
    ScriptAction,
};
use skin_assist_store::SqliteStore;
use skin_assist_testkit::{PracticeTransport, client_key_pair, scripted::ScriptedVision};
use url::Url;

use crate::{
    ehr::{ProcessEhr, ProcessPhotos, ProcessTokens, ProcessVision, Standing},
    judge,
    network::{Connections, Flight, Network},
    plan::{CLINIC, EhrKind, FEWEST_FAULTS, Fault, Mutation, Plan, RECOVERY, asks_for_a_draft},
    process::{End, Process, Shared, SkewedClock, lock},
    state::ProcessStore,
    truth::Truth,
};

/// 2026-03-02, 14:00 UTC: a Monday morning in the practices.
const MORNING: Timestamp = Timestamp::from_millis(1_772_460_000_000);

/// How long a photo is at the models.
const LOOK: Duration = Duration::from_millis(300);

/// How long it is there when they hang: longer than the lease.
const HUNG_LOOK: Duration = Duration::from_secs(90);

/// How far apart crashes are that make up for planned faults that did not happen.
const MAKE_UP_EVERY: Duration = Duration::from_secs(5);

/// How often is looked whether all is settled.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What did not hold: the invariant, and what happened.
    pub violations: Vec<(&'static str, String)>,
    /// How often each kind of fault happened.
    pub faults: BTreeMap<&'static str, u64>,
    /// How often each safeguard was needed.
    pub safeguards: BTreeMap<&'static str, u64>,
    /// Photos that asked for a draft.
    pub photos: u64,
    /// Of these: with one draft in the chart.
    pub delivered: u64,
    /// Of these: listed as uncertain.
    pub uncertain: u64,
    /// Of these: dead letters.
    pub buried: u64,
    /// Of these: retracted, and without a draft.
    pub retracted: u64,
    /// Looks of the models.
    pub looks: u64,
    /// Calls on the EHR.
    pub calls: u64,
    /// The most of them in any 60 seconds.
    pub most_calls: u64,
    /// Seconds of virtual time.
    pub seconds: u64,
}

/// Plays the run that follows from `seed`, without the safeguard that `mutation` names.
///
/// # Panics
/// When the practice EHR or the store cannot be made: nothing of a run depends on the machine.
pub fn simulate(seed: u64, mutation: Mutation) -> Outcome {
    let (world, flights) = World::new(seed, mutation);
    world.connect();
    world.play(flights)
}

/// Everything of a run.
struct World {
    seed: u64,
    plan: Plan,
    shared: Arc<Shared>,
    ehr: PracticeEhr,
    profile: Profile,
    state: Arc<SqliteStore>,
    vision: ScriptedVision,
    hanging: ScriptedVision,
    language: Arc<dyn LanguageModel>,
    bucket: Arc<dyn Photos>,
    /// Every life of a process so far.
    lives: Arc<Mutex<Vec<Arc<Process>>>>,
    departures: mpsc::UnboundedSender<Flight>,
}

/// Made once: a key takes longer than a firm's day.
fn client_key() -> &'static (Secret, PublicKey) {
    static KEY: OnceLock<(Secret, PublicKey)> = OnceLock::new();
    KEY.get_or_init(client_key_pair)
}

/// A user and the password, for the legacy grant.
const USER: [&str; 2] = ["integration", "a password"];

fn ehr_of(plan: &Plan) -> (Dialect, Profile) {
    let (dialect, name) = match plan.ehr {
        EhrKind::ModMed => (Dialect::modmed_ema(), "modmed-ema"),
        EhrKind::UsCore => (Dialect::uscore_r4(), "uscore-r4"),
        EhrKind::Searched | EhrKind::PostedAgain => (Dialect::fhir_r4(), "fhir-r4"),
    };
    let mut profile = Profile::shipped(name).expect("the profile is shipped");
    if plan.ehr == EhrKind::ModMed {
        return (dialect, profile);
    }
    // Several pages, so that they can shift.
    profile.encounters.page_size = plan.page_size;
    profile.documents.page_size = plan.page_size;
    if plan.ehr == EhrKind::PostedAgain {
        profile.draft.search = DraftSearchRule::Unsupported;
        profile.documents.changed = None;
    }
    let service_path = "/{firm}".to_owned();
    (
        Dialect {
            service_path,
            ..dialect
        },
        profile,
    )
}

impl World {
    fn new(seed: u64, mutation: Mutation) -> (Self, mpsc::UnboundedReceiver<Flight>) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut plan = Plan::of(seed, &mut random);
        let (dialect, profile) = ehr_of(&plan);
        let clock = VirtualClock::new(MORNING);
        let ehr = PracticeEhr::new(Options {
            seed,
            dialect,
            // The network may hold calls up, which the EHR then counts together: what may be called is counted as it is sent.
            quota_per_minute: plan.calls * 2,
            token_lifetime: plan.token_life,
            ..Options::default()
        });
        ehr.set_faults(|faults| {
            for kind in [
                CallKind::Encounter,
                CallKind::Document,
                CallKind::Read,
                CallKind::Draft,
                CallKind::Context,
                CallKind::Token,
                CallKind::Photo,
            ] {
                faults.delays.insert(kind, Duration::from_millis(200));
            }
        });
        ehr.set_quirks(|quirks| {
            quirks.visibility_delay = plan.shows_late;
            quirks.visibility_is_uneven = plan.shows_unevenly;
            quirks.newest_first = plan.newest_first;
            quirks.draft_visibility_delay = plan.shows_late;
        });
        for firm in &mut plan.script.firms {
            firm.public_key = Some(client_key().1.clone());
            firm.user = Some(USER.map(str::to_owned).into());
        }
        let shared = Arc::new(Shared {
            clock: clock.clone(),
            random: Mutex::new(random),
            weather: Mutex::default(),
            truth: Mutex::default(),
            mutation,
        });
        let timer: Arc<dyn Clock> = Arc::new(clock.clone());
        let vision = ScriptedVision::new(Arc::clone(&timer), LOOK);
        let knowledge = Knowledge::shipped().expect("the knowledge file is shipped");
        let (departures, flights) = mpsc::unbounded();
        let world = Self {
            seed,
            shared,
            ehr,
            profile,
            state: Arc::new(SqliteStore::open_in_memory().expect("SQLite has memory")),
            hanging: vision.clone().taking(HUNG_LOOK),
            vision,
            language: Arc::new(Composer::new(knowledge)),
            bucket: Arc::new(MemoryPhotos::new(100_000_000, timer)),
            lives: Arc::default(),
            departures,
            plan,
        };
        (world, flights)
    }

    fn connect(&self) {
        let mut truth = self.shared.truth();
        for event in &self.plan.script.events {
            if let ScriptAction::AttachPhoto { photo, .. } = &event.action
                && let (Some(id), PhotoContent::Bytes(bytes)) = (&photo.id, &photo.content)
            {
                let digest = PhotoDigest::of(&Phi::new(bytes.clone()));
                truth.photos.insert((event.firm.clone(), id.clone()), digest);
            }
        }
        drop(truth);
        self.ehr
            .play(&self.plan.script, MORNING, 1.0)
            .expect("the script fits the practices");
        for prefix in self.ehr.firms() {
            self.connect_firm(&prefix);
        }
    }

    fn connect_firm(&self, prefix: &str) {
        let credentials = self.ehr.credentials(prefix).expect("the firm was added");
        let categories = credentials.categories.iter().filter_map(|category| {
            let used = match category.route {
                ExpectedRoute::Solitary => CategoryUse::Solitary,
                ExpectedRoute::Widespread => CategoryUse::Widespread,
                ExpectedRoute::Ignored => return None,
            };
            Some((CategoryCode::new(&category.code), used))
        });
        let firm = Firm {
            id: FirmId::new(prefix),
            url_prefix: prefix.to_owned(),
            status: FirmStatus::Active,
            mode: Mode::Draft,
            intended_use: None,
            categories: categories.collect(),
            api_key: None,
            connected_at: MORNING,
            photos_since: MORNING,
        };
        let credential = match self.profile.token.client_authentication {
            ClientAuthentication::PrivateKeyJwt => NewCredential {
                key_id: Some("test".to_owned()),
                ..NewCredential::secret(&credentials.client_id, client_key().0.clone())
            },
            ClientAuthentication::None => NewCredential::secret(USER[0], Secret::new(USER[1].to_owned())),
            _ => NewCredential::secret(&credentials.client_id, Secret::new(credentials.client_secret)),
        };
        let added = self.shared.clock.run(self.state.add_firm(&firm, &credential));
        added.expect("the state is empty");
    }

    /// A process as a fresh start would wire it, with an empty memory.
    fn engine(&self, process: &Arc<Process>) -> Engine {
        let endpoints = self.ehr.endpoints();
        let parsed = |url: &str| Url::parse(url).expect("the practice EHR has URLs");
        let first = self.ehr.credentials(&self.ehr.firms()[0]).expect("there are firms");
        let token = &self.profile.token;
        let connection = EhrConnection {
            profile: self.profile.clone(),
            base_url: parsed(&endpoints.api),
            token_url: (!token.discovery && token.url.is_none()).then(|| parsed(&first.token_url)),
            further_api_keys: BTreeMap::new(),
            api_key: Secret::new(first.api_key),
            photo_hosts: vec![
                HostPattern::parse(parsed(&endpoints.photos).host_str().unwrap_or_default())
                    .expect("the practice EHR has a photo host"),
            ],
            allow_loopback_http: false,
            limits: Limits::default(),
        };
        let clock: Arc<dyn Clock> = Arc::new(process.clock.clone());
        let transport = Arc::new(Connections {
            process: Arc::clone(process),
            departures: self.departures.clone(),
        });
        let client = EhrClient::new(connection, Arc::clone(&transport) as _, transport);
        let client = client
            .expect("the connection is allowed")
            .with_circuits(Arc::clone(&clock));
        let client = Arc::new(client);
        let lives = Arc::clone(&self.lives);
        let standing: Standing = Arc::new(move |number, freezes| {
            let lives = lock(&lives);
            lives
                .iter()
                .any(|life| life.number == number && life.is_well_since(freezes))
        });
        let photos: Arc<dyn Photos> = if self.plan.has_bucket {
            Arc::clone(&self.bucket)
        } else {
            Arc::new(MemoryPhotos::new(100_000_000, Arc::clone(&clock)))
        };
        Engine {
            settings: PolicySettings {
                searches: client.document_searches(),
                ..PolicySettings::one_by_one()
            },
            photos: Arc::new(ProcessPhotos {
                inner: photos,
                mutation: self.shared.mutation,
            }),
            clock,
            state: Arc::new(ProcessStore {
                inner: Arc::clone(&self.state) as Arc<dyn StateStore>,
                process: Arc::clone(process),
                vision: self.vision.clone(),
            }),
            token_endpoint: Arc::new(ProcessTokens {
                inner: Arc::clone(&client),
                process: Arc::clone(process),
                standing: Arc::clone(&standing),
            }),
            ehr: Arc::new(ProcessEhr {
                inner: client,
                process: Arc::clone(process),
            }),
            vision: Arc::new(ProcessVision {
                inner: self.vision.clone(),
                hanging: self.hanging.clone(),
                process: Arc::clone(process),
                standing,
            }),
            language: Arc::clone(&self.language),
            quotas: Quotas {
                name: "practice".to_owned(),
                calls: self.plan.calls,
                window: Duration::from_secs(60),
                each_firm: false,
            },
            policy: self.plan.policy,
            windows: self.plan.windows,
            workers: Workers {
                poll: 3,
                download: 2,
                infer: 2,
                write_back: 2,
            },
            observer: {
                let process = Arc::clone(process);
                Arc::new(move |event| {
                    let at = process.shared.now();
                    tracing::debug!(%at, life = process.number, ?event);
                })
            },
        }
    }

    /// One of the processes: started again after each crash, as a supervisor would.
    async fn process(&self, place: usize, stop: StopSignal, is_over: &(dyn Fn() -> bool + Sync)) {
        while !is_over() {
            let process = {
                let mut lives = lock(&self.lives);
                let number = lives.len() as u64;
                let clock = SkewedClock::new(
                    self.shared.clock.clone(),
                    self.plan.skews[place],
                    MORNING + CLINIC,
                    number,
                );
                let process = Arc::new(Process::new(number, place, clock, Arc::clone(&self.shared)));
                lives.push(Arc::clone(&process));
                process
            };
            let engine = self.engine(&process);
            if process.live(engine.run(stop.clone())).await == End::Stopped {
                return;
            }
            let down = self.shared.up_to(Duration::from_secs(40));
            self.shared.clock.sleep_until(self.shared.now() + down).await;
        }
    }

    /// The present life of a process.
    fn life(&self, place: usize) -> Option<Arc<Process>> {
        let lives = lock(&self.lives);
        lives.iter().rev().find(|life| life.place == place).cloned()
    }

    /// Everything that goes wrong, at its time.
    async fn faults(&self) {
        let faults = self.plan.faults.iter().map(|(at, fault)| async move {
            self.shared.clock.sleep_until(MORNING + *at).await;
            if self.happens(fault).await {
                self.shared.truth().happened += 1;
            }
        });
        // As futures of one list: some of them last.
        let mut running: futures::stream::FuturesUnordered<_> = faults.collect();
        while futures::StreamExt::next(&mut running).await.is_some() {}
        // For traps that nobody stepped into, and what came to a process that was gone already.
        for place in (0..self.plan.skews.len()).cycle() {
            if self.shared.truth().happened >= FEWEST_FAULTS {
                break;
            }
            self.shared.clock.sleep_until(self.shared.now() + MAKE_UP_EVERY).await;
            if self.happens(&Fault::Crash { process: place }).await {
                self.shared.truth().happened += 1;
            }
        }
    }

    /// Whether it did; what waits for a call counts when that comes.
    async fn happens(&self, fault: &Fault) -> bool {
        let shared = &self.shared;
        let now = shared.now();
        let fires = |kind: &'static str| shared.truth().fault(kind);
        match fault {
            Fault::Trap { process, at } => {
                if let Some(life) = self.life(*process) {
                    life.set_trap(*at);
                }
                return false;
            }
            Fault::Crash { process } => {
                let Some(life) = self.life(*process).filter(|life| !life.is_dead()) else {
                    return false;
                };
                fires("crash at a moment");
                life.crash();
            }
            Fault::Freeze { process, duration } => {
                let Some(life) = self.life(*process).filter(|life| !life.is_dead()) else {
                    return false;
                };
                life.freeze(*duration);
            }
            Fault::Lose(requests) => lock(&shared.weather).losses += requests,
            Fault::Double(requests) => lock(&shared.weather).duplicates += requests,
            Fault::Delay { most, duration } => lock(&shared.weather).delays = (now + *duration, *most),
            Fault::Storm { kind, status, calls } => {
                fires(if *status == http::StatusCode::TOO_MANY_REQUESTS {
                    "storm of 429"
                } else {
                    "storm of 5xx"
                });
                self.ehr.set_faults(|faults| {
                    faults.failures.push(FailNext {
                        kind: *kind,
                        status: *status,
                        remaining: *calls,
                    });
                });
            }
            Fault::Outage(duration) => {
                fires(if *duration > Cursor::OVERLAP {
                    "outage for longer than polls overlap"
                } else {
                    "outage"
                });
                let until = {
                    let mut weather = lock(&shared.weather);
                    weather.outage_until = weather.outage_until.max(now + *duration);
                    weather.outage_until
                };
                self.ehr.set_faults(|faults| faults.outage = true);
                shared.clock.sleep_until(until).await;
                let is_over = lock(&shared.weather).outage_until <= shared.now();
                self.ehr.set_faults(|faults| faults.outage = !is_over);
            }
            Fault::RevokeTokens { firm } => {
                fires("token revoked");
                self.ehr.revoke_tokens(&self.ehr.firms()[*firm]);
            }
            Fault::SlowDisk { most, duration } => lock(&shared.weather).disk_slow = (now + *duration, *most),
            Fault::FullDisk(duration) => lock(&shared.weather).disk_full_until = now + *duration,
            Fault::Pause { firm, duration } => return self.pause(*firm, *duration).await,
            Fault::Retract { firm, document } => {
                if self.ehr.retract_document(now, firm, document).is_err() {
                    return false;
                }
                fires("document entered in error");
            }
            Fault::Replace { firm, document } => {
                let id = format!("{document}-again");
                let report = self.ehr.report();
                let category = report
                    .photos
                    .iter()
                    .find(|photo| photo.firm == *firm && photo.document == *document)
                    .map(|photo| photo.category.clone());
                let bytes = Truth::bytes_of(firm, &id);
                let spec = PhotoSpec {
                    id: Some(id.clone()),
                    content: PhotoContent::Bytes(bytes.clone()),
                    ..PhotoSpec::synthetic(&category.unwrap_or_default(), 0, None)
                };
                if self.ehr.replace_photo(now, firm, document, spec).is_err() {
                    return false;
                }
                let digest = PhotoDigest::of(&Phi::new(bytes));
                shared.truth().photos.insert((firm.clone(), id), digest);
                fires("document superseded");
            }
            Fault::HangModels { process, duration } => lock(&shared.weather).models_hang = (now + *duration, *process),
        }
        true
    }

    async fn pause(&self, firm: usize, duration: Duration) -> bool {
        let prefix = self.ehr.firms()[firm].clone();
        let id = FirmId::new(&prefix);
        let now = self.shared.now();
        if self.shared.truth().paused.contains_key(&prefix) {
            return false;
        }
        let set = |status| self.state.set_firm_status(&id, status);
        set(FirmStatus::Paused).await.expect("the state is in memory");
        {
            let mut truth = self.shared.truth();
            truth.paused.insert(prefix.clone(), now);
            truth.fault("firm paused");
        }
        self.shared.clock.sleep_until(now + duration).await;
        self.shared.truth().paused.remove(&prefix);
        set(FirmStatus::Active).await.expect("the state is in memory");
        true
    }

    /// Plays it to its end.
    fn play(&self, flights: mpsc::UnboundedReceiver<Flight>) -> Outcome {
        let timer: Arc<dyn Clock> = Arc::new(self.shared.clock.clone());
        let network = Network {
            shared: Arc::clone(&self.shared),
            ehr: self.ehr.clone(),
            practice: PracticeTransport::new(self.ehr.clone(), timer),
            most_calls: self.most_calls(),
        };
        self.shared.clock.run(async {
            let (stopper, stop) = stop_signal();
            let is_over = AtomicBool::new(false);
            let over = || is_over.load(Ordering::Relaxed);
            let places = 0..self.plan.skews.len();
            let processes = join_all(places.map(|place| self.process(place, stop.clone(), &over)));
            let watch = async {
                let is_settled = self.settled().await;
                is_over.store(true, Ordering::Relaxed);
                stopper.stop();
                is_settled
            };
            let work = join(processes, watch);
            let is_settled = match select(pin!(work), pin!(network.run(flights))).await {
                Either::Left(((_, is_settled), _)) => is_settled,
                // It runs as long as somebody may send something.
                Either::Right(_) => false,
            };
            self.outcome(is_settled).await
        })
    }

    /// What may be called in a minute: the quota, and what a process may take early whose clock is ahead of the others'.
    fn most_calls(&self) -> usize {
        let (ahead, behind) = (self.plan.skews.iter().max(), self.plan.skews.iter().min());
        let apart = ahead.zip(behind).map_or(0, |(ahead, behind)| ahead - behind);
        self.plan.calls as usize + (f64::from(self.plan.calls) * apart as f64 / 60_000.0).ceil() as usize
    }

    async fn outcome(&self, is_settled: bool) -> Outcome {
        self.ehr.advance(self.shared.now());
        let report = self.ehr.report();
        let listing = judge::Listing::of(&report, &*self.state).await;
        let overview = self.state.overview(self.shared.now()).await.unwrap_or_default();
        let stands: Vec<_> = overview
            .iter()
            .map(|firm| {
                format!(
                    "{} ({:?}, {:?}): {} visits read up to {:?}, {} to download, {} to judge, {} to deliver",
                    firm.firm.id,
                    firm.firm.status,
                    firm.credential_refused,
                    firm.watched_encounters,
                    firm.cursor,
                    firm.waiting_download,
                    firm.waiting_inference,
                    firm.waiting_delivery
                )
            })
            .collect();
        // Clocks are right by now, and nobody stands still any longer.
        let journeys = judge::stands(&*self.state, self.shared.now() - LOOK_EVERY).await;
        let mut truth = self.shared.truth();
        if !is_settled {
            let (open, unnoticed) = (listing.open(&report).len(), listing.unnoticed(&report).len());
            truth.violated(
                "nothing starves",
                format!(
                    "{open} photos are open, {unnoticed} retractions unnoticed; {}",
                    stands.join("; ")
                ),
            );
        }
        let broken: HashSet<_> = self.plan.broken();
        judge::end(&report, &listing, &journeys, &broken, &mut truth);
        if self.plan.shows_late > Duration::ZERO {
            truth.fault("records show late");
            if self.plan.shows_unevenly {
                truth.fault("records show out of order");
            }
        }
        if self.plan.newest_first && self.plan.ehr != EhrKind::ModMed {
            truth.fault("pages shift while they are read");
        }
        if self.plan.skews.iter().any(|skew| *skew != 0) {
            truth.fault("clocks differ");
        }
        if self.plan.skews.len() > 2 {
            truth.fault("three processes");
        }
        let happened = truth.happened;
        if happened < FEWEST_FAULTS {
            truth.violated("a run has enough faults", format!("only {happened} happened"));
        }
        let asked = || report.expected().filter(|photo| asks_for_a_draft(photo.route));
        let count = |of: &dyn Fn(&PhotoReport) -> bool| asked().filter(|photo| of(photo)).count() as u64;
        Outcome {
            seed: self.seed,
            violations: std::mem::take(&mut truth.violations),
            faults: std::mem::take(&mut truth.faults),
            safeguards: std::mem::take(&mut truth.safeguards),
            photos: asked().count() as u64,
            delivered: count(&|photo| photo.drafts.len() == 1),
            uncertain: count(&|photo| listing.is_uncertain(photo)),
            buried: count(&|photo| listing.is_buried(photo)),
            retracted: count(&|photo| photo.is_withdrawn() && photo.drafts.is_empty()),
            looks: truth.looks(),
            calls: truth.calls,
            most_calls: truth.most_calls as u64,
            seconds: self.shared.now().since(MORNING).as_secs(),
        }
    }

    /// Lets everything go wrong, and then waits until all is settled, or for too long.
    async fn settled(&self) -> bool {
        self.faults().await;
        self.shared.clock.sleep_until(MORNING + CLINIC).await;
        let since = self.shared.now();
        loop {
            self.ehr.advance(self.shared.now());
            let overview = self.state.overview(self.shared.now()).await.unwrap_or_default();
            let waiting = overview
                .iter()
                .map(|firm| firm.waiting_download + firm.waiting_inference + firm.waiting_delivery);
            if waiting.sum::<u64>() == 0 && self.ehr.script_progress().is_over() {
                let report = self.ehr.report();
                let listing = judge::Listing::of(&report, &*self.state).await;
                if listing.open(&report).is_empty() && listing.unnoticed(&report).is_empty() {
                    return true;
                }
            }
            if self.shared.now().since(since) > RECOVERY {
                return false;
            }
            self.shared.clock.sleep_until(self.shared.now() + LOOK_EVERY).await;
        }
    }
}
