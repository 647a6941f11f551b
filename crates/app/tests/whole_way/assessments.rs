//! Photos that are judged together, on the whole way: one draft about several, addenda, photos that cannot be read or are retracted,
//! and crashes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use skin_assist_core::{
    domain::{AssistResult, FirmId, GatheringWindows},
    photos::MemoryPhotos,
};
use skin_assist_simulator::{CallKind, EncounterSpec, PhotoContent, PhotoSpec};

use crate::{
    CLINIC, MINUTE,
    deployment::{Deployment, Events},
    support::World,
};

const FIRM: &str = "elm";
const WINDOW: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

const AS_SHIPPED: GatheringWindows = GatheringWindows {
    solitary: Duration::ZERO,
    widespread: WINDOW,
};

/// A practice with one visit.
fn one_visit(seed: u64) -> (World, String) {
    let mut world = World::empty(seed);
    world.windows = AS_SHIPPED;
    world.open_firm(FIRM);
    let visit = world
        .ehr
        .open_encounter(world.clock_now(), FIRM, EncounterSpec::default());
    (world, visit.unwrap())
}

fn attach_as(world: &World, visit: &str, category: &str, seed: u64) -> String {
    let photo = PhotoSpec::synthetic(category, seed, None);
    world.ehr.attach_photo(world.clock_now(), FIRM, visit, photo).unwrap()
}

fn attach(world: &World, visit: &str, seed: u64) -> String {
    attach_as(world, visit, "PHOTO-RASH", seed)
}

fn results(world: &World) -> Vec<AssistResult> {
    world.clock.run(world.state.firm_results(&FirmId::new(FIRM))).unwrap()
}

/// What each draft is about, in the order in which they were made.
fn judged(world: &World) -> Vec<Vec<String>> {
    let documents = |result: AssistResult| result.assessment.documents.iter().map(ToString::to_string).collect();
    results(world).into_iter().map(documents).collect()
}

fn text(result: &AssistResult) -> String {
    let sections = result.note.expose().sections.iter();
    sections.flat_map(|section| section.paragraphs.clone()).collect()
}

/// Photos that wait for each other in memory, with room for a third of them: none waits for long, and each has its draft.
#[test]
fn photos_that_wait_for_each_other_do_not_wait_for_room_for_ever() {
    let (world, first) = one_visit(41);
    let mut visits = vec![first];
    for _ in 0..5 {
        let visit = world
            .ehr
            .open_encounter(world.clock_now(), FIRM, EncounterSpec::default());
        visits.push(visit.unwrap());
    }
    // One of each visit in turn, so that what is in memory is a part of every assessment.
    for turn in 0..4 {
        for (visit, seed) in visits.iter().zip(turn * 10..) {
            attach(&world, visit, seed);
        }
    }
    let filed_at = world.clock_now();
    world.clock.run(async {
        let mut engine = world.engine();
        engine.photos = Arc::new(MemoryPhotos::new(10_000, Arc::new(world.clock.clone())));
        let (stopper, stop) = skin_assist::driver::stop_signal();
        let until = filed_at + 5 * MINUTE;
        let stopping = async {
            skin_assist_core::time::Clock::sleep_until(&world.clock, until).await;
            stopper.stop();
        };
        futures::join!(engine.run(stop), stopping);
    });
    let report = world.assert_delivered_once(0);
    assert_eq!(report.compositions, 6, "one about the photos of each visit");
    assert_eq!(
        (report.calls.read, world.vision.looks()),
        (24, 24),
        "nothing was read or looked at twice"
    );
    let drafts = report.photos.iter().flat_map(|photo| &photo.drafts);
    let last = drafts.map(|draft| draft.posted_at).max().unwrap();
    assert!(last < filed_at + 2 * MINUTE, "{:?}", last.since(filed_at));
}

/// The site of one photo would be put to the lesions of another.
#[test]
fn a_site_that_is_not_that_of_all_photos_is_not_known() {
    for (other, is_known) in [("left forearm", true), ("right forearm", false), ("back", false)] {
        let (world, visit) = one_visit(3);
        for (seed, description) in [(1, "left forearm"), (2, other)] {
            let photo = PhotoSpec {
                description: description.to_owned(),
                ..PhotoSpec::synthetic("PHOTO-RASH", seed, None)
            };
            world.ehr.attach_photo(world.clock_now(), FIRM, &visit, photo).unwrap();
        }
        world.run_with(3 * MINUTE, SECOND, || ());
        let [result] = &*results(&world) else {
            panic!("one draft about both")
        };
        let text = text(result);
        assert_eq!(text.contains("body site forearm, left"), is_known, "{other}: {text}");
        let not_known = text
            .split("Not known:")
            .nth(1)
            .and_then(|rest| rest.split('.').next())
            .unwrap();
        assert_eq!(not_known.contains("body site"), !is_known, "{other}: {text}");
    }
}

#[test]
fn photos_filed_one_after_the_other_are_answered_by_one_draft() {
    let (world, visit) = one_visit(1);
    let mut photos = vec![attach(&world, &visit, 1)];
    world.run_with(10 * SECOND, 8 * SECOND, || photos.push(attach(&world, &visit, 2)));
    world.run_with(3 * MINUTE, 4 * SECOND, || photos.push(attach(&world, &visit, 3)));
    photos.sort();
    assert_eq!(judged(&world), std::slice::from_ref(&photos));
    let report = world.assert_delivered_once(0);
    assert_eq!(report.compositions, 1);
    assert_eq!(world.vision.looks(), 3);
    let result = results(&world).remove(0);
    assert_eq!(result.photo_findings.expose().len(), 3, "what was seen on each is kept");
    assert!(text(&result).contains("the mean over 3 images"));
    for photo in photos {
        assert!(text(&result).contains(&format!("Document {photo}, filed")));
    }
}

#[test]
fn photos_without_a_window_are_judged_at_once_and_apart() {
    let (world, visit) = one_visit(2);
    for seed in 0..3 {
        attach_as(&world, &visit, "PHOTO-LESION", seed);
    }
    let filed_at = world.clock_now();
    world.run_for(2 * MINUTE);
    assert_eq!(judged(&world).len(), 3);
    let report = world.assert_delivered_once(0);
    for photo in &report.photos {
        let (read, posted) = (photo.read_at.unwrap(), photo.drafts[0].posted_at);
        assert!(
            posted.since(read) < WINDOW,
            "nothing waits: {:?}",
            posted.since(filed_at)
        );
    }
    assert!(results(&world).iter().all(|result| result.assessment.earlier.is_none()));
}

#[test]
fn a_later_photo_is_answered_by_an_addendum() {
    let (world, visit) = one_visit(3);
    let first = attach(&world, &visit, 1);
    world.run_for(3 * MINUTE);
    let second = attach(&world, &visit, 2);
    let elsewhere = world
        .ehr
        .open_encounter(world.clock_now(), FIRM, EncounterSpec::default());
    let other = attach(&world, &elsewhere.unwrap(), 3);
    world.run_for(5 * MINUTE);
    let drafts = results(&world);
    assert_eq!(drafts.len(), 3);
    assert_eq!(world.report().compositions, 3);
    let of = |document: &str| {
        let is_of = |draft: &&AssistResult| draft.photos[0].document.as_str() == document;
        drafts.iter().find(is_of).unwrap()
    };
    let (first, second, other) = (of(&first), of(&second), of(&other));
    let earlier = second.assessment.earlier.as_ref().unwrap();
    assert_eq!(
        (&earlier.assessment, earlier.date),
        (&first.assessment.id, first.assessed_at)
    );
    let named = format!(
        "reference code {} of {}",
        first.assessment.reference_code(),
        first.assessed_at
    );
    assert!(text(second).contains(&named), "{}", text(second));
    assert!(second.note.expose().title.contains("addendum"));
    assert!(first.assessment.earlier.is_none() && other.assessment.earlier.is_none());
    assert!(!text(first).contains("Addendum") && !text(other).contains("Addendum"));
}

#[test]
fn a_photo_that_cannot_be_read_does_not_take_the_others_with_it() {
    let (world, visit) = one_visit(4);
    attach(&world, &visit, 1);
    let words = PhotoSpec {
        content: PhotoContent::Bytes(Bytes::from_static(b"Dear colleague,")),
        ..PhotoSpec::synthetic("PHOTO-RASH", 2, None)
    };
    let unreadable = world.ehr.attach_photo(world.clock_now(), FIRM, &visit, words).unwrap();
    attach(&world, &visit, 3);
    world.run_for(4 * MINUTE);
    let drafts = results(&world);
    assert_eq!(drafts.len(), 1);
    assert_eq!(drafts[0].photos.len(), 3, "it is named");
    let reasons: Vec<_> = drafts[0]
        .photos
        .iter()
        .filter_map(|photo| photo.not_assessed.as_ref())
        .collect();
    assert_eq!(reasons[0].code(), "photo.unsupported-format");
    let text = text(&drafts[0]);
    assert!(text.contains("1 of 3 photos could not be assessed"), "{text}");
    let line = format!("Document {unreadable}, filed");
    assert!(
        text[text.find(&line).unwrap()..]
            .contains("NOT ASSESSED: the models could not look at it (photo.unsupported-format)")
    );
    assert!(text.contains("the mean over 2 images"));
    assert_eq!(world.clock.run(world.state.dead_letters()).unwrap(), []);
    assert_eq!(world.report().compositions, 1);
}

#[test]
fn photos_none_of_which_can_be_read_are_given_up_one_by_one() {
    let (world, visit) = one_visit(5);
    for seed in 0..2 {
        let words = PhotoSpec {
            content: PhotoContent::Bytes(Bytes::from_static(b"Dear colleague,")),
            ..PhotoSpec::synthetic("PHOTO-RASH", seed, None)
        };
        world.ehr.attach_photo(world.clock_now(), FIRM, &visit, words).unwrap();
    }
    world.run_for(4 * MINUTE);
    assert_eq!(world.report().compositions, 0);
    let letters = world.clock.run(world.state.dead_letters()).unwrap();
    let reasons: Vec<_> = letters.iter().map(|letter| letter.reason.code()).collect();
    assert_eq!(reasons, ["photo.unsupported-format"; 2], "each is listed");
}

#[test]
fn a_photo_retracted_in_time_is_in_no_draft_and_the_others_are() {
    // Before the window has passed, while the models look, and before the post.
    for wait in [15, 33, 36, 60] {
        let (mut world, visit) = one_visit(6);
        world.vision = world.vision.clone().taking(2 * SECOND);
        world
            .ehr
            .set_faults(|faults| _ = faults.delays.insert(CallKind::Draft, 20 * SECOND));
        let photos: Vec<String> = (0..3).map(|seed| attach(&world, &visit, seed)).collect();
        world.run_with(5 * MINUTE, wait * SECOND, || {
            world.ehr.retract_document(world.clock_now(), FIRM, &photos[1]).unwrap();
        });
        let report = world.report();
        let drafts_of = |photo: &str| {
            let of_it = report.photos.iter().find(|known| known.document == photo);
            of_it.unwrap().drafts.len()
        };
        let alarms = world.clock.run(world.state.retracted_drafts()).unwrap().len();
        assert_eq!(
            photos.iter().map(|photo| drafts_of(photo)).collect::<Vec<_>>(),
            if alarms == 0 { [1, 0, 1] } else { [1, 1, 1] },
            "after {wait} s"
        );
        assert!(alarms == 0 || wait >= 36, "too early for a draft: {wait} s");
    }
}

#[test]
fn a_clinic_with_windows_gets_each_photo_into_one_draft() {
    let mut world = World::new(1, 3);
    world.windows = GatheringWindows {
        solitary: WINDOW,
        widespread: 4 * WINDOW,
    };
    world.run_for(CLINIC);
    let report = world.assert_delivered_once(0);
    assert!(report.expected().count() >= 15);
    assert!(
        report.compositions < report.expected().count() as u64,
        "nothing was judged together: this proves nothing"
    );
    assert_eq!(
        world.vision.looks(),
        report.expected().count() as u64,
        "an inference was paid twice"
    );
}

#[test]
fn crashes_anywhere_leave_each_photo_in_one_assessment() {
    let (mut crashes, mut together) = (0, 0);
    for seed in 0..2 {
        let (world, visit) = one_visit(seed);
        let mut random = StdRng::seed_from_u64(seed);
        let mut photos = BTreeSet::new();
        for round in 0..12 {
            photos.insert(attach(&world, &visit, round));
            crashes += u64::from(world.crash_after(random.random_range(5..600), 2 * MINUTE));
        }
        world.run_for(10 * MINUTE);
        let report = world.assert_delivered_once(12);
        let drafts = judged(&world);
        together += drafts.iter().filter(|documents| documents.len() > 1).count();
        let mut all: Vec<String> = drafts.into_iter().flatten().collect();
        all.sort();
        assert_eq!(all, photos.into_iter().collect::<Vec<_>>(), "each photo once");
        // At most once more for a crash between the models' answer and its commit.
        assert!(world.vision.looks() <= report.expected().count() as u64 + 12);
    }
    assert!(crashes >= 10, "only {crashes} crashes");
    assert!(together > 0, "nothing was judged together");
}

/// On AWS an event that comes before the window has passed is done with; the next cycle's look at what is due finds the photos.
#[test]
fn functions_judge_photos_together_too() {
    for events in [Events::Delivered, Events::Lost, Events::Doubled] {
        let (world, visit) = one_visit(7);
        for seed in 0..3 {
            attach(&world, &visit, seed);
        }
        Deployment::run(&world, events, 6 * MINUTE);
        let drafts = judged(&world);
        assert_eq!(drafts.iter().map(Vec::len).collect::<Vec<_>>(), [3]);
        let report = world.assert_delivered_once(0);
        assert_eq!((report.compositions, world.vision.looks()), (1, 3));
    }
}
