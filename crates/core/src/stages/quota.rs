//! Calls against the EHR's quota: one grant before each.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::StageError;
use crate::{
    ports::{CallGrants, CallKind, EhrError, Grant, QuotaKey, StateError},
    time::Clock,
};

/// How long everybody holds still after a 429 that says nothing about when to come back.
pub const HOLD_AFTER_REFUSAL: Duration = Duration::from_secs(5);

/// A grant that was taken before it was decided what for: the first call of a poll.
#[derive(Debug, Default)]
pub struct GrantInHand(AtomicBool);

impl GrantInHand {
    /// A grant that was just taken.
    pub const fn taken() -> Self {
        Self(AtomicBool::new(true))
    }

    fn spend(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// The right to make calls, one grant each.
#[derive(Clone, Copy)]
pub struct Quota<'a> {
    /// Where grants come from.
    pub grants: &'a dyn CallGrants,
    /// Which quota.
    pub key: &'a QuotaKey,
    /// For waiting.
    pub clock: &'a dyn Clock,
    /// A grant that is spent first.
    pub in_hand: Option<&'a GrantInHand>,
}

impl Quota<'_> {
    /// Waits until a call of `kind` may be made.
    pub async fn take(&self, kind: CallKind) -> Result<(), StateError> {
        if self.in_hand.is_some_and(GrantInHand::spend) {
            return Ok(());
        }
        loop {
            match self.grants.take(self.key, kind, self.clock.now()).await? {
                Grant::Granted => return Ok(()),
                Grant::Wait(until) => self.clock.sleep_until(until).await,
            }
        }
    }

    /// Makes a call of `kind` as soon as it may be made, and holds everybody when the EHR refuses it for its quota.
    pub async fn call<T>(
        &self,
        kind: CallKind,
        call: impl Future<Output = Result<T, EhrError>> + Send,
    ) -> Result<T, StageError> {
        self.take(kind).await?;
        let outcome = call.await;
        if let Err(error) = &outcome {
            self.notice(error).await?;
        }
        Ok(outcome?)
    }

    /// Holds everybody when `error` is a refusal for the quota.
    pub async fn notice(&self, error: &EhrError) -> Result<(), StateError> {
        if let EhrError::OverQuota { retry_after } = error {
            let now = self.clock.now();
            let until = now + retry_after.unwrap_or(HOLD_AFTER_REFUSAL);
            tracing::warn!(event = "quota.refused", %until);
            self.grants.hold(self.key, now, until).await?;
        }
        Ok(())
    }
}
