//! Reading a practice's chart from a command: the client, a token and the quota, as in the engine.

use std::sync::Arc;

use skin_assist_core::{
    domain::{AccessToken, Firm},
    ports::{QuotaKey, StateStore, TokenEndpoint},
    stages::{Quota, RefreshCredentials, StageError, TokenState},
};
use skin_assist_ehr::EhrClient;

use crate::{clock::SystemClock, config::Config, failure::Failure, wiring};

/// What a command needs to read one practice's chart.
pub(super) struct ChartAccess {
    pub(super) ehr: Arc<EhrClient>,
    pub(super) token: AccessToken,
    endpoint: Arc<dyn TokenEndpoint>,
    state: Arc<dyn StateStore>,
    key: QuotaKey,
}

impl ChartAccess {
    /// Connects, and renews the token where that is due.
    pub(super) async fn open(config: &Config, state: &Arc<dyn StateStore>, firm: &Firm) -> Result<Self, Failure> {
        let ehr = wiring::ehr(config)?;
        let endpoint = wiring::token_endpoint(config, Arc::clone(&ehr)).await;
        let Some(token) = Self::token(&*endpoint, &**state, firm, None).await? else {
            return Err(Failure::new("another process is renewing the token").with_hint("try again"));
        };
        Ok(Self {
            key: wiring::quotas(config)?.of(firm),
            state: Arc::clone(state),
            ehr,
            token,
            endpoint,
        })
    }

    /// Connects with a token that was asked for just now, so that it is known what the endpoint says about it. The one
    /// that was there serves while another process renews it.
    pub(super) async fn open_anew(config: &Config, state: &Arc<dyn StateStore>, firm: &Firm) -> Result<Self, Failure> {
        let mut access = Self::open(config, state, firm).await?;
        if !access.ehr.has_seen_token(firm)
            && let Some(token) = Self::token(&*access.endpoint, &**state, firm, Some(&access.token)).await?
        {
            access.token = token;
        }
        Ok(access)
    }

    /// The firm's token, another one than `old`; none while another process renews it.
    async fn token(
        endpoint: &dyn TokenEndpoint,
        state: &dyn StateStore,
        firm: &Firm,
        old: Option<&AccessToken>,
    ) -> Result<Option<AccessToken>, Failure> {
        let refresh = RefreshCredentials {
            credentials: state,
            endpoint,
            clock: &SystemClock,
        };
        let failed = |error| Self::failure(format!("there is no token for `{}`", firm.id), error);
        match refresh.run(firm, old).await.map_err(failed)? {
            TokenState::Ready(token) => Ok(Some(token)),
            TokenState::Refused { reason, .. } => {
                Err(Failure::new("the token endpoint refuses the credential").with_hint(reason.hint()))
            }
            TokenState::Elsewhere(_) => Ok(None),
            TokenState::Missing => Err(Failure::new("the practice has no credential")),
        }
    }

    /// The right to make calls, one grant each.
    pub(super) fn quota(&self) -> Quota<'_> {
        Quota {
            grants: &*self.state,
            key: &self.key,
            clock: &SystemClock,
            in_hand: None,
        }
    }

    /// A stage's error as a command's.
    pub(super) fn failure(what: String, error: StageError) -> Failure {
        let hint = error.reason().hint().to_owned();
        Failure::new(what).because(error).with_hint(hint)
    }
}
