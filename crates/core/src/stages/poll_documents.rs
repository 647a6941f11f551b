//! New photos of watched encounters.

use std::{collections::VecDeque, time::Duration};

use super::{Access, Quota, StageError, TokenSource};
use crate::{
    domain::{
        Assessment, DocumentId, DocumentStatus, DocumentSummary, DocumentWatch, EncounterId, EncounterWatch, Firm,
        Stage, WATCH_LIFE,
    },
    lease::Lease,
    ports::{
        Audit, AuditAction, AuditRecord, CallKind, ChartReader, DocumentQuery, EhrError, EncounterWatches,
        RetractedDraft, StateError, Visit,
    },
    time::{Timestamp, within},
};

/// More pages than any visit has documents for: the `next` links go in a circle.
const MOST_PAGES: usize = 200;

/// How far the EHR's clock may be behind ours before a photo filed after the connection is taken for one from before.
const CLOCK_ALLOWANCE: Duration = Duration::from_secs(300);

/// Looks for photos in the categories that the practice chose.
pub struct PollDocuments<'a> {
    /// The firm's token.
    pub tokens: &'a dyn TokenSource,
    /// The chart's lists.
    pub chart: &'a dyn ChartReader,
    /// The watch.
    pub watch: &'a dyn EncounterWatches,
    /// The quota.
    pub quota: Quota<'a>,
    /// The audit trail.
    pub audit: &'a dyn Audit,
}

/// What a look at a batch brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DocumentsPolled {
    /// Photos that were not known before, with the encounters they belong to.
    pub new: Vec<(EncounterId, DocumentId)>,
    /// Drafts in the chart whose photo turned out to be retracted.
    pub retracted: Vec<RetractedDraft>,
    /// Encounters whose documents were looked at.
    pub looked_at: usize,
}

impl PollDocuments<'_> {
    /// Leases the encounters and looks at them in turn, several with one call where the EHR has such a search. What
    /// could not be looked at - the lease had no time left, or an error - is released for the next worker; what was
    /// found before an error stays recorded, and is in `polled`.
    pub async fn run(
        &self,
        firm: &Firm,
        encounters: &[EncounterId],
        lease_for: Duration,
        polled: &mut DocumentsPolled,
    ) -> Result<(), StageError> {
        let now = self.quota.clock.now();
        let leases = self
            .watch
            .acquire_encounters(&firm.id, encounters, now, lease_for)
            .await?;
        let mut waiting = VecDeque::from(leases);
        let together = self.chart.document_searches().visits_in_one_call.max(1);
        let outcome = loop {
            if waiting.is_empty() {
                break Ok(());
            }
            let group = waiting.drain(..together.min(waiting.len())).collect();
            match self.look(firm, group, &mut waiting, polled).await {
                Ok(()) => {}
                Err(StageError::OutOfTime(_) | StageError::State(StateError::LeaseLost)) => {
                    // Normal where grants are scarce; where it is always so, a visit has more pages than a lease has time.
                    if polled.looked_at == 0 {
                        tracing::warn!(event = "documents.out-of-time", firm = %firm.id, left = waiting.len());
                    }
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        };
        for lease in waiting {
            match self.watch.release_encounter(lease, self.quota.clock.now()).await {
                Ok(()) | Err(StateError::LeaseLost) => {}
                Err(error) => return Err(error.into()),
            }
        }
        outcome
    }

    /// Looks at the encounters of a group with one call, and once more at each that it left unanswered. Those that it
    /// could not look at go back to those waiting.
    async fn look(
        &self,
        firm: &Firm,
        group: Vec<Lease<EncounterWatch>>,
        waiting: &mut VecDeque<Lease<EncounterWatch>>,
        polled: &mut DocumentsPolled,
    ) -> Result<(), StageError> {
        let mut listing = match self.list(firm, &group).await {
            Ok(listing) => listing,
            Err(error) => {
                waiting.extend(group);
                return Err(error);
            }
        };
        let mut group = VecDeque::from(group);
        while let Some(lease) = group.pop_front() {
            let encounter = &lease.item().encounter.id;
            let mut alone;
            let listed = if listing.unanswered.contains(encounter) {
                alone = match self.list(firm, std::slice::from_ref(&lease)).await {
                    Ok(alone) => alone,
                    Err(error) => {
                        waiting.push_back(lease);
                        waiting.extend(group);
                        return Err(error);
                    }
                };
                &mut alone.documents
            } else {
                &mut listing.documents
            };
            let documents: Vec<_> = listed
                .extract_if(.., |document| may_be_of(lease.item(), document))
                .collect();
            if let Err(error) = self.record(firm, lease, &documents, polled).await {
                waiting.extend(group);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Records what one encounter's documents show.
    async fn record(
        &self,
        firm: &Firm,
        lease: Lease<EncounterWatch>,
        documents: &[DocumentSummary],
        polled: &mut DocumentsPolled,
    ) -> Result<(), StageError> {
        let now = self.quota.clock.now();
        let watch = lease.item();
        let encounter = watch.encounter.id.clone();
        let found: Vec<_> = documents
            .iter()
            .filter_map(|document| relevant(firm, watch, document, now))
            .collect();
        let retracted: Vec<_> = documents
            .iter()
            .filter(|document| document.status != DocumentStatus::Current)
            .map(|document| document.id.clone())
            .collect();
        let recorded = self.watch.record_documents(lease, &found, &retracted, now).await?;
        polled.looked_at += 1;
        polled
            .new
            .extend(recorded.new.into_iter().map(|document| (encounter.clone(), document)));
        for draft in recorded.retracted {
            self.audit
                .record(&AuditRecord {
                    at: now,
                    firm: firm.id.clone(),
                    actor: Stage::PollDocuments.to_string(),
                    action: AuditAction::RetractedAfterDelivery,
                    subject: draft.assessment.to_string(),
                })
                .await?;
            polled.retracted.push(draft);
        }
        Ok(())
    }

    /// All documents of the group, within the time of its leases.
    async fn list(&self, firm: &Firm, group: &[Lease<EncounterWatch>]) -> Result<Listing, StageError> {
        let visit = |lease: &Lease<EncounterWatch>| Visit {
            patient: lease.item().encounter.patient.clone(),
            encounter: lease.item().encounter.id.clone(),
        };
        let query = match group {
            [lease] => DocumentQuery::Visit(visit(lease)),
            group => DocumentQuery::Visits(group.iter().map(visit).collect()),
        };
        let deadline = group.iter().map(Lease::deadline).min().unwrap_or(Timestamp::NEVER);
        within(self.quota.clock, deadline, self.pages(firm, &query)).await?
    }

    async fn pages(&self, firm: &Firm, query: &DocumentQuery) -> Result<Listing, StageError> {
        let access = Access {
            firm,
            tokens: self.tokens,
            quota: self.quota,
        };
        let mut listing = Listing::default();
        let mut page = None;
        for _ in 0..MOST_PAGES {
            let link = page.as_ref();
            let request = |token| async move { self.chart.documents(firm, &token, query, link).await };
            let reply = access.call(CallKind::Document, request).await?;
            listing.documents.extend(reply.items);
            listing.unanswered.extend(reply.unanswered);
            page = reply.next;
            if page.is_none() {
                return Ok(listing);
            }
        }
        Err(EhrError::Malformed {
            what: "the pages of a search do not end",
        }
        .into())
    }
}

/// What a search brought, all pages.
#[derive(Default)]
struct Listing {
    documents: Vec<DocumentSummary>,
    unanswered: Vec<EncounterId>,
}

/// Whether the document is the visit's. Where all of a patient's documents were listed, one that names no visit may be: if
/// it was filed while the visit can have been watched.
fn may_be_of(watch: &EncounterWatch, document: &DocumentSummary) -> bool {
    match &document.encounter {
        Some(named) => *named == watch.encounter.id,
        None => document
            .attached_at
            .is_some_and(|at| at + WATCH_LIFE >= watch.first_seen_at),
    }
}

/// The document as a photo for us, if it is one: current, in a chosen category, a picture as far as it claims a type,
/// of the visit's patient, and not filed before the firm was connected.
fn relevant(firm: &Firm, watch: &EncounterWatch, document: &DocumentSummary, now: Timestamp) -> Option<DocumentWatch> {
    let from_before = document
        .attached_at
        .is_some_and(|attached| attached + CLOCK_ALLOWANCE < firm.photos_since);
    let of_another = document
        .patient
        .as_ref()
        .is_some_and(|patient| *patient != watch.encounter.patient);
    if of_another || document.status != DocumentStatus::Current || from_before || !document.may_be_a_photo() {
        return None;
    }
    let (category, route) = document
        .categories
        .iter()
        .find_map(|category| Some((category.clone(), firm.route(category)?)))?;
    Some(DocumentWatch {
        firm: firm.id.clone(),
        document: document.id.clone(),
        encounter: watch.encounter.id.clone(),
        patient: watch.encounter.patient.clone(),
        practitioner: watch.encounter.practitioner.clone(),
        category,
        route,
        assessment: Assessment::identity(&firm.id, &watch.encounter.id, [&document.id]),
        attached_at: document.attached_at,
        detected_at: now,
        photo: None,
    })
}
