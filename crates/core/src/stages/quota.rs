//! Calls against the EHR's quota: one grant before each.

use std::{future::Future, time::Duration};

use super::StageError;
use crate::{
    ports::{CallGrants, CallKind, EhrError, Grant, QuotaKey, StateError},
    time::Clock,
};

/// How long everybody holds still after a 429 that says nothing about when to come back.
const HOLD_AFTER_REFUSAL: Duration = Duration::from_secs(5);

/// The right to make calls, one grant each.
#[derive(Clone, Copy)]
pub struct Quota<'a> {
    /// Where grants come from.
    pub grants: &'a dyn CallGrants,
    /// Which quota.
    pub key: &'a QuotaKey,
    /// For waiting.
    pub clock: &'a dyn Clock,
}

impl Quota<'_> {
    /// Waits until a call of `kind` may be made.
    pub async fn take(&self, kind: CallKind) -> Result<(), StateError> {
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
            let until = self.clock.now() + retry_after.unwrap_or(HOLD_AFTER_REFUSAL);
            self.grants.hold(self.key, until).await?;
        }
        Ok(())
    }
}
