//! However many photos one practice files, the others' keep coming through: its reads and drafts have a share of the quota.

use std::{collections::BTreeMap, time::Duration};

use skin_assist_core::{
    domain::FirmId,
    polling::{Count, Learned, PolicyName},
};
use skin_assist_simulator::{EncounterSpec, PhotoSpec};

use crate::support::World;

const MINUTE: Duration = Duration::from_secs(60);
const BUSY: &str = "busy";
const OTHER: &str = "other";
/// Photos at once: together they take half a minute of the quota.
const PHOTOS: u64 = 30;

/// What reads and drafts of a practice used until now: a call each hundred seconds.
fn hardly_ever() -> Learned {
    let usual = Count {
        events: 1e-4,
        exposure: 1e-2,
    };
    let hours = (0..24).map(|hour| format!("pipeline-hour-1/{hour}"));
    let names = hours.chain(["pipeline-busiest-hours-1".to_owned()]);
    let counts: BTreeMap<String, Count> = names.map(|name| (name, usual)).collect();
    Learned {
        firms: [BUSY, OTHER].map(|firm| (FirmId::new(firm), counts.clone())).into(),
        ..Learned::default()
    }
}

/// Two practices on a quota that polls use up, of which one files many photos at once: how many of these have a draft after two
/// minutes.
fn drafts_after_a_burst(learned: Option<&Learned>) -> (World, usize) {
    let mut world = World::empty(1);
    world.policy = PolicyName::RoundRobin;
    for firm in [BUSY, OTHER] {
        world.open_firm(firm);
    }
    if let Some(learned) = learned {
        world
            .clock
            .run(world.state.add_learned(learned, world.clock_now()))
            .unwrap();
    }
    let [busy, other] = [BUSY, OTHER].map(|firm| {
        let visit = world
            .ehr
            .open_encounter(world.clock_now(), firm, EncounterSpec::default());
        visit.unwrap()
    });
    world.run_with(3 * MINUTE, MINUTE, || {
        let attach = |firm, visit: &str, seed| {
            let photo = PhotoSpec::synthetic("PHOTO-LESION", seed, None);
            world.ehr.attach_photo(world.clock_now(), firm, visit, photo).unwrap();
        };
        (0..PHOTOS).for_each(|seed| attach(BUSY, &busy, seed));
        attach(OTHER, &other, PHOTOS);
    });
    let report = world.report();
    let drafted = |firm: &str| {
        let photos = report.photos.iter().filter(|photo| photo.firm == firm);
        photos.filter(|photo| !photo.drafts.is_empty()).count()
    };
    assert_eq!(drafted(OTHER), 1);
    (world, drafted(BUSY))
}

#[test]
fn a_practice_that_files_many_photos_at_once_waits_for_its_share() {
    let (world, drafted) = drafts_after_a_burst(Some(&hardly_ever()));
    assert!((1..20).contains(&drafted), "{drafted} drafts within two minutes");
    world.run_for(20 * MINUTE);
    let report = world.assert_delivered_once(0);
    assert_eq!(report.expected().count() as u64, PHOTOS + 1);
    assert_eq!(report.refused_429, 0);
}

#[test]
fn a_practice_of_which_nothing_is_known_is_not_held_back() {
    let (_, drafted) = drafts_after_a_burst(None);
    assert_eq!(drafted as u64, PHOTOS);
}
