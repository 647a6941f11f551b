//! A world for tests: a practice EHR in process, a state store, scripted models, all under one virtual clock.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use futures::future::{Either, select};
use skin_assist::driver::{Engine, Event, Quotas, Workers, stop_signal};
use skin_assist_core::{
    domain::{CategoryCode, CategoryUse, Firm, FirmId, FirmStatus, GatheringWindows, Mode, NewCredential},
    phi::Secret,
    photos::MemoryPhotos,
    polling::{PolicyName, PolicySettings},
    ports::ChartReader as _,
    ports::ProposingStore,
    synthesis::{Composer, Knowledge},
    time::{Clock, Timestamp, VirtualClock},
};
use skin_assist_ehr::{ClientAuthentication, EhrClient, EhrConnection, HostPattern, Limits, Profile};
use skin_assist_simulator::{
    CallKind, ClinicScript, Credentials, Dialect, ExpectedRoute, FirmSpec, Options, PracticeEhr, PublicKey, Report,
    ScriptOptions,
};
use skin_assist_store::SqliteStore;
use skin_assist_testkit::{PracticeTransport, client_key_pair, scripted::ScriptedVision};
use skin_assist_transport::Transport;
use url::Url;

/// 2026-03-02, 14:00 UTC: a Monday morning in the practices.
pub(crate) const MORNING: Timestamp = Timestamp::from_millis(1_772_460_000_000);

/// An EHR and the profile that its client has.
pub(crate) struct Setting {
    pub(crate) dialect: Dialect,
    pub(crate) profile: Profile,
    /// What the EHR allows and the client keeps to: calls in any window of this length.
    pub(crate) quota: (u32, Duration),
    /// How long the clinic lasts.
    pub(crate) clinic: Duration,
}

/// A user and the password, for the legacy grant.
const USER: [&str; 2] = ["integration", "a password"];
const HOUR: Duration = Duration::from_secs(3600);
const QUOTA: (u32, Duration) = (120, Duration::from_secs(60));

impl Setting {
    /// A shipped profile and an EHR of its kind.
    pub(crate) fn of(profile: &str) -> Self {
        let dialect = match profile {
            "fhir-r4" => Dialect::fhir_r4(),
            "uscore-r4" => Dialect::uscore_r4(),
            _ => return Self::modmed(),
        };
        Self {
            dialect: Dialect {
                service_path: "/{firm}".to_owned(),
                ..dialect
            },
            profile: Profile::shipped(profile).unwrap(),
            quota: QUOTA,
            clinic: HOUR,
        }
    }

    pub(crate) fn modmed() -> Self {
        Self {
            dialect: Dialect::modmed_ema(),
            profile: Profile::shipped("modmed-ema").unwrap(),
            quota: QUOTA,
            clinic: HOUR,
        }
    }
}

pub(crate) struct World {
    pub(crate) profile: Profile,
    /// What the clients of profiles with `private_key_jwt` sign with.
    client_key: (Secret, PublicKey),
    pub(crate) clock: VirtualClock,
    pub(crate) ehr: PracticeEhr,
    pub(crate) state: Arc<dyn ProposingStore>,
    pub(crate) vision: ScriptedVision,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    pub(crate) policy: PolicyName,
    pub(crate) windows: GatheringWindows,
    pub(crate) calls: u32,
    pub(crate) quota_window: Duration,
    pub(crate) writers: usize,
    /// Photos that outlive an engine, as they do in a bucket; an engine of [`Self::engine`] has its own.
    pub(crate) bucket: Arc<MemoryPhotos>,
    /// What lies between the client and the EHR: nothing, at first.
    pub(crate) network: Network,
    /// By how much the engine's clock is ahead of the EHR's, where it has one of its own; it may be changed in a run.
    pub(crate) wrong_by_ms: Option<Arc<AtomicI64>>,
}

/// A clock that somebody sets.
struct WrongClock {
    right: VirtualClock,
    by_ms: Arc<AtomicI64>,
}

#[async_trait]
impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        let right = self.right.now().as_millis();
        Timestamp::from_millis(right + self.by_ms.load(Ordering::SeqCst))
    }

    async fn sleep_until(&self, instant: Timestamp) {
        // As the system's clock does: it is looked at again after a minute.
        while instant > self.now() {
            let left = instant.since(self.now()).min(Duration::from_secs(60));
            self.right.sleep_until(self.right.now() + left).await;
        }
    }
}

/// What is put in front of a transport.
pub(crate) type Network = Box<dyn Fn(Arc<dyn Transport>, &VirtualClock) -> Arc<dyn Transport>>;

fn in_memory() -> Arc<dyn ProposingStore> {
    Arc::new(SqliteStore::open_in_memory().unwrap())
}

impl World {
    /// Practices with a clinic of an hour, connected, in draft mode.
    pub(crate) fn new(seed: u64, firms: usize) -> Self {
        Self::with(seed, firms, Setting::modmed())
    }

    /// The same, at an EHR of this kind.
    pub(crate) fn with(seed: u64, firms: usize, setting: Setting) -> Self {
        Self::on(in_memory(), seed, firms, setting)
    }

    /// The same, on this state.
    pub(crate) fn on(state: Arc<dyn ProposingStore>, seed: u64, firms: usize, setting: Setting) -> Self {
        let script = ClinicScript::generate(
            seed,
            &ScriptOptions {
                firms,
                duration: setting.clinic,
                photo_width: 64,
                photo_height: 48,
                ..ScriptOptions::default()
            },
        );
        Self::playing(state, seed, setting, script)
    }

    /// The practices of a script, connected, in draft mode; it begins now.
    pub(crate) fn playing(
        state: Arc<dyn ProposingStore>,
        seed: u64,
        setting: Setting,
        mut script: ClinicScript,
    ) -> Self {
        let world = Self::empty_on(state, seed, setting);
        for firm in &mut script.firms {
            firm.public_key = Some(world.client_key.1.clone());
            firm.user = Some(USER.map(str::to_owned).into());
        }
        world.ehr.play(&script, MORNING, 1.0).unwrap();
        for firm in world.ehr.firms() {
            world.connect(&firm, Mode::Draft);
        }
        world
    }

    /// No practice yet.
    pub(crate) fn empty(seed: u64) -> Self {
        Self::empty_with(seed, Setting::modmed())
    }

    /// The same, at an EHR of this kind.
    pub(crate) fn empty_with(seed: u64, setting: Setting) -> Self {
        Self::empty_on(in_memory(), seed, setting)
    }

    pub(crate) fn empty_on(state: Arc<dyn ProposingStore>, seed: u64, setting: Setting) -> Self {
        let clock = VirtualClock::new(MORNING);
        let ehr = PracticeEhr::new(Options {
            seed,
            dialect: setting.dialect,
            quota_per_minute: setting.quota.0,
            ..Options::default()
        });
        ehr.set_faults(|faults| {
            for kind in [
                CallKind::Encounter,
                CallKind::Document,
                CallKind::Read,
                CallKind::Draft,
                CallKind::Context,
            ] {
                faults.delays.insert(kind, Duration::from_millis(200));
            }
        });
        Self {
            state,
            vision: ScriptedVision::new(Arc::new(clock.clone()), Duration::from_millis(300)),
            profile: setting.profile,
            client_key: client_key_pair(),
            bucket: Arc::new(MemoryPhotos::new(usize::MAX, Arc::new(clock.clone()))),
            clock,
            ehr,
            events: Arc::default(),
            policy: PolicyName::Adaptive,
            windows: GatheringWindows::default(),
            calls: setting.quota.0,
            quota_window: setting.quota.1,
            writers: 4,
            network: Box::new(|transport, _| transport),
            wrong_by_ms: None,
        }
    }

    /// Opens a practice and connects it, in draft mode.
    pub(crate) fn open_firm(&self, prefix: &str) {
        let spec = FirmSpec {
            public_key: Some(self.client_key.1.clone()),
            ..FirmSpec::new(prefix)
        };
        self.ehr.add_firm(spec).unwrap();
        self.connect(prefix, Mode::Draft);
    }

    pub(crate) fn connect(&self, prefix: &str, mode: Mode) -> Credentials {
        self.connect_since(prefix, mode, self.clock.now())
    }

    /// Connects a practice and takes photos that were filed since then.
    pub(crate) fn connect_since(&self, prefix: &str, mode: Mode, photos_since: Timestamp) -> Credentials {
        let credentials = self.ehr.credentials(prefix).unwrap();
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
            mode,
            intended_use: None,
            categories: categories.collect::<BTreeMap<_, _>>(),
            api_key: None,
            connected_at: self.clock.now(),
            photos_since,
        };
        let credential = match self.profile.token.client_authentication {
            ClientAuthentication::PrivateKeyJwt => NewCredential {
                key_id: Some("test".to_owned()),
                ..NewCredential::secret(&credentials.client_id, self.client_key.0.clone())
            },
            ClientAuthentication::None => NewCredential::secret(USER[0], Secret::new(USER[1].to_owned())),
            _ => NewCredential::secret(&credentials.client_id, Secret::new(credentials.client_secret.clone())),
        };
        self.clock.run(self.state.add_firm(&firm, &credential)).unwrap();
        credentials
    }

    /// An engine on this world, as a fresh process would wire it: with an empty memory.
    pub(crate) fn engine(&self) -> Engine {
        let endpoints = self.ehr.endpoints();
        let host = |url: &str| Url::parse(url).unwrap().host_str().unwrap().to_owned();
        let api_key = self
            .ehr
            .firms()
            .first()
            .map(|firm| self.ehr.credentials(firm).unwrap().api_key);
        let connection = EhrConnection {
            profile: self.profile.clone(),
            base_url: Url::parse(&endpoints.api).unwrap(),
            // Where the EHR says itself where its token endpoint is, it is asked.
            token_url: (!self.profile.token.discovery && self.profile.token.url.is_none())
                .then(|| Url::parse(&self.ehr.credentials(&self.ehr.firms()[0]).unwrap().token_url).unwrap()),
            further_api_keys: BTreeMap::new(),
            api_key: Secret::new(api_key.unwrap_or_default()),
            photo_hosts: vec![HostPattern::parse(&host(&endpoints.photos)).unwrap()],
            allow_loopback_http: false,
            limits: Limits::default(),
        };
        let transport = Arc::new(PracticeTransport::new(self.ehr.clone(), Arc::new(self.clock.clone())));
        let clock: Arc<dyn Clock> = match &self.wrong_by_ms {
            None => Arc::new(self.clock.clone()),
            Some(by_ms) => Arc::new(WrongClock {
                right: self.clock.clone(),
                by_ms: Arc::clone(by_ms),
            }),
        };
        let events = Arc::clone(&self.events);
        let api = (self.network)(Arc::clone(&transport) as _, &self.clock);
        let photos = (self.network)(transport as _, &self.clock);
        let client = EhrClient::new(connection, api, photos).unwrap();
        let ehr = Arc::new(client.with_circuits(Arc::clone(&clock)));
        Engine {
            settings: PolicySettings {
                searches: ehr.document_searches(),
                ..PolicySettings::one_by_one()
            },
            photos: Arc::new(MemoryPhotos::new(100_000_000, Arc::clone(&clock))),
            clock,
            state: self.state.clone(),
            token_endpoint: ehr.clone(),
            ehr,
            vision: Arc::new(self.vision.clone()),
            language: Arc::new(Composer::new(Knowledge::shipped().unwrap())),
            quotas: Quotas {
                name: "practice".to_owned(),
                calls: self.calls,
                window: self.quota_window,
                each_firm: false,
            },
            policy: self.policy,
            windows: self.windows,
            workers: Workers {
                poll: 8,
                download: 4,
                infer: 4,
                write_back: self.writers,
            },
            observer: Arc::new(move |event| events.lock().unwrap().push(event.clone())),
        }
    }

    /// Runs one engine for a while, then stops it as an operator would.
    pub(crate) fn run_for(&self, duration: Duration) {
        self.run_with(duration, Duration::ZERO, || {});
    }

    /// The same, and something happens after `wait`, in the midst of whatever the engine does then.
    pub(crate) fn run_with(&self, duration: Duration, wait: Duration, event: impl FnOnce()) {
        self.clock.run(async {
            let engine = self.engine();
            let (stopper, stop) = stop_signal();
            let until = self.clock.now() + duration;
            let stopping = async {
                self.clock.sleep_until(self.clock.now() + wait).await;
                event();
                self.clock.sleep_until(until).await;
                stopper.stop();
            };
            futures::join!(engine.run(stop), stopping);
        });
    }

    /// Runs one engine and drops it in the middle of whatever it does, after so many turns: a crash. Whether it
    /// crashed before `duration` was over.
    pub(crate) fn crash_after(&self, turns: usize, duration: Duration) -> bool {
        self.clock.run(async {
            let engine = self.engine();
            let (_stopper, stop) = stop_signal();
            let until = self.clock.now() + duration;
            let crash = after_turns(engine.run(stop), turns);
            matches!(
                select(pin!(crash), self.clock.sleep_until(until)).await,
                Either::Left(_)
            )
        })
    }

    pub(crate) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn report(&self) -> Report {
        self.ehr.advance(self.clock.now());
        self.ehr.report()
    }

    /// Each photo that asks for a draft has one, or is one of so many that are listed as uncertain; none has two, and
    /// nothing else has any.
    pub(crate) fn assert_delivered_once(&self, uncertain_at_most: usize) -> Report {
        let report = self.report();
        let uncertain = self.clock.run(self.state.uncertain()).unwrap();
        assert!(
            uncertain.len() <= uncertain_at_most,
            "{} drafts are uncertain",
            uncertain.len()
        );
        for photo in report.expected() {
            let listed = uncertain.iter().any(|result| {
                result.assessment.firm.as_str() == photo.firm
                    && result
                        .assessment
                        .documents
                        .iter()
                        .any(|document| document.as_str() == photo.document)
            });
            assert!(
                photo.drafts.len() <= 1,
                "{} of {} has {} drafts",
                photo.document,
                photo.firm,
                photo.drafts.len()
            );
            assert!(
                listed || photo.drafts.len() == 1,
                "{} of {} has no draft",
                photo.document,
                photo.firm
            );
        }
        assert!(report.unmatched_drafts.is_empty(), "a draft names no photo");
        let ignored = report
            .photos
            .iter()
            .filter(|photo| photo.route == ExpectedRoute::Ignored);
        assert_eq!(
            ignored
                .filter(|photo| photo.read_at.is_some() || !photo.drafts.is_empty())
                .count(),
            0
        );
        assert_eq!(self.clock.run(self.state.dead_letters()).unwrap(), []);
        report
    }
}

/// Polls `future` so many times and drops it.
pub(crate) async fn after_turns(future: impl Future<Output = ()>, turns: usize) {
    let mut future = pin!(future);
    let mut left = turns;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        future.as_mut().poll(context)
    })
    .await;
}
