//! The arithmetic of a quota: B calls in every window of 60 seconds.
//!
//! A token bucket of burst `b` and rate `r` lets at most `b + r·T` calls start in any window of length T. Calls travel
//! for up to [`JITTER`], so those that arrive within 60 s were started within 60 s + JITTER. With
//! `b + r·(60 + JITTER) ≤ B` the EHR never counts more than B, whatever the arrivals.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    ports::{CallKind, Grant},
    time::Timestamp,
};

/// How much later one call may arrive than another that was started at the same time.
pub const JITTER: Duration = Duration::from_secs(1);

/// The smallest budget that makes sense, in calls a minute; configuration refuses less.
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

/// What a budget of calls a minute allows.
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
    /// Of a budget, at least [`SMALLEST_BUDGET`]. The burst is 3 % of it, and at least two calls.
    pub fn of(calls_per_minute: u32) -> Self {
        let budget = f64::from(calls_per_minute.max(SMALLEST_BUDGET));
        let burst = (0.03 * budget).max(2.0);
        let rate = (budget - burst) / (60.0 + JITTER.as_secs_f64());
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
    pub fn take(&mut self, calls_per_minute: u32, kind: CallKind, now: Timestamp) -> Grant {
        let allowance = Allowance::of(calls_per_minute);
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

    /// As many calls as the bucket grants, each arriving up to JITTER later: the EHR's own sliding window.
    fn most_in_a_window(calls_per_minute: u32, seconds: i64) -> usize {
        let mut bucket = TokenBucket::empty(Timestamp::from_millis(0));
        let mut arrivals = Vec::new();
        let mut now = Timestamp::from_millis(0);
        let mut turn = 0_i64;
        while now.as_millis() < seconds * 1000 {
            let kind = if turn % 3 == 0 {
                CallKind::Read
            } else {
                CallKind::Document
            };
            turn += 1;
            match bucket.take(calls_per_minute, kind, now) {
                Grant::Granted => arrivals.push(now.as_millis() + (turn * 7919) % 1000),
                Grant::Wait(until) => now = until,
            }
        }
        arrivals.sort_unstable();
        let mut window = VecDeque::new();
        let mut most = 0;
        for arrival in arrivals {
            window.push_back(arrival);
            while window.front().is_some_and(|first| arrival - first >= 60_000) {
                window.pop_front();
            }
            most = most.max(window.len());
        }
        most
    }

    #[test]
    fn no_window_holds_more_than_the_budget() {
        for budget in [10, 60, 250, 1000] {
            let most = most_in_a_window(budget, 400);
            assert!(most <= budget as usize, "budget {budget}: {most} calls in a minute");
            assert!(
                budget < 60 || most * 10 >= budget as usize * 8,
                "budget {budget}: only {most} calls in a minute were used"
            );
        }
    }

    #[test]
    fn polls_leave_the_reserve_alone() {
        let start = Timestamp::from_millis(0);
        let mut bucket = TokenBucket::empty(start);
        let later = start + Duration::from_secs(60);
        while bucket.take(250, CallKind::Document, later) == Grant::Granted {}
        assert_eq!(bucket.take(250, CallKind::Draft, later), Grant::Granted);
    }

    #[test]
    fn a_hold_holds_everybody_and_does_not_end_in_a_burst() {
        let start = Timestamp::from_millis(0);
        let mut bucket = TokenBucket::empty(start);
        let later = start + Duration::from_secs(60);
        bucket.take(1000, CallKind::Read, later);
        let until = later + Duration::from_secs(10);
        bucket.hold(until);
        assert_eq!(
            bucket.take(1000, CallKind::Draft, later + Duration::from_secs(9)),
            Grant::Wait(until)
        );
        let mut granted = 0;
        while bucket.take(1000, CallKind::Read, until) == Grant::Granted {
            granted += 1;
        }
        assert!(granted <= 30, "{granted} calls at once after a hold");
    }
}
