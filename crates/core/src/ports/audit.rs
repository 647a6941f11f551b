//! The audit trail: appending to it, for stages; and reading it, and writing into it together with a change, for operators.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{StateError, StateStore};
use crate::{
    audit::{AuditEntry, AuditHead, TRAIL_SHORTENED},
    domain::FirmId,
    time::Timestamp,
};

type Outcome<T> = Result<T, StateError>;

/// Something that happened to a patient's record or to a permission, for the audit trail. Ids and codes only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When.
    pub at: Timestamp,
    /// Whose record, and in whose chain; [`INSTALLATION`](crate::audit::INSTALLATION) for what concerns no firm alone.
    pub firm: FirmId,
    /// Who: a stage, or an operator's command.
    pub actor: String,
    /// What was done.
    pub action: AuditAction,
    /// To what: a document, an assessment, or the firm itself.
    pub subject: String,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditAction {
    /// A photo was downloaded.
    PhotoRead,
    /// A photo was shown to the models.
    Inferred,
    /// What an assessment needs of the patient's chart was read, or tried to be.
    ContextRead,
    /// A result was recorded.
    ResultRecorded,
    /// A draft was written.
    DraftWritten,
    /// A draft was sent, and nobody knows whether it was written.
    DraftUncertain,
    /// A photo was retracted after its draft was posted.
    RetractedAfterDelivery,
    /// An operator took note of such a retraction.
    RetractionAcknowledged,
    /// A firm was connected, paused, resumed, removed, or its settings were changed.
    FirmChanged,
    /// A dead letter was replayed.
    Replayed,
    /// An uncertain draft was resolved.
    UncertainResolved,
    /// An operator read a result that is kept back, or compared results with diagnoses.
    ResultRead,
    /// An operator had a practice's EHR asked what it does.
    ChartProbed,
    /// A credential was used: a token was obtained with it.
    TokenObtained,
    /// The program was started, with which configuration.
    Started,
    /// Somebody signed in to the console.
    SignedIn,
    /// Entries of before there were chains were put into them.
    TrailChained,
    /// Entries were removed after their time.
    TrailShortened,
    /// An operator exported the trail.
    TrailExported,
    /// Results were removed after their time, or what photos that never had one said of their patients.
    ResultsRemoved,
    /// A subscription was made, paused, resumed or removed, or a notification of it replayed.
    SubscriptionChanged,
    /// The key of the state was changed.
    KeyChanged,
    /// A backup of the state was written.
    BackedUp,
    /// A backup was put in the place of the state.
    Restored,
}

impl AuditAction {
    /// Whether its subject came from a firm's EHR, or from what it was proved with: where a store seals what is a firm's own with the
    /// firm's key, it seals this, too.
    pub const fn is_about_a_record(self) -> bool {
        match self {
            Self::PhotoRead
            | Self::Inferred
            | Self::ContextRead
            | Self::ResultRecorded
            | Self::DraftWritten
            | Self::DraftUncertain
            | Self::RetractedAfterDelivery
            | Self::RetractionAcknowledged
            | Self::Replayed
            | Self::UncertainResolved
            | Self::ResultRead
            | Self::TokenObtained => true,
            Self::FirmChanged
            | Self::ChartProbed
            | Self::Started
            | Self::SignedIn
            | Self::TrailChained
            | Self::TrailShortened
            | Self::TrailExported
            | Self::ResultsRemoved
            | Self::SubscriptionChanged
            | Self::KeyChanged
            | Self::BackedUp
            | Self::Restored => false,
        }
    }

    /// The word used in tables and exports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PhotoRead => "photo-read",
            Self::Inferred => "inferred",
            Self::ContextRead => "context-read",
            Self::ResultRecorded => "result-recorded",
            Self::DraftWritten => "draft-written",
            Self::DraftUncertain => "draft-uncertain",
            Self::RetractedAfterDelivery => "retracted-after-delivery",
            Self::RetractionAcknowledged => "retraction-acknowledged",
            Self::FirmChanged => "firm-changed",
            Self::Replayed => "replayed",
            Self::UncertainResolved => "uncertain-resolved",
            Self::ResultRead => "result-read",
            Self::ChartProbed => "chart-probed",
            Self::TokenObtained => "token-obtained",
            Self::Started => "started",
            Self::SignedIn => "signed-in",
            Self::TrailChained => "trail-chained",
            Self::TrailShortened => TRAIL_SHORTENED,
            Self::TrailExported => "trail-exported",
            Self::ResultsRemoved => "results-removed",
            Self::SubscriptionChanged => "subscription-changed",
            Self::KeyChanged => "key-changed",
            Self::BackedUp => "backed-up",
            Self::Restored => "restored",
        }
    }
}

/// The audit trail: append-only, each firm's entries a chain ([`crate::audit`]). What is read is recorded before it is handed on, by
/// itself; a change is recorded by the transition that makes it.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Appends a record.
    async fn record(&self, record: &AuditRecord) -> Outcome<()>;

    /// The records, oldest first.
    async fn records(&self) -> Outcome<Vec<AuditRecord>>;
}

/// Entries of one chain, in the order in which the store has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Where the next page begins; none when there is none.
    pub next: Option<u64>,
}

/// A chain as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditChain {
    /// Up to where entries were removed after their time.
    pub base: AuditHead,
    /// Where it ends.
    pub head: AuditHead,
}

/// The audit trail as chains.
#[async_trait]
pub trait AuditTrail: Send + Sync {
    /// All chains, in the order of their firms' ids. A chain whose entries are all gone, and of which nothing else is left, is not
    /// among them: an anchor tells.
    async fn audit_chains(&self) -> Outcome<Vec<AuditChain>>;

    /// Entries of a chain, at most `limit`, from where `from` says (`next` of the page before; 0 for the first).
    async fn audit_entries(&self, firm: &FirmId, from: u64, limit: usize) -> Outcome<AuditPage>;

    /// The same store, by a handle whose next transition writes `record` too, in its own transaction: both are there, or neither.
    /// For changes that an operator makes; a transition that a stage makes writes its entry by itself.
    fn audited(&self, record: AuditRecord) -> Box<dyn StateStore + '_>;
}

/// For how long what is finished is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetentionLimits {
    /// Results whose draft is in the chart, kept back, discarded, or cancelled: since they were assessed. And what is known of the
    /// patients of photos that were retracted before they had a result: since they were found. None for ever.
    pub results: Option<Duration>,
    /// Entries of the audit trail. None for ever.
    pub audit: Option<Duration>,
}

/// What was removed because its time had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Removed {
    /// Results.
    pub results: u64,
    /// Photos that were retracted before they had a result, of which nothing is left that says anything about a patient.
    pub photos: u64,
    /// Entries of the audit trail.
    pub audit_entries: u64,
    /// Whether there is more: one call removes so much at most, and the next one goes on.
    pub more: bool,
}

/// How much of something there is, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Of what.
    pub what: &'static str,
    /// How much.
    pub number: u64,
    /// Since when the oldest is there, by the time that its limit counts from.
    pub oldest: Option<Timestamp>,
}

/// Keeping no longer than the policy says.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Removes what is older than the limits. Of a removed result nothing stays that says anything about a patient; that its photos
    /// were assessed stays known, so that none is assessed twice; and of a photo that was retracted before it had a result no more than
    /// that, within four weeks after its time. What waits for an operator (uncertain, given up, retracted and not
    /// taken note of) is not removed. The removal is said by an entry in the audit trail, in the transaction that removes or before.
    /// Whoever is interrupted leaves chains that verify, and the next call goes on.
    async fn remove_expired(&self, limits: &RetentionLimits, now: Timestamp) -> Outcome<Removed>;

    /// What there is; nothing where this store cannot tell without reading all of it.
    async fn kept(&self) -> Outcome<Vec<Kept>>;
}
