//! The reference packs on pictures that took no part in their training: the accuracy that they state.
//!
//! Photos as a camera writes them - JPEG, turned by EXIF - through the product's own decoding, preprocessing and runtime.
//! Seeds from [`FIRST_SEED`] on were used for nothing else (models/README.md lists the training's).

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

use bytes::Bytes;
use futures::executor::block_on;
use skin_assist::{config::Config, wiring};
use skin_assist_core::{
    domain::{Abstention, Findings, NormalisedBox, Route},
    phi::Phi,
    ports::VisionModel,
};
use skin_assist_simulator::picture::{Condition, Picture, PictureParameters, render};

const FIRST_SEED: u64 = 77_000_000;
const PICTURES: u64 = 200;

fn pictures(conditions: &'static [Condition]) -> impl Iterator<Item = (Condition, Picture, Bytes)> {
    (0..PICTURES).map(|number| {
        let condition = conditions[number as usize % conditions.len()];
        let picture = render(&PictureParameters::new(FIRST_SEED + number, Some(condition), 960, 720));
        let orientation = [1, 6, 3, 8][number as usize / conditions.len() % 4];
        let jpeg = Bytes::from(picture.to_jpeg(88, orientation));
        (condition, picture, jpeg)
    })
}

fn look(vision: &dyn VisionModel, route: Route, jpeg: Bytes) -> Findings {
    block_on(vision.look(route, &Phi::new(jpeg))).unwrap()
}

#[test]
fn the_solitary_pack_finds_lesions_and_names_them() {
    let vision = wiring::vision(&Config::defaults().unwrap()).unwrap();
    let (mut lesions, mut found, mut named) = (0_u32, 0_u32, 0_u32);
    for (condition, picture, jpeg) in pictures(Condition::SOLITARY) {
        let findings = look(&*vision, Route::Solitary, jpeg);
        assert_eq!(
            (findings.image.width, findings.image.height),
            (picture.width, picture.height)
        );
        for truth in &picture.lesions {
            lesions += 1;
            let truth = NormalisedBox {
                x: truth.x,
                y: truth.y,
                width: truth.width,
                height: truth.height,
            };
            let hit = findings
                .regions
                .iter()
                .find(|region| region.area.intersection_over_union(&truth) >= 0.5);
            if let Some(region) = hit {
                found += 1;
                named += u32::from(region.classes[0].label.id == condition.id());
            }
        }
    }
    let recall = f64::from(found) / f64::from(lesions);
    let top_1 = f64::from(named) / f64::from(found);
    assert!(
        recall >= 0.95,
        "the detector finds {recall:.3} of {lesions} lesions at IoU 0.5"
    );
    assert!(top_1 >= 0.9, "the classifier names {top_1:.3} of {found} lesions found");
}

#[test]
fn the_widespread_pack_names_rashes() {
    let vision = wiring::vision(&Config::defaults().unwrap()).unwrap();
    let named = pictures(Condition::WIDESPREAD).filter(|(condition, _, jpeg)| {
        let findings = look(&*vision, Route::Widespread, jpeg.clone());
        findings.ranked[0].label.id == condition.id()
    });
    let top_1 = named.count() as f64 / PICTURES as f64;
    assert!(top_1 >= 0.9, "the classifier names {top_1:.3} of {PICTURES} rashes");
}

#[test]
fn healthy_skin_mostly_gets_no_lesion() {
    let vision = wiring::vision(&Config::defaults().unwrap()).unwrap();
    let clear = (0..60).filter(|number| {
        let picture = render(&PictureParameters::new(FIRST_SEED + 10_000 + number, None, 960, 720));
        let findings = look(&*vision, Route::Solitary, Bytes::from(picture.to_jpeg(88, 1)));
        findings.abstention == Some(Abstention::NoLesionFound)
    });
    let clear = clear.count();
    assert!(
        clear >= 48,
        "a lesion was found on {} of 60 pictures of healthy skin",
        60 - clear
    );
}
