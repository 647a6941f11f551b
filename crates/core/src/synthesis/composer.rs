//! The deterministic composer: a differential from coded knowledge, no language model needed.

use std::borrow::Cow;

use async_trait::async_trait;

use super::Knowledge;
use crate::{
    domain::{Abstention, ClassProbability, DocumentId, Findings, Route},
    ports::{Confidence, Differential, EvidencedCondition, LanguageError, LanguageModel, Synthesis, SynthesisRequest},
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

/// What the classifier says of the photos taken together.
pub struct Judged<'a> {
    /// The classes of all photos, each once, most probable first; none where nothing is said.
    pub classes: Vec<JudgedClass<'a>>,
    /// Why nothing is said; where something is, why a photo was not judged, if one was not.
    pub abstention: Option<Abstention>,
}

/// A class of [`Judged`].
pub struct JudgedClass<'a> {
    /// The photo that shows it with the highest probability.
    pub document: &'a DocumentId,
    /// With that photo's probability; where several photos show one rash, with that of all of them together.
    pub class: Cow<'a, ClassProbability>,
    /// The probability on the photo that shows it best.
    pub greatest: f32,
}

impl JudgedClass<'_> {
    /// Whether it has to be named although it is not among the first: by the photo that shows it best, since a mean over photos
    /// hides what one of them shows.
    pub fn has_to_be_named(&self, knowledge: &Knowledge) -> bool {
        knowledge.must_not_be_missed(&self.class.label) && self.greatest >= LEAST_MUST_NOT_MISS
    }
}

impl<'a> Judged<'a> {
    /// Of the photos of an assessment, in their order.
    pub fn of(findings: &'a [(DocumentId, &'a Findings)]) -> Self {
        let mut classes: Vec<(&DocumentId, &ClassProbability)> = Vec::new();
        let mut abstention = None;
        for (document, findings) in findings {
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
        let together = Findings::together(findings.iter().map(|(_, findings)| *findings));
        let pooled = together.filter(|together| together.route == Route::Widespread && findings.len() > 1);
        if let Some(undecided) = pooled.as_ref().and_then(|pooled| pooled.abstention) {
            return Self {
                classes: Vec::new(),
                abstention: Some(undecided),
            };
        }
        let classes = classes.into_iter().map(|(document, class)| {
            let of_all = pooled.iter().flat_map(|pooled| &pooled.ranked);
            let of_all = of_all.into_iter().find(|known| known.label == class.label);
            JudgedClass {
                document,
                class: of_all.map_or(Cow::Borrowed(class), |class| Cow::Owned(class.clone())),
                greatest: class.probability,
            }
        });
        let mut classes: Vec<_> = classes.collect();
        classes.sort_by(|a, b| b.class.probability.total_cmp(&a.class.probability));
        Self { classes, abstention }
    }
}

impl Composer {
    /// Composes from this knowledge.
    pub const fn new(knowledge: Knowledge) -> Self {
        Self { knowledge }
    }

    pub(super) const fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }

    pub(super) fn version(&self) -> String {
        format!("composer with knowledge {}", self.knowledge.version)
    }

    pub(super) fn evidenced(&self, class: &ClassProbability, evidence: &DocumentId) -> EvidencedCondition {
        let condition = self.knowledge.condition(&class.label.snomed_ct);
        EvidencedCondition {
            label: class.label.clone(),
            probability: class.probability,
            confidence: Confidence::of(class.probability),
            evidence: evidence.clone(),
            features: condition
                .map(|condition| condition.features.clone())
                .unwrap_or_default(),
            supporting: Vec::new(),
            opposing: Vec::new(),
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
            made_by: self.version(),
            remarks: Vec::new(),
            comment: None,
            language: None,
        }
    }

    /// The synthesis of the findings alone.
    pub(super) fn compose(&self, request: &SynthesisRequest<'_>) -> Synthesis {
        let Judged { classes, abstention } = Judged::of(request.findings);
        if classes.is_empty() {
            return self.abstained(abstention.unwrap_or(Abstention::NoLesionFound));
        }
        let first = classes.iter().enumerate().take(MOST_CONDITIONS);
        let ranked: Vec<_> = first
            .filter(|(place, judged)| *place == 0 || judged.class.probability >= LEAST_PROBABILITY)
            .map(|(_, judged)| self.evidenced(&judged.class, judged.document))
            .collect();
        let must_not_miss: Vec<_> = classes
            .iter()
            .filter(|judged| judged.has_to_be_named(&self.knowledge))
            .filter(|judged| ranked.first().is_none_or(|top| top.label != judged.class.label))
            .map(|judged| self.evidenced(&judged.class, judged.document))
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
        let mut questions: Vec<String> = Vec::new();
        for question in known.iter().flat_map(|condition| &condition.questions) {
            if let Some(question) = self.knowledge.question(question)
                && !questions.iter().any(|asked| asked == question)
            {
                questions.push(question.to_owned());
            }
        }
        Synthesis {
            differential: Ok(Differential {
                ranked,
                must_not_miss,
                further: Vec::new(),
            }),
            next_steps,
            questions,
            made_by: self.version(),
            remarks: Vec::new(),
            comment: None,
            language: None,
        }
    }
}

#[async_trait]
impl LanguageModel for Composer {
    async fn synthesize(&self, request: &SynthesisRequest<'_>) -> Result<Synthesis, LanguageError> {
        Ok(self.compose(request))
    }
}
