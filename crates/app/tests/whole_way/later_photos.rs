//! Photos that follow when the draft of earlier ones was made: named in a draft of their own, or added to the earlier one where the
//! EHR allows it; whoever crashes, signs, edits or takes off meanwhile.

use std::time::Duration;

use http::StatusCode;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use skin_assist_core::{
    domain::{AssistResult, Delivery, FirmId},
    time::Timestamp,
};
use skin_assist_ehr::AddendumRule;
use skin_assist_simulator::{CallKind, EncounterSpec, FailNext, PhotoSpec, Review};

use crate::{
    MINUTE,
    support::{Setting, World},
};

const FIRM: &str = "elm";
const STEP: Duration = Duration::from_millis(100);

/// A practice with one visit.
fn one_visit(seed: u64, setting: Setting) -> (World, String) {
    let world = World::empty_with(seed, setting);
    world.open_firm(FIRM);
    let visit = open(&world);
    (world, visit)
}

/// An EHR that takes an addendum in this form.
fn fhir(addendum: AddendumRule) -> Setting {
    let mut setting = Setting::of("fhir-r4");
    setting.profile.draft.addendum = addendum;
    setting
}

fn open(world: &World) -> String {
    let visit = EncounterSpec::default();
    world.ehr.open_encounter(world.clock_now(), FIRM, visit).unwrap()
}

fn attach(world: &World, visit: &str, seed: u64) -> String {
    let photo = PhotoSpec::synthetic("PHOTO-LESION", seed, None);
    world.ehr.attach_photo(world.clock_now(), FIRM, visit, photo).unwrap()
}

fn results(world: &World) -> Vec<AssistResult> {
    world.clock.run(world.state.firm_results(&FirmId::new(FIRM))).unwrap()
}

fn result_of(world: &World, document: &str) -> AssistResult {
    let mut results = results(world);
    results.retain(|result| result.photos[0].document.as_str() == document);
    results.pop().unwrap()
}

fn code_of(world: &World, document: &str) -> String {
    result_of(world, document).assessment.reference_code().to_string()
}

/// The drafts in the chart that name a photo, as references.
fn drafts_of(world: &World, document: &str) -> Vec<String> {
    let report = world.report();
    let photo = report.photos.iter().find(|photo| photo.document == document).unwrap();
    photo.drafts.iter().map(|draft| draft.reference.clone()).collect()
}

fn draft_of(world: &World, document: &str) -> Value {
    let drafts = drafts_of(world, document);
    assert_eq!(drafts.len(), 1, "{document} has one draft");
    world.ehr.draft(FIRM, &drafts[0]).unwrap()
}

#[test]
fn without_a_window_a_later_photo_names_the_latest_draft_before_it() {
    let (world, visit) = one_visit(61, Setting::modmed());
    let together = [attach(&world, &visit, 1), attach(&world, &visit, 2)];
    world.run_for(2 * MINUTE);
    let elsewhere = attach(&world, &open(&world), 3);
    let later = attach(&world, &visit, 4);
    world.run_for(5 * MINUTE);
    world.assert_delivered_once(0);
    for alone in together.iter().chain([&elsewhere]) {
        let result = result_of(&world, alone);
        assert_eq!(result.assessment.earlier, None, "{alone}");
        assert!(!draft_of(&world, alone).to_string().contains("Addendum"));
    }
    let before = together.map(|document| result_of(&world, &document));
    let latest = before
        .iter()
        .max_by_key(|result| (result.assessed_at, &result.assessment.id));
    let result = result_of(&world, &later);
    let earlier = result.assessment.earlier.unwrap();
    assert_eq!(earlier.assessment, latest.unwrap().assessment.id);
    let draft = draft_of(&world, &later).to_string();
    assert!(draft.contains(latest.unwrap().assessment.reference_code().as_str()) && draft.contains("addendum"));
}

/// Two photos, the later one's result names the earlier draft, and neither is written yet.
fn two_that_wait(seed: u64) -> (World, String, String) {
    let (mut world, visit) = one_visit(seed, fhir(AddendumRule::RelatesTo));
    world.writers = 0;
    let first = attach(&world, &visit, 1);
    world.run_for(2 * MINUTE);
    let second = attach(&world, &visit, 2);
    world.run_for(2 * MINUTE);
    assert!(result_of(&world, &second).assessment.earlier.is_some());
    assert_eq!(world.report().compositions, 0);
    (world, first, second)
}

#[test]
fn the_earlier_draft_is_written_first() {
    let (mut world, first, second) = two_that_wait(62);
    world.writers = 4;
    world.run_for(2 * MINUTE);
    let report = world.assert_delivered_once(0);
    let posted = |document: &str| {
        let photo = report.photos.iter().find(|photo| photo.document == document);
        photo.unwrap().drafts[0].posted_at
    };
    assert!(posted(&first) < posted(&second));
    let draft = draft_of(&world, &second);
    assert_eq!(
        draft["relatesTo"][0]["targetIdentifier"]["value"],
        code_of(&world, &first)
    );
}

#[test]
fn an_addendum_whose_earlier_draft_was_cancelled_stands_alone() {
    let (mut world, first, second) = two_that_wait(63);
    let code = code_of(&world, &first);
    world.ehr.retract_document(world.clock_now(), FIRM, &first).unwrap();
    world.run_for(3 * MINUTE);
    world.writers = 4;
    world.run_for(2 * MINUTE);
    assert!(drafts_of(&world, &first).is_empty());
    let draft = draft_of(&world, &second);
    let text = draft.to_string();
    assert!(
        !text.contains(&code) && !text.to_lowercase().contains("addendum"),
        "{text}"
    );
    assert_eq!(draft.get("relatesTo"), None);
}

#[test]
fn where_the_ehr_allows_it_later_photos_are_added_to_the_earlier_draft() {
    let (world, visit) = one_visit(64, fhir(AddendumRule::Update));
    let mut photos = Vec::new();
    for seed in 1..=3 {
        photos.push(attach(&world, &visit, seed));
        world.run_for(3 * MINUTE);
    }
    let report = world.assert_delivered_once(0);
    assert_eq!(report.compositions, 1);
    let draft = draft_of(&world, &photos[0]);
    assert_eq!(draft["meta"]["versionId"], "3");
    assert_eq!(draft["status"], "preliminary");
    assert_eq!(draft["identifier"]["value"], code_of(&world, &photos[0]));
    let sections = draft["section"].as_array().unwrap();
    assert_eq!(sections.len(), 6);
    for (place, photo) in photos.iter().enumerate() {
        let result = result_of(&world, photo);
        // Each text is whole, label and code included, and says what it was added to.
        let text = sections[2 * place].to_string();
        assert!(text.contains("AI-generated draft, not reviewed by a clinician."));
        assert!(text.contains(result.assessment.reference_code().as_str()));
        assert_eq!(text.contains("Added to the AI-generated draft"), place > 0);
        let Delivery::Delivered { reference, .. } = &result.delivery else {
            panic!("{:?}", result.delivery)
        };
        assert_eq!(reference.version(), Some((place + 1).to_string().as_str()));
        let provenance = draft["contained"].as_array().unwrap().iter();
        let of_photo = provenance.filter(|found| {
            found["resourceType"] == "Provenance"
                && found["entity"].to_string().contains(photo.rsplit('|').next().unwrap())
        });
        assert_eq!(of_photo.count(), 1, "its Provenance came along");
    }
}

#[test]
fn what_a_clinician_signed_edited_or_took_off_is_left_alone() {
    for (seed, review) in [(65, Review::Sign), (66, Review::Edit), (67, Review::Remove)] {
        let (world, visit) = one_visit(seed, fhir(AddendumRule::Update));
        let first = attach(&world, &visit, 1);
        world.run_for(2 * MINUTE);
        let reference = drafts_of(&world, &first).remove(0);
        let now = world.clock_now();
        assert!(world.ehr.review_draft(now, FIRM, &reference, review));
        let reviewed = world.ehr.draft(FIRM, &reference);
        let second = attach(&world, &visit, 2);
        world.run_for(3 * MINUTE);
        // What was taken off leaves its id to the next.
        if review != Review::Remove {
            assert_eq!(world.ehr.draft(FIRM, &reference), reviewed, "{review:?}");
        }
        let draft = draft_of(&world, &second);
        let (text, code) = (draft.to_string(), code_of(&world, &first));
        assert_eq!(text.contains(&code), review != Review::Remove, "{review:?}");
        assert_eq!(draft.get("relatesTo").is_some(), review != Review::Remove, "{review:?}");
        assert_eq!(world.clock.run(world.state.uncertain()).unwrap(), []);
    }
}

/// What goes wrong with the first change of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    ReplyLost,
    Fails,
}

/// What came of a second photo whose draft is added to the first one's.
struct Added {
    /// How often a draft was sent.
    sent: u64,
    /// How many are listed as uncertain.
    uncertain: usize,
    /// How long after the second photo was filed the first one's draft was changed last.
    after: Duration,
}

/// A clinician edits the earlier draft so long after the second photo was filed: the edit is kept, and the second photo is in the
/// chart once, or listed.
fn edited_meanwhile(fault: Fault, edited_after: Option<Duration>) -> Added {
    let (world, visit) = one_visit(70, fhir(AddendumRule::Update));
    let first = attach(&world, &visit, 1);
    world.run_for(MINUTE);
    let reference = drafts_of(&world, &first).remove(0);
    let sent_before = world.report().calls.draft;
    world.ehr.set_faults(|faults| match fault {
        Fault::Nothing => {}
        Fault::ReplyLost => faults.drop_composition_replies = 1,
        Fault::Fails => faults.failures.push(FailNext {
            kind: CallKind::Draft,
            status: StatusCode::BAD_GATEWAY,
            remaining: 1,
        }),
    });
    let second = attach(&world, &visit, 2);
    let filed_at = world.clock_now();
    // A post of which nobody knows is looked for until it would be visible.
    let duration = if fault == Fault::Fails { 5 * MINUTE } else { 2 * MINUTE };
    match edited_after {
        None => world.run_for(duration),
        Some(wait) => world.run_with(duration, wait, || {
            let now = world.clock_now();
            assert!(world.ehr.review_draft(now, FIRM, &reference, Review::Edit));
        }),
    }
    let draft = world.ehr.draft(FIRM, &reference).unwrap();
    let is_edited = draft["title"] == "Edited by the clinician";
    assert_eq!(is_edited, edited_after.is_some(), "the edit is kept: {edited_after:?}");
    let uncertain = world.clock.run(world.state.uncertain()).unwrap().len();
    let drafts = drafts_of(&world, &second).len();
    assert_eq!(
        drafts + uncertain,
        1,
        "{fault:?}, {edited_after:?}: {drafts} and {uncertain}"
    );
    assert_eq!(world.clock.run(world.state.dead_letters()).unwrap(), []);
    let changed_at = draft["meta"]["lastUpdated"].as_str().unwrap();
    Added {
        sent: world.report().calls.draft - sent_before,
        uncertain,
        after: Timestamp::parse_rfc3339(changed_at).unwrap().since(filed_at),
    }
}

#[test]
fn a_draft_that_is_edited_while_it_is_added_to_keeps_the_edit() {
    let (mut conflicts, mut listed) = (0, 0);
    let added_after = edited_meanwhile(Fault::Nothing, None).after;
    for fault in [Fault::Nothing, Fault::ReplyLost, Fault::Fails] {
        for steps in 0..16 {
            let edited_after = (added_after + steps * STEP).saturating_sub(8 * STEP);
            let Added { sent, uncertain, .. } = edited_meanwhile(fault, Some(edited_after));
            match fault {
                Fault::Nothing => {
                    assert_eq!(uncertain, 0, "nobody knows better than the reply");
                    conflicts += usize::from(sent == 2);
                }
                Fault::ReplyLost => assert_eq!(uncertain, 0, "the look finds it"),
                Fault::Fails => listed += uncertain,
            }
        }
    }
    assert!(conflicts > 0, "no edit came between the look and the change");
    assert!(listed > 0, "no edit came after a change of which nobody knew");
}

#[test]
fn changes_that_are_lost_or_interrupted_are_made_once() {
    let mut random = StdRng::seed_from_u64(73);
    let (world, _) = one_visit(73, fhir(AddendumRule::Update));
    let visits: Vec<String> = (0..8).map(|_| open(&world)).collect();
    let mut crashes = 0;
    for round in 0..4 {
        for (place, visit) in (0..).zip(&visits) {
            attach(&world, visit, 10 * place + round);
        }
        for _ in 0..6 {
            world
                .ehr
                .set_faults(|faults| faults.drop_composition_replies = random.random_range(0..4));
            if random.random_bool(0.5) {
                let turns = random.random_range(5..150);
                crashes += usize::from(world.crash_after(turns, Duration::from_secs(20)));
            } else {
                world.run_for(Duration::from_secs(random.random_range(5..30)));
            }
        }
        world.run_for(6 * MINUTE);
    }
    assert!(crashes > 0, "no crash proves nothing");
    let report = world.assert_delivered_once(0);
    let photos = 4 * visits.len() as u64;
    assert!(
        (visits.len() as u64..photos).contains(&report.compositions),
        "drafts are added to earlier ones: {}",
        report.compositions
    );
    for result in results(&world) {
        let code = result.assessment.reference_code().to_string();
        let in_chart = report.photos.iter().flat_map(|photo| &photo.drafts);
        let mut references: Vec<&String> = in_chart.map(|draft| &draft.reference).collect();
        references.sort();
        references.dedup();
        let printed = |reference: &&&String| {
            let draft = world.ehr.draft(FIRM, reference).unwrap();
            draft["section"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|section| {
                    let code_line = format!("Reference code {code}:");
                    section.to_string().contains(&code_line)
                })
                .count()
                == 1
        };
        assert_eq!(references.iter().filter(printed).count(), 1, "{code} is told once");
    }
}
