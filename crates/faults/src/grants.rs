//! The quota as one process uses it.

use async_trait::async_trait;
use skin_assist_core::{
    ports::{CallGrants, CallKind, Grant, QuotaFigures, QuotaKey, StateError},
    time::Timestamp,
};

use crate::{plan::Mutation, state::ProcessStore};

type Outcome<T> = Result<T, StateError>;

#[async_trait]
impl CallGrants for ProcessStore {
    async fn take(&self, key: &QuotaKey, kind: CallKind, now: Timestamp) -> Outcome<Grant> {
        if self.without(Mutation::Grants) {
            return Ok(Grant::Granted);
        }
        let grant = self.call("take", true, self.inner.take(key, kind, now)).await?;
        if matches!(grant, Grant::Wait(_)) {
            self.process.shared.truth().safeguard("a call waits for its grant");
        }
        Ok(grant)
    }

    async fn hold(&self, key: &QuotaKey, now: Timestamp, until: Timestamp) -> Outcome<()> {
        self.process
            .shared
            .truth()
            .safeguard("everybody holds still after a 429");
        self.call("hold", true, self.inner.hold(key, now, until)).await
    }

    async fn slow_down(&self, key: &QuotaKey, now: Timestamp) -> Outcome<()> {
        self.process
            .shared
            .truth()
            .safeguard("everybody slows down for a late grant");
        self.call("slow_down", true, self.inner.slow_down(key, now)).await
    }

    async fn quotas(&self) -> Outcome<Vec<QuotaFigures>> {
        self.call("quotas", false, self.inner.quotas()).await
    }
}
