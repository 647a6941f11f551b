//! Results on their way into the chart, and what may be wrong with their journal.

use std::time::Duration;

use async_trait::async_trait;
use skin_assist_core::{
    domain::{AssessmentId, AssistResult, Delivery, DraftReference, FirmId, Reason},
    lease::Lease,
    ports::{Deliveries, StateError},
    time::Timestamp,
};

use super::{MutatedStore, Mutation, Outcome};

#[async_trait]
impl Deliveries for MutatedStore {
    async fn acquire_results(
        &self,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<AssistResult>>> {
        let leases = self.store.acquire_results(now, self.asked(lease_for), limit).await?;
        Ok(leases
            .into_iter()
            .map(|lease| self.granted(&lease, now, lease_for))
            .collect())
    }

    async fn record_intent(
        &self,
        lease: &Lease<AssistResult>,
        unsettled: Option<&Reason>,
        now: Timestamp,
    ) -> Outcome<()> {
        let recorded = self.store.record_intent(&self.returned(lease), unsettled, now).await;
        match recorded {
            Err(StateError::DraftsNotPermitted) if self.mutation == Mutation::ProhibitionsIgnored => Ok(()),
            recorded => recorded,
        }
    }

    async fn record_update_intent(
        &self,
        lease: &Lease<AssistResult>,
        updates: &DraftReference,
        now: Timestamp,
    ) -> Outcome<()> {
        let lease = self.returned(lease);
        if self.mutation == Mutation::UpdatesUntold {
            return self.store.record_intent(&lease, None, now).await;
        }
        self.store.record_update_intent(&lease, updates, now).await
    }

    async fn delivery_of(&self, firm: &FirmId, assessment: &AssessmentId) -> Outcome<Option<Delivery>> {
        if self.mutation == Mutation::EarlierDraftsUntold {
            return Ok(None);
        }
        self.store.delivery_of(firm, assessment).await
    }

    async fn record_delivered(
        &self,
        lease: Lease<AssistResult>,
        reference: &DraftReference,
        now: Timestamp,
    ) -> Outcome<()> {
        self.store.record_delivered(self.returned(&lease), reference, now).await
    }

    async fn record_uncertain(&self, lease: Lease<AssistResult>, reason: &Reason, now: Timestamp) -> Outcome<()> {
        self.store.record_uncertain(self.returned(&lease), reason, now).await
    }

    async fn record_withheld(&self, lease: Lease<AssistResult>, reason: &Reason, now: Timestamp) -> Outcome<()> {
        self.store.record_withheld(self.returned(&lease), reason, now).await
    }

    async fn retry_delivery(&self, lease: Lease<AssistResult>, retry_at: Timestamp) -> Outcome<()> {
        self.store.retry_delivery(self.returned(&lease), retry_at).await
    }

    async fn retry_search(&self, lease: Lease<AssistResult>, retry_at: Timestamp) -> Outcome<()> {
        self.store.retry_search(self.returned(&lease), retry_at).await
    }

    async fn release_delivery(&self, lease: Lease<AssistResult>, due_at: Timestamp) -> Outcome<()> {
        self.store.release_delivery(self.returned(&lease), due_at).await
    }

    async fn bury_delivery(&self, lease: Lease<AssistResult>, reason: &Reason, now: Timestamp) -> Outcome<()> {
        self.store.bury_delivery(self.returned(&lease), reason, now).await
    }
}
