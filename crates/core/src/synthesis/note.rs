//! The text of a draft. Order and content: docs/draft-note.md. Self-sufficient, since EHRs strip codes.

use std::fmt::Write as _;

use super::given;
use crate::{
    domain::{
        Abstention, AssessedPhoto, Assessment, Bands, ContextTerm, DocumentId, DraftNote, Findings, Label,
        NormalisedBox, NoteRegion, NoteSection, PatientFacts, Quality, Route, Versions,
    },
    ports::{EvidencedCondition, FurtherCondition, Synthesis, SynthesisRequest},
};

/// The first line of every draft.
const NOT_REVIEWED: &str = "AI-generated draft, not reviewed by a clinician.";

/// Writes the note of an assessment.
pub fn compose_note(
    request: &SynthesisRequest<'_>,
    synthesis: &Synthesis,
    photos: &[AssessedPhoto],
    versions: &Versions,
) -> DraftNote {
    let reference = request.assessment.reference_code();
    let sections = vec![
        section(
            "Draft",
            [NOT_REVIEWED.to_owned()]
                .into_iter()
                .chain(addendum_line(request.assessment)),
        ),
        section("Images used", photos.iter().map(|photo| image_line(photo, request))),
        section("Findings", findings_lines(request, synthesis, photos)),
        section(
            "Consider",
            synthesis.next_steps.iter().chain(&synthesis.questions).cloned(),
        ),
        section("Not known to the software", [unknown_line(&request.patient)]),
        section("Limits", limits(request.assessment.route)),
        section(
            "Versions and reference",
            [
                versions_line(versions),
                format!(
                    "Reference code {reference}: the same code twice in a chart is the same draft twice. To report an \
                 error, give this code to the practice's Skin Assist contact."
                ),
            ],
        ),
    ];
    let regions = request
        .findings
        .iter()
        .map(|(document, findings)| NoteRegion {
            document: document.clone(),
            areas: findings.regions.iter().map(|region| region.area).collect(),
        })
        .collect();
    DraftNote {
        title: format!(
            "AI-generated draft{}: {} skin photo assessment",
            if request.assessment.earlier.is_some() {
                ADDENDUM
            } else {
                ""
            },
            request.assessment.route
        ),
        sections,
        instructions: vec![
            format!("{NOT_REVIEWED} The treating clinician must review, edit or discard it before it enters the note."),
            format!("Reference code {reference}."),
        ],
        regions,
        bands: Bands {
            age: request.patient.age,
            sex: request.patient.sex,
        },
    }
}

/// How the draft of further photos stands to the earlier one when it is written, which was not known when its note was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToEarlier {
    /// The earlier one is not in the chart: this one stands alone.
    Alone,
    /// It is in the chart, or may be, and stays as it is: this one names it.
    Named,
    /// This one becomes a part of it.
    Added,
}

/// The note of an assessment whose draft stands so to the earlier one. One that names no earlier one is as it was.
#[must_use]
pub fn note_to_earlier(note: &DraftNote, assessment: &Assessment, stands: ToEarlier) -> DraftNote {
    let mut note = note.clone();
    let Some(line) = addendum_line(assessment).filter(|_| stands != ToEarlier::Named) else {
        return note;
    };
    let added = added_line(assessment).filter(|_| stands == ToEarlier::Added);
    if stands == ToEarlier::Alone {
        note.title = note.title.replacen(ADDENDUM, "", 1);
    }
    for section in &mut note.sections {
        let paragraphs = std::mem::take(&mut section.paragraphs).into_iter();
        let told = paragraphs.filter_map(|text| if text == line { added.clone() } else { Some(text) });
        section.paragraphs = told.collect();
    }
    note
}

/// In the title of a draft that names an earlier one.
const ADDENDUM: &str = ", addendum";

/// What is said where the draft becomes a part of the earlier one.
fn added_line(assessment: &Assessment) -> Option<String> {
    let (earlier, code) = (assessment.earlier.as_ref()?, assessment.earlier_reference_code()?);
    Some(format!(
        "Added to the AI-generated draft with reference code {code} of {}: further photos of the same visit and category. \
         What stands above was written without them and is not changed.",
        earlier.date
    ))
}

/// What an addendum says of the draft that it is added to.
fn addendum_line(assessment: &Assessment) -> Option<String> {
    let (earlier, code) = (assessment.earlier.as_ref()?, assessment.earlier_reference_code()?);
    Some(format!(
        "Addendum to the earlier AI-generated draft with reference code {code} of {}: further photos of the same visit and \
         category. The earlier draft does not know them and is not changed by this one.",
        earlier.date
    ))
}

fn section(heading: &str, paragraphs: impl IntoIterator<Item = String>) -> NoteSection {
    NoteSection {
        heading: heading.to_owned(),
        paragraphs: paragraphs.into_iter().collect(),
    }
}

fn image_line(photo: &AssessedPhoto, request: &SynthesisRequest<'_>) -> String {
    let mut line = format!("Document {}", photo.document);
    match photo.attached_at {
        Some(at) => _ = write!(line, ", filed {at}"),
        None => line.push_str(", time of filing not given"),
    }
    if let Some((_, findings)) = request
        .findings
        .iter()
        .find(|(document, _)| *document == photo.document)
    {
        let image = &findings.image;
        _ = write!(
            line,
            ", {} by {} pixels, {}",
            image.width,
            image.height,
            quality_words(image.quality)
        );
    }
    _ = write!(line, ", SHA-256 {}.", &photo.digest.as_str()[..16]);
    if let Some(reason) = &photo.not_assessed {
        _ = write!(
            line,
            " NOT ASSESSED: the models could not look at it ({}).",
            reason.code()
        );
    }
    line
}

/// What the quality measures mean, in words. The bounds are those of the image measures' own scale: luminance, and the
/// variance of its Laplacian on the reduced image.
fn quality_words(quality: Quality) -> String {
    format!("{}, {}", light_word(quality), focus_word(quality))
}

pub(super) fn light_word(quality: Quality) -> &'static str {
    match quality.brightness {
        dark if dark < 0.2 => "dark",
        bright if bright > 0.85 => "overexposed",
        _ => "evenly lit",
    }
}

pub(super) fn focus_word(quality: Quality) -> &'static str {
    if quality.sharpness < 15.0 {
        "soft focus"
    } else {
        "in focus"
    }
}

fn findings_lines(request: &SynthesisRequest<'_>, synthesis: &Synthesis, photos: &[AssessedPhoto]) -> Vec<String> {
    let mut lines = vec![format!(
        "Route: {}.",
        match request.assessment.route {
            Route::Solitary => "solitary lesion (detection, then classification of each lesion found)",
            Route::Widespread => "widespread rash (classification of the whole image)",
        }
    )];
    let left_out = photos.iter().filter(|photo| photo.not_assessed.is_some()).count();
    if left_out > 0 {
        lines.push(format!(
            "{left_out} of {} photos could not be assessed: what follows does not know them.",
            photos.len()
        ));
    }
    let judged = || {
        let judged = request
            .findings
            .iter()
            .filter(|(_, findings)| findings.abstention.is_none());
        judged.count()
    };
    if request.findings.len() > 1 {
        lines.extend(request.findings.iter().filter_map(|(document, findings)| {
            let abstention = findings.abstention?;
            Some(format!(
                "Image {document} was not judged: {}",
                abstention_words(abstention)
            ))
        }));
    }
    for (document, findings) in request.findings {
        for (number, region) in findings.regions.iter().enumerate() {
            lines.push(format!(
                "Lesion {} on {document}: {} (detection score {:.2}).",
                number + 1,
                area_words(&region.area),
                region.score
            ));
        }
    }
    lines.extend(
        request
            .findings
            .iter()
            .filter_map(|(document, findings)| concerns_line(document, findings)),
    );
    lines.extend(synthesis.remarks.iter().cloned());
    match &synthesis.differential {
        Ok(differential) => {
            lines.push(if request.assessment.route == Route::Widespread && judged() > 1 {
                format!(
                    "Ranked differential (calibrated probabilities of the classifier, the mean over {} images):",
                    judged()
                )
            } else {
                "Ranked differential (calibrated probabilities of the classifier):".to_owned()
            });
            for (place, condition) in differential.ranked.iter().enumerate() {
                lines.push(format!("{}. {}", place + 1, condition_line(condition)));
            }
            if differential.must_not_miss.is_empty() {
                lines.push("Must not miss: no further condition of the classifier's list above 1 %.".to_owned());
            }
            for condition in &differential.must_not_miss {
                lines.push(format!("Must not miss: {}", condition_line(condition)));
            }
            lines.extend(differential.further.iter().map(further_line));
            if let Some(comment) = &synthesis.comment {
                lines.push(format!("Comment of the language model: {comment}"));
            }
        }
        Err(abstention) => {
            lines.push(format!("No assessment: {}", abstention_words(*abstention)));
            let photos = || request.findings.iter().map(|(_, findings)| *findings);
            let of_photos = photos()
                .filter(|findings| findings.abstention.is_some())
                .filter_map(undecided_line);
            let before = lines.len();
            lines.extend(of_photos);
            if lines.len() == before {
                // Each photo says something, and all of them together do not.
                lines.extend(Findings::together(photos()).as_ref().and_then(undecided_line));
            }
        }
    }
    lines
}

fn condition_line(condition: &EvidencedCondition) -> String {
    let mut line = format!(
        "{} ({}): {}, {}; evidence: image {}.",
        condition.label.display,
        codes(&condition.label),
        condition.confidence.display(),
        percent(condition.probability),
        condition.evidence
    );
    if !condition.features.is_empty() {
        _ = write!(line, " Look for: {}.", condition.features.join(", "));
    }
    line + &context_words(&condition.supporting, &condition.opposing)
}

fn context_words(supporting: &[String], opposing: &[String]) -> String {
    let mut words = String::new();
    if !supporting.is_empty() {
        _ = write!(words, " For it: {}.", supporting.join(", "));
    }
    if !opposing.is_empty() {
        _ = write!(words, " Against it: {}.", opposing.join(", "));
    }
    words
}

fn codes(label: &Label) -> String {
    match &label.icd_10_cm {
        Some(icd) => format!("SNOMED CT {}, ICD-10-CM {icd}", label.snomed_ct),
        None => format!("SNOMED CT {}", label.snomed_ct),
    }
}

/// A condition that no model has judged has no probability, and no confidence word.
fn further_line(condition: &FurtherCondition) -> String {
    let FurtherCondition {
        label,
        supporting,
        opposing,
    } = condition;
    format!(
        "Also to consider, brought up by the language model from the context and not judged by any image model: {} ({}).{}",
        label.display,
        codes(label),
        context_words(supporting, opposing)
    )
}

/// What speaks against relying on an image's findings.
fn concerns_line(document: &DocumentId, findings: &Findings) -> Option<String> {
    let concerns: Vec<_> = findings.concerns.iter().map(|concern| concern.display()).collect();
    (!concerns.is_empty()).then(|| format!("Against relying on image {document}: {}.", concerns.join("; ")))
}

/// A probability for people. No model is certain.
fn percent(probability: f32) -> String {
    if probability > 0.99 {
        "over 99 %".to_owned()
    } else if probability < 0.005 {
        "under 1 %".to_owned()
    } else {
        format!("{:.0} %", probability * 100.0)
    }
}

fn area_words(area: &NormalisedBox) -> String {
    format!(
        "{:.0}-{:.0} % of the width from the left, {:.0}-{:.0} % of the height from the top",
        area.x * 100.0,
        (area.x + area.width) * 100.0,
        area.y * 100.0,
        (area.y + area.height) * 100.0
    )
}

fn abstention_words(abstention: Abstention) -> &'static str {
    match abstention {
        Abstention::NoLesionFound => "no lesion was found on the image. This does not mean that there is none.",
        Abstention::Undecided => "no class of the classifier is probable enough.",
        Abstention::PoorImage => "the image is too dark, too bright or too blurred to judge.",
        Abstention::OutOfDistribution => "the image is not of the kind that the models were made for.",
    }
}

fn undecided_line(findings: &Findings) -> Option<String> {
    let top = findings.ranked.first()?;
    Some(format!(
        "The most probable class was {} with {:.0} %, below the threshold.",
        top.label.display,
        top.probability * 100.0
    ))
}

fn unknown_line(patient: &PatientFacts) -> String {
    let words = |terms: Vec<&ContextTerm>, nothing: &str| {
        let terms: Vec<_> = terms.iter().map(|term| term.0.as_str()).collect();
        if terms.is_empty() {
            nothing.to_owned()
        } else {
            terms.join(", ")
        }
    };
    let listed = |terms: &Option<Vec<ContextTerm>>, nothing: &str| {
        let terms = terms.as_ref()?;
        Some(words(terms.iter().collect(), nothing))
    };
    let site = patient.site.as_ref().map(|site| match patient.laterality {
        Some(side) => format!("body site {}, {}", site.0, side.display()),
        None => format!("body site {}", site.0),
    });
    let known = [
        patient.age.map(|age| format!("age band {}", age.display())),
        patient.sex.map(|sex| format!("sex {}", sex.display())),
        site,
        listed(&patient.history, "no history that bears on it").map(|terms| format!("problem list: {terms}")),
        listed(&patient.medications, "none known to cause eruptions").map(|terms| format!("medications: {terms}")),
        patient.results_at_site().map(|terms| {
            format!(
                "earlier results at this site: {}",
                words(terms, "none of its conditions")
            )
        }),
    ];
    let mut line = format!("Not known: {}.", given::not_known(patient).join(", "));
    let known: Vec<_> = known.into_iter().flatten().collect();
    if !known.is_empty() {
        _ = write!(line, " Known: {}.", known.join("; "));
    }
    line
}

fn limits(route: Route) -> [String; 2] {
    let scope = match route {
        Route::Solitary => "single lesions",
        Route::Widespread => "rashes",
    };
    [
        format!(
            "The models judge photos of {scope} and only the conditions on their list; the model card states the skin \
             types, ages and sites they were validated on. A low score does not exclude malignancy."
        ),
        "An adjunct for the treating clinician; not a diagnosis.".to_owned(),
    ]
}

fn versions_line(versions: &Versions) -> String {
    let models: Vec<_> = versions.models.iter().map(ToString::to_string).collect();
    format!(
        "Models: {}. Synthesis: {}. Pipeline: {}.{}",
        models.join(", "),
        versions.synthesis,
        versions.pipeline,
        versions.language.as_ref().map_or_else(String::new, |language| format!(
            " Prompt {}, SHA-256 {}.",
            language.prompt,
            &language.prompt_sha256[..16]
        ))
    )
}

#[cfg(test)]
mod tests;
