//! Assessments and their results.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    AssessmentId, CategoryCode, DocumentId, DocumentWatch, DraftNote, DraftReference, EncounterId, Findings, FirmId,
    ModelVersion, PatientId, PhotoDigest, PractitionerId, Reason, Route,
};
use crate::{phi::Phi, time::Timestamp};

/// A digest over texts that no other list of texts shares: each is preceded by its length.
fn digest<'a>(purpose: &'a str, texts: impl IntoIterator<Item = &'a str>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for text in std::iter::once(purpose).chain(texts) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}

/// The one or more photos of one encounter and category that are judged together and answered by one draft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessment {
    /// Its identity, see [`Assessment::identity`].
    pub id: AssessmentId,
    /// Whose.
    pub firm: FirmId,
    /// The visit.
    pub encounter: EncounterId,
    /// The patient.
    pub patient: PatientId,
    /// The author of the draft where the EHR forces a practitioner.
    pub practitioner: Option<PractitionerId>,
    /// The category of its photos.
    pub category: CategoryCode,
    /// Which models look at them.
    pub route: Route,
    /// The photos; never empty.
    pub documents: BTreeSet<DocumentId>,
    /// The draft about earlier photos of the same visit and category, where there is one in the chart or on its way there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<EarlierDraft>,
}

/// A draft that another one is an addendum to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierDraft {
    /// The assessment it is about.
    pub assessment: AssessmentId,
    /// Its date.
    pub date: Timestamp,
}

impl Assessment {
    /// The identity of the assessment of these photos. It depends on firm, encounter and documents and on nothing
    /// else: no model, no version, no time, so that neither an upgrade nor a replay makes a second draft.
    pub fn identity<'a>(
        firm: &'a FirmId,
        encounter: &'a EncounterId,
        documents: impl IntoIterator<Item = &'a DocumentId>,
    ) -> AssessmentId {
        let scope = [firm.as_str(), encounter.as_str()];
        let texts = scope.into_iter().chain(documents.into_iter().map(DocumentId::as_str));
        AssessmentId::new(hex::encode(&digest("assessment", texts)[..16]))
    }

    /// The assessment of a photo that is judged by itself.
    pub fn of(watch: &DocumentWatch) -> Self {
        Self {
            id: watch.assessment.clone(),
            earlier: None,
            firm: watch.firm.clone(),
            encounter: watch.encounter.clone(),
            patient: watch.patient.clone(),
            practitioner: watch.practitioner.clone(),
            category: watch.category.clone(),
            route: watch.route,
            documents: BTreeSet::from([watch.document.clone()]),
        }
    }

    /// The code printed in the draft, by which a person recognises a duplicate where the EHR drops identifiers.
    pub fn reference_code(&self) -> ReferenceCode {
        ReferenceCode::of(&self.firm, &self.id)
    }

    /// The same of the earlier draft, where this one is an addendum.
    pub fn earlier_reference_code(&self) -> Option<ReferenceCode> {
        let earlier = self.earlier.as_ref()?;
        Some(ReferenceCode::of(&self.firm, &earlier.assessment))
    }
}

/// A short, readable form of a draft's identity (firm, assessment): `SA-XXXX-XXXX-XXXX`, 60 bits in Crockford's
/// base 32, whose letters cannot be taken for digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReferenceCode(String);

impl ReferenceCode {
    /// Of a draft's identity.
    pub fn of(firm: &FirmId, assessment: &AssessmentId) -> Self {
        const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let hash = digest("draft", [firm.as_str(), assessment.as_str()]);
        let mut bits = u64::from_be_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]]);
        let mut code = String::from("SA");
        for position in 0..12 {
            if position % 4 == 0 {
                code.push('-');
            }
            code.push(char::from(ALPHABET[(bits >> 59) as usize]));
            bits <<= 5;
        }
        Self(code)
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReferenceCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What an inference is paid for once: the assessment, the very photos, the very models.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResultKey(String);

impl ResultKey {
    /// Of an assessment, the digests of its photos and the models that will look.
    pub fn new<'a>(
        assessment: &AssessmentId,
        photos: impl IntoIterator<Item = &'a PhotoDigest>,
        models: &[ModelVersion],
    ) -> Self {
        let mut texts = vec![assessment.to_string()];
        texts.extend(photos.into_iter().map(ToString::to_string));
        texts.extend(
            models
                .iter()
                .flat_map(|model| [model.pack.clone(), model.version.clone()]),
        );
        Self(hex::encode(digest("result", texts.iter().map(String::as_str))))
    }

    /// The 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What made a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The vision models.
    pub models: Vec<ModelVersion>,
    /// The language model or composer.
    pub synthesis: String,
    /// The pipeline: this software.
    pub pipeline: String,
    /// What a language model took part with; none where none was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<LanguageUse>,
}

/// What a language model was asked and what that cost. Never the prompt's text, nor an answer's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LanguageUse {
    /// The model.
    pub model: String,
    /// The version of the prompt file.
    pub prompt: String,
    /// SHA-256 of the whole prompt, hexadecimal.
    pub prompt_sha256: String,
    /// How often it was asked.
    pub calls: u32,
    /// Tokens that went in, as the endpoint counts them.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
    /// What that cost by the configured prices, in millionths of their currency.
    pub cost_micros: u64,
    /// Why the draft has none of its answers; none where it has.
    pub fallback: Option<Reason>,
}

/// What the models and the language model made of an assessment, and how its draft stands (the published design's
/// AIAssistResults).
#[derive(Debug, Clone, PartialEq)]
pub struct AssistResult {
    /// What was assessed. The result's identity is (firm, assessment).
    pub assessment: Assessment,
    /// What was paid for.
    pub key: ResultKey,
    /// The photos, with the times of their way here.
    pub photos: Vec<AssessedPhoto>,
    /// What the models saw, of all photos together ([`Findings::together`]).
    pub findings: Phi<Findings>,
    /// What they saw on each photo, where there are several that could be judged.
    pub photo_findings: Phi<Vec<PhotoFindings>>,
    /// What the clinician will read.
    pub note: Phi<DraftNote>,
    /// What made it.
    pub versions: Versions,
    /// When it was made, by our clock.
    pub assessed_at: Timestamp,
    /// How its draft stands.
    pub delivery: Delivery,
}

/// A photo of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssessedPhoto {
    /// The document.
    pub document: DocumentId,
    /// SHA-256 of its bytes.
    pub digest: PhotoDigest,
    /// When it was filed, by the EHR's clock.
    pub attached_at: Option<Timestamp>,
    /// When we first saw it.
    pub detected_at: Timestamp,
    /// When its bytes arrived.
    pub downloaded_at: Timestamp,
    /// Why the models could not look at it although they looked at others of the assessment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_assessed: Option<Reason>,
}

/// What the models saw on one photo of several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhotoFindings {
    /// The photo.
    pub document: DocumentId,
    /// What they saw.
    pub findings: Findings,
}

/// How a draft stands. Delivered once, or listed as uncertain; never two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Delivery {
    /// Not posted, and no post is under way.
    Pending,
    /// About to be posted, or posted: if nothing more is known when the lease ends, nobody knows whether the EHR has
    /// it.
    Intended {
        /// When the intent was recorded.
        at: Timestamp,
        /// The version of an earlier draft that it was to be added to; none where it was to be posted by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        updates: Option<DraftReference>,
    },
    /// In the chart.
    Delivered {
        /// The EHR's name for it.
        reference: DraftReference,
        /// When the EHR acknowledged it.
        at: Timestamp,
    },
    /// Posted perhaps; an operator has to look. Never posted again by itself.
    Uncertain {
        /// Why.
        reason: Reason,
        /// Since when.
        at: Timestamp,
    },
    /// Kept back: by silent mode, or because the EHR takes no such draft.
    Withheld {
        /// Why.
        reason: Reason,
        /// When.
        at: Timestamp,
    },
    /// Given up; see the dead letter.
    Buried {
        /// When.
        at: Timestamp,
    },
    /// An operator found that it is not in the chart, and that it shall not be.
    Discarded {
        /// When.
        at: Timestamp,
    },
}

/// A photo's way, for operators: ids, times and codes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journey {
    /// Whose.
    pub firm: FirmId,
    /// The photo.
    pub document: DocumentId,
    /// The assessment it belongs to.
    pub assessment: AssessmentId,
    /// Which way.
    pub route: Route,
    /// The most probable class, for people; none before the models looked or when they abstained.
    pub top_finding: Option<String>,
    /// When it was filed, by the EHR's clock.
    pub attached_at: Option<Timestamp>,
    /// When we first saw it.
    pub detected_at: Timestamp,
    /// When its bytes arrived.
    pub downloaded_at: Option<Timestamp>,
    /// When the result was made.
    pub assessed_at: Option<Timestamp>,
    /// When the EHR acknowledged the draft.
    pub delivered_at: Option<Timestamp>,
    /// The EHR's name for the draft.
    pub reference: Option<DraftReference>,
    /// Where it is now.
    pub state: JourneyState,
}

/// Where a photo is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JourneyState {
    /// Waits for its bytes.
    Download,
    /// Waits for the models.
    Infer,
    /// Waits for write-back.
    WriteBack,
    /// In the chart.
    Delivered,
    /// Perhaps in the chart.
    Uncertain,
    /// Kept back by silent mode.
    Withheld,
    /// Retracted in the EHR before delivery.
    Retracted,
    /// Given up.
    DeadLetter,
    /// An operator said that there shall be no draft.
    Discarded,
}

impl JourneyState {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Download,
        Self::Infer,
        Self::WriteBack,
        Self::Delivered,
        Self::Uncertain,
        Self::Withheld,
        Self::Retracted,
        Self::DeadLetter,
        Self::Discarded,
    ];

    /// The word used in tables and addresses, and where it is serialized.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Infer => "infer",
            Self::WriteBack => "write-back",
            Self::Delivered => "delivered",
            Self::Uncertain => "uncertain",
            Self::Withheld => "withheld",
            Self::Retracted => "retracted",
            Self::DeadLetter => "dead-letter",
            Self::Discarded => "discarded",
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_word_of_a_state_is_the_one_that_is_serialized() {
        for state in super::JourneyState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }

    use super::*;

    #[test]
    fn identity_is_of_firm_encounter_and_documents_alone() {
        let (firm, encounter, document) = (FirmId::new("a"), EncounterId::new("1"), DocumentId::new("file|7"));
        let id = Assessment::identity(&firm, &encounter, [&document]);
        assert_eq!(id, Assessment::identity(&firm, &encounter, [&document]));
        assert_ne!(id, Assessment::identity(&FirmId::new("b"), &encounter, [&document]));
        // Lengths are part of the digest: ("a", "1") and ("a1", "") differ.
        assert_ne!(
            id,
            Assessment::identity(&FirmId::new("a1"), &EncounterId::new(""), [&document])
        );
    }

    #[test]
    fn reference_codes_are_readable_and_stable() {
        let code = ReferenceCode::of(&FirmId::new("a"), &AssessmentId::new("x"));
        assert_eq!(code, ReferenceCode::of(&FirmId::new("a"), &AssessmentId::new("x")));
        assert_eq!(code.as_str().len(), "SA-XXXX-XXXX-XXXX".len());
        assert!(!code.as_str()[2..].contains(['I', 'L', 'O', 'U']));
    }
}
