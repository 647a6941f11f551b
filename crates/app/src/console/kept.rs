//! What was read of the state, kept for a while: who asks again gets the same, and who asks regularly waits for nobody.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use skin_assist_core::time::{Clock, Timestamp};

/// Something that is read of the state.
pub(super) struct Kept<T> {
    /// For how long it is good. It is read anew meanwhile where somebody asks regularly ([`Self::renew`]), and not used at all when it is
    /// twice as old.
    good_for: Duration,
    known: Mutex<Known<T>>,
    /// Held by who reads: the others wait for the same answer.
    reading: tokio::sync::Mutex<()>,
}

struct Known<T> {
    read: Option<(Timestamp, Arc<T>)>,
    /// Grows when what was read before is not good any more: what is being read is not kept then.
    forgotten: u64,
    /// Somebody asked since it was read.
    is_asked_for: bool,
}

impl<T> Kept<T> {
    pub(super) fn new(good_for: Duration) -> Self {
        let known = Known {
            read: None,
            forgotten: 0,
            is_asked_for: false,
        };
        Self {
            good_for,
            known: Mutex::new(known),
            reading: tokio::sync::Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known<T>> {
        // Nothing that can panic runs under this lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was read before is not good any more.
    pub(super) fn forget(&self) {
        let mut known = self.known();
        known.read = None;
        known.forgotten += 1;
    }

    /// What is known, or what `read` gives where nothing is, or only what is too old.
    pub(super) async fn get<E>(
        &self,
        clock: &dyn Clock,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<Arc<T>, E> {
        let usable = || {
            let mut known = self.known();
            known.is_asked_for = true;
            let (at, value) = known.read.as_ref()?;
            (clock.now().since(*at) < 2 * self.good_for).then(|| Arc::clone(value))
        };
        if let Some(value) = usable() {
            return Ok(value);
        }
        let _reading = self.reading.lock().await;
        // Somebody else may have read it meanwhile.
        match usable() {
            Some(value) => Ok(value),
            None => self.take(clock, read).await,
        }
    }

    /// Reads it anew where somebody asked since it was read, and it is old enough. What cannot be read is forgotten: who asks next is told why.
    pub(super) async fn renew<E>(&self, clock: &dyn Clock, read: impl Future<Output = Result<T, E>>) {
        let is_wanted = || {
            let known = self.known();
            let is_old = |(at, _): &(Timestamp, Arc<T>)| clock.now().since(*at) >= self.good_for;
            known.is_asked_for && known.read.as_ref().is_some_and(is_old)
        };
        if !is_wanted() {
            return;
        }
        let _reading = self.reading.lock().await;
        if is_wanted() && self.take(clock, read).await.is_err() {
            self.forget();
        }
    }

    async fn take<E>(&self, clock: &dyn Clock, read: impl Future<Output = Result<T, E>>) -> Result<Arc<T>, E> {
        let (at, forgotten) = (clock.now(), self.known().forgotten);
        let value = Arc::new(read.await?);
        let mut known = self.known();
        if known.forgotten == forgotten {
            known.read = Some((at, Arc::clone(&value)));
            known.is_asked_for = false;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::ready,
        sync::atomic::{AtomicU64, Ordering},
    };

    use skin_assist_core::time::VirtualClock;

    use super::*;

    const GOOD_FOR: Duration = Duration::from_secs(5);

    #[test]
    fn who_asks_regularly_waits_for_nobody_and_gets_nothing_old() {
        let clock = VirtualClock::new(Timestamp::from_millis(1_000_000));
        clock.run(ask_regularly(&clock));
    }

    async fn ask_regularly(clock: &VirtualClock) {
        let (kept, reads) = (Kept::new(GOOD_FOR), AtomicU64::new(0));
        let read = || async { Ok::<_, Infallible>(reads.fetch_add(1, Ordering::Relaxed)) };
        let never = || ready(Err::<u64, _>("a page waits for the state"));
        assert_eq!(*kept.get(clock, read()).await.unwrap(), 0);
        for round in 1..=20_u64 {
            // A little late, as it happens.
            clock
                .sleep_until(clock.now() + GOOD_FOR + Duration::from_millis(300))
                .await;
            let known = kept.get(clock, never()).await;
            assert_eq!(known.map(|known| *known), Ok(round - 1));
            kept.renew(clock, read()).await;
            assert_eq!(kept.get(clock, never()).await.map(|known| *known), Ok(round));
        }
        // Nobody has asked: it is read once more for who asked last, and not again.
        for _ in 0..20 {
            clock.sleep_until(clock.now() + GOOD_FOR).await;
            kept.renew(clock, read()).await;
        }
        assert_eq!(reads.load(Ordering::Relaxed), 22);
        assert!(kept.get(clock, never()).await.is_err(), "what is too old is not shown");
    }

    #[test]
    fn what_was_changed_or_cannot_be_read_is_not_shown() {
        let clock = VirtualClock::new(Timestamp::from_millis(1_000_000));
        clock.run(change_and_fail(&clock));
    }

    async fn change_and_fail(clock: &VirtualClock) {
        let kept = Kept::new(GOOD_FOR);
        let of = |value: u64| ready(Ok::<_, &str>(value));
        // Changed while it was read: who asked may have it, others not.
        let changed = async {
            kept.forget();
            Ok::<_, &str>(1)
        };
        assert_eq!(kept.get(clock, changed).await.map(|known| *known), Ok(1));
        assert_eq!(kept.get(clock, of(2)).await.map(|known| *known), Ok(2));
        assert_eq!(kept.get(clock, of(3)).await.map(|known| *known), Ok(2));
        kept.forget();
        assert_eq!(kept.get(clock, of(4)).await.map(|known| *known), Ok(4));
        assert_eq!(kept.get(clock, of(5)).await.map(|known| *known), Ok(4));
        clock.sleep_until(clock.now() + GOOD_FOR).await;
        kept.renew(clock, ready(Err::<u64, _>("unavailable"))).await;
        let told = kept.get(clock, ready(Err("unavailable"))).await;
        assert_eq!(
            told.map(|known| *known),
            Err("unavailable"),
            "the state's failure is told"
        );
    }
}
