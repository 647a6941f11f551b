use std::collections::BTreeSet;

use futures::executor::block_on;

use super::*;
use crate::{
    domain::{
        AgeBand, Assessment, AssessmentId, CategoryCode, ClassProbability, DocumentId, EncounterId, FirmId, ImageFacts,
        Label, ModelVersion, PatientId, PhotoDigest, Region, Sex,
    },
    phi::Phi,
    ports::LanguageModel as _,
    synthesis::{Composer, Knowledge},
    time::Timestamp,
};

fn label(id: &str, snomed_ct: &str, must_not_miss: bool) -> Label {
    Label {
        id: id.to_owned(),
        display: id.to_owned(),
        snomed_ct: snomed_ct.to_owned(),
        icd_10_cm: None,
        must_not_miss,
    }
}

fn findings(probabilities: &[(Label, f32)], abstention: Option<Abstention>) -> Findings {
    let classes: Vec<_> = probabilities
        .iter()
        .map(|(label, probability)| ClassProbability {
            label: label.clone(),
            probability: *probability,
        })
        .collect();
    let area = NormalisedBox {
        x: 0.25,
        y: 0.5,
        width: 0.25,
        height: 0.25,
    };
    Findings {
        route: Route::Solitary,
        image: ImageFacts {
            width: 2400,
            height: 1800,
            format: "jpeg".to_owned(),
            quality: Quality {
                sharpness: 80.0,
                brightness: 0.5,
                ..Quality::default()
            },
        },
        regions: if classes.is_empty() {
            vec![]
        } else {
            vec![Region {
                area,
                score: 0.91,
                classes: classes.clone(),
            }]
        },
        ranked: classes,
        abstention,
        abstain_below: 0.0,
        concerns: Vec::new(),
        further_conditions: Vec::new(),
        models: vec![],
    }
}

fn note(findings: &Findings, patient: PatientFacts) -> DraftNote {
    let document = DocumentId::new("file|7");
    let assessment = Assessment {
        id: AssessmentId::new("x"),
        firm: FirmId::new("a"),
        encounter: EncounterId::new("1"),
        patient: PatientId::new("p"),
        practitioner: None,
        category: CategoryCode::new("lesion"),
        route: Route::Solitary,
        earlier: None,
        documents: BTreeSet::from([document.clone()]),
    };
    let photos = [AssessedPhoto {
        document: document.clone(),
        digest: PhotoDigest::of(&Phi::new(bytes::Bytes::from_static(b"photo"))),
        attached_at: Some(Timestamp::from_millis(0)),
        detected_at: Timestamp::from_millis(1),
        downloaded_at: Timestamp::from_millis(2),
        not_assessed: None,
    }];
    let versions = Versions {
        models: vec![ModelVersion {
            pack: "reference-solitary".to_owned(),
            version: "1".to_owned(),
        }],
        synthesis: "composer".to_owned(),
        pipeline: PIPELINE.to_owned(),
        language: None,
    };
    let pairs = [(document, findings)];
    let request = SynthesisRequest {
        assessment: &assessment,
        findings: &pairs,
        patient,
        over_budget: false,
    };
    let synthesis = block_on(Composer::new(Knowledge::shipped().unwrap()).synthesize(&request)).unwrap();
    compose_note(&request, &synthesis, &photos, &versions)
}

const PIPELINE: &str = "skin-assist test";

fn text(note: &DraftNote) -> String {
    note.sections
        .iter()
        .flat_map(|section| &section.paragraphs)
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn says_all_that_a_draft_must_say_in_its_order() {
    let melanoma = label("melanoma", "372244006", true);
    let nevus = label("nevus", "400096001", false);
    let facts = PatientFacts {
        age: Some(AgeBand::MiddleAged),
        sex: Some(Sex::Female),
        ..PatientFacts::default()
    };
    let note = note(&findings(&[(nevus, 0.9), (melanoma, 0.04)], None), facts);
    let text = text(&note);
    let order = [
        NOT_REVIEWED,
        "Document file|7",
        "Route: solitary",
        "Lesion 1 on file|7: 25-50 % of the width",
        "1. nevus (SNOMED CT 400096001): very likely, 90 %; evidence: image file|7.",
        "Must not miss: melanoma (SNOMED CT 372244006): less likely, 4 %",
        "Dermoscopy of the lesion.",
        "Not known: body site, history, medications, earlier results at this site, symptoms. Known: age band 40-64 years; sex female.",
        "A low score does not exclude malignancy.",
        "not a diagnosis",
        "reference-solitary 1",
        "Reference code SA-",
    ];
    let mut from = 0;
    for expected in order {
        let at = text[from..]
            .find(expected)
            .unwrap_or_else(|| panic!("`{expected}` is missing after {from} in\n{text}"));
        from += at;
    }
    assert_eq!(note.regions[0].areas.len(), 1);
    assert_eq!(
        note.bands,
        Bands {
            age: Some(AgeBand::MiddleAged),
            sex: Some(Sex::Female)
        }
    );
}

#[test]
fn what_speaks_against_the_image_is_said_whether_or_not_the_models_decline() {
    use crate::domain::Concern;
    let nevus = label("nevus", "400096001", false);
    for abstention in [None, Some(Abstention::OutOfDistribution)] {
        let mut findings = findings(&[(nevus.clone(), 0.9)], abstention);
        findings.concerns = vec![Concern::Blurred, Concern::WholeImage];
        let text = text(&note(&findings, PatientFacts::default()));
        let expected = "Against relying on image file|7: less sharp than the model pack asks for; no lesion was found, and the \
                        image was judged as a whole instead.";
        assert!(text.contains(expected), "{text}");
    }
    let text = text(&note(&findings(&[(nevus, 0.9)], None), PatientFacts::default()));
    assert!(!text.contains("Against relying"));
}

#[test]
fn what_was_found_earlier_at_the_site_is_said() {
    use crate::domain::PriorResult;
    let term = |text: &str| ContextTerm(text.to_owned());
    let nevus = label("nevus", "400096001", false);
    let facts = |site: &str| PatientFacts {
        site: Some(term(site)),
        prior_results: Some(vec![PriorResult {
            site: term("forearm"),
            laterality: None,
            finding: term("melanoma"),
        }]),
        ..PatientFacts::default()
    };
    for (site, says) in [
        ("forearm", "earlier results at this site: melanoma."),
        ("back", "earlier results at this site: none of its conditions."),
    ] {
        let text = text(&note(&findings(&[(nevus.clone(), 0.9)], None), facts(site)));
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn what_the_knowledge_file_marks_is_not_missed_whatever_the_pack_says() {
    let melanoma = label("melanoma", "372244006", false);
    let nevus = label("nevus", "400096001", false);
    let text = text(&note(
        &findings(&[(nevus, 0.9), (melanoma, 0.02)], None),
        PatientFacts::default(),
    ));
    assert!(text.contains("Must not miss: melanoma (SNOMED CT 372244006)"), "{text}");
}

#[test]
fn an_abstention_gives_its_reason_and_no_differential() {
    let note = note(&findings(&[], Some(Abstention::NoLesionFound)), PatientFacts::default());
    let text = text(&note);
    assert!(text.contains("No assessment: no lesion was found"));
    assert!(
        text.contains("Not known: age, sex, body site, history, medications, earlier results at this site, symptoms.")
    );
    assert!(!text.contains("differential"));
}

#[test]
fn what_is_undecided_is_not_ranked() {
    let nevus = label("nevus", "400096001", false);
    let text = text(&note(
        &findings(&[(nevus, 0.3)], Some(Abstention::Undecided)),
        PatientFacts::default(),
    ));
    assert!(text.contains("The most probable class was nevus with 30 %, below the threshold."));
    assert!(!text.contains("Ranked differential"));
}
