//! An EHR that hangs, trickles, answers rubbish or is down: what it does to its own firm, and that it does nothing to the others.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use skin_assist::driver::Event;
use skin_assist_core::{
    domain::DocumentStep,
    time::{Clock as _, VirtualClock},
};
use skin_assist_simulator::{EncounterSpec, PhotoContent, PhotoSpec};
use skin_assist_transport::{Transport, TransportError};

use crate::support::{MORNING, Setting, World};

const MINUTE: Duration = Duration::from_secs(60);

/// What a hostile host does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hostility {
    /// Nothing, until the client gives up after its minute.
    Hangs,
    /// Half an answer just before the client's patience ends.
    BreaksLate,
    /// More than is read.
    TooMuch,
    /// Something that is no answer.
    Rubbish,
}

/// Answers all requests that name one firm in this way, and hands on the others.
struct Hostile {
    inner: Arc<dyn Transport>,
    clock: VirtualClock,
    firm: String,
    does: Hostility,
}

impl Hostile {
    async fn wait(&self, seconds: u64) {
        self.clock
            .sleep_until(self.clock.now() + Duration::from_secs(seconds))
            .await;
    }
}

#[async_trait]
impl Transport for Hostile {
    async fn send(&self, request: Request<Bytes>, limit_bytes: usize) -> Result<Response<Bytes>, TransportError> {
        if !request.uri().path().contains(&self.firm) {
            return self.inner.send(request, limit_bytes).await;
        }
        let status = http::StatusCode::OK;
        match self.does {
            Hostility::Hangs => {
                self.wait(60).await;
                let what = "it took too long";
                Err(TransportError::Unknown { what, status: None })
            }
            Hostility::BreaksLate => {
                self.wait(27).await;
                let what = "the connection broke";
                Err(TransportError::Unknown {
                    what,
                    status: Some(status),
                })
            }
            Hostility::TooMuch => {
                self.wait(10).await;
                Err(TransportError::TooLarge { status })
            }
            Hostility::Rubbish => Ok(Response::new(Bytes::from_static(
                b"{\"resourceType\":\"Bundle\",\"entry\":[{",
            ))),
        }
    }
}

/// How long each expected photo of the other firms waited for its draft, in seconds, by firm and document.
fn waits(world: &World, but: &str) -> BTreeMap<(String, String), u64> {
    let report = world.assert_delivered_once_but(but);
    let others = report.expected().filter(|photo| photo.firm != but);
    others
        .map(|photo| {
            let wait = photo.drafts[0].posted_at.since(photo.attached_at);
            ((photo.firm.clone(), photo.document.clone()), wait.as_secs())
        })
        .collect()
}

#[test]
fn one_firms_hostile_ehr_does_not_delay_the_others() {
    let clinic = |does: Option<Hostility>| {
        // Places are scarce, calls are not: what is shown is who gets the places.
        let setting = Setting {
            quota: (1_000, MINUTE),
            ..Setting::modmed()
        };
        let mut world = World::with(21, 5, setting);
        let firm = world.ehr.firms()[0].clone();
        if let Some(does) = does {
            let firm = firm.clone();
            world.network = Box::new(move |inner, clock| {
                let (clock, firm) = (clock.clone(), firm.clone());
                Arc::new(Hostile {
                    inner,
                    clock,
                    firm,
                    does,
                })
            });
        }
        world.run_for(70 * MINUTE);
        waits(&world, &firm)
    };
    let undisturbed = clinic(None);
    assert!(undisturbed.len() >= 20, "only {} photos", undisturbed.len());
    for does in [
        Hostility::Hangs,
        Hostility::BreaksLate,
        Hostility::TooMuch,
        Hostility::Rubbish,
    ] {
        let disturbed = clinic(Some(does));
        assert_eq!(
            disturbed.keys().collect::<Vec<_>>(),
            undisturbed.keys().collect::<Vec<_>>()
        );
        let sum = |waits: &BTreeMap<_, u64>| waits.values().sum::<u64>();
        let longest = |waits: &BTreeMap<_, u64>| waits.values().max().copied().unwrap_or_default();
        let (mean_before, mean) = (sum(&undisturbed) / 20, sum(&disturbed) / 20);
        assert!(
            sum(&disturbed) <= sum(&undisturbed) + 3 * disturbed.len() as u64
                && longest(&disturbed) <= longest(&undisturbed) + 15,
            "{does:?}: {mean} instead of {mean_before}, at the most {} instead of {}",
            longest(&disturbed),
            longest(&undisturbed)
        );
    }
}

/// A network that goes away with the first look at a document, and comes back when it is told to. Counts what was sent in vain.
struct Outage {
    inner: Arc<dyn Transport>,
    began: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    in_vain: Arc<AtomicUsize>,
}

#[async_trait]
impl Transport for Outage {
    async fn send(&self, request: Request<Bytes>, limit_bytes: usize) -> Result<Response<Bytes>, TransportError> {
        let reads_document = request.uri().path().contains("/DocumentReference/");
        if reads_document {
            self.began.store(true, Ordering::SeqCst);
        }
        if self.began.load(Ordering::SeqCst) && !self.over.load(Ordering::SeqCst) {
            self.in_vain.fetch_add(1, Ordering::SeqCst);
            let what = "the connection was refused";
            return Err(TransportError::NotSent { what });
        }
        self.inner.send(request, limit_bytes).await
    }
}

#[test]
fn a_host_that_is_down_is_asked_each_minute_and_costs_no_attempts() {
    const FIRMS: usize = 6;
    let mut world = World::empty(22);
    let [began, over] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let in_vain = Arc::new(AtomicUsize::new(0));
    let (b, o, i) = (Arc::clone(&began), Arc::clone(&over), Arc::clone(&in_vain));
    world.network = Box::new(move |inner, _| {
        let (began, over, in_vain) = (Arc::clone(&b), Arc::clone(&o), Arc::clone(&i));
        Arc::new(Outage {
            inner,
            began,
            over,
            in_vain,
        })
    });
    for number in 0..FIRMS {
        let firm = format!("clinic{number}");
        world.open_firm(&firm);
        let visit = world
            .ehr
            .open_encounter(world.clock_now(), &firm, EncounterSpec::default());
        let photo = PhotoSpec::synthetic("PHOTO-LESION", number as u64, None);
        let filed = world.ehr.attach_photo(world.clock_now(), &firm, &visit.unwrap(), photo);
        filed.unwrap();
    }
    world.run_for(120 * MINUTE);
    assert!(began.load(Ordering::SeqCst), "no photo was found before the outage");
    let calls = in_vain.load(Ordering::SeqCst);
    // Each minute one to the EHR and one for a token, and those until it was known to be down. Without a circuit each firm and
    // photo asks for itself.
    assert!((110..280).contains(&calls), "{calls} calls in two hours of outage");
    // 10 minutes later everything is due.
    let later = world.clock_now() + 10 * MINUTE;
    let due = world
        .state
        .acquire_documents(DocumentStep::Download, later, Duration::ZERO, 100);
    let due = world.clock.run(due).unwrap();
    assert!(!due.is_empty());
    for lease in &due {
        assert!(lease.attempt() <= 7, "{} of 200 attempts are spent", lease.attempt());
    }
    drop(due);
    over.store(true, Ordering::SeqCst);
    world.run_for(30 * MINUTE);
    let report = world.assert_delivered_once(0);
    assert_eq!(report.expected().count(), FIRMS);
}

/// A firm whose encounters never end: page after page of visits that nobody has seen, with ids as long as they may be.
struct EverNew {
    inner: Arc<dyn Transport>,
    firm: String,
    padding: String,
    deepest: Arc<AtomicUsize>,
}

#[async_trait]
impl Transport for EverNew {
    async fn send(&self, request: Request<Bytes>, limit_bytes: usize) -> Result<Response<Bytes>, TransportError> {
        let path = request.uri().path();
        if !(path.contains(&self.firm) && path.ends_with("/Encounter")) {
            return self.inner.send(request, limit_bytes).await;
        }
        let query = request.uri().query().unwrap_or_default();
        let page: usize = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("page="))
            .map_or(1, |page| page.parse().unwrap());
        self.deepest.fetch_max(page, Ordering::SeqCst);
        let entry = |number: usize| {
            format!(
                r#"{{"resource":{{"resourceType":"Encounter","id":"{page}-{number}-{}","status":"in-progress",
                "subject":{{"reference":"Patient/1"}}}}}}"#,
                self.padding
            )
        };
        let bundle = format!(
            r#"{{"resourceType":"Bundle","entry":[{}],"link":[{{"relation":"next","url":"?page={}"}}]}}"#,
            (0..4).map(entry).collect::<Vec<_>>().join(","),
            page + 1
        );
        Ok(Response::new(bundle.into()))
    }
}

#[test]
fn pages_without_an_end_fill_no_memory_and_the_others_get_their_drafts() {
    let setting = Setting {
        clinic: 5 * MINUTE,
        ..Setting::modmed()
    };
    let mut world = World::with(23, 3, setting);
    let firm = world.ehr.firms()[0].clone();
    let deepest = Arc::new(AtomicUsize::new(0));
    let (of, count) = (firm.clone(), Arc::clone(&deepest));
    world.network = Box::new(move |inner, _| {
        Arc::new(EverNew {
            inner,
            firm: of.clone(),
            padding: "x".repeat(1_000_000),
            deepest: Arc::clone(&count),
        })
    });
    world.run_for(10 * MINUTE);
    let report = world.assert_delivered_once_but(&firm);
    assert!(report.expected().any(|photo| photo.firm != firm));
    // 4 MB each: 64 MB are read, and then it is an error.
    let pages = deepest.load(Ordering::SeqCst);
    assert!((16..=18).contains(&pages), "{pages} pages in one poll");
    let resting = |event: &Event| match event {
        Event::Resting {
            firm: resting, reason, ..
        } => resting.as_str() == firm && reason.code() == "ehr.malformed",
        _ => false,
    };
    assert!(world.events.lock().unwrap().iter().any(resting));
}

#[test]
fn when_calls_are_short_for_long_todays_photos_go_first_and_the_old_ones_are_not_lost() {
    const OLD: u64 = 240;
    let setting = Setting {
        quota: (40, MINUTE),
        ..Setting::modmed()
    };
    let world = World::empty_with(24, setting);
    world.open_firm("old");
    let open = || {
        let spec = EncounterSpec::default();
        world.ehr.open_encounter(world.clock_now(), "old", spec).unwrap()
    };
    let file = |visit: &str, seed| {
        let photo = PhotoSpec {
            content: PhotoContent::Synthetic {
                seed,
                condition: None,
                width: 64,
                height: 48,
                orientation: 1,
            },
            ..PhotoSpec::synthetic("PHOTO-LESION", seed, None)
        };
        world.ehr.attach_photo(world.clock_now(), "old", visit, photo).unwrap()
    };
    let visit = open();
    let old: Vec<_> = (0..OLD).map(|seed| file(&visit, seed)).collect();
    // Nobody was there for two hours.
    world
        .clock
        .run(world.clock.sleep_until(world.clock_now() + 120 * MINUTE));
    world.run_for(6 * MINUTE);
    let mut waits = Vec::new();
    for seed in 0..3 {
        let live = file(&open(), OLD + seed);
        world.run_for(4 * MINUTE);
        let report = world.report();
        let photo = report.photos.iter().find(|photo| photo.document == live).unwrap();
        let drafted = photo
            .drafts
            .first()
            .unwrap_or_else(|| panic!("no draft after four minutes"));
        // Finding it is a matter of polls, which have what reads and drafts leave.
        waits.push(drafted.posted_at.since(photo.first_listed_at.unwrap()).as_secs());
    }
    let report = world.report();
    let open = report.photos.iter().filter(|photo| photo.drafts.is_empty()).count();
    assert!(open > 20, "the old ones are done: nothing was short");
    assert!(
        waits.iter().all(|wait| *wait <= 60),
        "{waits:?} seconds from finding to draft"
    );
    world.run_for(120 * MINUTE);
    let report = world.assert_delivered_once(0);
    assert_eq!(report.expected().count(), old.len() + 3);
}

/// A world whose engine has a clock of its own, which is right for now.
fn with_a_clock(seed: u64) -> (World, Arc<AtomicI64>) {
    let mut world = World::new(seed, 2);
    let by_ms = Arc::new(AtomicI64::new(0));
    world.wrong_by_ms = Some(Arc::clone(&by_ms));
    (world, by_ms)
}

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_clock_that_jumps_ahead_a_day_loses_and_doubles_nothing_that_was_found() {
    let (world, by_ms) = with_a_clock(25);
    let jump = || by_ms.store(24 * HOUR_MS, Ordering::SeqCst);
    world.run_with(90 * MINUTE, 20 * MINUTE, jump);
    let report = world.report();
    // Tokens, leases and watches have all ended at once. What is under way is taken up again; visits are watched again when they
    // change; the others are looked at as those past their watch are, once a day.
    let found: Vec<_> = report
        .expected()
        .filter(|photo| photo.first_listed_at.is_some())
        .collect();
    assert!(found.len() >= 5);
    for photo in found {
        assert_eq!(photo.drafts.len(), 1, "{} of {}", photo.document, photo.firm);
    }
    let not_found = report.expected().filter(|photo| photo.first_listed_at.is_none());
    for photo in not_found {
        assert!(
            photo.attached_at > MORNING + 15 * MINUTE,
            "{} of {}",
            photo.document,
            photo.firm
        );
    }
    assert_eq!(world.clock.run(world.state.dead_letters()).unwrap(), []);
    assert_eq!(report.duplicates(), 0);
}

#[test]
fn a_clock_that_was_set_back_an_hour_before_a_start_loses_and_doubles_nothing() {
    let (world, by_ms) = with_a_clock(26);
    let (mut turns, mut crashes) = (400, 0);
    // Killed in the midst of its work, so that leases are held, an hour ahead of the clock that follows.
    while world.clock_now() < MORNING + 10 * MINUTE && world.crash_after(turns, 20 * MINUTE) {
        (turns, crashes) = (turns + 100, crashes + 1);
    }
    assert!(crashes > 0);
    by_ms.store(-HOUR_MS, Ordering::SeqCst);
    world.run_for(60 * MINUTE);
    // Whatever was leased or waiting waits until the clock has caught up, at the most.
    world.run_for(80 * MINUTE);
    world.assert_delivered_once(2);
}
