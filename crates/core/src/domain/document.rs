//! Documents, and photos on their way through the pipeline.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    AssessmentId, CategoryCode, ClosedAssessment, DocumentId, EncounterId, FirmId, PatientId, PractitionerId, Route,
};
use crate::{phi::Phi, time::Timestamp};

/// The bytes of a photo. Never on disk outside an encrypted store, never in a log.
pub type PhotoBytes = Phi<Bytes>;

/// A document as a search shows it: what decides whether it is a photo for us. (ModMed EMA's search entries are
/// SUBSETTED and carry no content.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentSummary {
    /// `DocumentReference.id`.
    pub id: DocumentId,
    /// Whose it is, where the EHR says so.
    pub patient: Option<PatientId>,
    /// The visits it was filed under, as far as the EHR says so: mostly one.
    pub encounters: Vec<EncounterId>,
    /// `DocumentReference.status`.
    pub status: DocumentStatus,
    /// The codes of `DocumentReference.category`.
    pub categories: Vec<CategoryCode>,
    /// The MIME type that the EHR claims, where it does (`type.text` or `content.attachment.contentType`).
    pub content_type: Option<String>,
    /// `DocumentReference.date` when it is an instant: when the photo was filed, by the EHR's clock.
    pub attached_at: Option<Timestamp>,
    /// `DocumentReference.meta.lastUpdated`, by the EHR's clock. Some EHRs omit it.
    pub last_updated: Option<Timestamp>,
}

impl DocumentSummary {
    /// Whether the claimed type allows it to be a photo; a document without a claim may be one.
    pub fn may_be_a_photo(&self) -> bool {
        self.content_type.as_deref().is_none_or(|mime| {
            let mime = mime.trim().to_ascii_lowercase();
            mime.starts_with("image/") || mime == "application/octet-stream" || !mime.contains('/')
        })
    }
}

/// `DocumentReference.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentStatus {
    /// current, or not given.
    Current,
    /// superseded by another document.
    Superseded,
    /// entered in error: retracted.
    EnteredInError,
}

/// What a watched document waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentStep {
    /// Its bytes.
    Download,
    /// The models.
    Infer,
}

impl DocumentStep {
    /// The word used in tables and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Infer => "infer",
        }
    }
}

/// A photo found, on its way through the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentWatch {
    /// Whose.
    pub firm: FirmId,
    /// The document.
    pub document: DocumentId,
    /// The visit it was filed under.
    pub encounter: EncounterId,
    /// The patient.
    pub patient: PatientId,
    /// The treating practitioner, as the visit names them.
    pub practitioner: Option<PractitionerId>,
    /// The category that made it relevant.
    pub category: CategoryCode,
    /// Which models look at it.
    pub route: Route,
    /// The assessment it belongs to: its own as long as none was closed with it.
    pub assessment: AssessmentId,
    /// When it was filed, by the EHR's clock.
    pub attached_at: Option<Timestamp>,
    /// When we first saw it, by our clock.
    pub detected_at: Timestamp,
    /// Until when further photos of its visit and category are waited for, by our clock; none where it is assessed by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gathers_until: Option<Timestamp>,
    /// The closed assessment that it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<ClosedAssessment>,
    /// Its bytes, once they were downloaded.
    pub photo: Option<StoredPhoto>,
}

/// What is known of a downloaded photo, apart from its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPhoto {
    /// What identifies the bytes.
    pub digest: PhotoDigest,
    /// How many bytes.
    pub bytes: u64,
    /// When they arrived, by our clock.
    pub downloaded_at: Timestamp,
}

/// SHA-256 of a photo's bytes, hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PhotoDigest(String);

impl PhotoDigest {
    /// Of these bytes.
    pub fn of(photo: &PhotoBytes) -> Self {
        Self(hex::encode(Sha256::digest(photo.expose())))
    }

    /// The 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PhotoDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
