//! Who has the models elsewhere may have been given others since he was asked for them.

use std::time::Duration;

use http::StatusCode;
use skin_assist_core::domain::ModelVersion;
use skin_assist_simulator::{CallKind, EncounterSpec, FailNext, PhotoSpec};

use crate::support::World;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_result_names_the_models_that_looked() {
    let mut world = World::empty(1);
    world.vision = world.vision.clone().answering_as("2");
    world.open_firm("elm");
    // Drafts are refused, so that the result stays and can be looked at.
    world.ehr.set_faults(|faults| {
        faults.failures.push(FailNext {
            kind: CallKind::Draft,
            status: StatusCode::TOO_MANY_REQUESTS,
            remaining: 1000,
        });
    });
    let visit = world
        .ehr
        .open_encounter(world.clock_now(), "elm", EncounterSpec::default())
        .unwrap();
    world.run_with(3 * MINUTE, MINUTE, || {
        let photo = PhotoSpec::synthetic("PHOTO-LESION", 1, None);
        world.ehr.attach_photo(world.clock_now(), "elm", &visit, photo).unwrap();
    });
    assert_eq!(world.vision.looks(), 1);
    let later = world.clock_now() + 10 * MINUTE;
    let results = world.clock.run(world.state.acquire_results(later, MINUTE, 10)).unwrap();
    let [result] = results.as_slice() else {
        panic!("{} results", results.len());
    };
    let looked = ModelVersion {
        pack: "scripted-solitary".to_owned(),
        version: "2".to_owned(),
    };
    assert_eq!(result.item().versions.models, [looked]);
}
