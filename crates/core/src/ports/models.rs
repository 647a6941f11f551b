//! Vision models and language models.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{LanguageError, VisionError};
use crate::{
    domain::{
        Abstention, Assessment, DocumentId, Findings, Label, LanguageUse, ModelVersion, PatientFacts, PhotoBytes, Route,
    },
    phi::Phi,
};

/// Looks at a photo.
///
/// # Contract
/// The same bytes and the same versions give the same findings. Refuses what cannot be decoded before allocating for
/// it; never panics on hostile bytes. Bounded memory: what does not fit waits.
#[async_trait]
pub trait VisionModel: Send + Sync {
    /// What the models of `route` see on the photo.
    async fn look(&self, route: Route, photo: &PhotoBytes) -> Result<Findings, VisionError>;

    /// The models that `look` will use: what an inference is paid for.
    fn versions(&self, route: Route) -> Vec<ModelVersion>;
}

/// What is put into words: coded findings and the minimum of context. No name, no date of birth, no number, no pixels.
#[derive(Debug, Clone)]
pub struct SynthesisRequest<'a> {
    /// What is assessed.
    pub assessment: &'a Assessment,
    /// What the models saw, by photo.
    pub findings: &'a [(DocumentId, &'a Findings)],
    /// What is known of the patient.
    pub patient: PatientFacts,
    /// Whether the firm's budget for language models has nothing left: none is asked then.
    pub over_budget: bool,
}

/// A differential diagnosis with next steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Synthesis {
    /// The differential or why there is none.
    pub differential: Result<Differential, Abstention>,
    /// Next steps to consider, from the vocabulary of the knowledge file.
    pub next_steps: Vec<String>,
    /// Questions that would change the differential.
    pub questions: Vec<String>,
    /// What made it: name and version, for the draft.
    pub made_by: String,
    /// What the reader has to know about how this came about, in fixed sentences of this software.
    pub remarks: Vec<String>,
    /// One sentence of a language model, of the knowledge file's words.
    pub comment: Option<String>,
    /// What a language model took part with, even where nothing of it was taken.
    pub language: Option<LanguageUse>,
}

/// Conditions, most probable first.
#[derive(Debug, Clone, PartialEq)]
pub struct Differential {
    /// The ranked conditions.
    pub ranked: Vec<EvidencedCondition>,
    /// Conditions that must not be missed although they are not first.
    pub must_not_miss: Vec<EvidencedCondition>,
    /// Conditions of the pack's allow-list that a language model brings up; no model has judged them.
    pub further: Vec<FurtherCondition>,
}

/// A condition that nobody classified, and what of the patient's context brings it up.
#[derive(Debug, Clone, PartialEq)]
pub struct FurtherCondition {
    /// The condition.
    pub label: Label,
    /// What speaks for it.
    pub supporting: Vec<String>,
    /// What speaks against it.
    pub opposing: Vec<String>,
}

/// A condition, how probable, and what speaks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct EvidencedCondition {
    /// The condition.
    pub label: Label,
    /// Calibrated probability, 0 to 1.
    pub probability: f32,
    /// The word for it.
    pub confidence: Confidence,
    /// The photo that shows it best.
    pub evidence: DocumentId,
    /// What to look for, from the knowledge file.
    pub features: Vec<String>,
    /// What of the patient's context speaks for it, as a language model sees it.
    pub supporting: Vec<String>,
    /// What of it speaks against it.
    pub opposing: Vec<String>,
}

/// The word for a probability. The ranges are part of the draft's specification (docs/draft-note.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// 0.8 and more.
    VeryLikely,
    /// 0.5 to under 0.8.
    Likely,
    /// 0.2 to under 0.5.
    Possible,
    /// Under 0.2.
    LessLikely,
}

impl Confidence {
    /// Of a probability.
    pub fn of(probability: f32) -> Self {
        match probability {
            high if high >= 0.8 => Self::VeryLikely,
            likely if likely >= 0.5 => Self::Likely,
            possible if possible >= 0.2 => Self::Possible,
            _ => Self::LessLikely,
        }
    }

    /// For people.
    pub const fn display(self) -> &'static str {
        match self {
            Self::VeryLikely => "very likely",
            Self::Likely => "likely",
            Self::Possible => "possible",
            Self::LessLikely => "less likely",
        }
    }
}

/// Puts findings into a differential diagnosis with next steps. The deterministic composer is one; it is the default
/// and the fallback.
#[async_trait]
pub trait LanguageModel: Send + Sync {
    /// The synthesis of an assessment's findings.
    async fn synthesize(&self, request: &SynthesisRequest<'_>) -> Result<Synthesis, LanguageError>;

    /// What a firm may spend on a language model in a day (UTC), in millionths of a currency unit; none where there is no
    /// limit, or nothing to spend.
    fn daily_budget_micros(&self) -> Option<u64> {
        None
    }
}

/// What a language model is asked, whole: it is told nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// Its task, a fixed text.
    pub system: String,
    /// What the answer is to be about.
    pub user: Phi<String>,
    /// The JSON schema of the answer.
    pub schema: serde_json::Value,
    /// The answer is cut off after so many tokens.
    pub most_output_tokens: u32,
}

/// What a language model answers, as it came: from outside, so not to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The answer.
    pub text: Phi<String>,
    /// Tokens that went in, as the endpoint counts them; 0 where it does not say.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
}

/// Completes a prompt: all that an endpoint of language models has to do.
///
/// # Contract
/// One call and no retry, at temperature 0, with the schema given as strictly as the endpoint can. Errors never quote what
/// was sent or came back.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// The answer to a prompt.
    async fn complete(&self, prompt: &Prompt) -> Result<Completion, LanguageError>;

    /// The model's name and version, as configured.
    fn model(&self) -> &str;
}
