//! The EHR, split by what a stage may do with it: a poller must not hold the right to post.
//!
//! # Contract, for all of them
//! One method call is at most one call against the EHR's quota, so the caller takes exactly one [`super::Grant`] before
//! it. Nothing is retried inside except where the method says so. Ids are taken and returned decoded; the client
//! encodes them.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{CallKind, DraftError, EhrError};
use crate::{
    circuit::RestingHost,
    domain::{
        AccessToken, Credential, DocumentCategory, DocumentId, DocumentSummary, Draft, DraftReference, Encounter,
        EncounterId, Firm, FirmId, IssuedToken, PatientFacts, PatientId, PhotoBytes,
    },
    phi::Phi,
    time::Timestamp,
};

/// One page of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What could be read of it.
    pub items: Vec<T>,
    /// The next page, if the EHR names one.
    pub next: Option<PageLink>,
    /// The EHR's clock, from the reply's `Date`.
    pub server_time: Option<Timestamp>,
    /// Entries that could not be read (no id, no patient); the rest of the page is not lost for them.
    pub unreadable: usize,
    /// Visits of a [`DocumentQuery::Visits`] that were not answered, or not in full: they are to be asked one by one.
    pub unanswered: Vec<EncounterId>,
}

/// A `next` link, as checked by the client (same host, same firm). Opaque: it may carry a patient's id.
pub type PageLink = Phi<String>;

/// Which encounters to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncounterQuery {
    /// Changed since then, by the EHR's clock. The client rounds down to the EHR's granularity, so more may come back.
    pub changed_since: Timestamp,
}

/// A visit, as far as a search for its documents needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// The patient: mandatory in the search of ModMed EMA and of US Core.
    pub patient: PatientId,
    /// The encounter.
    pub encounter: EncounterId,
}

/// Which documents to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentQuery {
    /// Those filed under one visit.
    Visit(Visit),
    /// Those filed under any of these visits, at most [`DocumentSearches::visits_in_one_call`] of them.
    Visits(Vec<Visit>),
    /// Those of the whole firm that changed since then, by the EHR's clock; only where [`DocumentSearches::changed_since`].
    ChangedSince(Timestamp),
}

/// Which searches for documents an EHR has, beside the one for a single visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentSearches {
    /// How many visits one call may ask for, at least 1: by an OR-list or by a batch Bundle.
    pub visits_in_one_call: usize,
    /// Whether all that changed in the firm can be asked for.
    pub changed_since: bool,
}

/// Reading the chart's lists.
#[async_trait]
pub trait ChartReader: Send + Sync {
    /// One page of encounters; `page` is a link from the page before.
    async fn encounters(
        &self,
        firm: &Firm,
        token: &AccessToken,
        query: &EncounterQuery,
        page: Option<&PageLink>,
    ) -> Result<Page<Encounter>, EhrError>;

    /// Which searches for documents there are.
    fn document_searches(&self) -> DocumentSearches;

    /// One page of documents; `page` is a link from the page before. Each document says whose and which visit's it is
    /// as far as the EHR does; where a query for a single visit brings one that names none, it is that visit's, unless all
    /// of the patient's documents had to be asked for.
    async fn documents(
        &self,
        firm: &Firm,
        token: &AccessToken,
        query: &DocumentQuery,
        page: Option<&PageLink>,
    ) -> Result<Page<DocumentSummary>, EhrError>;

    /// Until when the host of the firm's EHR is left alone, if it is: a call of this kind would be refused without being sent
    /// ([`crate::circuit`]). Where there are no circuits, never.
    fn rests_until(&self, _firm: &Firm, _kind: CallKind, _now: Timestamp) -> Option<Timestamp> {
        None
    }

    /// The hosts that are left alone at present.
    fn resting_hosts(&self, _now: Timestamp) -> Vec<RestingHost> {
        Vec::new()
    }
}

/// Where a photo's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PhotoLocation {
    /// On a photo host.
    Url {
        /// A pre-signed URL: a secret while it lives, and from outside, so hostile until checked.
        url: Phi<String>,
        /// The size that the EHR claims, in bytes.
        claimed_bytes: Option<u64>,
    },
    /// In the EHR, as a `Binary` of the very firm whose document it is.
    Binary {
        /// Its id.
        id: String,
    },
    /// In the document itself: here they are.
    Inline(PhotoBytes),
}

/// Reading a photo.
#[async_trait]
pub trait PhotoSource: Send + Sync {
    /// Reads the document to learn where its bytes are. One call.
    async fn locate(&self, firm: &Firm, token: &AccessToken, document: &DocumentId) -> Result<PhotoLocation, EhrError>;

    /// Reads the bytes of a `Binary` of this firm from the EHR. One call. Stops at the size limit.
    async fn read_binary(&self, firm: &Firm, token: &AccessToken, id: &str) -> Result<PhotoBytes, EhrError>;

    /// Downloads the bytes from the photo host, not from the EHR: no call against the quota, and never with the
    /// token. Refuses URLs, hosts and addresses that are not allowed, wherever a redirect leads, and stops at the size
    /// limit.
    async fn download(&self, url: &Phi<String>) -> Result<PhotoBytes, EhrError>;
}

/// A part of what is read about a patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContextPart {
    /// `Patient`: age band and sex.
    Patient,
    /// The photo's `DocumentReference`: body site and side.
    Document,
    /// `Encounter`: why the patient came, and where that is.
    Visit,
    /// `Condition`: what of the problem list bears on a differential.
    Problems,
    /// `MedicationStatement`: medications known to cause eruptions.
    MedicationStatements,
    /// The same by `MedicationRequest`.
    MedicationRequests,
    /// `Observation` of the laboratory, pathology among it: what was found earlier at the photo's site. Only read when that is
    /// known.
    PriorResults,
}

impl ContextPart {
    /// The word used in profiles and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::Document => "document",
            Self::Visit => "visit",
            Self::Problems => "problems",
            Self::MedicationStatements => "medication-statements",
            Self::MedicationRequests => "medication-requests",
            Self::PriorResults => "prior-results",
        }
    }
}

/// Whose context.
#[derive(Debug, Clone, Copy)]
pub struct ContextSubject<'a> {
    /// The patient.
    pub patient: &'a PatientId,
    /// The visit: what was read is remembered for it.
    pub encounter: &'a EncounterId,
    /// The photo.
    pub document: &'a DocumentId,
}

/// Reading the minimum about a patient: age band, sex, and terms of the knowledge file. The birth date and all else stay inside
/// the client.
#[async_trait]
pub trait PatientContext: Send + Sync {
    /// The parts that are read, the most useful first.
    fn parts(&self) -> Vec<ContextPart>;

    /// A part that was read before for this visit, or came along with something else. No call.
    fn remembered(&self, firm: &FirmId, subject: &ContextSubject<'_>, part: ContextPart) -> Option<Phi<PatientFacts>>;

    /// Reads a part. One call.
    async fn read_context(
        &self,
        firm: &Firm,
        token: &AccessToken,
        subject: &ContextSubject<'_>,
        part: ContextPart,
    ) -> Result<Phi<PatientFacts>, EhrError>;
}

/// What is found of a draft in the chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftSearch {
    /// The EHR has no search for drafts: nobody can know.
    Unsupported,
    /// It is not there.
    Absent,
    /// It is there.
    Found(DraftReference),
}

/// What an EHR does with drafts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DraftAbilities {
    /// Whether it can hold a draft at all. Where it cannot, results stay with us and nothing is posted.
    pub holds_drafts: bool,
    /// How it is settled whether it has a draft whose reply was lost.
    pub settlement: Settlement,
    /// What becomes of a draft whose visit is over.
    pub finished_visit: FinishedVisit,
    /// Whether a draft of further photos may be added to the earlier one, as long as nobody touched that.
    pub updates_drafts: bool,
}

/// How it is settled whether the EHR has a draft whose reply was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Nobody but a person who looks into the chart can know.
    Operator,
    /// By a search for its identifier.
    Search {
        /// How long a draft that was taken may be missing from the search: its absence is believed only this long after
        /// the post can have been processed at the latest.
        visible_within: Duration,
    },
    /// By posting again: the EHR recognises the identifier and does not take a second one.
    PostAgain,
}

/// How an earlier draft stands in the chart, to which another one is to be added.
#[derive(Debug, Clone, PartialEq)]
pub enum EarlierInChart {
    /// As it was written, and preliminary still.
    AsWritten(WrittenDraft),
    /// The other one was added to it already: this is it.
    HasIt(DraftReference),
    /// Somebody signed it, changed it, or the EHR did: it is not ours to change any more.
    Changed,
    /// It is not there any more.
    Gone,
}

/// A draft as it was read from the chart, in the very version that was written.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenDraft {
    /// Its name, with the version.
    pub reference: DraftReference,
    /// The resource as JSON.
    pub resource: Phi<String>,
}

/// What becomes of a draft whose visit was finished meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishedVisit {
    /// It is posted all the same, under the visit.
    Post,
    /// It is posted without naming the visit.
    PostWithoutVisit,
    /// It stays with us.
    Hold,
}

/// Writing drafts.
#[async_trait]
pub trait DraftWriter: Send + Sync {
    /// What this EHR does with drafts.
    fn abilities(&self) -> DraftAbilities;

    /// Posts the draft, exactly once per call and never again by itself. One call.
    async fn post(&self, firm: &Firm, token: &AccessToken, draft: &Draft) -> Result<DraftReference, DraftError>;

    /// Looks for the draft by its identity, where the EHR can. One call, none when unsupported.
    async fn find(&self, firm: &Firm, token: &AccessToken, draft: &Draft) -> Result<DraftSearch, EhrError>;

    /// Looks at the version of an earlier draft that `draft` is to be added to, or was perhaps. One call. Only where
    /// [`DraftAbilities::updates_drafts`].
    async fn look_at_earlier(
        &self,
        firm: &Firm,
        token: &AccessToken,
        earlier: &DraftReference,
        draft: &Draft,
    ) -> Result<EarlierInChart, EhrError>;

    /// Adds the draft to the earlier one, exactly once per call and only as long as that is in the version that was read:
    /// where somebody changed it meanwhile, [`EhrError::Changed`] is not taken. Sent again, however often, it is added once. One
    /// call. The reference has the new version, where the EHR tells it.
    async fn update(
        &self,
        firm: &Firm,
        token: &AccessToken,
        earlier: &WrittenDraft,
        draft: &Draft,
    ) -> Result<DraftReference, DraftError>;

    /// Whether the visit is over by now. One call.
    async fn is_visit_over(&self, firm: &Firm, token: &AccessToken, encounter: &EncounterId) -> Result<bool, EhrError>;
}

/// Reading a firm's own settings.
#[async_trait]
pub trait FirmSettings: Send + Sync {
    /// The firm's document categories from its value set; none where the EHR has no such list. One call.
    async fn categories(&self, firm: &Firm, token: &AccessToken) -> Result<Option<Vec<DocumentCategory>>, EhrError>;
}

/// The OAuth2 token endpoint: another host, not under the quota.
#[async_trait]
pub trait TokenEndpoint: Send + Sync {
    /// Asks for a token. `now` is when the request is made; the token's life is counted from it.
    ///
    /// A few requests at most: where the endpoint is has to be found out now and then, and a refresh token that is
    /// refused is followed by the credential itself. [`EhrError::CredentialRefused`] is about the credential alone.
    async fn request_token(
        &self,
        firm: &Firm,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<IssuedToken, EhrError>;
}

/// All ports of one EHR: what an adapter implements and a runtime wires. Stages never see it.
pub trait Ehr: ChartReader + PhotoSource + PatientContext + DraftWriter + FirmSettings + TokenEndpoint {}

impl<T: ChartReader + PhotoSource + PatientContext + DraftWriter + FirmSettings + TokenEndpoint> Ehr for T {}
