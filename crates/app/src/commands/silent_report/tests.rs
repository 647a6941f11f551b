use std::collections::BTreeSet;

use skin_assist_core::{
    domain::{
        Abstention, Assessment, AssessmentId, CategoryCode, ClassProbability, Delivery, DocumentId, DraftNote,
        Findings, FirmId, ImageFacts, LanguageUse, ModelVersion, PatientId, PhotoDigest, PhotoFindings, Quality,
        ResultKey, Route, Versions,
    },
    phi::Phi,
    time::Timestamp,
};

use super::*;

/// The report on these results.
fn compared(results: &[AssistResult]) -> Result<Report, String> {
    compare("elm", results, CODED, &Knowledge::shipped().unwrap())
}

fn class(name: &str, snomed_ct: &str, icd: &str, must_not_miss: bool, probability: f32) -> ClassProbability {
    ClassProbability {
        label: Label {
            id: name.to_owned(),
            display: name.to_owned(),
            snomed_ct: snomed_ct.to_owned(),
            icd_10_cm: Some(icd.to_owned()),
            must_not_miss,
        },
        probability,
    }
}

fn bands_of(encounter: &str) -> Bands {
    let (age, sex) = match encounter {
        "nevus" | "melanoma" => (Some(AgeBand::Older), Some(Sex::Female)),
        "missed" | "keratosis" => (Some(AgeBand::Older), Some(Sex::Male)),
        "abstained" => (Some(AgeBand::YoungAdult), None),
        _ => (None, None),
    };
    Bands { age, sex }
}

/// A result with a nevus first, a keratosis second, and a melanoma of this probability.
fn result(encounter: &str, melanoma: f32, abstention: Option<Abstention>) -> AssistResult {
    let document = DocumentId::new("file|7");
    let digest = PhotoDigest::of(&Phi::new(bytes::Bytes::from_static(b"photo")));
    let models = vec![ModelVersion {
        pack: "solitary".to_owned(),
        version: "1".to_owned(),
    }];
    let id = AssessmentId::new(encounter);
    AssistResult {
        key: ResultKey::new(&id, [&digest], &models),
        assessment: Assessment {
            id,
            firm: FirmId::new("elm"),
            encounter: EncounterId::new(encounter),
            patient: PatientId::new("p"),
            practitioner: None,
            category: CategoryCode::new("lesion"),
            route: Route::Solitary,
            earlier: None,
            documents: BTreeSet::from([document]),
        },
        photos: vec![],
        findings: Phi::new(Findings {
            route: Route::Solitary,
            image: ImageFacts {
                width: 1,
                height: 1,
                format: "jpeg".to_owned(),
                quality: Quality {
                    sharpness: 1.0,
                    brightness: 0.5,
                    ..Quality::default()
                },
            },
            regions: vec![],
            ranked: vec![
                class("nevus", "400096001", "D22.9", false, 0.7),
                class("keratosis", "25499005", "L82.1", false, 0.2),
                class("melanoma", "372244006", "C43.9", true, melanoma),
            ],
            abstention,
            abstain_below: 0.0,
            concerns: Vec::new(),
            further_conditions: Vec::new(),
            models: models.clone(),
        }),
        photo_findings: Phi::new(Vec::new()),
        note: Phi::new(DraftNote {
            title: String::new(),
            sections: vec![],
            instructions: vec![],
            regions: vec![],
            bands: bands_of(encounter),
        }),
        versions: Versions {
            models,
            synthesis: "composer".to_owned(),
            pipeline: "test".to_owned(),
            language: Some(LanguageUse {
                model: "m".to_owned(),
                prompt: "rank-1".to_owned(),
                prompt_sha256: "0".repeat(64),
                calls: 1,
                input_tokens: 1000,
                output_tokens: 100,
                cost_micros: 4500,
                fallback: None,
            }),
        },
        assessed_at: Timestamp::from_millis(0),
        delivery: Delivery::Pending,
    }
}

const CODED: &str = "\
encounter,system,code,group
nevus,snomed-ct,400096001,type III
keratosis,icd-10-cm,L82.0,type III
melanoma,icd-10-cm,C43.59,type V
missed,snomed-ct,372244006,type V
abstained,snomed-ct,372244006,
acne,icd-10-cm,L70.0,type V
";

fn results() -> Vec<AssistResult> {
    vec![
        result("nevus", 0.1, None),
        result("keratosis", 0.1, None),
        result("melanoma", 0.1, None),
        result("missed", 0.001, None),
        result("abstained", 0.1, Some(Abstention::Undecided)),
        result("acne", 0.1, None),
        result("never coded", 0.1, None),
    ]
}

#[test]
fn results_are_compared_with_what_was_coded() {
    let report = compared(&results()).unwrap();
    let expected = Counts {
        compared: 6,
        abstained: 1,
        top_1: 1,
        top_3: 4,
        must_not_miss: 3,
        must_not_miss_named: 1,
        out_of_scope: 1,
    };
    assert_eq!(report.groups["all"], expected);
    assert_eq!(report.groups["route solitary"], expected);
    let group = report.groups["group type III"];
    assert_eq!((group.compared, group.top_1, group.top_3), (2, 1, 2));
    assert_eq!(report.groups["group type V"].compared, 3);
    let older = report.groups["age 65 years or older"];
    assert_eq!(
        (older.compared, older.must_not_miss, older.must_not_miss_named),
        (4, 2, 1)
    );
    let male = report.groups["sex male"];
    assert_eq!((male.compared, male.must_not_miss, male.must_not_miss_named), (2, 1, 0));
    let unknown = report.groups["sex not known"];
    assert_eq!((unknown.compared, unknown.abstained), (2, 1));
    assert_eq!(report.groups["age 18-39 years"].compared, 1);
    assert_eq!((report.language.assessments, report.language.cost_micros), (7, 31_500));
}

#[test]
fn what_any_photo_shows_counts_as_the_draft_has_it() {
    let photo = |document: &str, melanoma| PhotoFindings {
        document: DocumentId::new(document),
        findings: result("missed", melanoma, None).findings.into_exposed(),
    };
    let mut several = result("missed", 0.001, None);
    several.photo_findings = Phi::new(vec![photo("file|7", 0.001), photo("file|8", 0.3)]);
    let counts = compared(&[several]).unwrap().groups["all"];
    let [one, of] = [counts.must_not_miss_named, counts.must_not_miss];
    assert_eq!((one, of, counts.top_1, counts.top_3), (1, 1, 0, 1));
}

#[test]
fn the_same_gives_the_same_bytes_in_whatever_order() {
    let first = page(&compared(&results()).unwrap());
    let mut reversed = results();
    reversed.reverse();
    assert_eq!(page(&compared(&reversed).unwrap()), first);
    assert!(
        first.contains("| all | 6 | 1/6 (16.7 %) | 4/6 (66.7 %) | 1/3 (33.3 %) | 1 | 1 |"),
        "{first}"
    );
    assert!(first.contains("cost 0.031500"), "{first}");
    assert_eq!(
        first,
        include_str!("report.md"),
        "what was released: a change of the form is one on purpose"
    );
    let as_json = |results: &[AssistResult]| serde_json::to_string(&compared(results).unwrap()).unwrap();
    assert_eq!(as_json(&reversed), as_json(&results()));
}

#[test]
fn a_file_of_another_form_is_refused() {
    for (text, problem) in [
        ("", "empty"),
        ("encounter;code\n", "first line"),
        ("encounter,system,code\na,snomed-ct\n", "line 2"),
        ("encounter,system,code\na,icd-9,1\n", "line 2: the system"),
    ] {
        assert!(read(text).unwrap_err().contains(problem), "{text}");
    }
}

#[test]
fn the_group_where_it_is_lowest_is_named_with_its_size() {
    let report = compared(&results()).unwrap();
    let lowest = |measure: &str| {
        let Lowest { group, of, all } = &report.lowest[measure];
        (group.as_str(), *of, *all)
    };
    // Of three groups without any, the one with more results, and then the first by name.
    assert_eq!(lowest("must-not-miss named"), ("age 18-39 years", 0, 1));
    assert_eq!(lowest("top 1"), ("group type V", 0, 3));
    assert_eq!(lowest("top 3").1, 0);
    let nothing = compared(&[]).unwrap();
    assert!(nothing.lowest.is_empty() && !page(&nothing).contains("Lowest"));
}
