//! Events of charts, and telling others of them.

use std::{ops::RangeInclusive, time::Duration};

use async_trait::async_trait;

use super::{Class, StateError};
use crate::{
    domain::{ChartEvent, FirmId, GivenUpNotification, Notice, Notification, Reason, Subscription, SubscriptionId},
    lease::Lease,
    time::Timestamp,
};

type Outcome<T> = Result<T, StateError>;

/// Events and subscriptions. A store that keeps none leaves everything here as it is: adding one is refused.
///
/// # Contract
/// Besides that of all state ports:
/// - An event is written by the transition that it tells of, in its transaction, and every subscription to it gets its next number
///   there and then: numbers have no gap, and none is used twice.
/// - A subscription collects events whatever its status; they are kept for [`EVENT_LIFE`](crate::domain::EVENT_LIFE), sent or not.
/// - Notifications of a subscription are sent in the order of their numbers. One that was replayed comes before what waits.
#[async_trait]
pub trait Subscriptions: Send + Sync {
    /// The firm's events after number `after`, oldest first, at most `limit`.
    async fn events(&self, _firm: &FirmId, _after: u64, _limit: usize) -> Outcome<Vec<ChartEvent>> {
        Err(StateError::NotKept { what: "events" })
    }

    /// Makes a subscription, with status `requested` and due at once. [`StateError::Exists`] when there is one of this name,
    /// [`StateError::NotKept`] where there can be none.
    async fn add_subscription(&self, _subscription: &Subscription) -> Outcome<()> {
        Err(StateError::NotKept { what: "subscriptions" })
    }

    /// All subscriptions, oldest first.
    async fn subscriptions(&self) -> Outcome<Vec<Subscription>> {
        Ok(Vec::new())
    }

    /// One.
    async fn subscription(&self, _id: &SubscriptionId) -> Outcome<Option<Subscription>> {
        Ok(None)
    }

    /// Stops telling. Whoever is about to loses the lease.
    async fn pause_subscription(&self, _id: &SubscriptionId) -> Outcome<()> {
        Err(NO_SUBSCRIPTION)
    }

    /// Begins anew with a handshake, due at once, and forgets failures.
    async fn resume_subscription(&self, _id: &SubscriptionId, _now: Timestamp) -> Outcome<()> {
        Err(NO_SUBSCRIPTION)
    }

    /// Removes it with all its notifications.
    async fn remove_subscription(&self, _id: &SubscriptionId) -> Outcome<()> {
        Err(NO_SUBSCRIPTION)
    }

    /// Its notifications of these numbers that are still kept, in their order, sent or not, at most `limit`.
    async fn notifications(
        &self,
        _id: &SubscriptionId,
        _numbers: RangeInclusive<u64>,
        _limit: usize,
    ) -> Outcome<Vec<Notification>> {
        Ok(Vec::new())
    }

    /// What was given up, of all subscriptions, oldest first.
    async fn given_up_notifications(&self) -> Outcome<Vec<GivenUpNotification>> {
        Ok(Vec::new())
    }

    /// Puts a notification that was given up back among those that wait.
    async fn replay_notification(&self, _id: &SubscriptionId, _number: u64) -> Outcome<()> {
        Err(StateError::NotFound {
            what: "notification that was given up",
        })
    }

    /// Leases up to `limit` subscriptions whose subscribers are to be told something and that are free: a handshake, an event, or that
    /// nothing happened for their period.
    async fn acquire_subscriptions(
        &self,
        _now: Timestamp,
        _lease_for: Duration,
        _limit: usize,
    ) -> Outcome<Vec<Lease<Subscription>>> {
        Ok(Vec::new())
    }

    /// What the subscriber is to be told next; nothing when that is nothing. Reads alone.
    async fn next_notice(&self, _lease: &Lease<Subscription>, _now: Timestamp) -> Outcome<Option<Notice>> {
        Ok(None)
    }

    /// Records that the subscriber took the notice: it is told no more of it. Failures are forgotten; a handshake makes the subscription
    /// active. Keeps the lease.
    async fn record_told(&self, _lease: &Lease<Subscription>, _notice: &Notice, _now: Timestamp) -> Outcome<()> {
        Err(StateError::LeaseLost)
    }

    /// Records that it was not taken, and ends the lease; due again at `retry_at`.
    async fn retry_telling(
        &self,
        _lease: Lease<Subscription>,
        _reason: &Reason,
        _now: Timestamp,
        _retry_at: Timestamp,
    ) -> Outcome<()> {
        Err(StateError::LeaseLost)
    }

    /// Gives the notice up and ends the lease: the subscription is in `error`, and nothing is sent until it is resumed. What waits behind
    /// the notice goes on waiting.
    async fn give_up_telling(
        &self,
        _lease: Lease<Subscription>,
        _notice: &Notice,
        _reason: &Reason,
        _now: Timestamp,
    ) -> Outcome<()> {
        Err(StateError::LeaseLost)
    }

    /// Ends the lease: there is nothing more to tell, or no time. Does not count as an attempt.
    async fn release_subscription(&self, _lease: Lease<Subscription>, _now: Timestamp) -> Outcome<()> {
        Ok(())
    }
}

const NO_SUBSCRIPTION: StateError = StateError::NotFound { what: "subscription" };

/// Telling subscribers.
///
/// # Contract
/// `Ok` only when the subscriber has answered that it took the notice (2xx). After an error it may have it or not: it is told again, under
/// the same id.
#[async_trait]
pub trait Subscribers: Send + Sync {
    /// Tells one.
    async fn tell(&self, subscription: &Subscription, notice: &Notice, now: Timestamp) -> Result<(), NotTold>;
}

/// A subscriber was not told, or did not say that it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTold {
    /// There is no answer.
    #[error("the subscriber does not answer: {what}")]
    NoAnswer {
        /// What happened, in our words.
        what: &'static str,
    },
    /// It answered with something else than 2xx.
    #[error("the subscriber answered with {status}")]
    Refused {
        /// The status.
        status: u16,
        /// How long it asks to be left alone, where it says so.
        retry_after: Option<Duration>,
    },
    /// It answered 410: it wants to be told no more.
    #[error("the subscriber is gone (410)")]
    Gone,
    /// Its address is not one that may be called.
    #[error("the subscriber's address is not allowed")]
    AddressRefused,
}

impl NotTold {
    /// What it means for the notice at hand.
    pub const fn class(&self) -> Class {
        match self {
            Self::Gone => Class::Permanent,
            Self::Refused { retry_after, .. } => Class::Transient(*retry_after),
            Self::NoAnswer { .. } | Self::AddressRefused => Class::Transient(None),
        }
    }

    /// Code and hint for people.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NoAnswer { .. } => Reason::new(
                "subscriber.no-answer",
                "the subscriber was down or unreachable; then `skin-assist subscription resume`",
            ),
            Self::Refused { .. } => Reason::new(
                "subscriber.refused",
                "the subscriber has to answer with 2xx; then `skin-assist subscription resume`",
            ),
            Self::Gone => Reason::new(
                "subscriber.gone",
                "the subscriber said that it wants no more (410): remove the subscription, or resume it",
            ),
            Self::AddressRefused => Reason::new(
                "subscriber.address-refused",
                "the endpoint's name leads to a private address: see subscriptions.allow_private_addresses",
            ),
        }
    }
}
