//! The drafts that this software writes, case by case, by its own composer and note.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::executor::block_on;
use skin_assist_core::{
    domain::{
        Abstention, AgeBand, AssessedPhoto, Assessment, AssessmentId, CategoryCode, ClassProbability, ContextTerm,
        DocumentId, DraftNote, EarlierDraft, EncounterId, Findings, FirmId, ImageFacts, Label, Laterality,
        ModelVersion, NormalisedBox, PatientFacts, PatientId, PhotoDigest, PractitionerId, PriorResult, Quality,
        Reason, Region, Route, Sex, Versions,
    },
    phi::Phi,
    ports::{ChatModel, Completion, LanguageError, LanguageModel, Prompt, SynthesisRequest},
    synthesis::{Composer, Knowledge, Spending, Synthesizer, compose_note},
    time::Timestamp,
};

/// A case.
pub(crate) struct Case {
    /// Its name.
    pub(crate) name: &'static str,
    /// What is written.
    pub(crate) note: DraftNote,
    /// What made it.
    pub(crate) versions: Versions,
    /// Whether the visit is over, and the draft is posted without it.
    pub(crate) finished: bool,
    /// The draft that it is an addendum to.
    pub(crate) earlier: Option<EarlierDraft>,
}

/// A language model that says nothing of use.
struct Nonsense;

#[async_trait]
impl ChatModel for Nonsense {
    async fn complete(&self, _: &Prompt) -> Result<Completion, LanguageError> {
        Ok(Completion {
            text: Phi::new("The lesion is benign.".to_owned()),
            input_tokens: 900,
            output_tokens: 6,
        })
    }

    fn model(&self) -> &'static str {
        "example-model-1"
    }
}

fn composer() -> Composer {
    Composer::new(Knowledge::shipped().unwrap())
}

fn class(display: &str, snomed_ct: &str, icd: &str, must_not_miss: bool, probability: f32) -> ClassProbability {
    ClassProbability {
        label: Label {
            id: display.to_lowercase().replace(' ', "-"),
            display: display.to_owned(),
            snomed_ct: snomed_ct.to_owned(),
            icd_10_cm: Some(icd.to_owned()),
            must_not_miss,
        },
        probability,
    }
}

/// Melanoma, nevus, seborrheic keratosis, basal cell carcinoma, with these probabilities.
fn lesion(probabilities: [f32; 4], abstention: Option<Abstention>) -> Findings {
    let [melanoma, nevus, keratosis, carcinoma] = probabilities;
    let mut classes = vec![
        class("Melanoma", "372244006", "C43.9", true, melanoma),
        class("Melanocytic nevus", "400096001", "D22.9", false, nevus),
        class("Seborrheic keratosis", "25499005", "L82.1", false, keratosis),
        class("Basal cell carcinoma", "254701007", "C44.91", true, carcinoma),
    ];
    classes.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    let area = NormalisedBox {
        x: 0.31,
        y: 0.4,
        width: 0.22,
        height: 0.2,
    };
    let region = Region {
        area,
        score: 0.93,
        classes: classes.clone(),
    };
    findings(Route::Solitary, vec![region], classes, abstention)
}

fn findings(
    route: Route,
    regions: Vec<Region>,
    ranked: Vec<ClassProbability>,
    abstention: Option<Abstention>,
) -> Findings {
    let poor = abstention == Some(Abstention::PoorImage);
    Findings {
        route,
        image: ImageFacts {
            width: 2400,
            height: 1800,
            format: "jpeg".to_owned(),
            quality: Quality {
                sharpness: if poor { 4.0 } else { 80.0 },
                brightness: if poor { 0.1 } else { 0.5 },
                ..Quality::default()
            },
        },
        regions,
        ranked,
        abstention,
        abstain_below: 0.0,
        concerns: Vec::new(),
        further_conditions: Vec::new(),
        models: vec![],
    }
}

fn known() -> PatientFacts {
    let term = |text: &str| ContextTerm(text.to_owned());
    PatientFacts {
        age: Some(AgeBand::Older),
        sex: Some(Sex::Female),
        site: Some(term("forearm")),
        laterality: Some(Laterality::Left),
        history: Some(vec![term("history of skin cancer")]),
        medications: Some(vec![]),
        prior_results: Some(vec![PriorResult {
            site: term("forearm"),
            laterality: None,
            finding: term("actinic keratosis"),
        }]),
        prior_results_incomplete: false,
        description: Some(Phi::new("left forearm, Jane Roe".to_owned())),
    }
}

fn note(findings: &Findings, patient: PatientFacts, language: &dyn LanguageModel) -> (DraftNote, Versions) {
    note_of(&[findings], 0, None, patient, language)
}

/// The draft of three days ago.
pub(crate) fn earlier() -> EarlierDraft {
    EarlierDraft {
        assessment: AssessmentId::new("fedcba9876543210"),
        date: Timestamp::parse_rfc3339("2026-01-02T09:12:44Z").unwrap(),
    }
}

/// The note about several photos, of which the last `unreadable` could not be looked at.
fn note_of(
    seen: &[&Findings],
    unreadable: usize,
    earlier: Option<EarlierDraft>,
    patient: PatientFacts,
    language: &dyn LanguageModel,
) -> (DraftNote, Versions) {
    let documents: Vec<DocumentId> = (0..seen.len() + unreadable)
        .map(|number| DocumentId::new(format!("file|{}", 139_977 + number)))
        .collect();
    let findings = seen[0];
    let at = |text: &str| Timestamp::parse_rfc3339(text).unwrap();
    let assessment = Assessment {
        id: AssessmentId::new("0123456789abcdef"),
        firm: FirmId::new("derm"),
        encounter: EncounterId::new("e|1"),
        patient: PatientId::new("7"),
        practitioner: Some(PractitionerId::new("201")),
        category: CategoryCode::new("12"),
        route: findings.route,
        earlier,
        documents: documents.iter().cloned().collect(),
    };
    let photos = documents.iter().enumerate().map(|(number, document)| AssessedPhoto {
        document: document.clone(),
        digest: PhotoDigest::of(&Phi::new(Bytes::from_static(b"photo"))),
        attached_at: Some(at("2026-01-05T09:59:30Z")),
        detected_at: at("2026-01-05T10:00:00Z"),
        downloaded_at: at("2026-01-05T10:00:01Z"),
        not_assessed: (number >= seen.len())
            .then(|| Reason::new("photo.unsupported-format", "attach it as JPEG, PNG, WebP or TIFF")),
    });
    let photos: Vec<_> = photos.collect();
    let pairs: Vec<_> = documents.into_iter().zip(seen.iter().copied()).collect();
    let request = SynthesisRequest {
        assessment: &assessment,
        findings: &pairs,
        patient,
        over_budget: false,
    };
    let synthesis = block_on(language.synthesize(&request)).unwrap();
    let versions = Versions {
        models: vec![ModelVersion {
            pack: format!("reference-{}", findings.route),
            version: "1".to_owned(),
        }],
        synthesis: synthesis.made_by.clone(),
        pipeline: "skin-assist test".to_owned(),
        language: synthesis.language.clone(),
    };
    (compose_note(&request, &synthesis, &photos, &versions), versions)
}

/// The eleven of them.
pub(crate) fn cases() -> Vec<Case> {
    let benign = || lesion([0.02, 0.9, 0.07, 0.01], None);
    let rash = vec![
        class("Psoriasis", "9014002", "L40.0", false, 0.58),
        class("Atopic dermatitis", "24079001", "L20.9", false, 0.27),
        class("Tinea corporis", "84849002", "B35.4", false, 0.1),
        class("Urticaria", "126485001", "L50.9", false, 0.05),
    ];
    let seen = findings(Route::Widespread, vec![], rash.clone(), None);
    let mut less_clear = seen.clone();
    for (class, probability) in less_clear.ranked.iter_mut().zip([0.3, 0.41, 0.19, 0.1]) {
        class.probability = probability;
    }
    let several = [&seen, &less_clear];
    let nothing = |abstention| findings(Route::Solitary, vec![], vec![], Some(abstention));
    let refused = Synthesizer::new(Arc::new(Nonsense), composer(), Spending::default());
    let composed = |findings: &Findings, patient: PatientFacts| note(findings, patient, &composer());
    let notes = [
        (
            "melanoma-suspected",
            composed(&lesion([0.64, 0.2, 0.12, 0.04], None), known()),
        ),
        ("benign", composed(&benign(), known())),
        (
            "no-lesion-found",
            composed(&nothing(Abstention::NoLesionFound), known()),
        ),
        ("poor-image", composed(&nothing(Abstention::PoorImage), known())),
        (
            "widespread",
            composed(&findings(Route::Widespread, vec![], rash, None), known()),
        ),
        (
            "undecided",
            composed(&lesion([0.26, 0.3, 0.24, 0.2], Some(Abstention::Undecided)), known()),
        ),
        ("fallback", note(&benign(), known(), &refused)),
        ("context-missing", composed(&benign(), PatientFacts::default())),
        ("visit-finished", composed(&benign(), known())),
        ("several-photos", note_of(&several, 1, None, known(), &composer())),
        (
            "addendum",
            note_of(&several[..1], 0, Some(earlier()), known(), &composer()),
        ),
    ];
    notes
        .into_iter()
        .map(|(name, (note, versions))| Case {
            name,
            note,
            versions,
            finished: name == "visit-finished",
            earlier: (name == "addendum").then(earlier),
        })
        .collect()
}
