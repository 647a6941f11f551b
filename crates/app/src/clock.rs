//! The wall clock: the one place that reads it, and what becomes of its jumps.
//!
//! # Invariants
//! - Time does not go back while the process lives. A wall clock that is set back is not followed: time goes on at its own pace
//!   (the monotonic clock's) until the wall clock has caught up or the process is started anew. Leases, quotas, polls that are due
//!   and tokens are all told by this one time, so that a step back would stop them for as long as it is wide.
//! - A wall clock that is ahead is believed: that is how the end of a suspension looks.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use skin_assist_core::time::{Clock, Timestamp};

/// The longest single sleep: the wall clock may be set forward meanwhile, so it is looked at again.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Smaller differences are a clock that is being adjusted, and are not worth a word.
const SMALLEST_JUMP: Duration = Duration::from_secs(5);

/// The machine's wall clock, and sleeping on tokio's timer.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the Clock port's wall-clock implementation"
    )]
    fn now(&self) -> Timestamp {
        static STEADY: Mutex<Option<Steady>> = Mutex::new(None);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX));
        let monotonic = Instant::now();
        let (now, jump) = {
            // No code that can panic runs under the lock.
            let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
            let steady = steady.get_or_insert(Steady::starting(wall, monotonic));
            steady.read(wall, monotonic)
        };
        match jump {
            Some(Jump::Ahead(by)) => tracing::warn!(event = "clock.jumped-ahead", by_s = by.as_secs()),
            Some(Jump::Back(by)) => tracing::error!(
                event = "clock.set-back",
                by_s = by.as_secs(),
                "it is not followed before the next start"
            ),
            None => {}
        }
        now
    }

    async fn sleep_until(&self, instant: Timestamp) {
        // Never longer than it looked at the beginning.
        let mut left = instant.since(self.now());
        while !left.is_zero() {
            let nap = left.min(LONGEST_SLEEP);
            tokio::time::sleep(nap).await;
            left = left.saturating_sub(nap).min(instant.since(self.now()));
        }
    }
}

/// A difference between the wall clock and the time that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Jump {
    /// The wall clock is ahead by so much, and was believed.
    Ahead(Duration),
    /// The wall clock was set back by so much, and is not followed.
    Back(Duration),
}

/// A time that follows the wall clock forwards only.
#[derive(Debug, Clone, Copy)]
struct Steady {
    /// What time it was when the monotonic clock showed `at`.
    time: Timestamp,
    at: Instant,
    is_behind: bool,
}

impl Steady {
    const fn starting(wall: Timestamp, monotonic: Instant) -> Self {
        Self {
            time: wall,
            at: monotonic,
            is_behind: false,
        }
    }

    /// The time, and a jump that was not told before.
    fn read(&mut self, wall: Timestamp, monotonic: Instant) -> (Timestamp, Option<Jump>) {
        let passed = monotonic.saturating_duration_since(self.at);
        let expected = self.time + passed;
        let (ahead, behind) = (wall.since(expected), expected.since(wall));
        if behind >= SMALLEST_JUMP {
            let is_news = !std::mem::replace(&mut self.is_behind, true);
            return (expected, is_news.then_some(Jump::Back(behind)));
        }
        self.is_behind = false;
        // What the wall clock loses in small steps is waited for.
        self.time = wall.max(self.time);
        self.at = monotonic;
        (self.time, (ahead >= SMALLEST_JUMP).then_some(Jump::Ahead(ahead)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(86_400);
    const SECOND: Duration = Duration::from_secs(1);
    const START: Timestamp = Timestamp::from_millis(1_772_460_000_000);

    #[allow(clippy::disallowed_methods, reason = "an instant cannot be made up")]
    fn clock() -> (Steady, Instant) {
        let began = Instant::now();
        (Steady::starting(START, began), began)
    }

    #[test]
    fn a_clock_that_is_set_back_is_not_followed_and_said_once() {
        let (mut steady, began) = clock();
        assert_eq!(steady.read(START + SECOND, began + SECOND), (START + SECOND, None));
        let (now, jump) = steady.read(START + 2 * SECOND - HOUR, began + 2 * SECOND);
        assert_eq!((now, jump), (START + 2 * SECOND, Some(Jump::Back(HOUR))));
        let later = steady.read(START + 1800 * SECOND - HOUR, began + 1800 * SECOND);
        assert_eq!(later, (START + 1800 * SECOND, None), "time goes on");
        // Set right again.
        let right = steady.read(START + 2000 * SECOND, began + 2000 * SECOND);
        assert_eq!(right, (START + 2000 * SECOND, None));
    }

    #[test]
    fn a_clock_that_is_ahead_is_believed() {
        let (mut steady, began) = clock();
        let (now, jump) = steady.read(START + DAY, began + SECOND);
        assert_eq!((now, jump), (START + DAY, Some(Jump::Ahead(86_399 * SECOND))));
        assert_eq!(steady.read(START + DAY + SECOND, began + 2 * SECOND).1, None);
        // And set right: the day stays, and goes on.
        let (now, jump) = steady.read(START + 3 * SECOND, began + 3 * SECOND);
        assert_eq!(now, START + DAY + 2 * SECOND);
        assert!(matches!(jump, Some(Jump::Back(by)) if by < DAY));
    }

    #[test]
    fn a_clock_that_is_adjusted_stands_still_and_never_goes_back() {
        let (mut steady, began) = clock();
        let mut last = START;
        for step in 1..100_u32 {
            // Half as fast as it should be.
            let (now, jump) = steady.read(START + SECOND * step / 2, began + SECOND * step);
            assert!(now >= last && jump.is_none(), "{step}: {now} after {last}, {jump:?}");
            last = now;
        }
        let (now, jump) = steady.read(last - 3 * SECOND, began + 100 * SECOND);
        assert!(now == last && jump.is_none());
    }
}
