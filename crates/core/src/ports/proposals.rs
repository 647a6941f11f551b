//! Items by name: for runtimes that are told of single items by events, and look in between for what no event told of.

use std::time::Duration;

use async_trait::async_trait;

use super::{StateError, StateStore};
use crate::{
    domain::{AssessmentId, AssistResult, DocumentId, DocumentStep, DocumentWatch, FirmId},
    lease::Lease,
    time::Timestamp,
};

type Outcome<T> = Result<T, StateError>;

/// What became of a proposal to work on an item.
#[derive(Debug, PartialEq, Eq)]
pub enum Proposed<T> {
    /// It is yours.
    Leased(Lease<T>),
    /// Not before then: it is under a lease, also one of the step before, or waits to be tried again.
    NotBefore(Timestamp),
    /// There is nothing to be done: it is further, gone, or its firm is paused.
    Settled,
}

/// Photos and results by name.
///
/// # Contract
/// As for [`super::DocumentQueue`] and [`super::Deliveries`], whose leases these are. What is listed as due is a proposal too: it
/// may be late, and name what somebody has taken meanwhile.
#[async_trait]
pub trait Proposals: Send + Sync {
    /// The id of a document or an assessment, of which an event of the store tells what stands for it in there; none where nobody can tell
    /// any more, since the firm was shredded.
    async fn id_of(&self, _firm: &FirmId, stored: &str) -> Outcome<Option<String>> {
        Ok(Some(stored.to_owned()))
    }

    /// Leases this very document, if it waits for `step` and is due.
    async fn acquire_document(
        &self,
        firm: &FirmId,
        document: &DocumentId,
        step: DocumentStep,
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Proposed<DocumentWatch>>;

    /// Leases this very result, if its delivery is pending or intended and due.
    async fn acquire_result(
        &self,
        firm: &FirmId,
        assessment: &AssessmentId,
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Proposed<AssistResult>>;

    /// Up to `limit` documents that wait for `step` and are due, longest due first, each with since when. Those of paused firms
    /// are passed over.
    async fn due_documents(
        &self,
        step: DocumentStep,
        now: Timestamp,
        limit: usize,
    ) -> Outcome<Vec<(FirmId, DocumentId, Timestamp)>>;

    /// The same for results whose delivery is pending or intended.
    async fn due_results(&self, now: Timestamp, limit: usize) -> Outcome<Vec<(FirmId, AssessmentId, Timestamp)>>;
}

/// A store that events may propose items of.
pub trait ProposingStore: StateStore + Proposals {}

impl<T: StateStore + Proposals> ProposingStore for T {}
