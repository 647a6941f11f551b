//! An EHR that is down for hours, and clocks that are wrong: nothing is lost, doubled, or given up for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use skin_assist_core::{
    domain::DocumentStep,
    time::{Clock as _, VirtualClock},
};
use skin_assist_simulator::{EncounterSpec, PhotoContent, PhotoSpec};
use skin_assist_transport::{Transport, TransportError};

use crate::support::{MORNING, Setting, World};

const MINUTE: Duration = Duration::from_secs(60);

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

/// One practice's requests are taken and not answered, for as long as the client waits.
struct Silent {
    inner: Arc<dyn Transport>,
    clock: VirtualClock,
    prefix: Arc<str>,
    hung: Arc<AtomicUsize>,
}

#[async_trait]
impl Transport for Silent {
    async fn send(&self, request: Request<Bytes>, limit_bytes: usize) -> Result<Response<Bytes>, TransportError> {
        if !request.uri().path().split('/').any(|part| part == &*self.prefix) {
            return self.inner.send(request, limit_bytes).await;
        }
        self.hung.fetch_add(1, Ordering::SeqCst);
        self.clock.sleep_until(self.clock.now() + Duration::from_secs(30)).await;
        let what = "no answer within 30 s";
        Err(TransportError::Unknown { what, status: None })
    }
}

/// A clinic of eight practices, of which one is silent or none; the seconds from each photo of the others to its draft, sorted.
fn delays(is_silent: bool) -> Vec<u64> {
    let setting = Setting {
        quota: (600, MINUTE),
        clinic: 20 * MINUTE,
        ..Setting::modmed()
    };
    let mut world = World::with(27, 8, setting);
    let silent = world.ehr.firms()[0].clone();
    let hung = Arc::new(AtomicUsize::new(0));
    if is_silent {
        let (prefix, counted) = (Arc::from(silent.as_str()), Arc::clone(&hung));
        world.network = Box::new(move |inner, clock| {
            Arc::new(Silent {
                inner,
                clock: clock.clone(),
                prefix: Arc::clone(&prefix),
                hung: Arc::clone(&counted),
            })
        });
    }
    world.run_for(30 * MINUTE);
    assert_eq!(hung.load(Ordering::SeqCst) > 10, is_silent);
    let report = world.report();
    let others = report.expected().filter(|photo| photo.firm != silent);
    let mut delays: Vec<u64> = others
        .map(|photo| {
            assert_eq!(photo.drafts.len(), 1, "{} of {}", photo.document, photo.firm);
            photo.drafts[0].posted_at.since(photo.attached_at).as_secs()
        })
        .collect();
    delays.sort_unstable();
    delays
}

#[test]
fn an_ehr_that_does_not_answer_for_one_practice_delays_no_other() {
    let (without, with) = (delays(false), delays(true));
    assert_eq!(without.len(), with.len());
    let of = |delays: &[u64], percent: usize| delays[(delays.len() - 1) * percent / 100];
    for percent in [50, 95] {
        let (without, with) = (of(&without, percent), of(&with, percent));
        assert!(with <= without + 5, "{percent} %: {with} s, and {without} s without it");
    }
}
