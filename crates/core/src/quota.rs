//! The arithmetic of a quota: B calls in every window of W, mostly 60 seconds.
//!
//! A token bucket of burst `b` and rate `r` grants at most `b + r·T` calls in any window of length T. A call begins within
//! [`GRANT_GOOD_FOR`] of its grant and arrives within [`JITTER`] of it, so those that arrive within W were granted within W + JITTER. With
//! `b + r·(W + JITTER) ≤ B` the EHR never counts more than B, whatever the arrivals.
//!
//! Where the store is so slow that no grant comes in time, one that is older is used ([`late_grant_good_for`]), and everybody is slowed
//! down before its call begins: [`TokenBucket::slow_down`] at some time h. Let p be the oldest such grant whose call arrives in a window that begins
//! at t. If p ≥ t − JITTER, nothing in the window was granted earlier than in the ordinary case. Otherwise all of it was granted in
//! the t + W − p after p, in which the full rate would grant `r·(t − p − JITTER)` too many, at most r times [`late_grant_good_for`]. But since h the rate is at
//! most half of r and recovers by 1/256 of r each second, so that in the x seconds from h until the window ends `r·(x/2 − x²/512)` fewer are granted, and h is before its call: x
//! is W or more where t is as late as it can be. A quarter of W, and 15 s at most, is less than that from 20 s on, also when
//! bookings go on at the old rate until they end.

mod booking;

use std::time::Duration;

pub use booking::{BookedCalls, Bookings};
use serde::{Deserialize, Serialize};

use crate::{
    ports::{CallKind, Grant},
    time::Timestamp,
};

/// How much later one call may arrive than another that was granted at the same time: up to [`GRANT_GOOD_FOR`] until it begins, and
/// the rest on its way.
pub const JITTER: Duration = Duration::from_millis(500);

/// How long after it was asked for a grant is good for a call to begin. The store may take its time, or the process may stand still
/// between the grant and the call: the call would then fall into a later window than the one it was counted in. A grant that is older
/// counts as used, and another one is asked for.
pub const GRANT_GOOD_FOR: Duration = Duration::from_millis(250);

/// The smallest budget that makes sense, in calls a window; configuration refuses less.
pub const SMALLEST_BUDGET: u32 = 10;

/// How old a grant may be with which a call begins where the store has been too slow for longer than anybody can wait, once everybody was
/// slowed down for it; nothing for windows in which that could not be made up for.
pub fn late_grant_good_for(window: Duration) -> Duration {
    const SHORTEST_WINDOW: Duration = Duration::from_secs(20);
    const MOST: Duration = Duration::from_secs(15);
    if window < SHORTEST_WINDOW {
        return Duration::ZERO;
    }
    (window / 4).min(MOST)
}

/// The share of the rate that is used from a late grant on, at most.
const SHARE_AFTER_LATE_GRANT: f64 = 0.5;

/// A token bucket, as it is kept in the store.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TokenBucket {
    /// Calls that may be made now.
    pub tokens: f64,
    /// When `tokens` was true.
    pub at: Timestamp,
    /// Nobody calls before this: the EHR refused a call.
    pub held_until: Timestamp,
    /// The share of the allowed rate that is used, at most 1: halved when the EHR refuses a call, since others may use the
    /// same key, and slowly raised again.
    pub share: f64,
}

/// The least share of the rate that is used, however often the EHR refuses.
const SMALLEST_SHARE: f64 = 1.0 / 16.0;

/// How fast the share recovers, a second: from nothing to all in 256 s.
const RECOVERY: f64 = 1.0 / 256.0;

/// What others have booked of a quota: calls a second, and calls at once.
#[derive(Debug, Clone, Copy, Default)]
struct Booked {
    rate: f64,
    burst: f64,
}

/// So many seconds later, rounded up to what a timestamp can hold: whoever asks again then is granted.
fn after(now: Timestamp, seconds: f64) -> Timestamp {
    now + Duration::from_millis((seconds * 1000.0).ceil().max(1.0) as u64)
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
    /// Of `calls`, at least [`SMALLEST_BUDGET`], in any `window`. The burst is 1 % of them, and at least two or three
    /// calls: what may come at once is taken off what may come in the long run, and polling gains nothing from bursts.
    pub fn of(calls: u32, window: Duration) -> Self {
        let budget = f64::from(calls.max(SMALLEST_BUDGET));
        let burst = (0.01 * budget).max(3.0).min(0.2 * budget);
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
            share: 1.0,
        }
    }

    /// Takes a token for a call of `kind`, or says when to ask again. A clock that went back adds nothing.
    pub fn take(&mut self, allowance: Allowance, kind: CallKind, now: Timestamp) -> Grant {
        self.gather(allowance, Booked::default(), now);
        self.grant(allowance, Booked::default(), kind, now)
    }

    /// Adds what has come since it was last used, but for what is booked.
    fn gather(&mut self, allowance: Allowance, booked: Booked, now: Timestamp) {
        let passed = now.since(self.at).as_secs_f64();
        self.share = (self.share + passed * RECOVERY).clamp(SMALLEST_SHARE, 1.0);
        let most = (allowance.burst - booked.burst).max(0.0);
        self.tokens = (self.tokens + passed * self.rate(allowance, booked)).clamp(0.0, most);
        self.at = self.at.max(now);
    }

    /// Calls a second at present, but for those that are booked.
    fn rate(&self, allowance: Allowance, booked: Booked) -> f64 {
        (allowance.rate * self.share - booked.rate).max(0.0)
    }

    /// Takes one of the tokens gathered by now.
    fn grant(&mut self, allowance: Allowance, booked: Booked, kind: CallKind, now: Timestamp) -> Grant {
        if now < self.held_until {
            return Grant::Wait(self.held_until);
        }
        let needed = match kind {
            // A full bucket is overflowing: nobody else asked for what came last.
            CallKind::Surplus => allowance.burst - booked.burst,
            kind if kind.has_reserve() => 1.0,
            _ => 1.0 + allowance.reserve,
        };
        if self.tokens >= needed {
            self.tokens -= 1.0;
            return Grant::Granted;
        }
        let wait = (needed - self.tokens) / self.rate(allowance, booked);
        // What is booked is free again soon.
        let most = if booked.rate > 0.0 {
            booking::BOOKED_FOR
        } else {
            f64::INFINITY
        };
        Grant::Wait(after(now, wait.min(most)))
    }

    /// The EHR refused a call: nobody calls before `until`, and from then on at half the rate. The tokens gathered are given
    /// up, so that the hold does not end in a burst. Calls that were under way when another was refused may be refused too:
    /// they prolong the hold, and do not halve the rate again.
    pub fn hold(&mut self, now: Timestamp, until: Timestamp) {
        if now >= self.held_until {
            self.share = (self.share / 2.0).max(SMALLEST_SHARE);
        }
        self.held_until = self.held_until.max(until);
        self.at = self.at.max(now);
        self.tokens = 0.0;
    }

    /// A call is about to begin with a grant that is older than it should be: from now on there are so few that it does no harm.
    pub fn slow_down(&mut self, now: Timestamp) {
        self.share = self.share.min(SHARE_AFTER_LATE_GRANT);
        self.at = self.at.max(now);
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
                Grant::Granted => arrivals.push(now.as_millis() + (turn * 7919) % JITTER.as_millis() as i64),
                Grant::Wait(until) => now = until,
            }
        }
        most_at_once(arrivals, window)
    }

    /// The most calls of any window, by when each arrives, in milliseconds: as the EHR counts them.
    pub(super) fn most_at_once(mut arrivals: Vec<i64>, window: Duration) -> usize {
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

    /// Calls as fast as they are granted, and a store that stands still now and then: what is granted meanwhile begins all at once when it
    /// goes on, as late grants. The most in a window.
    fn most_with_late_grants(calls: u32, window: Duration, slows_down: bool) -> usize {
        let allowance = Allowance::of(calls, window);
        let good_for = late_grant_good_for(window);
        let start = Timestamp::from_millis(0);
        let mut bucket = TokenBucket::empty(start);
        let (mut arrivals, mut held_back) = (Vec::new(), 0);
        let mut now = start;
        let mut stall_begins = start + window;
        // So that they fall on all phases of the recovery.
        let mut pauses = [1, 5, 2, 9, 3].into_iter().cycle();
        while now < start + window * 20 {
            let stalled = now >= stall_begins && now.since(stall_begins) < good_for;
            if held_back > 0 && !stalled {
                if slows_down {
                    bucket.slow_down(now);
                }
                arrivals.extend(std::iter::repeat_n(now.as_millis(), held_back));
                held_back = 0;
                stall_begins = now + pauses.next().unwrap() * window / 4;
            }
            match bucket.take(allowance, CallKind::Read, now) {
                Grant::Granted if stalled => held_back += 1,
                Grant::Granted => arrivals.push(now.as_millis()),
                Grant::Wait(until) => now = until,
            }
        }
        most_at_once(arrivals, window)
    }

    #[test]
    fn late_grants_do_no_harm_for_everybody_slows_down() {
        let seconds = Duration::from_secs;
        let quotas = [
            (60, seconds(60)),
            (250, seconds(60)),
            (1000, seconds(60)),
            (1000, seconds(20)),
            (5000, seconds(3600)),
        ];
        for (budget, window) in quotas {
            let most = most_with_late_grants(budget, window, true);
            assert!(most <= budget as usize, "budget {budget}: {most} calls in a window");
        }
        let most = most_with_late_grants(1000, seconds(60), false);
        assert!(most > 1000, "{most} calls: the test would not notice");
        assert_eq!(late_grant_good_for(seconds(1)), Duration::ZERO);
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
    fn a_surplus_call_is_one_that_nobody_else_asked_for() {
        let start = Timestamp::from_millis(0);
        let mut bucket = TokenBucket::empty(start);
        let mut surplus = 0;
        let mut now = start;
        // Polls as fast as they are granted: nothing is left.
        for _ in 0..100 {
            surplus += u32::from(bucket.take(minutely(250), CallKind::Surplus, now) == Grant::Granted);
            if let Grant::Wait(until) = bucket.take(minutely(250), CallKind::Document, now) {
                now = until;
            }
        }
        assert_eq!(surplus, 0);
        let Grant::Wait(until) = bucket.take(minutely(250), CallKind::Surplus, now) else {
            panic!("the bucket is not full");
        };
        assert_eq!(bucket.take(minutely(250), CallKind::Surplus, until), Grant::Granted);
    }

    #[test]
    fn a_hold_holds_everybody_and_does_not_end_in_a_burst() {
        let start = Timestamp::from_millis(0);
        let mut bucket = TokenBucket::empty(start);
        let later = start + Duration::from_secs(60);
        bucket.take(minutely(1000), CallKind::Read, later);
        let until = later + Duration::from_secs(10);
        bucket.hold(later, until);
        assert_eq!(
            bucket.take(minutely(1000), CallKind::Draft, later + Duration::from_secs(9)),
            Grant::Wait(until)
        );
        let mut granted = 0;
        while bucket.take(minutely(1000), CallKind::Read, until) == Grant::Granted {
            granted += 1;
        }
        assert!(granted <= 10, "{granted} calls at once after a hold");
    }

    #[test]
    fn a_refusal_halves_the_rate_and_the_rate_recovers() {
        let start = Timestamp::from_millis(0);
        let allowance = minutely(1000);
        let mut bucket = TokenBucket::empty(start);
        let mut now = start;
        // Three calls under way are refused together: one halving.
        for _ in 0..3 {
            bucket.hold(now, now + Duration::from_secs(5));
        }
        assert!((bucket.share - 0.5).abs() < 1e-9);
        for _ in 0..60 {
            now = bucket.held_until;
            bucket.hold(now, now + Duration::from_secs(5));
        }
        assert!(
            (bucket.share - SMALLEST_SHARE).abs() < 1e-9,
            "a storm leaves something to try with"
        );
        let mut granted_in = |from: Timestamp, seconds: u64| {
            let mut granted = 0;
            let mut now = from;
            while now < from + Duration::from_secs(seconds) {
                match bucket.take(allowance, CallKind::Read, now) {
                    Grant::Granted => granted += 1,
                    Grant::Wait(until) => now = until,
                }
            }
            granted
        };
        let first = granted_in(now + Duration::from_secs(5), 10);
        let later = granted_in(now + Duration::from_secs(600), 10);
        assert!(
            first * 4 < later,
            "{first} calls in the first 10 s, {later} after ten minutes"
        );
    }
}
