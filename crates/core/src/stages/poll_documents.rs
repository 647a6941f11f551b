//! New photos of watched encounters.

use std::{collections::VecDeque, time::Duration};

use super::{Quota, StageError};
use crate::{
    domain::{
        AccessToken, Assessment, DocumentId, DocumentStatus, DocumentSummary, DocumentWatch, EncounterId,
        EncounterWatch, Firm,
    },
    lease::Lease,
    ports::{CallKind, ChartReader, DocumentQuery, EhrError, EncounterWatches, StateError},
    time::{Timestamp, within},
};

/// More pages than any visit has documents for: the `next` links go in a circle.
const MOST_PAGES: usize = 200;

/// How far the EHR's clock may be behind ours before a photo filed after the connection is taken for one from before.
const CLOCK_ALLOWANCE: Duration = Duration::from_secs(300);

/// Looks for photos in the categories that the practice chose.
pub struct PollDocuments<'a> {
    /// The firm's token.
    pub token: &'a AccessToken,
    /// The chart's lists.
    pub chart: &'a dyn ChartReader,
    /// The watch.
    pub watch: &'a dyn EncounterWatches,
    /// The quota.
    pub quota: Quota<'a>,
}

/// What a look at a batch brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DocumentsPolled {
    /// Photos that were not known before, with the encounters they belong to.
    pub new: Vec<(EncounterId, DocumentId)>,
    /// Encounters whose documents were looked at.
    pub looked_at: usize,
}

impl PollDocuments<'_> {
    /// Leases the encounters and looks at each in turn. What could not be looked at - the lease had no time left, or
    /// an error - is released for the next worker; what was found before an error stays recorded.
    pub async fn run(
        &self,
        firm: &Firm,
        encounters: &[EncounterId],
        lease_for: Duration,
    ) -> Result<DocumentsPolled, StageError> {
        let now = self.quota.clock.now();
        let leases = self
            .watch
            .acquire_encounters(&firm.id, encounters, now, lease_for)
            .await?;
        let mut polled = DocumentsPolled::default();
        let mut waiting = VecDeque::from(leases);
        let outcome = loop {
            let Some(lease) = waiting.pop_front() else {
                break Ok(());
            };
            match self.look(firm, lease, &mut waiting, &mut polled).await {
                Ok(()) => {}
                Err(StageError::OutOfTime(_) | StageError::State(StateError::LeaseLost)) => {
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
        outcome.map(|()| polled)
    }

    /// Looks at one encounter. When it cannot be done the lease goes back to those waiting.
    async fn look(
        &self,
        firm: &Firm,
        lease: Lease<EncounterWatch>,
        waiting: &mut VecDeque<Lease<EncounterWatch>>,
        polled: &mut DocumentsPolled,
    ) -> Result<(), StageError> {
        let watch = lease.item();
        let listing = within(self.quota.clock, lease.deadline(), self.list(firm, watch)).await;
        let documents = match listing.map_err(StageError::from).and_then(|documents| documents) {
            Ok(documents) => documents,
            Err(error) => {
                waiting.push_back(lease);
                return Err(error);
            }
        };
        let now = self.quota.clock.now();
        let encounter = watch.encounter.id.clone();
        let found: Vec<_> = documents
            .iter()
            .filter_map(|document| relevant(firm, watch, document, now))
            .collect();
        let retracted: Vec<_> = documents
            .iter()
            .filter(|document| document.status == DocumentStatus::EnteredInError)
            .map(|document| document.id.clone())
            .collect();
        let recorded = self.watch.record_documents(lease, &found, &retracted, now).await?;
        polled.looked_at += 1;
        polled
            .new
            .extend(recorded.new.into_iter().map(|document| (encounter.clone(), document)));
        Ok(())
    }

    async fn list(&self, firm: &Firm, watch: &EncounterWatch) -> Result<Vec<DocumentSummary>, StageError> {
        let query = DocumentQuery {
            patient: watch.encounter.patient.clone(),
            encounter: watch.encounter.id.clone(),
        };
        let mut documents = Vec::new();
        let mut page = None;
        for _ in 0..MOST_PAGES {
            let request = self.chart.documents(firm, self.token, &query, page.as_ref());
            let reply = self.quota.call(CallKind::Document, request).await?;
            documents.extend(reply.items);
            page = reply.next;
            if page.is_none() {
                return Ok(documents);
            }
        }
        Err(EhrError::Malformed {
            what: "the pages of a search do not end",
        }
        .into())
    }
}

/// The document as a photo for us, if it is one: current, in a chosen category, a picture as far as it claims a type,
/// and not filed before the firm was connected.
fn relevant(firm: &Firm, watch: &EncounterWatch, document: &DocumentSummary, now: Timestamp) -> Option<DocumentWatch> {
    let from_before = document
        .attached_at
        .is_some_and(|attached| attached + CLOCK_ALLOWANCE < firm.connected_at);
    if document.status != DocumentStatus::Current || from_before || !document.may_be_a_photo() {
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
