//! All that changed in a practice with one search, through the whole engine. The EHR of these tests refuses to list one visit's
//! documents, so what is found was found by that search.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use skin_assist::driver::Event;
use skin_assist_core::{
    domain::{AccessToken, EncounterId, Firm, FirmId, Mode},
    lease::Lease,
    stages::{DocumentsPolled, NoToken, PollDocuments, Quota, TokenSource},
    time::{Clock as _, Timestamp},
};
use skin_assist_simulator::{CallKind, DocumentSpec, EncounterSpec, FirmSpec, LastUpdatedForm, PhotoSpec, Quirks};

use crate::support::{Setting, World};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// How long a clinic lasts, and how long one is run to be finished.
const SHORT: Duration = Duration::from_secs(12 * 60);
const CLINIC: Duration = Duration::from_secs(24 * 60);
const FIRM: &str = "derm";

fn whole() -> Setting {
    let mut setting = Setting::of("fhir-r4");
    let parameters = &mut setting.dialect.documents.search.parameters;
    parameters.retain(|parameter| !["patient", "encounter"].contains(parameter));
    setting.clinic = SHORT;
    setting.quota = (240, MINUTE);
    setting
}

/// A practice with one visit that is open and known.
fn one_visit() -> (World, String) {
    let world = World::empty_with(1, whole());
    world.open_firm(FIRM);
    let visit = open(&world);
    world.run_for(MINUTE);
    (world, visit)
}

fn open(world: &World) -> String {
    let visit = world
        .ehr
        .open_encounter(world.clock_now(), FIRM, EncounterSpec::default());
    visit.unwrap()
}

fn attach(world: &World, visit: &str, seed: u64) -> String {
    let photo = PhotoSpec::synthetic("PHOTO-LESION", seed, None);
    world.ehr.attach_photo(world.clock_now(), FIRM, visit, photo).unwrap()
}

/// The time passes, and no engine runs.
fn pass(world: &World, duration: Duration) {
    world.clock.run(world.clock.sleep_until(world.clock_now() + duration));
    world.ehr.advance(world.clock_now());
}

fn firm(world: &World) -> Firm {
    world.clock.run(world.state.firm(&FirmId::new(FIRM))).unwrap().unwrap()
}

/// How far documents have been read.
fn read_up_to(world: &World) -> Timestamp {
    world
        .clock
        .run(world.state.documents_cursor(&firm(world)))
        .unwrap()
        .unwrap()
        .0
}

/// How many drafts each of these documents has.
fn drafts(world: &World, documents: &[&String]) -> Vec<usize> {
    let report = world.report();
    documents
        .iter()
        .map(|document| {
            let photo = report.photos.iter().find(|photo| photo.document == **document);
            photo.unwrap().drafts.len()
        })
        .collect()
}

fn assert_never_rested(world: &World) {
    let events = world.events.lock().unwrap();
    let resting = events.iter().find(|event| matches!(event, Event::Resting { .. }));
    assert_eq!(resting, None, "a search was refused");
}

#[test]
fn every_photo_gets_exactly_one_draft() {
    for seed in 1..=2 {
        let world = World::with(seed, 2, whole());
        world.run_for(CLINIC);
        let report = world.assert_delivered_once(0);
        assert!(report.expected().count() >= 8, "too few photos prove nothing");
        assert_eq!(report.refused_429, 0);
        assert_never_rested(&world);
        for photo in report.expected() {
            let drafted = photo.drafts[0].posted_at.since(photo.attached_at);
            assert!(drafted < MINUTE, "{} had its draft after {drafted:?}", photo.document);
        }
    }
}

#[test]
fn small_pages_and_late_visibility_lose_nothing() {
    for last_updated in [LastUpdatedForm::Exact, LastUpdatedForm::Missing, LastUpdatedForm::Day] {
        let mut setting = whole();
        setting.profile.encounters.page_size = 3;
        setting.profile.documents.page_size = 2;
        let world = World::with(3, 2, setting);
        let ours = Quirks {
            visibility_delay: Duration::from_secs(120),
            last_updated,
            ..Quirks::default()
        };
        world.ehr.set_quirks(|quirks| *quirks = ours);
        world.run_for(CLINIC);
        world.assert_delivered_once(0);
        assert_never_rested(&world);
    }
}

#[test]
fn crashes_anywhere_lose_nothing_and_double_nothing() {
    let mut crashes = 0;
    for seed in 0..4 {
        let world = World::with(seed, 2, whole());
        let mut random = StdRng::seed_from_u64(seed);
        let mut left = 15;
        while left > 0 && world.crash_after(random.random_range(5..3000), CLINIC) {
            left -= 1;
            crashes += 1;
        }
        world.run_for(CLINIC);
        world.assert_delivered_once(0);
        assert_never_rested(&world);
    }
    assert!(crashes >= 50, "only {crashes} crashes");
}

/// The document is listed again and again, for as long as no encounter poll came to its end, while other photos are found and
/// the process crashes every minute.
#[test]
fn a_photo_whose_visit_is_seen_later_is_not_lost() {
    let (world, known) = one_visit();
    world
        .ehr
        .set_faults(|faults| _ = faults.delays.insert(CallKind::Encounter, 100 * HOUR));
    let early = attach(&world, &open(&world), 1);
    let filed = world.clock_now();
    let mut others = Vec::new();
    for seed in 2..12 {
        world.crash_after(usize::MAX, MINUTE);
        others.push(attach(&world, &known, seed));
    }
    world.crash_after(usize::MAX, MINUTE);
    assert_eq!(drafts(&world, &others.iter().collect::<Vec<_>>()), [1; 10]);
    assert_eq!(drafts(&world, &[&early]), [0], "nobody knows its visit");
    assert!(read_up_to(&world) <= filed, "the cursor passed it");

    world
        .ehr
        .set_faults(|faults| _ = faults.delays.insert(CallKind::Encounter, Duration::from_millis(200)));
    world.run_for(3 * MINUTE);
    world.assert_delivered_once(0);
    assert!(read_up_to(&world) > filed + 5 * MINUTE, "and then it goes on");
    assert_never_rested(&world);
}

struct Fixed(AccessToken);

#[async_trait]
impl TokenSource for Fixed {
    async fn token(&self, _: &Firm, _: Option<&AccessToken>) -> Result<AccessToken, NoToken> {
        Ok(self.0.clone())
    }
}

/// Runs the stage by itself, once: no policy says when, and encounters are not polled.
fn look_at_changes(world: &World) -> DocumentsPolled {
    let (engine, firm) = (world.engine(), firm(world));
    let (clock, state, key) = (&world.clock, &*world.state, engine.quotas.of(&firm));
    clock.run(async {
        let credential = state.credential(&firm.id).await.unwrap().unwrap();
        let issued = engine.ehr.request_token(&firm, &credential, clock.now()).await.unwrap();
        let lists = state.acquire_watch_lists(clock.now(), MINUTE, 1).await.unwrap();
        let held = || lists.first().map(Lease::for_a_step);
        let stage = PollDocuments {
            tokens: &Fixed(issued.access),
            chart: &*engine.ehr,
            watch: state,
            lists: state,
            quota: Quota {
                grants: state,
                key: &key,
                clock,
                in_hand: None,
            },
            notes: None,
            windows: engine.windows,
        };
        let mut polled = DocumentsPolled::default();
        stage.look_at_changes(&firm, &held, &mut polled).await.unwrap();
        state.release_watch_lists(lists, clock.now()).await.unwrap();
        polled
    })
}

/// What is days old when the engine comes back is not too old: no encounter poll has had the chance to show its visit.
#[test]
fn an_outage_of_days_loses_nothing() {
    let (world, _) = one_visit();
    let (first, second) = (open(&world), open(&world));
    attach(&world, &first, 1);
    let filed = world.clock_now();
    pass(&world, 60 * HOUR);
    attach(&world, &second, 2);
    pass(&world, 12 * HOUR);
    let polled = look_at_changes(&world);
    assert_eq!(polled.new, [], "nobody knows the visits");
    assert_eq!(polled.stray, Some(filed + 60 * HOUR));
    assert!(read_up_to(&world) <= filed);
    world.run_for(5 * MINUTE);
    world.assert_delivered_once(0);
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A visit from long before the connection, that no encounter poll shows: its photo must not hold the cursor for ever, and
/// somebody has to know.
#[test]
fn a_photo_whose_visit_is_never_seen_is_reported_once_and_left() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let reports = || {
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let of_it = |line: &&str| line.contains("documents.visit-unknown");
        log.lines().filter(of_it).map(str::to_owned).collect::<Vec<_>>()
    };

    let world = World::empty_with(1, whole());
    world.ehr.add_firm(FirmSpec::new(FIRM)).unwrap();
    let old = open(&world);
    pass(&world, 72 * HOUR);
    world.connect(FIRM, Mode::Draft);
    let stray = attach(&world, &old, 1);
    let filed = world.clock_now();
    world.run_for(2 * MINUTE);
    let mut found = attach(&world, &open(&world), 2);
    world.run_for(6 * MINUTE);
    assert_eq!(drafts(&world, &[&stray, &found]), [0, 1]);
    assert!(read_up_to(&world) <= filed, "it is waited for");
    assert_eq!(reports(), [""; 0]);

    pass(&world, 24 * HOUR);
    let visit = open(&world);
    // It is listed for as long as nothing newer is.
    world.run_for(2 * MINUTE);
    assert!(read_up_to(&world) < filed + HOUR);
    found = attach(&world, &visit, 3);
    world.run_for(6 * MINUTE);
    assert_eq!(drafts(&world, &[&stray, &found]), [0, 1]);
    assert!(read_up_to(&world) > filed + 24 * HOUR, "it is waited for no longer");
    let reports = reports();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].contains(&stray) && reports[0].contains(&old) && reports[0].contains("WARN"));
    assert_never_rested(&world);
}

/// After a long time there is much to read, page by page: longer than the lease lasts, which is renewed meanwhile.
#[test]
fn a_search_may_take_longer_than_a_lease() {
    let mut setting = whole();
    setting.profile.documents.page_size = 1;
    let world = World::empty_with(1, setting);
    world.open_firm(FIRM);
    let visit = open(&world);
    for number in 0..150 {
        let letter = DocumentSpec::pdf("PHOTO-LESION", &format!("letter {number}"));
        world
            .ehr
            .attach_document(world.clock_now(), FIRM, &visit, letter)
            .unwrap();
    }
    attach(&world, &visit, 1);
    // 150 pages of 200 ms, against 20 s.
    world.run_for(2 * MINUTE);
    world.assert_delivered_once(0);
}

#[test]
fn photos_from_before_the_connection_are_left_alone() {
    let world = World::empty_with(1, whole());
    world.ehr.add_firm(FirmSpec::new(FIRM)).unwrap();
    let visit = open(&world);
    let before = attach(&world, &visit, 1);
    pass(&world, 10 * MINUTE);
    world.connect(FIRM, Mode::Draft);
    let after = attach(&world, &visit, 2);
    world.run_for(5 * MINUTE);
    assert_eq!(drafts(&world, &[&before, &after]), [0, 1]);
}

/// As with the searches for one visit: what was filed before its category was chosen is found when it is.
#[test]
fn categories_that_are_chosen_later_are_looked_for_anew() {
    let (world, visit) = one_visit();
    let chosen = firm(&world).categories;
    let id = FirmId::new(FIRM);
    let choose = |categories: &BTreeMap<_, _>| {
        let chosen = world.state.set_categories(&id, categories);
        world.clock.run(chosen).unwrap();
    };
    choose(&BTreeMap::new());
    let mut photos = Vec::new();
    for seed in 1..=2 {
        photos.push(attach(&world, &visit, seed));
        world.run_for(10 * MINUTE);
    }
    let photos: Vec<&String> = photos.iter().collect();
    assert_eq!(drafts(&world, &photos), [0, 0]);
    choose(&chosen);
    world.run_for(5 * MINUTE);
    assert_eq!(drafts(&world, &photos), [1, 1]);
    assert_never_rested(&world);
}

/// The draft's photo is retracted when its visit is not looked at any more and is forgotten: the clinic has to know all the same.
#[test]
fn a_retraction_is_noticed_after_the_visit_was_forgotten() {
    let (world, visit) = one_visit();
    let photo = attach(&world, &visit, 1);
    world.run_for(5 * MINUTE);
    assert_eq!(drafts(&world, &[&photo]), [1]);
    pass(&world, 8 * 24 * HOUR);
    // Another visit moves the encounters' cursor on, so that the old one is forgotten.
    open(&world);
    world.run_for(5 * MINUTE);
    let forgotten = [EncounterId::new(&visit)];
    let id = FirmId::new(FIRM);
    let watches = world.state.watches_of(&id, &forgotten);
    assert_eq!(world.clock.run(watches).unwrap(), []);
    world.ehr.retract_document(world.clock_now(), FIRM, &photo).unwrap();
    world.run_for(5 * MINUTE);
    let alarms = world.clock.run(world.state.retracted_drafts()).unwrap();
    let alarms: Vec<_> = alarms.iter().map(|alarm| alarm.document.as_str()).collect();
    assert_eq!(alarms, [photo.as_str()]);
}
