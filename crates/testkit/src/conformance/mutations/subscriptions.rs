//! Subscriptions of a store that breaks a rule.

use std::{ops::RangeInclusive, time::Duration};

use async_trait::async_trait;
use skin_assist_core::{
    domain::{ChartEvent, FirmId, GivenUpNotification, Notice, Notification, Reason, Subscription, SubscriptionId},
    lease::Lease,
    ports::Subscriptions,
    time::Timestamp,
};

use super::{MutatedStore, Mutation, Outcome};

#[async_trait]
impl Subscriptions for MutatedStore {
    async fn events(&self, firm: &FirmId, after: u64, limit: usize) -> Outcome<Vec<ChartEvent>> {
        let mut events = self.store.events(firm, after, limit).await?;
        if self.mutation == Mutation::EventsLost {
            events.pop();
        }
        Ok(events)
    }

    async fn add_subscription(&self, subscription: &Subscription) -> Outcome<()> {
        self.store.add_subscription(subscription).await
    }

    async fn subscriptions(&self) -> Outcome<Vec<Subscription>> {
        self.store.subscriptions().await
    }

    async fn subscription(&self, id: &SubscriptionId) -> Outcome<Option<Subscription>> {
        self.store.subscription(id).await
    }

    async fn pause_subscription(&self, id: &SubscriptionId) -> Outcome<()> {
        self.store.pause_subscription(id).await
    }

    async fn resume_subscription(&self, id: &SubscriptionId, now: Timestamp) -> Outcome<()> {
        self.store.resume_subscription(id, now).await
    }

    async fn remove_subscription(&self, id: &SubscriptionId) -> Outcome<()> {
        self.store.remove_subscription(id).await
    }

    async fn notifications(
        &self,
        id: &SubscriptionId,
        numbers: RangeInclusive<u64>,
        limit: usize,
    ) -> Outcome<Vec<Notification>> {
        self.store.notifications(id, numbers, limit).await
    }

    async fn given_up_notifications(&self) -> Outcome<Vec<GivenUpNotification>> {
        self.store.given_up_notifications().await
    }

    async fn replay_notification(&self, id: &SubscriptionId, number: u64) -> Outcome<()> {
        self.store.replay_notification(id, number).await
    }

    async fn acquire_subscriptions(
        &self,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<Subscription>>> {
        let leases = self
            .store
            .acquire_subscriptions(now, self.asked(lease_for), limit)
            .await?;
        let granted = |lease: Lease<Subscription>| {
            Lease::granted(lease.item().clone(), lease.fence(), now + lease_for, lease.attempt())
        };
        Ok(leases.into_iter().map(granted).collect())
    }

    async fn next_notice(&self, lease: &Lease<Subscription>, now: Timestamp) -> Outcome<Option<Notice>> {
        let next = self.store.next_notice(lease, now).await?;
        // Told as soon as it is looked at.
        if self.mutation == Mutation::ToldTooEarly
            && let Some(notice) = &next
        {
            self.store.record_told(lease, notice, now).await?;
        }
        Ok(next)
    }

    async fn record_told(&self, lease: &Lease<Subscription>, notice: &Notice, now: Timestamp) -> Outcome<()> {
        self.store.record_told(lease, notice, now).await
    }

    async fn retry_telling(
        &self,
        lease: Lease<Subscription>,
        reason: &Reason,
        now: Timestamp,
        retry_at: Timestamp,
    ) -> Outcome<()> {
        self.store.retry_telling(lease, reason, now, retry_at).await
    }

    async fn give_up_telling(
        &self,
        lease: Lease<Subscription>,
        notice: &Notice,
        reason: &Reason,
        now: Timestamp,
    ) -> Outcome<()> {
        self.store.give_up_telling(lease, notice, reason, now).await
    }

    async fn release_subscription(&self, lease: Lease<Subscription>, now: Timestamp) -> Outcome<()> {
        self.store.release_subscription(lease, now).await
    }
}
