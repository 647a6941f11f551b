//! A language model that answers with any text: what reaches a draft is the classifier's, whatever it says.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::executor::block_on;
use http::Request;
use skin_assist_core::{
    domain::{
        AgeBand, Assessment, AssessmentId, CategoryCode, ClassProbability, ContextTerm, DocumentId, EncounterId,
        Findings, FirmId, ImageFacts, Label, Laterality, NormalisedBox, PatientFacts, PatientId, Quality, Region,
        Route, Sex, Versions,
    },
    phi::Phi,
    ports::{ChatModel, Completion, LanguageError, LanguageModel as _, Prompt, Synthesis, SynthesisRequest},
    synthesis::{Composer, Knowledge, Spending, Synthesizer, compose_note},
};
use skin_assist_endpoints::language::{ChatEndpoint, OpenAiChat};
use url::Url;

use crate::replies::Replies;

/// Says the same each time.
struct Says(String);

#[async_trait]
impl ChatModel for Says {
    async fn complete(&self, _: &Prompt) -> Result<Completion, LanguageError> {
        Ok(Completion {
            text: Phi::new(self.0.clone()),
            input_tokens: u64::MAX,
            output_tokens: 1,
        })
    }

    fn model(&self) -> &'static str {
        "any-model"
    }
}

/// What it is asked about, and what the composer writes of it alone.
struct Case {
    assessment: Assessment,
    findings: Findings,
    patient: PatientFacts,
    composed: Synthesis,
}

const DOCUMENT: &str = "file|7";

impl Case {
    fn with_request<T>(&self, body: impl FnOnce(&SynthesisRequest<'_>) -> T) -> T {
        body(&SynthesisRequest {
            assessment: &self.assessment,
            findings: &[(DocumentId::new(DOCUMENT), &self.findings)],
            patient: self.patient.clone(),
            over_budget: false,
        })
    }
}

static CASE: LazyLock<Case> = LazyLock::new(|| {
    let mut case = Case {
        assessment: assessment(),
        findings: findings(),
        patient: PatientFacts {
            age: Some(AgeBand::Older),
            sex: Some(Sex::Male),
            site: Some(ContextTerm("forearm".to_owned())),
            laterality: Some(Laterality::Left),
            history: Some(vec![ContextTerm("history of skin cancer".to_owned())]),
            medications: Some(vec![ContextTerm("hydrochlorothiazide".to_owned())]),
            ..PatientFacts::default()
        },
        composed: Synthesis {
            differential: Err(skin_assist_core::domain::Abstention::NoLesionFound),
            next_steps: Vec::new(),
            questions: Vec::new(),
            made_by: String::new(),
            remarks: Vec::new(),
            comment: None,
            language: None,
        },
    };
    let composed = case.with_request(|request| block_on(composer().synthesize(request)));
    case.composed = composed.expect("the composer always writes");
    case
});

fn composer() -> Composer {
    Composer::new(Knowledge::shipped().expect("the shipped knowledge can be read"))
}

fn label(display: &str, snomed_ct: &str, must_not_miss: bool) -> Label {
    Label {
        id: display.to_owned(),
        display: display.to_owned(),
        snomed_ct: snomed_ct.to_owned(),
        icd_10_cm: None,
        must_not_miss,
    }
}

fn findings() -> Findings {
    let class = |display, snomed_ct, must_not_miss, probability| ClassProbability {
        label: label(display, snomed_ct, must_not_miss),
        probability,
    };
    let classes = vec![
        class("Seborrheic keratosis", "25499005", false, 0.41),
        class("Melanoma", "372244006", true, 0.35),
        class("Melanocytic nevus", "400096001", false, 0.18),
        class("Basal cell carcinoma", "254701007", true, 0.04),
        class("Actinic keratosis", "201101007", false, 0.02),
    ];
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
        regions: vec![Region {
            area: NormalisedBox {
                x: 0.25,
                y: 0.5,
                width: 0.25,
                height: 0.25,
            },
            score: 0.91,
            classes: classes.clone(),
        }],
        ranked: classes,
        abstention: None,
        abstain_below: 0.0,
        concerns: Vec::new(),
        further_conditions: vec![label("Squamous cell carcinoma", "254651007", false)],
        models: Vec::new(),
    }
}

fn assessment() -> Assessment {
    Assessment {
        id: AssessmentId::new("x"),
        firm: FirmId::new("a"),
        encounter: EncounterId::new("visit-17"),
        patient: PatientId::new("patient-4711"),
        practitioner: None,
        category: CategoryCode::new("photos"),
        route: Route::Solitary,
        earlier: None,
        documents: BTreeSet::from([DocumentId::new(DOCUMENT)]),
    }
}

fn to_the_endpoint(request: &Request<Bytes>) {
    assert_eq!(
        request.uri().to_string(),
        "https://language.example/v1/chat/completions"
    );
}

/// The first byte says whether the rest is an answer or an endpoint's replies around one.
pub fn any_answer(input: &[u8]) {
    let [what, rest @ ..] = input else { return };
    let chat: Arc<dyn ChatModel> = if what & 1 == 1 {
        let Ok(text) = std::str::from_utf8(rest) else { return };
        Arc::new(Says(text.to_owned()))
    } else {
        let endpoint = ChatEndpoint {
            base_url: Url::parse("https://language.example/v1").expect("a URL"),
            model: "any-model".to_owned(),
            api_key: None,
            api_key_header: None,
            allow_loopback_http: false,
        };
        Arc::new(OpenAiChat::new(endpoint, Replies::of(rest, to_the_endpoint)).expect("it can be sent to"))
    };
    let synthesizer = Synthesizer::new(chat, composer(), Spending::default());
    let case = &*CASE;
    case.with_request(|request| {
        let synthesis = block_on(synthesizer.synthesize(request)).expect("it falls back on the composer");
        is_of_the_classifier(&synthesis, case);
        let versions = Versions {
            models: Vec::new(),
            synthesis: synthesis.made_by.clone(),
            pipeline: "skin-assist".to_owned(),
            language: synthesis.language.clone(),
        };
        let note = compose_note(request, &synthesis, &[], &versions);
        assert!(note.sections.iter().any(|section| section.heading == "Limits"));
    });
}

fn is_of_the_classifier(synthesis: &Synthesis, case: &Case) {
    let differential = synthesis
        .differential
        .as_ref()
        .expect("the findings have something to rank");
    for named in differential.ranked.iter().chain(&differential.must_not_miss) {
        let known = ClassProbability {
            label: named.label.clone(),
            probability: named.probability,
        };
        assert!(
            case.findings.ranked.contains(&known),
            "a condition or probability of its own"
        );
        assert_eq!(named.evidence.as_str(), DOCUMENT, "an image that there is not");
    }
    for further in &differential.further {
        assert!(
            case.findings.further_conditions.contains(&further.label),
            "a condition of its own"
        );
        assert!(!further.supporting.is_empty(), "brought up by nothing");
    }
    // Melanoma at 35 % and what must not be missed are named whatever was answered.
    for code in ["372244006", "254701007"] {
        let mut named = differential.ranked.iter().chain(&differential.must_not_miss);
        assert!(named.any(|named| named.label.snomed_ct == code), "{code} is not named");
    }
    for step in &case.composed.next_steps {
        assert!(synthesis.next_steps.contains(step), "a next step got lost");
    }
    for question in &case.composed.questions {
        assert!(synthesis.questions.contains(question), "a question got lost");
    }
    if let Some(comment) = &synthesis.comment {
        assert!(comment.chars().count() <= 240 && !comment.chars().any(|c| c.is_ascii_digit()));
        assert!(
            !comment.contains(['<', '>', '{', '}', '\n', '/', '@']),
            "a comment with more than words"
        );
    }
}
