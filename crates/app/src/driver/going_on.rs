//! Calls that go on with something begun (the next page of a search, the next visit of a batch) come before new polls.
//!
//! A poll that is begun without being finished brings nothing, and under a lease it is lost when the lease ends. If each of
//! several polls had to win every single grant against new ones, on a quota that is used up a search of some pages would
//! hardly ever come to its end. So a poll that waits for a grant says so, and the policy's next calls on the same quota are put
//! off until it has it. Calls that may take from the reserve do not stand in its way and are not put off.

use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::AtomicU64, atomic::Ordering},
};

use async_trait::async_trait;
use skin_assist_core::{
    ports::{CallGrants, CallKind, Grant, QuotaFigures, QuotaKey, StateError},
    time::Timestamp,
};

use super::lock;

/// Who waits for grants to go on, by quota.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    polls: Mutex<BTreeMap<String, BTreeMap<u64, Timestamp>>>,
    numbers: AtomicU64,
}

impl Waiting {
    /// Until when a new call on this quota has to wait for those that go on, if it has to.
    pub(super) fn until(&self, quota: &QuotaKey, kind: CallKind) -> Option<Timestamp> {
        if kind.has_reserve() {
            return None;
        }
        lock(&self.polls).get(&quota.name)?.values().min().copied()
    }

    /// The grants for a poll that is about to begin, of a firm that `is_served` for now.
    pub(super) fn grants<'a>(
        &'a self,
        grants: &'a dyn CallGrants,
        quota: &QuotaKey,
        is_served: &'a (dyn Fn() -> bool + Send + Sync),
    ) -> GoingOn<'a> {
        GoingOn {
            grants,
            is_served,
            waiting: self,
            quota: quota.name.clone(),
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn note(&self, quota: &str, number: u64, until: Option<Timestamp>) {
        let mut polls = lock(&self.polls);
        if let Some(until) = until {
            polls.entry(quota.to_owned()).or_default().insert(number, until);
        } else if let Some(of_quota) = polls.get_mut(quota) {
            of_quota.remove(&number);
            if of_quota.is_empty() {
                polls.remove(quota);
            }
        }
    }
}

/// The grants for one poll: notes while it waits.
pub(super) struct GoingOn<'a> {
    grants: &'a dyn CallGrants,
    is_served: &'a (dyn Fn() -> bool + Send + Sync),
    waiting: &'a Waiting,
    quota: String,
    number: u64,
}

#[async_trait]
impl CallGrants for GoingOn<'_> {
    async fn take(&self, key: &QuotaKey, kind: CallKind, now: Timestamp) -> Result<Grant, StateError> {
        // A search of many pages may wait for minutes, and nobody leases encounters: whoever paused the firm meanwhile wants it left alone.
        if !(self.is_served)() {
            return Err(StateError::LeaseLost);
        }
        let grant = self.grants.take(key, kind, now).await?;
        let until = match grant {
            Grant::Granted => None,
            Grant::Wait(until) => Some(until),
        };
        self.waiting.note(&self.quota, self.number, until);
        Ok(grant)
    }

    async fn hold(&self, key: &QuotaKey, now: Timestamp, until: Timestamp) -> Result<(), StateError> {
        self.grants.hold(key, now, until).await
    }

    async fn slow_down(&self, key: &QuotaKey, now: Timestamp) -> Result<(), StateError> {
        self.grants.slow_down(key, now).await
    }

    async fn quotas(&self) -> Result<Vec<QuotaFigures>, StateError> {
        self.grants.quotas().await
    }
}

impl Drop for GoingOn<'_> {
    /// A poll that ends while it waits - its lease has no time left - waits no more.
    fn drop(&mut self) {
        self.waiting.note(&self.quota, self.number, None);
    }
}
