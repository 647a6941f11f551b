//! Tokens in hand and how firms are doing.
//!
//! Tokens live in the state store; this keeps those in use in memory, so that a call does not cost a read, and
//! remembers which firms cannot be served for a while, so that a refusal is not asked for again by every worker.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use async_trait::async_trait;
use skin_assist_core::{
    domain::{AccessToken, FailingFirm, Firm, FirmId, Reason},
    stages::{NoToken, RefreshCredentials, TokenSource, TokenState, retry},
    time::Timestamp,
};

use super::{Driver, Event, lock};

/// How long a firm rests when its token endpoint fails.
const ENDPOINT_PAUSE: Duration = Duration::from_secs(5);

/// How long it rests at most when that goes on.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long after it was to be polled again a firm counts as ill, unless a poll shows how it is. Another process may poll it meanwhile, and
/// this one would never hear that it is well.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// From so many failures in a row on a firm is said to fail: one or two are the network's.
const FAILS_FROM: u32 = 3;

#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<FirmId, Standing>>);

#[derive(Default)]
struct Standing {
    token: Option<AccessToken>,
    resting: Option<NoToken>,
    /// Polls that failed in a row.
    failures: u32,
    /// When it is polled again after them.
    rests_until: Timestamp,
    /// Why it cannot be read, since when, and how often in a row that was found.
    trouble: Option<(FailingFirm, u32)>,
    /// The refusal that was raised as an alarm, by when the endpoint is asked again: each is raised once.
    alarmed: Option<Timestamp>,
}

impl Tokens {
    fn with<T>(&self, firm: &FirmId, change: impl FnOnce(&mut Standing) -> T) -> T {
        change(lock(&self.0).entry(firm.clone()).or_default())
    }

    /// A poll went well.
    pub(super) fn well(&self, firm: &FirmId) {
        self.with(firm, |standing| {
            standing.failures = 0;
            standing.trouble = None;
        });
    }

    /// It cannot be read, for this reason.
    pub(super) fn troubled(&self, firm: &FirmId, reason: &Reason, now: Timestamp) {
        self.with(firm, |standing| {
            let (first, times) = standing
                .trouble
                .take()
                .map_or((now, 0), |(known, times)| (known.since, times));
            let known = FailingFirm {
                firm: firm.clone(),
                since: first,
                reason: reason.clone(),
            };
            standing.trouble = Some((known, times + 1));
        });
    }

    /// Which of these firms cannot be read, again and again.
    pub(super) fn failing<'a>(&self, firms: impl Iterator<Item = &'a FirmId>) -> Vec<FailingFirm> {
        let known = lock(&self.0);
        let of_firm = firms.filter_map(|firm| known.get(firm)?.trouble.as_ref());
        let again = of_firm.filter(|(_, times)| *times >= FAILS_FROM);
        again.map(|(failing, _)| failing.clone()).collect()
    }

    /// Whether the last poll failed, and that is not long ago.
    pub(super) fn is_ill(&self, firm: &FirmId, now: Timestamp) -> bool {
        self.with(firm, |standing| {
            standing.failures > 0 && now < standing.rests_until + KNOWN_FOR
        })
    }

    /// A poll failed: how many in a row now.
    pub(super) fn ill(&self, firm: &FirmId) -> u32 {
        self.with(firm, |standing| {
            standing.failures += 1;
            standing.failures
        })
    }

    /// When the firm is polled again after a failure.
    pub(super) fn rests(&self, firm: &FirmId, until: Timestamp) {
        self.with(firm, |standing| standing.rests_until = until);
    }
}

#[async_trait]
impl TokenSource for Driver<'_> {
    async fn token(&self, firm: &Firm, refused: Option<&AccessToken>) -> Result<AccessToken, NoToken> {
        let stage = RefreshCredentials {
            credentials: &*self.engine.state,
            endpoint: &*self.engine.token_endpoint,
            clock: &*self.engine.clock,
        };
        loop {
            // Looked at again each time: another worker may have renewed the token, or found that the endpoint fails.
            let now = self.now();
            let in_hand = self.tokens.with(&firm.id, |standing| match &standing.resting {
                Some(resting) if resting.until > now => Err(resting.clone()),
                _ => Ok(standing.token.clone()),
            })?;
            if let Some(token) = in_hand.filter(|token| !token.is_due(now) && Some(token) != refused) {
                return Ok(token);
            }
            match stage.run(firm, refused).await {
                Ok(TokenState::Ready(token)) => {
                    self.tokens
                        .with(&firm.id, |standing| standing.token = Some(token.clone()));
                    return Ok(token);
                }
                Ok(TokenState::Elsewhere(again)) => self.engine.clock.sleep_until(again).await,
                Ok(TokenState::Refused { reason, retry_at }) => {
                    if self.tokens.with(&firm.id, |standing| {
                        standing.alarmed.replace(retry_at) != Some(retry_at)
                    }) {
                        tracing::error!(event = "credential.refused", firm = %firm.id, hint = reason.hint(), %retry_at);
                    }
                    // The operator may replace the credential at any time: look again soon, without asking the
                    // endpoint, which the stage does only at `retry_at`.
                    return Err(self.stand_still(firm, reason, retry_at.min(self.now() + ENDPOINT_PAUSE)));
                }
                Ok(TokenState::Missing) => {
                    let reason = Reason::new(
                        "ehr.no-credential",
                        "give the firm one with `skin-assist firm credential`",
                    );
                    return Err(self.stand_still(firm, reason, self.now() + ENDPOINT_PAUSE));
                }
                Err(error) => {
                    let reason = error.reason();
                    tracing::warn!(event = "token.unavailable", firm = %firm.id, reason = reason.code(), hint = reason.hint(), error = %error);
                    let pause = retry::backoff(self.tokens.ill(&firm.id)).clamp(ENDPOINT_PAUSE, LONGEST_PAUSE);
                    return Err(self.stand_still(firm, reason, self.now() + pause));
                }
            }
        }
    }
}

impl Driver<'_> {
    fn stand_still(&self, firm: &Firm, reason: Reason, until: Timestamp) -> NoToken {
        let no_token = NoToken {
            until,
            reason: reason.clone(),
        };
        self.tokens.with(&firm.id, |standing| {
            standing.token = None;
            standing.resting = Some(no_token.clone());
        });
        self.tokens.troubled(&firm.id, &reason, self.now());
        self.emit(&Event::Resting {
            firm: firm.id.clone(),
            until,
            reason,
        });
        no_token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firm_that_somebody_else_polls_is_not_ill_for_ever() {
        let (tokens, firm) = (Tokens::default(), FirmId::new("a"));
        let until = Timestamp::from_millis(60_000);
        assert!(!tokens.is_ill(&firm, until));
        assert_eq!(tokens.ill(&firm), 1);
        tokens.rests(&firm, until);
        assert!(tokens.is_ill(&firm, until));
        assert!(
            !tokens.is_ill(&firm, until + KNOWN_FOR),
            "no poll says that it still is"
        );
        assert_eq!(tokens.ill(&firm), 2, "it failed again");
        tokens.well(&firm);
        assert!(!tokens.is_ill(&firm, until));
    }
}
