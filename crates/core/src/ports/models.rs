//! Vision models and language models.

use async_trait::async_trait;

use super::{LanguageError, VisionError};
use crate::domain::{
    Abstention, Assessment, DocumentId, Findings, Label, ModelVersion, PatientFacts, PhotoBytes, Route,
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

/// What a language model is told: coded findings and the minimum of context. No name, no date of birth, no number, no
/// pixels, no text of the chart.
#[derive(Debug, Clone)]
pub struct SynthesisRequest<'a> {
    /// What is assessed.
    pub assessment: &'a Assessment,
    /// What the models saw, by photo.
    pub findings: &'a [(DocumentId, &'a Findings)],
    /// What is known of the patient.
    pub patient: PatientFacts,
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
}

/// Conditions, most probable first.
#[derive(Debug, Clone, PartialEq)]
pub struct Differential {
    /// The ranked conditions.
    pub ranked: Vec<EvidencedCondition>,
    /// Conditions that must not be missed although they are not first.
    pub must_not_miss: Vec<EvidencedCondition>,
}

/// A condition, how probable, and what speaks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct EvidencedCondition {
    /// The condition.
    pub label: Label,
    /// Calibrated probability, 0 to 1.
    pub probability: f32,
    /// The photo that shows it best.
    pub evidence: DocumentId,
    /// What to look for, from the knowledge file.
    pub features: Vec<String>,
}

/// Puts findings into a differential diagnosis with next steps. The deterministic composer is one; it is the default
/// and the fallback.
#[async_trait]
pub trait LanguageModel: Send + Sync {
    /// The synthesis of an assessment's findings.
    async fn synthesize(&self, request: &SynthesisRequest<'_>) -> Result<Synthesis, LanguageError>;

    /// Name and version, for the draft.
    fn version(&self) -> String;
}
