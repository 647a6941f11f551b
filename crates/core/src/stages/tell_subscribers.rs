//! Tells a subscriber what it subscribed to: a handshake first, then events in the order of their numbers, and after a silence that there
//! was nothing.
//!
//! A notice counts as told when the subscriber answered with 2xx, and not before: whatever ends this in between, it is told again, under the
//! same id. One subscriber's trouble is its own: it waits longer each time, and after [`TellSubscribers::give_up_after`] the notice is given
//! up and the subscription is in error until an operator looks.

use std::time::Duration;

use super::retry;
use crate::{
    domain::{Reason, Subscription},
    lease::Lease,
    ports::{Class, NotTold, StateError, Subscribers, Subscriptions},
    time::{Clock, within},
};

/// For how long a subscription is leased: no longer than a stop waits for what was begun.
const LEASE: Duration = Duration::from_secs(30);

/// A notice is not begun when less of the lease is left: what a subscriber may take to answer.
const LONGEST_NOTICE: Duration = Duration::from_secs(15);

/// A subscriber that asks to be left alone for longer is told again all the same.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The stage.
#[derive(Clone, Copy)]
pub struct TellSubscribers<'a> {
    /// What is to be told, and to whom.
    pub subscriptions: &'a dyn Subscriptions,
    /// The way to them.
    pub subscribers: &'a dyn Subscribers,
    /// The time.
    pub clock: &'a dyn Clock,
    /// For how long a subscriber may fail to take a notice.
    pub give_up_after: Duration,
}

/// What came of telling one subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// So many notices were taken.
    pub taken: u64,
    /// How it ended.
    pub ending: Ending,
}

/// How telling one subscriber ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// All that waited was taken, or as much as there was time for.
    Taken,
    /// It is tried again later, for this reason.
    Waiting(Reason),
    /// The notice was given up, for this reason.
    GivenUp(Reason),
    /// Somebody else tells it now, or an operator paused it.
    LeaseLost,
}

impl TellSubscribers<'_> {
    /// Leases up to `limit` subscriptions that have something to be told.
    ///
    /// # Errors
    /// Our own state.
    pub async fn acquire(&self, limit: usize) -> Result<Vec<Lease<Subscription>>, StateError> {
        self.subscriptions
            .acquire_subscriptions(self.clock.now(), LEASE, limit)
            .await
    }

    /// Tells one subscriber all that waits, for as long as the lease lasts.
    ///
    /// # Errors
    /// Our own state.
    pub async fn run(&self, lease: Lease<Subscription>) -> Result<Told, StateError> {
        let mut taken = 0;
        let ending = match self.tell(lease, &mut taken).await {
            Err(StateError::LeaseLost) => Ending::LeaseLost,
            outcome => outcome?,
        };
        Ok(Told { taken, ending })
    }

    async fn tell(&self, lease: Lease<Subscription>, taken: &mut u64) -> Result<Ending, StateError> {
        // The lease knows how it was; an answer ends what failed before.
        let mut failing_since = lease.item().failing_since;
        let mut attempt = lease.attempt();
        loop {
            let now = self.clock.now();
            let next = self.subscriptions.next_notice(&lease, now).await?;
            let Some(notice) = next.filter(|_| now + LONGEST_NOTICE <= lease.deadline()) else {
                self.subscriptions.release_subscription(lease, now).await?;
                return Ok(Ending::Taken);
            };
            let told = self.subscribers.tell(lease.item(), &notice, now);
            let told = within(self.clock, now + LONGEST_NOTICE, told).await;
            let now = self.clock.now();
            let error = match told {
                Ok(Ok(())) => {
                    self.subscriptions.record_told(&lease, &notice, now).await?;
                    *taken += 1;
                    failing_since = None;
                    attempt = 1;
                    continue;
                }
                Ok(Err(error)) => error,
                Err(_) => NotTold::NoAnswer {
                    what: "it took too long",
                },
            };
            let reason = error.reason();
            let is_over = failing_since.is_some_and(|since| now.since(since) >= self.give_up_after);
            let wait = match error.class() {
                Class::Transient(asked) if !is_over => {
                    let asked = asked.unwrap_or_default().min(LONGEST_WAIT);
                    retry::backoff(attempt).max(asked)
                }
                _ => {
                    let given_up = self.subscriptions.give_up_telling(lease, &notice, &reason, now);
                    given_up.await?;
                    return Ok(Ending::GivenUp(reason));
                }
            };
            let retried = self.subscriptions.retry_telling(lease, &reason, now, now + wait);
            retried.await?;
            return Ok(Ending::Waiting(reason));
        }
    }
}
