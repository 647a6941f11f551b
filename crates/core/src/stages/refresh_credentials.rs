//! OAuth2 tokens: renewed ahead of their end, by one worker at a time.

use std::time::Duration;

use super::StageError;
use crate::{
    domain::{AccessToken, Credential, CredentialState, Firm, Reason},
    lease::Lease,
    ports::{Credentials, EhrError, StateError, TokenEndpoint},
    time::{Clock, Timestamp, within},
};

const LEASE: Duration = Duration::from_secs(30);

/// When a refused credential is tried once more, in case the refusal was the server's mistake.
const RETRY_REFUSED_AFTER: Duration = Duration::from_secs(15 * 60);

/// How soon to look again while another worker renews.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Renews a firm's token when it is due.
pub struct RefreshCredentials<'a> {
    /// Credentials and tokens.
    pub credentials: &'a dyn Credentials,
    /// Who issues tokens.
    pub endpoint: &'a dyn TokenEndpoint,
    /// The time.
    pub clock: &'a dyn Clock,
}

/// How a firm's token stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenState {
    /// It can be used.
    Ready(AccessToken),
    /// The endpoint refuses the credential: the firm stands still until then, alone.
    Refused {
        /// Why.
        reason: Reason,
        /// When the endpoint will be asked again.
        retry_at: Timestamp,
    },
    /// Another worker is renewing it: look again then.
    Elsewhere(Timestamp),
    /// The firm has no credential (it was removed).
    Missing,
}

impl RefreshCredentials<'_> {
    /// The firm's token, renewed if it is due or if it is the one that the EHR just `refused`.
    pub async fn run(&self, firm: &Firm, refused: Option<&AccessToken>) -> Result<TokenState, StageError> {
        let now = self.clock.now();
        let Some(credential) = self.credentials.credential(&firm.id).await? else {
            return Ok(TokenState::Missing);
        };
        if let Some(state) = settled(&credential, refused, now) {
            return Ok(state);
        }
        let Some(lease) = self.credentials.acquire_refresh(&firm.id, now, LEASE).await? else {
            // Another worker renews it. A token that is due but not yet over still serves meanwhile.
            return Ok(match credential.token {
                Some(token) if token.expires_at > now && Some(&token) != refused => TokenState::Ready(token),
                _ => TokenState::Elsewhere(now + LOOK_AGAIN_AFTER),
            });
        };
        // Somebody may have renewed it between the reading and the lease.
        if let Some(state) = settled(lease.item(), refused, now) {
            self.credentials.release_refresh(lease, now).await?;
            return Ok(state);
        }
        self.renew(firm, lease).await
    }

    async fn renew(&self, firm: &Firm, lease: Lease<Credential>) -> Result<TokenState, StageError> {
        let request = self.endpoint.request_token(firm, lease.item(), self.clock.now());
        let answer = within(self.clock, lease.deadline(), request).await;
        match answer {
            Ok(Ok(token)) => {
                self.credentials.record_token(lease, &token).await?;
                Ok(TokenState::Ready(token.access))
            }
            Ok(Err(
                error @ (EhrError::CredentialRefused { .. }
                | EhrError::CredentialUnusable { .. }
                | EhrError::ScopeRefused { .. }
                // A 4xx without a reason: asked again soon, it would be the same, and might lock an account.
                | EhrError::Rejected { .. }
                | EhrError::Forbidden
                | EhrError::Unauthorized),
            )) => {
                let reason = match error {
                    EhrError::CredentialUnusable { .. } | EhrError::ScopeRefused { .. } => error.reason(),
                    _ => EhrError::CredentialRefused { status: 401 }.reason(),
                };
                tracing::debug!(event = "credential.refused", firm = %firm.id, error = %error);
                let retry_at = self.clock.now() + RETRY_REFUSED_AFTER;
                self.credentials.record_refusal(lease, &reason, retry_at).await?;
                Ok(TokenState::Refused { reason, retry_at })
            }
            Ok(Err(error)) => {
                self.release(lease).await?;
                Err(error.into())
            }
            Err(elapsed) => {
                self.release(lease).await?;
                Err(elapsed.into())
            }
        }
    }

    async fn release(&self, lease: Lease<Credential>) -> Result<(), StateError> {
        self.credentials.release_refresh(lease, self.clock.now()).await
    }
}

/// The state, if the endpoint need not be asked.
fn settled(credential: &Credential, refused: Option<&AccessToken>, now: Timestamp) -> Option<TokenState> {
    if let CredentialState::Refused { reason, retry_at } = &credential.state
        && *retry_at > now
    {
        return Some(TokenState::Refused {
            reason: reason.clone(),
            retry_at: *retry_at,
        });
    }
    let token = credential
        .token
        .as_ref()
        .filter(|token| !token.is_due(now) && Some(*token) != refused)?;
    Some(TokenState::Ready(token.clone()))
}
