//! Time as a value and time as a port.
//!
//! Nothing in this crate reads a clock: every function that needs the time is told it, or is handed a [`Clock`].
//! [`VirtualClock`] is the other implementation, under which a clinic day takes seconds.

mod virtual_clock;

use std::{
    fmt,
    future::Future,
    ops::{Add, Sub},
    pin::pin,
    str::FromStr,
    time::Duration,
};

use async_trait::async_trait;
use futures::future::{Either, select};
use serde::{Deserialize, Serialize, de};

pub use virtual_clock::VirtualClock;

/// An instant: milliseconds since the Unix epoch, UTC. Displayed and serialised as RFC 3339 with milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Default for Timestamp {
    fn default() -> Self {
        Self::ALWAYS
    }
}

impl Timestamp {
    /// Later than every instant that can occur; what is due then is never due.
    pub const NEVER: Self = Self(i64::MAX);

    /// Earlier than every instant that can occur.
    pub const ALWAYS: Self = Self(i64::MIN);

    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to this instant, zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads an RFC 3339 instant with an offset, as FHIR's `instant` is written.
    ///
    /// # Errors
    /// [`NotAnInstant`] for anything else, a mere date included.
    pub fn parse_rfc3339(text: &str) -> Result<Self, NotAnInstant> {
        jiff::Timestamp::from_str(text)
            .map(|instant| Self(instant.as_millisecond()))
            .map_err(|_| NotAnInstant)
    }

    /// The calendar date of this instant in UTC, moved by `days`, as `yyyy-mm-dd`.
    pub fn date_plus_days(self, days: i32) -> String {
        const DAY_MS: i64 = 86_400_000;
        let moved = self.0.saturating_add(i64::from(days) * DAY_MS);
        jiff::Timestamp::from_millisecond(moved)
            .unwrap_or(if moved < 0 {
                jiff::Timestamp::MIN
            } else {
                jiff::Timestamp::MAX
            })
            .strftime("%Y-%m-%d")
            .to_string()
    }
}

/// The text is not an RFC 3339 instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 instant with an offset")]
pub struct NotAnInstant;

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(formatter, "{instant:.3}"),
            Err(_) => formatter.write_str(if self.0 < 0 { "always" } else { "never" }),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_rfc3339(&text).map_err(de::Error::custom)
    }
}

/// The time, and waiting for it.
///
/// # Contract
/// `now` never goes back further than the wall clock itself does. `sleep_until` returns at once when the instant has
/// passed, and otherwise not before it.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The present.
    fn now(&self) -> Timestamp;

    /// Waits until `instant`.
    async fn sleep_until(&self, instant: Timestamp);
}

/// The time given to a future ran out; the future was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time for this step ran out")]
pub struct Elapsed;

/// Runs `future`, but not past `deadline`. It is not begun after it: a process that stood still since its lease was good may have lost
/// it to another, and a draft that is posted then is the second.
pub async fn within<T>(clock: &dyn Clock, deadline: Timestamp, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    if clock.now() > deadline {
        return Err(Elapsed);
    }
    match select(pin!(future), clock.sleep_until(deadline)).await {
        Either::Left((output, _)) => Ok(output),
        Either::Right(((), _)) => Err(Elapsed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_instants() {
        let instant = Timestamp::parse_rfc3339("2026-01-05T23:59:59.5-05:00").unwrap();
        assert_eq!(instant.to_string(), "2026-01-06T04:59:59.500Z");
        assert_eq!(Timestamp::parse_rfc3339(&instant.to_string()), Ok(instant));
        assert_eq!(instant.date_plus_days(-2), "2026-01-04");
        assert!(Timestamp::parse_rfc3339("2026-01-05").is_err());
        assert_eq!(Timestamp::NEVER.to_string(), "never");
    }

    #[test]
    fn nothing_is_begun_after_its_deadline() {
        use std::cell::Cell;

        let clock = VirtualClock::new(Timestamp::from_millis(10));
        let begun = Cell::new(0);
        let begin = || async { begun.set(begun.get() + 1) };
        let in_time = within(&clock, Timestamp::from_millis(10), begin());
        assert!(futures::executor::block_on(in_time).is_ok());
        let late = within(&clock, Timestamp::from_millis(9), begin());
        assert!(futures::executor::block_on(late).is_err());
        assert_eq!(begun.get(), 1);
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::NEVER + Duration::from_secs(1), Timestamp::NEVER);
        assert_eq!(
            Timestamp::from_millis(5).since(Timestamp::from_millis(9)),
            Duration::ZERO
        );
    }
}
