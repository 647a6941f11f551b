//! The draft: what a clinician reads, before an EHR's profile gives it a shape.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::{
    Assessment, DocumentId, EncounterId, FirmId, NormalisedBox, PatientId, PractitionerId, ReferenceCode, Versions,
};
use crate::{phi::Phi, time::Timestamp};

/// The text of a draft, in the order of the specification of draft notes (docs/draft-note.md).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DraftNote {
    /// The title of the note.
    pub title: String,
    /// The body: headed sections, complete on their own, since EHRs strip codes.
    pub sections: Vec<NoteSection>,
    /// Notes for whoever files the draft into the chart.
    pub instructions: Vec<String>,
    /// Where on which image, for EHRs and pages that can show it.
    pub regions: Vec<NoteRegion>,
    /// The patient as coarsely as the text names them, for comparisons by group.
    #[serde(default)]
    pub bands: Bands,
}

/// What of a patient results are compared by. Says no more than the draft does, and no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bands {
    /// The age band, where it was known.
    pub age: Option<AgeBand>,
    /// Administrative sex, where it was known.
    pub sex: Option<Sex>,
}

/// A headed part of a draft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteSection {
    /// Its heading.
    pub heading: String,
    /// Its paragraphs, plain text.
    pub paragraphs: Vec<String>,
}

/// The regions that were judged on one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoteRegion {
    /// The image.
    pub document: DocumentId,
    /// Where; empty when the image was judged as a whole.
    pub areas: Vec<NormalisedBox>,
}

/// A draft on its way to an EHR.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Whose; with `assessment` its identity.
    pub firm: FirmId,
    /// The visit; none where the EHR wants the draft of a visit that is over without it.
    pub encounter: Option<EncounterId>,
    /// The patient.
    pub patient: PatientId,
    /// The author where the EHR forces a practitioner.
    pub practitioner: Option<PractitionerId>,
    /// The photos that it was made from.
    pub documents: BTreeSet<DocumentId>,
    /// The identity in readable form; also the identifier's value.
    pub reference_code: ReferenceCode,
    /// That of the earlier draft of the visit which this one is an addendum to.
    pub appends: Option<ReferenceCode>,
    /// The text.
    pub note: Phi<DraftNote>,
    /// What made it.
    pub versions: Versions,
    /// When the result was made.
    pub date: Timestamp,
}

impl Draft {
    /// The draft of an assessment's note.
    pub fn new(assessment: &Assessment, note: Phi<DraftNote>, versions: Versions, date: Timestamp) -> Self {
        Self {
            firm: assessment.firm.clone(),
            encounter: Some(assessment.encounter.clone()),
            patient: assessment.patient.clone(),
            practitioner: assessment.practitioner.clone(),
            documents: assessment.documents.clone(),
            reference_code: assessment.reference_code(),
            appends: assessment.earlier_reference_code(),
            note,
            versions,
            date,
        }
    }
}

/// The EHR's name for a draft it took, such as `Composition/81`; with the version that was written, where a later draft may be added
/// to it: `Composition/81/_history/1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DraftReference(pub String);

/// What stands between a resource and its version.
const HISTORY: &str = "/_history/";

impl DraftReference {
    /// The resource, whatever its version.
    pub fn resource(&self) -> &str {
        self.0.split_once(HISTORY).map_or(&self.0, |(resource, _)| resource)
    }

    /// The version that was written, where it is known.
    pub fn version(&self) -> Option<&str> {
        self.0.split_once(HISTORY).map(|(_, version)| version)
    }

    /// The same resource in this version.
    #[must_use]
    pub fn in_version(&self, version: &str) -> Self {
        Self(format!("{}{HISTORY}{version}", self.resource()))
    }
}

impl fmt::Display for DraftReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The minimum about a patient that makes a differential better: no name, no date of birth, no number. What is `None` is
/// not known; an empty list says that nothing of the kind bears on a differential.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PatientFacts {
    /// Age in coarse bands: many conditions are typical of an age.
    pub age: Option<AgeBand>,
    /// Administrative sex: some conditions are more frequent in one.
    pub sex: Option<Sex>,
    /// Where on the body: many conditions have sites of their own.
    pub site: Option<ContextTerm>,
    /// On which side: tells lesions of the same site apart.
    pub laterality: Option<Laterality>,
    /// What of the problem list bears on a differential.
    pub history: Option<Vec<ContextTerm>>,
    /// Medications known to cause eruptions.
    pub medications: Option<Vec<ContextTerm>>,
    /// Earlier results of this patient that say of which part of the body they are. Those of the photo's site alone are of use:
    /// [`Self::results_at_site`].
    pub prior_results: Option<Vec<PriorResult>>,
    /// There are more that were not read, or of which nobody knows the site: those that are known say nothing of there being none.
    pub prior_results_incomplete: bool,
    /// What the photo's description and the visit's reason say: text of the chart, so never an instruction, and never in a draft.
    pub description: Option<Phi<String>>,
}

impl PatientFacts {
    /// With what `further` knows besides.
    #[must_use]
    pub fn with(self, further: Self) -> Self {
        Self {
            age: self.age.or(further.age),
            sex: self.sex.or(further.sex),
            site: self.site.or(further.site),
            laterality: self.laterality.or(further.laterality),
            history: self.history.or(further.history),
            medications: self.medications.or(further.medications),
            prior_results: self.prior_results.or(further.prior_results),
            prior_results_incomplete: self.prior_results_incomplete || further.prior_results_incomplete,
            description: match (self.description, further.description) {
                (Some(first), Some(second)) => Some(Phi::new(format!("{}; {}", first.expose(), second.expose()))),
                (first, second) => first.or(second),
            },
        }
    }

    /// What earlier results found at the photo's site, each once. None where the site or the results are not known,
    /// and where none was found among results that are not all.
    pub fn results_at_site(&self) -> Option<Vec<&ContextTerm>> {
        let (site, results) = (self.site.as_ref()?, self.prior_results.as_ref()?);
        // One of the other side is of another lesion; one of no side may be of this one.
        let is_here = |result: &&PriorResult| {
            let other_side = |side| self.laterality.is_some_and(|known| known != side);
            result.site == *site && !result.laterality.is_some_and(other_side)
        };
        let mut found: Vec<&ContextTerm> = Vec::new();
        for result in results.iter().filter(is_here) {
            if !found.contains(&&result.finding) {
                found.push(&result.finding);
            }
        }
        (!found.is_empty() || !self.prior_results_incomplete).then_some(found)
    }
}

/// An earlier result of tissue or laboratory, in words of the knowledge file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriorResult {
    /// Where.
    pub site: ContextTerm,
    /// On which side, where it says so.
    pub laterality: Option<Laterality>,
    /// The condition.
    pub finding: ContextTerm,
}

/// A fact of a chart in this software's own words, from the knowledge file: never a text of the chart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContextTerm(pub String);

/// A side of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Laterality {
    /// The patient's left.
    Left,
    /// The patient's right.
    Right,
}

impl Laterality {
    /// For people.
    pub const fn display(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }
}

/// An age band.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgeBand {
    /// Under 2 years.
    Infant,
    /// 2 to 11 years.
    Child,
    /// 12 to 17 years.
    Adolescent,
    /// 18 to 39 years.
    YoungAdult,
    /// 40 to 64 years.
    MiddleAged,
    /// 65 years and more.
    Older,
}

impl AgeBand {
    /// The band of an age in completed years.
    pub const fn of_years(years: u32) -> Self {
        match years {
            0..=1 => Self::Infant,
            2..=11 => Self::Child,
            12..=17 => Self::Adolescent,
            18..=39 => Self::YoungAdult,
            40..=64 => Self::MiddleAged,
            _ => Self::Older,
        }
    }

    /// For people.
    pub const fn display(self) -> &'static str {
        match self {
            Self::Infant => "under 2 years",
            Self::Child => "2-11 years",
            Self::Adolescent => "12-17 years",
            Self::YoungAdult => "18-39 years",
            Self::MiddleAged => "40-64 years",
            Self::Older => "65 years or older",
        }
    }
}

/// Administrative sex, `Patient.gender`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sex {
    /// female.
    Female,
    /// male.
    Male,
    /// other.
    Other,
}

impl Sex {
    /// For people.
    pub const fn display(self) -> &'static str {
        match self {
            Self::Female => "female",
            Self::Male => "male",
            Self::Other => "other",
        }
    }
}
