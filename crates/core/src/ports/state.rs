//! Our own state: transitions, each one transaction.
//!
//! # Contract, for all of them
//! - A method returns after its transaction is durable, or returns an error and changed nothing.
//! - A method that takes a [`Lease`] writes only where the item's fence is still the lease's, and returns
//!   [`StateError::LeaseLost`] otherwise. It does not ask whether the lease has expired: as long as nobody else
//!   acquired the item, the work counts.
//! - `acquire` grants an item that is due and free (or whose lease expired at `now`) to one caller only, raises its
//!   fence and counts the attempt.
//! - Every key contains the firm: two firms may use the same ids.
//! - Expired rows are never returned, whether or not they were deleted yet.
//! - A transition that changes what is recorded of a patient, or of a permission, says which entry of the audit trail it writes
//!   in the same transaction.

use std::{collections::BTreeMap, fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::AuditAction;
use super::{Audit, AuditTrail, LanguageSpending, Operations, Retention, StateError, Subscriptions};
use crate::{
    domain::{
        AssessmentId, AssistResult, CategoryCode, CategoryUse, ClosedAssessment, Credential, Cursor, Delivery,
        DocumentId, DocumentStep, DocumentWatch, DraftReference, EarlierDraft, Encounter, EncounterId, EncounterWatch,
        Findings, Firm, FirmId, FirmStatus, IntendedUseRecord, IssuedToken, Mode, NewCredential, PhotoBytes,
        PollerFigures, PollerId, Reason, ReferenceCode, ResultKey, Sibling, Stage, StoredPhoto, WatchList,
        WatchedEncounter,
    },
    lease::Lease,
    phi::Phi,
    polling::Learned,
    quota::TokenBucket,
    time::Timestamp,
};

type Outcome<T> = Result<T, StateError>;

/// Reading firms.
#[async_trait]
pub trait Firms: Send + Sync {
    /// All firms, in the order of their ids.
    async fn firms(&self) -> Outcome<Vec<Firm>>;

    /// One firm.
    async fn firm(&self, firm: &FirmId) -> Outcome<Option<Firm>>;
}

/// What an operator does with firms.
#[async_trait]
pub trait FirmAdministration: Firms {
    /// Connects a firm. [`StateError::Exists`] when there is one of this id.
    async fn add_firm(&self, firm: &Firm, credential: &NewCredential) -> Outcome<()>;

    /// Pauses or resumes it. Once it has returned `Ok` for a pause, no write into the firm's charts begins: leases on results of which
    /// no intent is recorded end with the change. One that had begun is finished and recorded.
    async fn set_firm_status(&self, firm: &FirmId, status: FirmStatus) -> Outcome<()>;

    /// Replaces what the practice does with its document categories.
    async fn set_categories(&self, firm: &FirmId, categories: &BTreeMap<CategoryCode, CategoryUse>) -> Outcome<()>;

    /// Changes the mode, with the record that permits it. From draft mode to another, the same holds as for a pause.
    async fn set_mode(&self, firm: &FirmId, mode: Mode, record: Option<&IntendedUseRecord>) -> Outcome<()>;

    /// Replaces the credential and forgets tokens and refusal.
    async fn replace_credential(&self, firm: &FirmId, credential: &NewCredential) -> Outcome<()>;

    /// Removes the firm and every row of it; the audit trail alone stays.
    async fn remove_firm(&self, firm: &FirmId) -> Outcome<()>;
}

/// OAuth2 credentials and tokens.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// A firm's credential with the token in hand.
    async fn credential(&self, firm: &FirmId) -> Outcome<Option<Credential>>;

    /// Acquires the right to refresh, so that one process asks the endpoint and the others wait for its token. None
    /// when another has it.
    async fn acquire_refresh(
        &self,
        firm: &FirmId,
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Option<Lease<Credential>>>;

    /// Records the new token, with the refresh token that is valid from now on (or that there is none), and ends the
    /// lease. Audited as [`AuditAction::TokenObtained`].
    async fn record_token(&self, lease: Lease<Credential>, token: &IssuedToken) -> Outcome<()>;

    /// Records that the endpoint refused the credential (which drops both tokens), and ends the lease.
    async fn record_refusal(&self, lease: Lease<Credential>, reason: &Reason, retry_at: Timestamp) -> Outcome<()>;

    /// Ends the lease without news: the endpoint could not be asked.
    async fn release_refresh(&self, lease: Lease<Credential>, now: Timestamp) -> Outcome<()>;
}

/// What recording a poll of encounters changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordedEncounters {
    /// Encounters that were not watched before.
    pub new: usize,
    /// Watched encounters whose version was news.
    pub changed: usize,
}

/// What recording a look at an encounter's documents changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordedDocuments {
    /// Photos that were not known before.
    pub new: Vec<DocumentId>,
    /// Drafts that are or may be in the chart and whose photo turned out now to be retracted: alarms.
    pub retracted: Vec<RetractedDraft>,
}

/// A draft that is or may be in the chart although its photo was retracted: entered in error, or replaced by another.
/// The clinic has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetractedDraft {
    /// Whose.
    pub firm: FirmId,
    /// The photo.
    pub document: DocumentId,
    /// The assessment.
    pub assessment: AssessmentId,
    /// The code printed in the draft.
    pub reference_code: ReferenceCode,
    /// The EHR's name for the draft, where it acknowledged one.
    pub reference: Option<DraftReference>,
    /// When the retraction was noticed, by our clock.
    pub noticed_at: Timestamp,
}

/// Encounters being watched, and the cursor.
#[async_trait]
pub trait EncounterWatches: Send + Sync {
    /// How far the firm's encounters have been read; none before the first poll.
    async fn cursor(&self, firm: &FirmId) -> Outcome<Option<Cursor>>;

    /// Records the encounters of a poll and moves the cursor from `expected` to `next`, in one transaction.
    /// [`StateError::CursorMoved`], and nothing written, when the cursor is not `expected`. An encounter seen with the
    /// version it had is not touched: its watch does not live longer for being seen again.
    async fn record_encounters(
        &self,
        firm: &FirmId,
        expected: Option<Cursor>,
        next: Cursor,
        seen: &[Encounter],
        now: Timestamp,
    ) -> Outcome<RecordedEncounters>;

    /// The firm's encounters whose watch ends after `ending_after`, each with what its photos tell: `now` gives those under
    /// watch; an earlier time also those that are only looked at once more (reconciliation).
    async fn watch_list(&self, firm: &FirmId, ending_after: Timestamp) -> Outcome<Vec<WatchedEncounter>>;

    /// Those of `encounters` that are known, under watch or past it, in the order of `encounters`.
    async fn watches_of(&self, firm: &FirmId, encounters: &[EncounterId]) -> Outcome<Vec<EncounterWatch>>;

    /// Leases those of `encounters` that are watched and free.
    async fn acquire_encounters(
        &self,
        firm: &FirmId,
        encounters: &[EncounterId],
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Vec<Lease<EncounterWatch>>>;

    /// Records the photos found at a look, notes the look, and ends the lease, in one transaction. A photo that is
    /// known already is left as it is; `retracted` documents that have not been delivered are cancelled. Where one was judged
    /// with others, those are judged anew without it. Alarms are audited as [`AuditAction::RetractedAfterDelivery`].
    async fn record_documents(
        &self,
        lease: Lease<EncounterWatch>,
        found: &[DocumentWatch],
        retracted: &[DocumentId],
        now: Timestamp,
    ) -> Outcome<RecordedDocuments>;

    /// Ends the lease without a look.
    async fn release_encounter(&self, lease: Lease<EncounterWatch>, now: Timestamp) -> Outcome<()>;
}

/// What a look at one encounter's documents showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The encounter.
    pub encounter: EncounterId,
    /// When its documents were looked for, by our clock.
    pub at: Timestamp,
    /// Photos for us, known or not.
    pub found: Vec<DocumentWatch>,
    /// Documents that are not current (any more).
    pub retracted: Vec<DocumentId>,
}

impl Look {
    /// Whether it showed nothing that has to be recorded.
    pub const fn is_empty(&self) -> bool {
        self.found.is_empty() && self.retracted.is_empty()
    }
}

/// What a search for all documents of a firm that changed showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Documents of encounters that are known.
    pub looks: Vec<Look>,
    /// Others that are not current (any more): their encounters may have been forgotten since.
    pub retracted: Vec<DocumentId>,
    /// Of when the answer is, by our clock.
    pub as_of: Timestamp,
    /// The categories by which photos were told from other documents.
    pub categories: BTreeMap<CategoryCode, CategoryUse>,
    /// Where the documents' cursor was when the search was made.
    pub from: Option<Cursor>,
    /// Where it goes.
    pub next: Cursor,
}

/// The right to poll firms, as leases on their watch lists, and who is at work.
///
/// What is leased is the largest thing that one poller can serve: one conditional write for each firm and renewal, however
/// many encounters it has. A poller that dies leaves its firms to the others when its leases expire.
#[async_trait]
pub trait WatchLists: Send + Sync {
    /// Notes that `poller` is at work until `until` (replacing what it said before), with its own figures for whoever
    /// operates it, and says how many pollers are at work at `now`, this one included.
    async fn attend(
        &self,
        poller: &PollerId,
        figures: &PollerFigures,
        now: Timestamp,
        until: Timestamp,
    ) -> Outcome<usize>;

    /// The pollers at work at `now` with their figures, in the order of their ids.
    async fn pollers(&self, now: Timestamp) -> Outcome<Vec<(PollerId, PollerFigures)>>;

    /// `poller` is no longer at work. Its leases are not touched.
    async fn leave(&self, poller: &PollerId) -> Outcome<()>;

    /// Leases up to `limit` watch lists of active firms that are free at `now`, those free for longest first. A paused firm's
    /// list is not granted.
    async fn acquire_watch_lists(
        &self,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<WatchList>>>;

    /// The same for those of these firms alone.
    async fn acquire_watch_lists_of(
        &self,
        firms: &[FirmId],
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Vec<Lease<WatchList>>>;

    /// Prolongs the leases to `now + lease_for` under the same fences; gives back those that are still held and whose firms
    /// are still active. The others are lost (or, for a paused firm, ended).
    async fn renew_watch_lists(
        &self,
        leases: Vec<Lease<WatchList>>,
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Vec<Lease<WatchList>>>;

    /// Ends the leases: others may acquire them at once. Those that are lost already are passed over.
    async fn release_watch_lists(&self, leases: Vec<Lease<WatchList>>, now: Timestamp) -> Outcome<()>;

    /// Ends a lease, and notes the looks at encounters that were made under it and showed nothing new. If the lease is lost
    /// already it is passed over; the looks may be noted or not.
    async fn give_watch_list_back(&self, lease: Lease<WatchList>, looks: &[Look], now: Timestamp) -> Outcome<()> {
        if !looks.is_empty() {
            match self.record_looks(&lease, looks, now).await {
                Ok(_) | Err(StateError::LeaseLost) => {}
                Err(error) => return Err(error),
            }
        }
        self.release_watch_lists(vec![lease], now).await
    }

    /// Records what looks at encounters of a leased list showed, and notes when they were made, in one transaction. Keeps the
    /// lease. A photo that is known already is left as it is; documents that are not current and have not been delivered are
    /// cancelled. An encounter that is not known is passed over with all that was found of it. Alarms are audited as
    /// [`AuditAction::RetractedAfterDelivery`].
    async fn record_looks(
        &self,
        lease: &Lease<WatchList>,
        looks: &[Look],
        now: Timestamp,
    ) -> Outcome<RecordedDocuments>;

    /// How far all documents of the firm have been read, as photos of the categories that `firm` has; none before the first
    /// search for all that changed, and after other categories were chosen: what they make a photo may have been listed
    /// before.
    async fn documents_cursor(&self, firm: &Firm) -> Outcome<Option<Cursor>>;

    /// Records what a search for all changed documents of a leased list's firm showed, and moves the documents' cursor, in one
    /// transaction. Keeps the lease. [`StateError::CursorMoved`], and nothing written, when the cursor is not where it was
    /// when the search was made; it never moves backwards. All encounters of the firm that had been seen by then count as looked
    /// at. A photo that is known already is left as it is; documents that are not current and have not been delivered are
    /// cancelled. The cursor passes what was found, so it is recorded whatever became of its encounter meanwhile. Alarms are
    /// audited as [`AuditAction::RetractedAfterDelivery`].
    async fn record_changes(
        &self,
        lease: &Lease<WatchList>,
        changes: &Changes,
        now: Timestamp,
    ) -> Outcome<RecordedDocuments>;
}

/// What polling learned, across restarts and shared by all pollers.
#[async_trait]
pub trait PollingMemory: Send + Sync {
    /// What all pollers have learned: of all firms together, and of each of `firms`.
    async fn learned(&self, firms: &[FirmId]) -> Outcome<Learned>;

    /// Adds what one poller has learned since it last did ([`Learned::add`], what was there fading by its age), in one
    /// transaction. What it learned about a firm goes with the firm when that is removed; a firm that does not exist is
    /// passed over.
    async fn add_learned(&self, gained: &Learned, now: Timestamp) -> Outcome<()>;
}

/// Photos on their way: leases on watched documents, and the ends a document can come to before it has a result.
#[async_trait]
pub trait DocumentQueue: Send + Sync {
    /// Leases up to `limit` documents that wait for `step` and are due, longest due first, as long as their firms are
    /// not paused.
    async fn acquire_documents(
        &self,
        step: DocumentStep,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<DocumentWatch>>>;

    /// Records that the photo's bytes are in [`Photos`]: the document now waits for inference, at once or for as long as further
    /// photos are waited for.
    async fn record_photo(&self, lease: Lease<DocumentWatch>, photo: &StoredPhoto) -> Outcome<()>;

    /// Records that the bytes of `lost` are gone (a restart), which are the leased document or photos of the closed assessment
    /// that it leads: they wait for download again, at once. The attempt that found them gone still counts. A closed assessment
    /// is open again: its other photos wait for inference, at once.
    async fn record_photo_lost(&self, lease: Lease<DocumentWatch>, lost: &[DocumentId], now: Timestamp) -> Outcome<()>;

    /// The other photos of the document's visit, category and route for which further ones are or were waited, as they stand.
    /// One that was found a moment ago may be missing.
    async fn siblings(&self, watch: &DocumentWatch) -> Outcome<Vec<Sibling>>;

    /// Closes an assessment under the lease on the photo that leads it, in one transaction: its companions wait for nobody any more,
    /// whoever held a lease on one has lost it, and each belongs to this assessment from now on. Keeps the lease. False, and
    /// nothing written, when a companion is no longer [`SiblingState::Ready`](crate::domain::SiblingState::Ready).
    async fn close_assessment(&self, lease: &Lease<DocumentWatch>, closed: &ClosedAssessment) -> Outcome<bool>;

    /// Ends the lease; the same step is due again at `retry_at`.
    async fn retry_document(&self, lease: Lease<DocumentWatch>, retry_at: Timestamp) -> Outcome<()>;

    /// Ends the lease as if it had not been granted (the attempt does not count); due again at `due_at`.
    async fn release_document(&self, lease: Lease<DocumentWatch>, due_at: Timestamp) -> Outcome<()>;

    /// Gives up: the document becomes a dead letter, in one transaction. Companions of a closed assessment that it leads stay with
    /// it: a replay brings all of them back.
    async fn bury_document(
        &self,
        lease: Lease<DocumentWatch>,
        stage: Stage,
        reason: &Reason,
        now: Timestamp,
    ) -> Outcome<()>;
}

/// What an inference has cost and brought.
#[async_trait]
pub trait InferenceRecords: Send + Sync {
    /// Findings that were paid for already.
    async fn findings(&self, firm: &FirmId, key: &ResultKey) -> Outcome<Option<Phi<Findings>>>;

    /// Counts a look of the models at a photo, before it begins, and says how many that makes since it was found or replayed.
    /// The photo is the leased document or of the closed assessment that it leads. Keeps the lease. A photo that brings the
    /// process down leaves this count and nothing else.
    async fn count_look(&self, lease: &Lease<DocumentWatch>, document: &DocumentId) -> Outcome<u32>;

    /// Stores findings as soon as they are there, before the language model is called. Keeps the lease.
    async fn record_findings(
        &self,
        lease: &Lease<DocumentWatch>,
        key: &ResultKey,
        findings: &Phi<Findings>,
        now: Timestamp,
    ) -> Outcome<()>;

    /// Records the result and finishes its documents (the leased one, and its companions where it leads a closed assessment), in
    /// one transaction. When the assessment has a result already, that one stays: an upgrade or a replay must not make a second draft.
    /// A new one is audited as [`AuditAction::ResultRecorded`].
    async fn record_result(&self, lease: Lease<DocumentWatch>, result: &AssistResult) -> Outcome<()>;

    /// The draft about an assessment, as an addendum names it: none where there is no result, or where its draft is not in the
    /// chart nor on its way there (kept back, given up, cancelled).
    async fn earlier_draft(&self, firm: &FirmId, assessment: &AssessmentId) -> Outcome<Option<EarlierDraft>>;

    /// The latest such draft about another photo of the document's visit, patient, category and route, of those for which no further
    /// ones are waited, whose result was made before the document was found: photos that were found together stand each for
    /// itself.
    async fn draft_before(&self, watch: &DocumentWatch) -> Outcome<Option<EarlierDraft>>;
}

/// Results on their way into the chart: leases, and the journal of the one write that cannot be taken back.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// Leases up to `limit` results whose delivery is pending or intended and due, longest due first, as long as their
    /// firms are not paused.
    async fn acquire_results(
        &self,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<AssistResult>>>;

    /// Records the intent to post, before the post. Keeps the lease. [`StateError::LeaseLost`] when its photo was
    /// retracted meanwhile: it is cancelled then, or uncertain for the reason `unsettled` where an earlier post of it may
    /// have been taken. [`StateError::DraftsNotPermitted`], with nothing recorded, when the firm is not served or not in draft mode as
    /// it is now, whatever the caller knew of it.
    async fn record_intent(
        &self,
        lease: &Lease<AssistResult>,
        unsettled: Option<&Reason>,
        now: Timestamp,
    ) -> Outcome<()>;

    /// Records the intent to add the draft to this version of an earlier one, before that is done; for the rest as
    /// [`Self::record_intent`] does where nothing is unsettled.
    async fn record_update_intent(
        &self,
        lease: &Lease<AssistResult>,
        updates: &DraftReference,
        now: Timestamp,
    ) -> Outcome<()>;

    /// How the draft about an assessment stands; none where there is no result, where it was cancelled, or where a photo of it was
    /// retracted.
    async fn delivery_of(&self, firm: &FirmId, assessment: &AssessmentId) -> Outcome<Option<Delivery>>;

    /// Records the EHR's acknowledgement. Audited as [`AuditAction::DraftWritten`].
    async fn record_delivered(
        &self,
        lease: Lease<AssistResult>,
        reference: &DraftReference,
        now: Timestamp,
    ) -> Outcome<()>;

    /// Records that nobody knows whether the EHR has it. Audited as [`AuditAction::DraftUncertain`].
    async fn record_uncertain(&self, lease: Lease<AssistResult>, reason: &Reason, now: Timestamp) -> Outcome<()>;

    /// Records that it is kept back and why: silent mode, an EHR that holds no drafts, a visit that is over.
    async fn record_withheld(&self, lease: Lease<AssistResult>, reason: &Reason, now: Timestamp) -> Outcome<()>;

    /// Withdraws the intent, because the EHR certainly does not have the draft; due again at `retry_at`.
    async fn retry_delivery(&self, lease: Lease<AssistResult>, retry_at: Timestamp) -> Outcome<()>;

    /// Ends the lease; the intent stays, since nobody knows yet whether the EHR has the draft, and the attempt counts. Due
    /// again at `retry_at`.
    async fn retry_search(&self, lease: Lease<AssistResult>, retry_at: Timestamp) -> Outcome<()>;

    /// Ends the lease as if it had not been granted (the attempt does not count, a recorded intent stays); due again at
    /// `due_at`.
    async fn release_delivery(&self, lease: Lease<AssistResult>, due_at: Timestamp) -> Outcome<()>;

    /// Gives up, because the EHR certainly does not have the draft and will not take it: a dead letter.
    async fn bury_delivery(&self, lease: Lease<AssistResult>, reason: &Reason, now: Timestamp) -> Outcome<()>;
}

/// Ephemeral bytes of photos, between download and inference.
#[async_trait]
pub trait Photos: Send + Sync {
    /// For about how many more photos there is room.
    fn room(&self) -> usize {
        usize::MAX
    }

    /// Whether there is an end to the room at all.
    fn is_bounded(&self) -> bool {
        self.room() < usize::MAX
    }

    /// Keeps a photo. [`StateError::NoRoom`] when there is none: the download is tried again later.
    async fn put(&self, firm: &FirmId, document: &DocumentId, photo: PhotoBytes) -> Outcome<()>;

    /// The photo, if it is still there.
    async fn get(&self, firm: &FirmId, document: &DocumentId) -> Outcome<Option<PhotoBytes>>;

    /// Forgets it.
    async fn delete(&self, firm: &FirmId, document: &DocumentId) -> Outcome<()>;
}

/// What a call against the EHR's quota is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallKind {
    /// A page of encounters.
    Encounter,
    /// A page of documents.
    Document,
    /// A page of documents of a visit of which an encounter poll showed that something changed.
    HintedDocument,
    /// A document's details.
    Read,
    /// A draft.
    Draft,
    /// Patient context, and settings.
    Context,
    /// A read or a draft of a firm that has used up its share: only when nobody else needs the call.
    Surplus,
}

impl fmt::Display for CallKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Encounter => "encounter",
            Self::Document => "document",
            Self::HintedDocument => "hinted-document",
            Self::Read => "read",
            Self::Draft => "draft",
            Self::Context => "context",
            Self::Surplus => "surplus",
        })
    }
}

impl CallKind {
    /// Whether the call continues the way of a photo that was found, or of a hint at one: such calls have a reserve that other
    /// polls leave alone.
    pub const fn has_reserve(self) -> bool {
        matches!(self, Self::Read | Self::Draft | Self::HintedDocument)
    }
}

/// A quota: of an API key, shared by all firms behind it, or of one firm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaKey {
    /// Its name in the store; not the key itself.
    pub name: String,
    /// Calls.
    pub calls: u32,
    /// In any window of this length.
    pub window: Duration,
}

/// The answer to asking for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Make it now.
    Granted,
    /// Ask again then.
    Wait(Timestamp),
}

/// How a quota stands, and what it was used for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuotaFigures {
    /// Its name.
    pub name: String,
    /// The bucket when it was last used.
    pub bucket: TokenBucket,
    /// Calls granted since the state was created, by kind. Polls that a process made of late out of what it booked may not be among
    /// them yet.
    pub granted: BTreeMap<CallKind, u64>,
    /// Calls that the EHR refused for the quota.
    pub refused: u64,
}

/// The quota, shared by all workers and processes on one store. The arithmetic is [`crate::quota::TokenBucket`].
#[async_trait]
pub trait CallGrants: Send + Sync {
    /// Takes one call, atomically.
    async fn take(&self, key: &QuotaKey, kind: CallKind, now: Timestamp) -> Outcome<Grant>;

    /// The EHR refused a call (429) although it was granted: nobody calls before `until`, and the rate is halved and recovers.
    async fn hold(&self, key: &QuotaKey, now: Timestamp, until: Timestamp) -> Outcome<()>;

    /// A call of this quota is about to begin with a grant that came late: from now on there are half as many at most, and slowly the
    /// rate recovers ([`crate::quota::TokenBucket::slow_down`]).
    async fn slow_down(&self, key: &QuotaKey, now: Timestamp) -> Outcome<()>;

    /// How every quota that was ever used stands, in the order of their names.
    async fn quotas(&self) -> Outcome<Vec<QuotaFigures>>;
}

/// All state ports on one store: what an adapter implements and a runtime wires. Stages never see it.
pub trait StateStore:
    FirmAdministration
    + Credentials
    + EncounterWatches
    + WatchLists
    + PollingMemory
    + DocumentQueue
    + InferenceRecords
    + LanguageSpending
    + Deliveries
    + CallGrants
    + Audit
    + AuditTrail
    + Retention
    + Operations
    + Subscriptions
{
}

impl<T> StateStore for T where
    T: FirmAdministration
        + Credentials
        + EncounterWatches
        + WatchLists
        + PollingMemory
        + DocumentQueue
        + InferenceRecords
        + LanguageSpending
        + Deliveries
        + CallGrants
        + Audit
        + AuditTrail
        + Retention
        + Operations
        + Subscriptions
{
}
