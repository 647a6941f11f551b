//! Calls against the EHR's quota: one grant before each.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::StageError;
use crate::{
    ports::{CallGrants, CallKind, EhrError, Grant, QuotaKey, StateError},
    quota::{GRANT_GOOD_FOR, late_grant_good_for},
    time::{Clock, Timestamp},
};

/// How long everybody holds still after a 429 that says nothing about when to come back.
pub const HOLD_AFTER_REFUSAL: Duration = Duration::from_secs(5);

/// How long grants may come too late before one of them is used all the same: a store that is this slow for this long would otherwise
/// end all calls. Everybody is slowed down for it ([`late_grant_good_for`]).
const LATE_PATIENCE: Duration = Duration::from_secs(20);

/// A grant that was taken before the call can begin: before it was decided what for, or before something that has to come first.
#[derive(Debug)]
pub struct GrantInHand {
    asked_at: Timestamp,
    is_there: AtomicBool,
}

impl GrantInHand {
    /// A grant that was asked for at this time.
    pub const fn asked_at(asked_at: Timestamp) -> Self {
        Self {
            asked_at,
            is_there: AtomicBool::new(true),
        }
    }

    /// Uses it up, and says whether a call may begin with it.
    fn spend(&self, now: Timestamp) -> bool {
        self.is_there.swap(false, Ordering::Relaxed) && is_good(self.asked_at, now)
    }
}

fn is_good(asked_at: Timestamp, now: Timestamp) -> bool {
    now.since(asked_at) <= GRANT_GOOD_FOR
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
    /// Waits until a call of `kind` may be made, which has to begin at once.
    pub async fn take(&self, kind: CallKind) -> Result<(), StateError> {
        self.take_in_hand(kind).await.map(drop)
    }

    /// The same for a call before which something else has to be done: it begins after [`Self::spend`].
    pub async fn take_in_hand(&self, kind: CallKind) -> Result<GrantInHand, StateError> {
        if let Some(in_hand) = self.in_hand
            && in_hand.spend(self.clock.now())
        {
            return Ok(GrantInHand::asked_at(in_hand.asked_at));
        }
        let mut late_since = None;
        loop {
            let asked_at = self.clock.now();
            match self.grants.take(self.key, kind, asked_at).await? {
                Grant::Granted => {
                    let now = self.clock.now();
                    if is_good(asked_at, now) {
                        return Ok(GrantInHand::asked_at(asked_at));
                    }
                    tracing::warn!(event = "grant.late", millis = now.since(asked_at).as_millis() as u64);
                    if now.since(*late_since.get_or_insert(asked_at)) >= LATE_PATIENCE {
                        self.grants.slow_down(self.key, now).await?;
                        let now = self.clock.now();
                        if now.since(asked_at) <= late_grant_good_for(self.key.window) {
                            return Ok(GrantInHand::asked_at(now));
                        }
                    }
                }
                Grant::Wait(until) => self.clock.sleep_until(until).await,
            }
        }
    }

    /// Spends a grant on a call of `kind`, which has to begin at once; waits for another where too much time has passed.
    pub async fn spend(&self, grant: &GrantInHand, kind: CallKind) -> Result<(), StateError> {
        if grant.spend(self.clock.now()) {
            return Ok(());
        }
        self.take(kind).await
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::{ports::QuotaFigures, time::VirtualClock};

    const START: Timestamp = Timestamp::from_millis(1_000_000);

    /// Grants everything, and takes its time over it.
    struct Slow {
        clock: VirtualClock,
        /// For each grant; the last one goes on.
        takes: Vec<Duration>,
        taken: Mutex<usize>,
        slowed_down: Mutex<usize>,
    }

    impl Slow {
        fn new(millis: &[u64]) -> Self {
            Self {
                clock: VirtualClock::new(START),
                takes: millis.iter().copied().map(Duration::from_millis).collect(),
                taken: Mutex::default(),
                slowed_down: Mutex::default(),
            }
        }

        fn taken(&self) -> usize {
            *self.taken.lock().unwrap()
        }

        fn run<T>(&self, work: impl AsyncFnOnce(Quota<'_>) -> T) -> T {
            let key = QuotaKey {
                name: "q".to_owned(),
                calls: 60,
                window: Duration::from_secs(60),
            };
            let quota = Quota {
                grants: self,
                key: &key,
                clock: &self.clock,
                in_hand: None,
            };
            self.clock.run(work(quota))
        }
    }

    #[async_trait]
    impl CallGrants for Slow {
        async fn take(&self, _: &QuotaKey, _: CallKind, now: Timestamp) -> Result<Grant, StateError> {
            let number = {
                let mut taken = self.taken.lock().unwrap();
                *taken += 1;
                *taken
            };
            let lasts = self.takes[number.min(self.takes.len()) - 1];
            self.clock.sleep_until(now + lasts).await;
            Ok(Grant::Granted)
        }

        async fn hold(&self, _: &QuotaKey, _: Timestamp, _: Timestamp) -> Result<(), StateError> {
            Ok(())
        }

        async fn slow_down(&self, _: &QuotaKey, now: Timestamp) -> Result<(), StateError> {
            *self.slowed_down.lock().unwrap() += 1;
            self.clock.sleep_until(now + self.takes[self.takes.len() - 1]).await;
            Ok(())
        }

        async fn quotas(&self) -> Result<Vec<QuotaFigures>, StateError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn a_grant_that_comes_too_late_counts_as_used() {
        let store = Slow::new(&[251, 8_000, 250]);
        store.run(async |quota| quota.take(CallKind::Read).await.unwrap());
        assert_eq!(store.taken(), 3);
        assert_eq!(*store.slowed_down.lock().unwrap(), 0);
    }

    #[test]
    fn a_grant_in_hand_is_good_for_a_moment_only() {
        let store = Slow::new(&[0]);
        store.run(async |quota| {
            let grant = GrantInHand::asked_at(START);
            let quota = Quota {
                in_hand: Some(&grant),
                ..quota
            };
            quota.clock.sleep_until(START + GRANT_GOOD_FOR).await;
            quota.take(CallKind::Read).await.unwrap();
            assert_eq!(store.taken(), 0, "it was in hand");
            let reserved = quota.take_in_hand(CallKind::Draft).await.unwrap();
            assert_eq!(store.taken(), 1, "it was used up");
            // What comes before the call takes longer than it may.
            quota.clock.sleep_until(START + GRANT_GOOD_FOR * 3).await;
            quota.spend(&reserved, CallKind::Draft).await.unwrap();
            assert_eq!(store.taken(), 2);
        });
    }

    #[test]
    fn a_store_that_is_always_slow_lets_a_call_through_now_and_then() {
        let store = Slow::new(&[300]);
        store.run(async |quota| quota.take(CallKind::Read).await.unwrap());
        let took = store.clock.now().since(START);
        assert!(took >= LATE_PATIENCE && took < LATE_PATIENCE * 2, "{took:?}");
        assert_eq!(*store.slowed_down.lock().unwrap(), 1, "before its call, and only then");
    }

    #[test]
    fn a_grant_that_is_older_than_can_be_made_up_for_is_never_used() {
        // Until the store is well again.
        let slow = std::iter::repeat_n(16_000, 100).chain([0]).collect::<Vec<_>>();
        let store = Slow::new(&slow);
        store.run(async |quota| quota.take(CallKind::Read).await.unwrap());
        assert_eq!(store.taken(), slow.len());
    }
}
