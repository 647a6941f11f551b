//! The whole way under virtual time: the production driver, stages, store and EHR client against the practice EHR, with
//! scripted models. A clinic of an hour takes a moment, and every run is the same.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

mod another_process;
mod assessments;
mod canary;
mod deployment;
#[cfg(feature = "servers")]
mod dynamodb;
mod functions;
mod hostile;
mod language;
mod later_photos;
mod quirks;
mod replaced_models;
mod shares;
mod shifting_pages;
mod subscriptions;
mod support;
mod switched_off;
mod whole_practice;
mod write_back;

use std::{sync::Arc, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use skin_assist::driver::Event;
use skin_assist_core::{
    domain::{FirmId, FirmStatus, Mode, NewCredential},
    photos::MemoryPhotos,
    polling::PolicyName,
};
use skin_assist_simulator::{CallKind, EncounterSpec, FailNext, FirmSpec, PhotoFault, PhotoSpec};
use skin_assist_testkit::scripted::ScriptedVision;
use support::{Setting, World};

const CLINIC: Duration = Duration::from_secs(3600 + 600);
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn every_photo_gets_exactly_one_draft() {
    // Photos come at any time in this clinic. `adaptive` expects them where they mostly come, and looks elsewhere less often
    // when the quota is used up, as it is here.
    let within = [(PolicyName::RoundRobin, MINUTE), (PolicyName::Adaptive, 5 * MINUTE)];
    for (seed, (policy, limit)) in (1..=3).flat_map(|seed| within.map(|within| (seed, within))) {
        let mut world = World::new(seed, 3);
        world.policy = policy;
        world.run_for(CLINIC);
        let report = world.assert_delivered_once(0);
        assert!(
            report.expected().count() >= 15,
            "a clinic with too few photos proves nothing"
        );
        assert_eq!(report.refused_429, 0);
        assert!(
            report.other_documents.iter().all(|document| document.read_at.is_none()),
            "a PDF was read"
        );
        assert_eq!(
            world.vision.looks(),
            report.expected().count() as u64,
            "an inference was paid twice"
        );
        for photo in report.expected() {
            let detected = photo.first_listed_at.unwrap().since(photo.attached_at);
            assert!(detected < limit, "{} was found after {detected:?}", photo.document);
        }
    }
}

#[test]
fn the_published_schedule_delivers_too() {
    let mut world = World::new(4, 2);
    world.policy = PolicyName::Reference;
    world.run_for(CLINIC);
    let report = world.assert_delivered_once(0);
    assert!(report.expected().count() > 0);
}

#[test]
fn a_tight_quota_is_never_exceeded() {
    let mut world = World::new(5, 3);
    world.calls = 40;
    world.run_for(CLINIC);
    let report = world.assert_delivered_once(0);
    assert!(
        report.max_calls_in_window <= 40,
        "{} calls in a minute",
        report.max_calls_in_window
    );
    assert!(report.max_calls_in_window >= 30, "the quota was hardly used");
}

#[test]
fn crashes_anywhere_lose_nothing_and_double_nothing() {
    let mut crashes = 0;
    let mut uncertain = 0;
    for seed in 0..8 {
        let world = World::new(seed, 2);
        // Posts that take long give a crash the chance to fall between a post and its acknowledgement.
        world
            .ehr
            .set_faults(|faults| _ = faults.delays.insert(CallKind::Draft, Duration::from_secs(20)));
        let mut random = StdRng::seed_from_u64(seed);
        let mut left = 15;
        while left > 0 && world.crash_after(random.random_range(5..4000), CLINIC) {
            left -= 1;
            crashes += 1;
        }
        // Long enough for the last leases to expire and the clinic to end.
        world.run_for(CLINIC);
        world.assert_delivered_once(15);
        uncertain += world.clock.run(world.state.uncertain()).unwrap().len();
    }
    assert!(crashes >= 100, "only {crashes} crashes");
    // If no crash ever fell between a post and its acknowledgement, the test would prove nothing about it.
    assert!(uncertain > 0, "no crash fell into a post");
}

#[test]
fn a_lost_reply_makes_a_draft_uncertain_and_never_two() {
    let world = World::new(6, 2);
    world.ehr.set_faults(|faults| faults.drop_composition_replies = 4);
    world.run_for(CLINIC);
    world.assert_delivered_once(4);
    let uncertain = world.clock.run(world.state.uncertain()).unwrap();
    assert_eq!(uncertain.len(), 4);
    // The EHR stored them: had they been posted again, there would be two.
    assert!(world.report().missing().next().is_none());
}

#[test]
fn an_outage_and_refusals_are_waited_out() {
    let world = World::new(7, 2);
    world.ehr.set_faults(|faults| {
        for (kind, status) in [(CallKind::Read, 500), (CallKind::Draft, 429), (CallKind::Document, 503)] {
            let status = http::StatusCode::from_u16(status).unwrap();
            faults.failures.push(FailNext {
                kind,
                status,
                remaining: 5,
            });
        }
    });
    world.run_for(Duration::from_secs(900));
    world.ehr.set_faults(|faults| faults.outage = true);
    world.run_for(Duration::from_secs(900));
    world.ehr.set_faults(|faults| faults.outage = false);
    for firm in world.ehr.firms() {
        world.ehr.revoke_tokens(&firm);
    }
    world.run_for(CLINIC);
    // A draft whose post met the outage's 503 may be in the chart, for all that a client can know.
    world.assert_delivered_once(2);
}

#[test]
fn a_refused_credential_stops_its_firm_alone_until_it_is_replaced() {
    let world = World::new(8, 2);
    let firms = world.ehr.firms();
    world.ehr.revoke_secret(&firms[0]).unwrap();
    world.run_for(CLINIC);
    let report = world.report();
    assert!(
        report
            .expected()
            .filter(|photo| photo.firm == firms[0])
            .all(|photo| photo.drafts.is_empty())
    );
    assert!(
        report
            .expected()
            .filter(|photo| photo.firm == firms[1])
            .all(|photo| photo.drafts.len() == 1)
    );
    assert!(
        report.token_calls < 60,
        "{} token calls are a retry storm",
        report.token_calls
    );
    let resting = |event: &Event| matches!(event, Event::Resting { firm, .. } if firm.as_str() == firms[0]);
    assert!(world.events.lock().unwrap().iter().any(resting), "no alarm was raised");

    let fresh = world.ehr.rotate_secret(&firms[0]).unwrap();
    let secret = skin_assist_core::phi::Secret::new(fresh.client_secret);
    world
        .clock
        .run(world.state.replace_credential(
            &FirmId::new(&firms[0]),
            &NewCredential::secret(&fresh.client_id, secret),
        ))
        .unwrap();
    world.run_for(CLINIC);
    world.assert_delivered_once(0);
}

#[test]
fn silent_mode_writes_nothing() {
    let world = World::new(9, 1);
    let firm = FirmId::new(&world.ehr.firms()[0]);
    world
        .clock
        .run(world.state.set_mode(&firm, Mode::Silent, None))
        .unwrap();
    world.run_for(CLINIC);
    let report = world.report();
    assert_eq!((report.calls.draft, report.compositions), (0, 0));
    let overview = world.clock.run(world.state.overview(world.clock_now())).unwrap();
    assert_eq!(overview[0].withheld, report.expected().count() as u64);
}

#[test]
fn a_paused_firm_is_left_alone_and_resumes_where_it_was() {
    let world = World::new(10, 2);
    let paused = FirmId::new(&world.ehr.firms()[0]);
    world
        .clock
        .run(world.state.set_firm_status(&paused, FirmStatus::Paused))
        .unwrap();
    world.run_for(CLINIC);
    let report = world.report();
    assert!(
        report
            .photos
            .iter()
            .all(|photo| photo.firm != paused.as_str() || photo.first_listed_at.is_none())
    );
    world
        .clock
        .run(world.state.set_firm_status(&paused, FirmStatus::Active))
        .unwrap();
    world.run_for(CLINIC);
    world.assert_delivered_once(0);
}

#[test]
fn a_search_that_waits_for_calls_ends_when_its_firm_is_paused() {
    let mut setting = Setting::of("fhir-r4");
    setting.profile.encounters.page_size = 3;
    setting.quota.0 = 10;
    let world = World::empty_with(5, setting);
    world.open_firm("elm");
    for _ in 0..60 {
        world
            .ehr
            .open_encounter(world.clock_now(), "elm", EncounterSpec::default())
            .unwrap();
    }
    let calls = || world.report().calls.encounter;
    let (before, after) = world.clock.run(async {
        let engine = world.engine();
        let (stopper, stop) = skin_assist::driver::stop_signal();
        let directed = async {
            let sleep = async |lasts| {
                skin_assist_core::time::Clock::sleep_until(&world.clock, world.clock_now() + lasts).await;
            };
            sleep(MINUTE).await;
            let paused = FirmId::new("elm");
            world.state.set_firm_status(&paused, FirmStatus::Paused).await.unwrap();
            sleep(Duration::from_secs(20)).await;
            let before = calls();
            sleep(5 * MINUTE).await;
            stopper.stop();
            (before, calls())
        };
        futures::join!(engine.run(stop), directed).1
    });
    assert!(
        before > 2 && before < 20,
        "{before}: it was not in the middle of its search"
    );
    assert_eq!(after, before);
}

#[test]
fn no_photo_is_downloaded_for_which_there_is_no_room() {
    let mut world = World::empty(12);
    // Each keeps the models busy for as long as four downloads take.
    world.vision = ScriptedVision::new(Arc::new(world.clock.clone()), Duration::from_secs(2));
    world.open_firm("elm");
    file_photos(&world, 12);
    world.clock.run(async {
        let mut engine = world.engine();
        engine.photos = Arc::new(MemoryPhotos::new(5_000, Arc::new(world.clock.clone())));
        let (stopper, stop) = skin_assist::driver::stop_signal();
        let until = world.clock_now() + 5 * MINUTE;
        let stopping = async {
            skin_assist_core::time::Clock::sleep_until(&world.clock, until).await;
            stopper.stop();
        };
        futures::join!(engine.run(stop), stopping);
    });
    let report = world.assert_delivered_once(0);
    assert_eq!(report.calls.read, 12, "each was downloaded once");
}

/// Files so many photos of a new visit of the practice `elm`.
fn file_photos(world: &World, count: u64) {
    let now = world.clock_now();
    let visit = world.ehr.open_encounter(now, "elm", EncounterSpec::default()).unwrap();
    for seed in 0..count {
        let photo = PhotoSpec::synthetic("PHOTO-LESION", seed, None);
        world.ehr.attach_photo(now, "elm", &visit, photo).unwrap();
    }
}

/// With the draft, in the same request: whatever is lost or repeated, there is one for each draft.
#[test]
fn each_draft_brings_its_provenance_along_where_the_ehr_takes_it() {
    for (profile, is_taken) in [("fhir-r4", true), ("modmed-ema", false)] {
        let world = World::empty_with(31, Setting::of(profile));
        world.open_firm("elm");
        file_photos(&world, 8);
        world.ehr.set_faults(|faults| faults.drop_composition_replies = 3);
        world.crash_after(600, 2 * MINUTE);
        world.run_for(12 * MINUTE);
        let report = world.assert_delivered_once(4);
        let drafts = report.photos.iter().flat_map(|photo| {
            let brought = photo.drafts.iter().map(|draft| &draft.provenance);
            brought.map(|provenance| (provenance, &photo.document))
        });
        let mut seen = 0;
        for (provenance, document) in drafts {
            seen += 1;
            assert_eq!(*provenance, is_taken.then(|| vec![document.clone()]), "{profile}");
        }
        assert!(seen >= 7, "{profile}: {seen}");
    }
}

#[test]
fn of_a_firm_that_is_off_nothing_is_asked_judged_or_written() {
    let world = World::empty(10);
    world.open_firm("elm");
    let firm = FirmId::new("elm");
    let set = |mode| world.clock.run(world.state.set_mode(&firm, mode, None)).unwrap();
    file_photos(&world, 3);
    // Switched off in the midst of it.
    world.run_with(3 * MINUTE, MINUTE, || file_photos(&world, 3));
    set(Mode::Off);
    let before = world.report();
    assert!(before.compositions > 0, "it was served before");
    file_photos(&world, 2);
    world.run_for(10 * MINUTE);
    let after = world.report();
    assert_eq!(
        format!("{:?}", after.calls),
        format!("{:?}", before.calls),
        "the EHR is not called"
    );
    assert_eq!(after.token_calls, before.token_calls, "nor its token endpoint");
    assert_eq!(after.compositions, before.compositions);
    set(Mode::Draft);
    world.run_for(10 * MINUTE);
    assert_eq!(world.assert_delivered_once(0).compositions, 8);
}

#[test]
fn a_poison_photo_is_buried_with_its_reason_and_replayed_when_it_is_mended() {
    let world = World::empty(11);
    world.ehr.add_firm(FirmSpec::new("elm")).unwrap();
    world.connect("elm", Mode::Draft);
    let now = world.clock_now();
    let visit = world.ehr.open_encounter(now, "elm", EncounterSpec::default()).unwrap();
    let mut photos = Vec::new();
    for (number, fault) in [None, Some(PhotoFault::NotAnImage), Some(PhotoFault::Missing)]
        .into_iter()
        .enumerate()
    {
        let photo = PhotoSpec {
            fault,
            ..PhotoSpec::synthetic("PHOTO-LESION", number as u64, None)
        };
        photos.push(world.ehr.attach_photo(now, "elm", &visit, photo).unwrap());
    }
    world.run_for(2 * MINUTE);
    let letters = world.clock.run(world.state.dead_letters()).unwrap();
    let reasons: Vec<_> = letters.iter().map(|letter| letter.reason.code().to_owned()).collect();
    assert!(reasons.contains(&"photo.unsupported-format".to_owned()), "{reasons:?}");
    assert!(letters.iter().all(|letter| !letter.reason.hint().is_empty()));
    assert_eq!(
        world.report().photos[0].drafts.len(),
        1,
        "the sound photo is not held up"
    );

    for photo in &photos {
        world.ehr.set_photo_fault("elm", photo, None).unwrap();
    }
    for letter in letters {
        world
            .clock
            .run(world.state.replay(letter.id, world.clock_now()))
            .unwrap();
    }
    world.run_for(10 * MINUTE);
    world.assert_delivered_once(0);
}

#[test]
fn a_photo_that_brings_the_process_down_is_buried_after_a_dozen_looks() {
    let mut world = World::empty(15);
    world.ehr.add_firm(FirmSpec::new("elm")).unwrap();
    world.connect("elm", Mode::Draft);
    let now = world.clock_now();
    let visit = world.ehr.open_encounter(now, "elm", EncounterSpec::default()).unwrap();
    world
        .ehr
        .attach_photo(now, "elm", &visit, PhotoSpec::synthetic("PHOTO-LESION", 1, None))
        .unwrap();
    let sound = std::mem::replace(
        &mut world.vision,
        ScriptedVision::new(Arc::new(world.clock.clone()), CLINIC),
    );
    let letters = || world.clock.run(world.state.dead_letters()).unwrap();
    for _ in 0..40 {
        // The process ends in the middle of the look, every time, before anything could be written about it.
        world.crash_after(usize::MAX, Duration::from_secs(30));
        world.clock.run(skin_assist_core::time::Clock::sleep_until(
            &world.clock,
            world.clock_now() + MINUTE,
        ));
        if !letters().is_empty() {
            break;
        }
    }
    assert_eq!(world.vision.looks(), 12);
    let letter = &letters()[0];
    assert_eq!(letter.reason.code(), "photo.stops-the-models");
    world
        .clock
        .run(world.state.replay(letter.id, world.clock_now()))
        .unwrap();
    world.vision = sound;
    world.run_for(5 * MINUTE);
    world.assert_delivered_once(0);
}

#[test]
fn a_post_is_not_begun_when_its_lease_could_run_out() {
    let world = World::new(16, 2);
    world
        .ehr
        .set_faults(|faults| _ = faults.delays.insert(CallKind::Draft, Duration::from_secs(10)));
    world.clock.run(async {
        let engine = world.engine();
        let firm = world.state.firms().await.unwrap().remove(0);
        let quota = engine.quotas.of(&firm);
        let (stopper, stop) = skin_assist::driver::stop_signal();
        let end = world.clock_now() + 2 * CLINIC;
        let holding = async {
            // Grants come only every half minute: just when the leases of those that waited for them are nearly over.
            while world.clock_now() < end {
                let now = world.clock_now();
                world
                    .state
                    .hold(&quota, now, now + Duration::from_secs(27))
                    .await
                    .unwrap();
                skin_assist_core::time::Clock::sleep_until(&world.clock, world.clock_now() + Duration::from_secs(30))
                    .await;
            }
            stopper.stop();
        };
        futures::join!(engine.run(stop), holding);
    });
    world.run_for(CLINIC);
    world.assert_delivered_once(0);
}

#[test]
fn photos_from_before_the_connection_are_left_alone() {
    let world = World::empty(12);
    world.ehr.add_firm(FirmSpec::new("elm")).unwrap();
    let now = world.clock_now();
    let visit = world.ehr.open_encounter(now, "elm", EncounterSpec::default()).unwrap();
    world
        .ehr
        .attach_photo(now, "elm", &visit, PhotoSpec::synthetic("PHOTO-LESION", 1, None))
        .unwrap();
    world.clock.run(skin_assist_core::time::Clock::sleep_until(
        &world.clock,
        now + 10 * MINUTE,
    ));
    world.connect("elm", Mode::Draft);
    // The visit opened before the connection, but this photo comes after it.
    let later = world.clock_now();
    world
        .ehr
        .attach_photo(later, "elm", &visit, PhotoSpec::synthetic("PHOTO-LESION", 2, None))
        .unwrap();
    world.run_for(5 * MINUTE);
    let drafts: Vec<_> = world.report().photos.iter().map(|photo| photo.drafts.len()).collect();
    assert_eq!(drafts, [0, 1]);
}

#[test]
fn a_backfill_takes_photos_from_before_the_connection_as_far_as_it_reaches() {
    let world = World::empty(12);
    world.ehr.add_firm(FirmSpec::new("elm")).unwrap();
    let start = world.clock_now();
    for (days, seed) in [(5, 1), (2, 2), (0, 3)] {
        let then = start + (5 - days) * 24 * 60 * MINUTE;
        world.ehr.advance(then);
        let visit = world.ehr.open_encounter(then, "elm", EncounterSpec::default()).unwrap();
        let photo = PhotoSpec::synthetic("PHOTO-LESION", seed, None);
        world.ehr.attach_photo(then, "elm", &visit, photo).unwrap();
    }
    let now = start + 5 * 24 * 60 * MINUTE + MINUTE;
    world
        .clock
        .run(skin_assist_core::time::Clock::sleep_until(&world.clock, now));
    world.connect_since("elm", Mode::Draft, now - 3 * 24 * 60 * MINUTE);
    world.run_for(5 * MINUTE);
    let drafts: Vec<_> = world.report().photos.iter().map(|photo| photo.drafts.len()).collect();
    assert_eq!(drafts, [0, 1, 1]);
}

#[test]
fn two_engines_on_one_state_share_the_work() {
    let world = World::new(13, 2);
    world.clock.run(async {
        let (first, second) = (world.engine(), world.engine());
        let (stopper, stop) = skin_assist::driver::stop_signal();
        let until = world.clock_now() + CLINIC;
        let stopping = async {
            skin_assist_core::time::Clock::sleep_until(&world.clock, until).await;
            stopper.stop();
        };
        futures::join!(first.run(stop.clone()), second.run(stop), stopping);
    });
    let report = world.assert_delivered_once(0);
    assert_eq!(
        world.vision.looks(),
        report.expected().count() as u64,
        "an inference was paid twice"
    );
    assert_eq!(report.refused_429, 0, "the two share one quota");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let world = World::new(14, 2);
        world.run_for(CLINIC);
        (
            serde_json::to_string(&world.report()).unwrap(),
            world.events.lock().unwrap().clone(),
        )
    };
    assert_eq!(run(), run());
}
