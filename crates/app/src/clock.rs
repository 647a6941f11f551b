//! The wall clock: the one place that reads it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use skin_assist_core::time::{Clock, Timestamp};

/// The longest single sleep: the wall clock may be set forward meanwhile, so it is looked at again.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

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
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    async fn sleep_until(&self, instant: Timestamp) {
        // Never longer than it looked at the beginning: a wall clock that is set back must not stop the engine.
        let mut left = instant.since(self.now());
        while !left.is_zero() {
            let nap = left.min(LONGEST_SLEEP);
            tokio::time::sleep(nap).await;
            left = left.saturating_sub(nap).min(instant.since(self.now()));
        }
    }
}
