//! The EHR, split by what a stage may do with it: a poller must not hold the right to post.
//!
//! # Contract, for all of them
//! One method call is at most one call against the EHR's quota, so the caller takes exactly one [`super::Grant`] before
//! it. Nothing is retried inside except where the method says so. Ids are taken and returned decoded; the client
//! encodes them.

use async_trait::async_trait;

use super::{DraftError, EhrError};
use crate::{
    domain::{
        AccessToken, Credential, DocumentCategory, DocumentSummary, Draft, DraftReference, Encounter, EncounterId,
        Firm, PatientFacts, PatientId, PhotoBytes,
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
}

/// A `next` link, as checked by the client (same host, same firm). Opaque: it may carry a patient's id.
pub type PageLink = Phi<String>;

/// Which encounters to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncounterQuery {
    /// Changed since then, by the EHR's clock. The client rounds down to the EHR's granularity, so more may come back.
    pub changed_since: Timestamp,
}

/// Which documents to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentQuery {
    /// Of this patient (mandatory on ModMed EMA).
    pub patient: PatientId,
    /// Filed under this encounter.
    pub encounter: EncounterId,
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

    /// One page of an encounter's documents; `page` is a link from the page before.
    async fn documents(
        &self,
        firm: &Firm,
        token: &AccessToken,
        query: &DocumentQuery,
        page: Option<&PageLink>,
    ) -> Result<Page<DocumentSummary>, EhrError>;
}

/// Where a photo's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhotoLocation {
    /// A pre-signed URL: a secret while it lives, and from outside, so hostile until checked.
    pub url: Phi<String>,
    /// The size that the EHR claims, in bytes.
    pub claimed_bytes: Option<u64>,
}

/// Reading a photo.
#[async_trait]
pub trait PhotoSource: Send + Sync {
    /// Reads the document to learn where its bytes are. One call.
    async fn locate(
        &self,
        firm: &Firm,
        token: &AccessToken,
        document: &crate::domain::DocumentId,
    ) -> Result<PhotoLocation, EhrError>;

    /// Downloads the bytes from the photo host, not from the EHR: no call against the quota, and never with the
    /// token. Refuses URLs, hosts and addresses that are not allowed, and stops at the size limit.
    async fn download(&self, location: &PhotoLocation) -> Result<PhotoBytes, EhrError>;
}

/// Reading the minimum about a patient.
#[async_trait]
pub trait PatientContext: Send + Sync {
    /// Age band and sex; the birth date and all else stay inside the client. One call.
    async fn patient_facts(
        &self,
        firm: &Firm,
        token: &AccessToken,
        patient: &PatientId,
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

/// Writing drafts.
#[async_trait]
pub trait DraftWriter: Send + Sync {
    /// Posts the draft, exactly once per call and never again by itself. One call.
    async fn post(&self, firm: &Firm, token: &AccessToken, draft: &Draft) -> Result<DraftReference, DraftError>;

    /// Looks for the draft by its identity, where the EHR can. One call, none when unsupported.
    async fn find(&self, firm: &Firm, token: &AccessToken, draft: &Draft) -> Result<DraftSearch, EhrError>;

    /// Whether [`DraftWriter::find`] can know: decides what happens to a draft whose reply was lost.
    fn can_search(&self) -> bool;
}

/// Reading a firm's own settings.
#[async_trait]
pub trait FirmSettings: Send + Sync {
    /// The firm's document categories from its value set. One call.
    async fn categories(&self, firm: &Firm, token: &AccessToken) -> Result<Vec<DocumentCategory>, EhrError>;
}

/// The OAuth2 token endpoint: another host, not under the quota.
#[async_trait]
pub trait TokenEndpoint: Send + Sync {
    /// Asks for a token. `now` is when the request is made; the token's life is counted from it.
    async fn request_token(
        &self,
        firm: &Firm,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<AccessToken, EhrError>;
}

/// All ports of one EHR: what an adapter implements and a runtime wires. Stages never see it.
pub trait Ehr: ChartReader + PhotoSource + PatientContext + DraftWriter + FirmSettings + TokenEndpoint {}

impl<T: ChartReader + PhotoSource + PatientContext + DraftWriter + FirmSettings + TokenEndpoint> Ehr for T {}
