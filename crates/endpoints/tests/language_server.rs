//! The whole way of a prompt to a server that none of us wrote: llama.cpp's own, with a model of random weights. It is held to the
//! schema, so the answer has the right shape, and no sense: the rules have to refuse it, and the composer writes the draft.
//!
//! `cargo xtask language-server` installs the server, starts it and names it to this test.

// Helpers of tests, which clippy does not take for tests.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use skin_assist_core::{
    domain::{
        AgeBand, Assessment, AssessmentId, CategoryCode, ClassProbability, DocumentId, EncounterId, Findings, FirmId,
        ImageFacts, Label, PatientFacts, PatientId, Quality, Route,
    },
    ports::{ChatModel, Completion, LanguageError, LanguageModel as _, Prompt, SynthesisRequest},
    synthesis::{Composer, Knowledge, Spending, Synthesizer},
};
use skin_assist_endpoints::language::{ChatEndpoint, OpenAiChat};
use skin_assist_transport::{HttpOptions, ReqwestTransport};
use url::Url;

/// A byte is a token of this model, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(240);

/// Keeps what a model answered.
struct Heard {
    chat: OpenAiChat,
    answers: Mutex<Vec<Completion>>,
}

#[async_trait]
impl ChatModel for Heard {
    async fn complete(&self, prompt: &Prompt) -> Result<Completion, LanguageError> {
        let completion = self.chat.complete(prompt).await?;
        self.answers.lock().unwrap().push(completion.clone());
        Ok(completion)
    }

    fn model(&self) -> &str {
        self.chat.model()
    }
}

fn class(display: &str, snomed_ct: &str, probability: f32) -> ClassProbability {
    ClassProbability {
        label: Label {
            id: display.to_lowercase(),
            display: display.to_owned(),
            snomed_ct: snomed_ct.to_owned(),
            icd_10_cm: None,
            must_not_miss: false,
        },
        probability,
    }
}

#[tokio::test]
async fn nonsense_in_the_right_shape_becomes_the_composers_draft() {
    #[allow(clippy::disallowed_methods)] // A test's environment is not the program's configuration.
    let server = std::env::var("TEST_LANGUAGE_SERVER").unwrap_or_else(|_| {
        panic!("TEST_LANGUAGE_SERVER names no server\nhint: `cargo xtask language-server` starts one and names it")
    });
    let options = HttpOptions {
        read_timeout: PATIENCE,
        total_timeout: PATIENCE,
        allow_loopback_http: true,
        ..HttpOptions::default()
    };
    let endpoint = ChatEndpoint {
        base_url: Url::parse(&format!("{server}/v1")).unwrap(),
        model: "random".to_owned(),
        api_key: None,
        api_key_header: None,
        allow_loopback_http: true,
    };
    let chat = Arc::new(Heard {
        chat: OpenAiChat::new(endpoint, Arc::new(ReqwestTransport::for_api(&options).unwrap())).unwrap(),
        answers: Mutex::default(),
    });
    let synthesizer = Synthesizer::new(
        chat.clone(),
        Composer::new(Knowledge::shipped().unwrap()),
        Spending::default(),
    );
    let document = DocumentId::new("file|7");
    let assessment = Assessment {
        id: AssessmentId::new("x"),
        firm: FirmId::new("a"),
        encounter: EncounterId::new("1"),
        patient: PatientId::new("p"),
        practitioner: None,
        category: CategoryCode::new("rash"),
        route: Route::Widespread,
        earlier: None,
        documents: BTreeSet::from([document.clone()]),
    };
    let findings = Findings {
        route: Route::Widespread,
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
        regions: vec![],
        ranked: vec![
            class("Psoriasis", "9014002", 0.55),
            class("Atopic dermatitis", "24079001", 0.3),
            class("Tinea corporis", "84849002", 0.15),
        ],
        abstention: None,
        abstain_below: 0.0,
        concerns: Vec::new(),
        further_conditions: Vec::new(),
        models: vec![],
    };
    let request = SynthesisRequest {
        assessment: &assessment,
        findings: &[(document, &findings)],
        patient: PatientFacts {
            age: Some(AgeBand::Older),
            ..PatientFacts::default()
        },
        over_budget: false,
    };
    let synthesis = synthesizer.synthesize(&request).await.unwrap();

    let used = synthesis.language.unwrap();
    assert_eq!(used.fallback.unwrap().code(), "language-model.answers-refused");
    assert_eq!(used.calls, 2);
    assert!(
        used.input_tokens > 1000 && used.output_tokens > 10,
        "the server counts tokens"
    );
    assert!(synthesis.remarks[0].contains("findings alone"));
    assert_eq!(synthesis.differential.unwrap().ranked.len(), 3, "the composer's");
    let answers = chat.answers.lock().unwrap();
    for answer in &*answers {
        // As far as it came: one that never ends is cut off.
        let text = answer.text.expose();
        assert!(text.trim_start().starts_with('{'), "the server held it to no schema");
        assert!(text.contains("\"abstain\""), "its first key is the schema's first");
        if let Ok(answer) = serde_json::from_str::<Value>(text) {
            let keys: BTreeSet<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
            let schema = [
                "abstain",
                "also_consider",
                "comment",
                "must_not_miss",
                "next_steps",
                "questions",
                "ranked",
            ];
            assert_eq!(keys, schema.into(), "the keys are the schema's");
        }
    }
}
