//! Calls in a firm's name: its token, and the quota.

use std::future::Future;

use async_trait::async_trait;

use super::{Quota, StageError};
use crate::{
    domain::{AccessToken, Firm, Reason},
    ports::{CallKind, EhrError},
    time::Timestamp,
};

/// Where a stage gets a firm's token from, and another one when the EHR does not take it.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// The firm's token. `refused` is one that the EHR did not take although it has not run out.
    async fn token(&self, firm: &Firm, refused: Option<&AccessToken>) -> Result<AccessToken, NoToken>;
}

/// There is no token for the firm: it stands still, alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no token for the firm")]
pub struct NoToken {
    /// When to ask again.
    pub until: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// The right to make calls in a firm's name.
#[derive(Clone, Copy)]
pub(super) struct Access<'a> {
    pub(super) firm: &'a Firm,
    pub(super) tokens: &'a dyn TokenSource,
    pub(super) quota: Quota<'a>,
}

impl Access<'_> {
    /// Makes a call of `kind`. A token can end at any moment, also between two pages: when the EHR does not take it, it
    /// is renewed once and the same call is made again, so that what was read before is not read again.
    pub(super) async fn call<T, F>(&self, kind: CallKind, call: impl Fn(AccessToken) -> F) -> Result<T, StageError>
    where
        F: Future<Output = Result<T, EhrError>> + Send,
    {
        let token = self.tokens.token(self.firm, None).await?;
        match self.quota.call(kind, call(token.clone())).await {
            Err(StageError::Ehr(EhrError::Unauthorized)) => {
                let renewed = self.tokens.token(self.firm, Some(&token)).await?;
                self.quota.call(kind, call(renewed)).await
            }
            outcome => outcome,
        }
    }
}
