//! Ports: what a stage may do, as traits.
//!
//! A stage is handed exactly the ports it needs, so its fields are its permissions: a poller cannot post a draft
//! because it holds no [`DraftWriter`], and it cannot read results because it holds no [`Deliveries`]. State ports are
//! transitions, each one transaction, not table gateways. Each port says in its "Contract" what it promises.

mod audit;
mod ehr;
mod error;
mod models;
mod operations;
mod proposals;
mod spending;
mod state;
mod subscriptions;

pub use audit::{
    Audit, AuditAction, AuditChain, AuditPage, AuditRecord, AuditTrail, Kept, Removed, Retention, RetentionLimits,
};
pub use ehr::{
    ChartReader, ContextPart, ContextSubject, DocumentQuery, DocumentSearches, DraftAbilities, DraftSearch,
    DraftWriter, EarlierInChart, Ehr, EncounterQuery, FinishedVisit, FirmSettings, Page, PageLink, PatientContext,
    PhotoLocation, PhotoSource, Settlement, TokenEndpoint, Visit, WrittenDraft,
};
pub use error::{Class, DraftError, EhrError, LanguageError, PhotoRefusal, StateError, VisionError};
pub use models::{
    ChatModel, Completion, Confidence, Differential, EvidencedCondition, FurtherCondition, LanguageModel, Prompt,
    Synthesis, SynthesisRequest, VisionModel,
};
pub use operations::{DetectionLatency, Operations, Overview, PhotosOfHour, Queued, Standing, UncertainResolution};
pub use proposals::{Proposals, Proposed, ProposingStore};
pub use spending::{LanguageSpending, LanguageSpent};
pub use state::{
    CallGrants, CallKind, Changes, Credentials, Deliveries, DocumentQueue, EncounterWatches, FirmAdministration, Firms,
    Grant, InferenceRecords, Look, Photos, PollingMemory, QuotaFigures, QuotaKey, RecordedDocuments,
    RecordedEncounters, RetractedDraft, StateStore, WatchLists,
};
pub use subscriptions::{NotTold, Subscribers, Subscriptions};
