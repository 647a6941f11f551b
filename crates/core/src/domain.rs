//! The words of the system, as types. ARCHITECTURE.md lists them; tables, metrics and docs use the same.

mod assessment;
mod code;
mod document;
mod draft;
mod encounter;
mod findings;
mod firm;
mod gathering;
mod identifier;
mod reason;
mod subscription;

pub use assessment::{
    AssessedPhoto, Assessment, AssistResult, Delivery, EarlierDraft, Journey, JourneyState, LanguageUse, PhotoFindings,
    ReferenceCode, ResultKey, Versions,
};
pub use code::{is_icd_10_cm, is_rxnorm, is_snomed_ct};
pub use document::{
    DocumentStatus, DocumentStep, DocumentSummary, DocumentWatch, PhotoBytes, PhotoDigest, StoredPhoto,
};
pub use draft::{
    AgeBand, Bands, ContextTerm, Draft, DraftNote, DraftReference, Laterality, NoteRegion, NoteSection, PatientFacts,
    PriorResult, Sex,
};
pub use encounter::{
    Cursor, Encounter, EncounterStatus, EncounterWatch, FailingFirm, POLL_REACH, PollerFigures, PollerId,
    RECONCILED_FOR, WATCH_LIFE, WatchList, WatchedEncounter,
};
pub use findings::{
    Abstention, ClassProbability, Concern, Findings, ImageFacts, Label, ModelVersion, NormalisedBox, Quality, Region,
    Route,
};
pub use firm::{
    AccessToken, CategoryUse, Credential, CredentialState, DocumentCategory, Firm, FirmStatus, IntendedUseRecord,
    IssuedToken, Mode, NewCredential, is_served,
};
pub use gathering::{ClosedAssessment, Gathering, GatheringWindows, MOST_PHOTOS, Sibling, SiblingState, gather};
pub use identifier::{
    AssessmentId, CategoryCode, DocumentId, EncounterId, FirmId, InvalidIdentifier, PatientId, PractitionerId,
};
pub use reason::{DeadLetter, DeadLetterSubject, Reason, Stage};
pub use subscription::{
    ChartEvent, ChartEventKind, EVENT_LIFE, GivenUpNotification, Notice, Notification, ResourceReference, Subscription,
    SubscriptionFormat, SubscriptionId, SubscriptionStatus, UnknownWord,
};
