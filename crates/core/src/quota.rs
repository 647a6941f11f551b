//! The arithmetic of a quota: B calls in every window of W, mostly 60 seconds.
//!
//! A token bucket of burst `b` and rate `r` lets at most `b + r·T` calls start in any window of length T. Calls travel
//! for up to [`JITTER`], so those that arrive within W were started within W + JITTER. With
//! `b + r·(W + JITTER) ≤ B` the EHR never counts more than B, whatever the arrivals.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    ports::{CallKind, Grant},
    time::Timestamp,
};

/// How much later one call may arrive than another that was started at the same time.
pub const JITTER: Duration = Duration::from_secs(1);

/// The smallest budget that makes sense, in calls a window; configuration refuses less.
pub const SMALLEST_BUDGET: u32 = 10;

/// A token bucket, as it is kept in the store.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TokenBucket {
    /// Calls that may be made now.
    pub tokens: f64,
    /// When `tokens` was true.
    pub at: Timestamp,
    /// Nobody calls before this: the EHR refused a call.
    pub held_until: Timestamp,
}

/// What a budget allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    /// Calls a second.
    pub rate: f64,
    /// Calls at once.
    pub burst: f64,
    /// Tokens that only reads and drafts may take.
    pub reserve: f64,
}

impl Allowance {
    /// Of `calls`, at least [`SMALLEST_BUDGET`], in any `window`. The burst is 3 % of them, and at least two calls.
    pub fn of(calls: u32, window: Duration) -> Self {
        let budget = f64::from(calls.max(SMALLEST_BUDGET));
        let burst = (0.03 * budget).max(2.0);
        let rate = (budget - burst) / (window + JITTER).as_secs_f64();
        Self {
            rate,
            burst,
            reserve: (burst / 2.0).min(4.0).floor(),
        }
    }
}

impl TokenBucket {
    /// An empty bucket: a restart must not add a burst to what was called just before.
    pub const fn empty(now: Timestamp) -> Self {
        Self {
            tokens: 0.0,
            at: now,
            held_until: Timestamp::from_millis(0),
        }
    }

    /// Takes a token for a call of `kind`, or says when to ask again. A clock that went back adds nothing.
    pub fn take(&mut self, allowance: Allowance, kind: CallKind, now: Timestamp) -> Grant {
        let passed = now.since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * allowance.rate).clamp(0.0, allowance.burst);
        self.at = self.at.max(now);
        if now < self.held_until {
            return Grant::Wait(self.held_until);
        }
        let needed = if kind.has_reserve() {
            1.0
        } else {
            1.0 + allowance.reserve
        };
        if self.tokens >= needed {
            self.tokens -= 1.0;
            return Grant::Granted;
        }
        // Rounded up to what a timestamp can hold, so that whoever asks again then is granted.
        let wait_ms = ((needed - self.tokens) / allowance.rate * 1000.0).ceil().max(1.0);
        Grant::Wait(now + Duration::from_millis(wait_ms as u64))
    }

    /// Nobody calls before `until`; the tokens gathered are given up, so that the hold does not end in a burst.
    pub fn hold(&mut self, until: Timestamp) {
        self.held_until = self.held_until.max(until);
        self.tokens = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    fn minutely(calls: u32) -> Allowance {
        Allowance::of(calls, Duration::from_secs(60))
    }

    /// As many calls as the bucket grants, each arriving up to JITTER later: the EHR's own sliding window.
    fn most_in_a_window(calls: u32, window: Duration) -> usize {
        let allowance = Allowance::of(calls, window);
        let end = window * 6;
        let mut bucket = TokenBucket::empty(Timestamp::from_millis(0));
        let mut arrivals = Vec::new();
        let mut now = Timestamp::from_millis(0);
        let mut turn = 0_i64;
        while now < Timestamp::from_millis(0) + end {
            let kind = if turn % 3 == 0 {
                CallKind::Read
            } else {
                CallKind::Document
            };
            turn += 1;
            match bucket.take(allowance, kind, now) {
                Grant::Granted => arrivals.push(now.as_millis() + (turn * 7919) % 1000),
                Grant::Wait(until) => now = until,
            }
        }
        arrivals.sort_unstable();
        let mut recent = VecDeque::new();
        let mut most = 0;
        for arrival in arrivals {
            recent.push_back(arrival);
            while recent
                .front()
                .is_some_and(|first| arrival - first >= window.as_millis() as i64)
            {
                recent.pop_front();
            }
            most = most.max(recent.len());
        }
        most
    }

    #[test]
    fn no_window_holds_more_than_the_budget() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        for (budget, window) in [(10, minute), (60, minute), (250, minute), (1000, minute), (500, hour)] {
            let most = most_in_a_window(budget, window);
            assert!(most <= budget as usize, "budget {budget}: {most} calls in a window");
            assert!(
                budget < 60 || most * 10 >= budget as usize * 8,
                "budget {budget}: only {most} calls in a window were used"
            );
        }
    }

    #[test]
    fn polls_leave_the_reserve_alone() {
        let start = Timestamp::from_millis(0);
        let mut bucket = TokenBucket::empty(start);
        let later = start + Duration::from_secs(60);
        while bucket.take(minutely(250), CallKind::Document, later) == Grant::Granted {}
        assert_eq!(bucket.take(minutely(250), CallKind::Draft, later), Grant::Granted);
    }

    #[test]
    fn a_hold_holds_everybody_and_does_not_end_in_a_burst() {
        let start = Timestamp::from_millis(0);
        let mut bucket = TokenBucket::empty(start);
        let later = start + Duration::from_secs(60);
        bucket.take(minutely(1000), CallKind::Read, later);
        let until = later + Duration::from_secs(10);
        bucket.hold(until);
        assert_eq!(
            bucket.take(minutely(1000), CallKind::Draft, later + Duration::from_secs(9)),
            Grant::Wait(until)
        );
        let mut granted = 0;
        while bucket.take(minutely(1000), CallKind::Read, until) == Grant::Granted {
            granted += 1;
        }
        assert!(granted <= 30, "{granted} calls at once after a hold");
    }
}
