//! What can go wrong with a simulated EHR, as data.

use std::{ops::Range, time::Duration};

use skin_assist_core::time::Timestamp;

use super::chart::instant;

/// From when to when, in a trace's seconds.
pub type Span = Range<f64>;

const UTC_DAY_MS: i64 = 86_400_000;

/// How the simulated EHR, and the way to it, behave.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditions {
    /// Calls take between so many milliseconds and so many, evenly; half of it on the way there.
    pub round_trip_ms: Range<f64>,
    /// The EHR's clock less ours, in milliseconds.
    pub clock_ahead_ms: i64,
    /// Replies tell the EHR's time in whole seconds, as HTTP's `Date` does.
    pub whole_seconds: bool,
    /// A search by time gives everything from the beginning of that UTC day on.
    pub searches_compare_days: bool,
    /// Visits, changes and photos become visible so much later than the time that they carry.
    pub visible_after: Duration,
    /// The EHR refuses every call (429), however few there are.
    pub storms: Vec<Span>,
    /// Every call fails.
    pub outages: Vec<Span>,
}

impl Default for Conditions {
    /// Nothing goes wrong.
    fn default() -> Self {
        Self {
            round_trip_ms: 150.0..300.0,
            clock_ahead_ms: 0,
            whole_seconds: false,
            searches_compare_days: false,
            visible_after: Duration::ZERO,
            storms: Vec::new(),
            outages: Vec::new(),
        }
    }
}

/// What the EHR makes of a call, apart from its quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Fine,
    Refuses,
    Down,
}

impl Conditions {
    /// A time of ours by the EHR's clock.
    pub(super) fn ehr_time(&self, ours: Timestamp) -> Timestamp {
        Timestamp::from_millis(ours.as_millis() + self.clock_ahead_ms)
    }

    /// What a reply sent at `now` says the time is.
    pub(super) fn date(&self, now: Timestamp) -> Timestamp {
        let now = self.ehr_time(now);
        if self.whole_seconds {
            Timestamp::from_millis(now.as_millis().div_euclid(1000) * 1000)
        } else {
            now
        }
    }

    /// From when on a search for what changed `since` gives records, both by the EHR's clock.
    pub(super) fn searched_from(&self, since: Timestamp) -> Timestamp {
        if self.searches_compare_days {
            Timestamp::from_millis(since.as_millis().div_euclid(UTC_DAY_MS) * UTC_DAY_MS)
        } else {
            since
        }
    }

    pub(super) fn mood(&self, now: Timestamp) -> Mood {
        let within = |spans: &[Span]| {
            let mut spans = spans.iter();
            spans.any(|span| (instant(span.start)..instant(span.end)).contains(&now))
        };
        if within(&self.outages) {
            Mood::Down
        } else if within(&self.storms) {
            Mood::Refuses
        } else {
            Mood::Fine
        }
    }
}
