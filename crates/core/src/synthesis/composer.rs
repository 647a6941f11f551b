//! The deterministic composer: a differential from coded knowledge, no language model needed.

use async_trait::async_trait;

use super::Knowledge;
use crate::{
    domain::{Abstention, ClassProbability, DocumentId},
    ports::{Differential, EvidencedCondition, LanguageError, LanguageModel, Synthesis, SynthesisRequest},
};

pub(super) const REPEAT_PHOTOGRAPH: &str = "repeat-photograph";
pub(super) const CLINICAL_CORRELATION: &str = "clinical-correlation";

/// At most so many conditions in a differential.
const MOST_CONDITIONS: usize = 3;

/// A condition less probable than this is not part of the differential.
const LEAST_PROBABILITY: f32 = 0.05;

/// A must-not-miss condition is named from this probability on, although it is not among the first.
const LEAST_MUST_NOT_MISS: f32 = 0.01;

/// The default and the fallback: the same findings always give the same differential.
pub struct Composer {
    knowledge: Knowledge,
}

impl Composer {
    /// Composes from this knowledge.
    pub const fn new(knowledge: Knowledge) -> Self {
        Self { knowledge }
    }

    fn evidenced(&self, class: &ClassProbability, evidence: &DocumentId) -> EvidencedCondition {
        let condition = self.knowledge.condition(&class.label.snomed_ct);
        EvidencedCondition {
            label: class.label.clone(),
            probability: class.probability,
            evidence: evidence.clone(),
            features: condition
                .map(|condition| condition.features.clone())
                .unwrap_or_default(),
        }
    }

    fn sentences(&self, ids: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut sentences = Vec::new();
        for sentence in ids
            .into_iter()
            .filter_map(|id| self.knowledge.next_step(&id).map(str::to_owned))
        {
            if !sentences.contains(&sentence) {
                sentences.push(sentence);
            }
        }
        sentences
    }

    fn abstained(&self, abstention: Abstention) -> Synthesis {
        let next = [REPEAT_PHOTOGRAPH, CLINICAL_CORRELATION].map(String::from);
        Synthesis {
            differential: Err(abstention),
            next_steps: self.sentences(next),
            questions: Vec::new(),
        }
    }
}

#[async_trait]
impl LanguageModel for Composer {
    async fn synthesize(&self, request: &SynthesisRequest<'_>) -> Result<Synthesis, LanguageError> {
        // One photo for each class: the one that shows it with the highest probability.
        let mut classes: Vec<(&DocumentId, &ClassProbability)> = Vec::new();
        let mut abstention = None;
        for (document, findings) in request.findings {
            abstention = abstention.or(findings.abstention);
            if findings.abstention.is_some() {
                continue;
            }
            let of_regions = findings.regions.iter().flat_map(|region| &region.classes);
            for class in findings.ranked.iter().chain(of_regions) {
                match classes.iter_mut().find(|(_, known)| known.label == class.label) {
                    Some(known) if known.1.probability < class.probability => *known = (document, class),
                    Some(_) => {}
                    None => classes.push((document, class)),
                }
            }
        }
        if classes.is_empty() {
            return Ok(self.abstained(abstention.unwrap_or(Abstention::NoLesionFound)));
        }
        classes.sort_by(|a, b| b.1.probability.total_cmp(&a.1.probability));

        let first = classes.iter().enumerate().take(MOST_CONDITIONS);
        let ranked: Vec<_> = first
            .filter(|(place, (_, class))| *place == 0 || class.probability >= LEAST_PROBABILITY)
            .map(|(_, (document, class))| self.evidenced(class, document))
            .collect();
        let must_not_miss: Vec<_> = classes
            .iter()
            .filter(|(_, class)| class.label.must_not_miss && class.probability >= LEAST_MUST_NOT_MISS)
            .filter(|(_, class)| ranked.first().is_none_or(|top| top.label != class.label))
            .map(|(document, class)| self.evidenced(class, document))
            .collect();

        let named = || {
            ranked
                .iter()
                .chain(&must_not_miss)
                .map(|condition| &condition.label.snomed_ct)
        };
        let known: Vec<_> = named().filter_map(|code| self.knowledge.condition(code)).collect();
        let steps = known.iter().flat_map(|condition| condition.next_steps.clone());
        let next_steps = self.sentences(steps.chain([CLINICAL_CORRELATION.to_owned()]));
        let mut questions = Vec::new();
        for question in known.iter().flat_map(|condition| &condition.questions) {
            if !questions.contains(question) {
                questions.push(question.clone());
            }
        }
        Ok(Synthesis {
            differential: Ok(Differential { ranked, must_not_miss }),
            next_steps,
            questions,
        })
    }

    fn version(&self) -> String {
        format!("composer with knowledge {}", self.knowledge.version)
    }
}
