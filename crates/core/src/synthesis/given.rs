//! What a language model is told, as data: the classes with their probabilities, the images, the context, and what of the
//! chart's text is let through. Everything has an id of its own, by which alone an answer can name it.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{
    Knowledge,
    composer::{Judged, JudgedClass},
    knowledge::words,
    note::{focus_word, light_word},
};
use crate::{
    domain::{ClassProbability, DocumentId, Label, NormalisedBox, PatientFacts, Region},
    ports::{Confidence, SynthesisRequest},
};

/// At most so many classes are given, beside those that must not be missed.
const MOST_CLASSES: usize = 8;

/// At most so much of a chart's text is read, and is let through, in characters.
const MOST_READ: usize = 400;
const MOST_LET_THROUGH: usize = 160;

/// A class, and the photo that shows it best.
pub(super) struct GivenClass<'a> {
    pub(super) class: Cow<'a, ClassProbability>,
    pub(super) document: &'a DocumentId,
    pub(super) confidence: Confidence,
    /// An answer that does not name it is refused.
    pub(super) has_to_be_named: bool,
}

/// Something that is known of the patient.
pub(super) struct Item {
    pub(super) id: String,
    pub(super) text: String,
}

/// All that is told.
pub(super) struct Given<'a> {
    /// Most probable first.
    pub(super) classes: Vec<GivenClass<'a>>,
    /// Ids of images and lesions, with the document and, of a lesion, where it is among the document's.
    pub(super) evidence: Vec<(String, &'a DocumentId)>,
    pub(super) context: Vec<Item>,
    /// What may be named beside the classes: of the packs' allow-lists, each once, and no class.
    pub(super) further: Vec<&'a Label>,
    not_known: Vec<&'static str>,
    chart_text: Option<String>,
    images: Vec<Value>,
}

impl<'a> Given<'a> {
    pub(super) fn of(request: &'a SynthesisRequest<'a>, knowledge: &Knowledge) -> Self {
        let judged = Judged::of(request.findings);
        let mut further: Vec<&Label> = Vec::new();
        for label in request
            .findings
            .iter()
            .flat_map(|(_, findings)| &findings.further_conditions)
        {
            let is_it = |code: &str| code == label.snomed_ct;
            let is_class = judged.classes.iter().any(|judged| is_it(&judged.class.label.snomed_ct));
            if !is_class && !further.iter().any(|known| is_it(&known.snomed_ct)) {
                further.push(label);
            }
        }
        let classes = judged.classes.into_iter().enumerate();
        let classes = classes
            .map(|(place, judged)| {
                let has_to_be_named = judged.has_to_be_named(knowledge);
                let JudgedClass { document, class, .. } = judged;
                let given = GivenClass {
                    confidence: Confidence::of(class.probability),
                    class,
                    document,
                    has_to_be_named,
                };
                (place, given)
            })
            .filter(|(place, given)| *place < MOST_CLASSES || given.has_to_be_named)
            .map(|(_, given)| given)
            .collect();
        let (mut evidence, mut images) = (Vec::new(), Vec::new());
        for (number, (document, findings)) in (1..).zip(request.findings) {
            // Documents' own ids are the chart's, and stay here.
            let image = format!("image-{number}");
            let mut lesions = Vec::new();
            for (number, region) in (1..).zip(&findings.regions) {
                let lesion = format!("{image}-lesion-{number}");
                lesions.push(lesion_json(&lesion, region));
                evidence.push((lesion, document));
            }
            let quality = findings.image.quality;
            images.push(json!({
                "id": image,
                "light": light_word(quality),
                "focus": focus_word(quality),
                "concerns": findings.concerns,
                "lesions": lesions,
            }));
            evidence.push((image, document));
        }
        Self {
            classes,
            evidence,
            context: context(&request.patient),
            further,
            not_known: not_known(&request.patient),
            chart_text: request
                .patient
                .description
                .as_ref()
                .and_then(|text| let_through(text.expose(), knowledge)),
            images,
        }
    }

    /// As the prompt has it.
    pub(super) fn data(&self, request: &SynthesisRequest<'_>, knowledge: &Knowledge) -> Value {
        let classes: Vec<_> = self
            .classes
            .iter()
            .map(|given| self.class_json(given, knowledge))
            .collect();
        let context: Vec<_> = self
            .context
            .iter()
            .map(|item| json!({ "id": item.id, "text": item.text }))
            .collect();
        let further: Vec<_> = self
            .further
            .iter()
            .map(|label| json!({ "code": label.snomed_ct, "name": label.display }))
            .collect();
        json!({
            "route": request.assessment.route,
            "classes": classes,
            "further_conditions": further,
            "images": self.images,
            "context": context,
            "not_known": self.not_known,
            "chart_text": self.chart_text.as_ref().map(|text| format!("<<<{text}>>>")),
            "next_steps": knowledge.next_steps(),
            "questions": knowledge.questions(),
        })
    }

    fn class_json(&self, given: &GivenClass<'_>, knowledge: &Knowledge) -> Value {
        let label = &given.class.label;
        let name = knowledge
            .condition(&label.snomed_ct)
            .map_or(label.display.as_str(), |condition| condition.name.as_str());
        let image = self
            .evidence
            .iter()
            .rfind(|(_, document)| *document == given.document)
            .map(|(id, _)| id);
        json!({
            "code": label.snomed_ct,
            "name": name,
            // Three digits are more than a calibration is worth.
            "probability": (f64::from(given.class.probability) * 1000.0).round() / 1000.0,
            "confidence": given.confidence,
            "must_not_miss": knowledge.must_not_be_missed(label),
            "shown_by": image,
        })
    }

    /// The schema of an answer, closed: what can be named is listed.
    pub(super) fn schema(&self, knowledge: &Knowledge) -> Value {
        let codes: Vec<_> = self.classes.iter().map(|given| &given.class.label.snomed_ct).collect();
        let evidence: Vec<_> = self.evidence.iter().map(|(id, _)| id).collect();
        let context: Vec<_> = self.context.iter().map(|item| &item.id).collect();
        let ids = |of: Value| json!({ "type": "array", "items": of });
        // An empty enumeration is no schema; the rules know that nothing is in it.
        let one_of = |of: &[&String]| {
            if of.is_empty() {
                json!({ "type": "string" })
            } else {
                json!({ "type": "string", "enum": of })
            }
        };
        let one_of_context = one_of(&context);
        let further: Vec<_> = self.further.iter().map(|label| &label.snomed_ct).collect();
        let further = json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["code", "supporting", "opposing"],
            "properties": {
                "code": one_of(&further),
                "supporting": ids(one_of_context.clone()),
                "opposing": ids(one_of_context.clone()),
            },
        });
        let condition = json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["code", "confidence", "evidence", "supporting", "opposing"],
            "properties": {
                "code": { "type": "string", "enum": codes },
                "confidence": { "type": "string", "enum": CONFIDENCES },
                "evidence": ids(json!({ "type": "string", "enum": evidence })),
                "supporting": ids(one_of_context.clone()),
                "opposing": ids(one_of_context),
            },
        });
        let next_steps: Vec<_> = knowledge.next_steps().keys().collect();
        let questions: Vec<_> = knowledge.questions().keys().collect();
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": [
                "abstain", "ranked", "must_not_miss", "also_consider", "next_steps", "questions", "comment"
            ],
            "properties": {
                "abstain": { "anyOf": [{ "type": "string", "enum": super::answer::ABSTENTIONS }, { "type": "null" }] },
                "ranked": ids(condition.clone()),
                "must_not_miss": ids(condition),
                "also_consider": ids(further),
                "next_steps": ids(json!({ "type": "string", "enum": next_steps })),
                "questions": ids(json!({ "type": "string", "enum": questions })),
                "comment": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
            },
        })
    }
}

const CONFIDENCES: [Confidence; 4] = [
    Confidence::VeryLikely,
    Confidence::Likely,
    Confidence::Possible,
    Confidence::LessLikely,
];

fn lesion_json(id: &str, region: &Region) -> Value {
    let hundredths = |value: f32| (f64::from(value) * 100.0).round() / 100.0;
    let NormalisedBox { x, y, width, height } = region.area;
    let sides = [x, y, width, height].map(hundredths);
    json!({
        "id": id,
        "box": sides,
        "score": hundredths(region.score),
    })
}

/// What is known of the patient, each with an id. `docs/language-models.md` says what each is for.
fn context(patient: &PatientFacts) -> Vec<Item> {
    let mut items = Vec::new();
    let mut push = |id: &str, text: String| {
        items.push(Item {
            id: id.to_owned(),
            text,
        });
    };
    if let Some(age) = patient.age {
        push("age", format!("age band {}", age.display()));
    }
    if let Some(sex) = patient.sex {
        push("sex", format!("sex {}", sex.display()));
    }
    if let Some(site) = &patient.site {
        push("site", format!("body site {}", site.0));
    }
    if let Some(laterality) = patient.laterality {
        push("side", format!("{} side", laterality.display()));
    }
    for (number, term) in (1..).zip(patient.history.iter().flatten()) {
        push(&format!("history-{number}"), term.0.clone());
    }
    for (number, term) in (1..).zip(patient.medications.iter().flatten()) {
        push(&format!("medication-{number}"), format!("takes {}", term.0));
    }
    for (number, term) in (1..).zip(patient.results_at_site().into_iter().flatten()) {
        push(
            &format!("prior-result-{number}"),
            format!("earlier result at this site: {}", term.0),
        );
    }
    items
}

/// What is not known of the patient, for the prompt and for the draft.
pub(super) fn not_known(patient: &PatientFacts) -> Vec<&'static str> {
    let unknown = [
        patient.age.is_none().then_some("age"),
        patient.sex.is_none().then_some("sex"),
        patient.site.is_none().then_some("body site"),
        patient.history.is_none().then_some("history"),
        patient.medications.is_none().then_some("medications"),
        patient
            .results_at_site()
            .is_none()
            .then_some("earlier results at this site"),
        Some("symptoms"),
    ];
    unknown.into_iter().flatten().collect()
}

/// What of a chart's text is let through: its words that the knowledge file knows, in their order. So no name, no number,
/// no markup, no control character and no sentence of another language comes through, and nothing that could end the fence.
pub(super) fn let_through(text: &str, knowledge: &Knowledge) -> Option<String> {
    let read: String = text.chars().take(MOST_READ).collect();
    let mut kept = String::new();
    for word in words(&read).filter(|word| knowledge.has_word(word)) {
        if kept.len() + word.len() + 1 > MOST_LET_THROUGH {
            break;
        }
        if !kept.is_empty() {
            kept.push(' ');
        }
        kept += &word;
    }
    Some(kept).filter(|kept| !kept.is_empty())
}
