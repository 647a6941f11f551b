//! Calls of a quota that a process books ahead: it makes them without asking for each.
//!
//! Where the quota is a row that several processes write, a write for each call is what polling costs most. So a process that polls
//! books a rate and a small burst for some seconds with one write, and makes calls out of a token bucket of its own that has
//! that rate and burst. What is booked is taken off what the shared bucket gathers and holds meanwhile. The tokens in the shared bucket and
//! in those of all bookings together thus never exceed the burst of the quota, grow by its rate at most, and each call takes one:
//! at most b + r·T calls begin in any time T, as without bookings.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Allowance, Booked, TokenBucket, after};
use crate::{
    ports::{CallKind, Grant},
    time::Timestamp,
};

/// How long a booking lasts, in seconds. Long enough for tens of calls at busy quotas; a process that did not see the EHR refuse a call goes
/// on for this long.
pub(super) const BOOKED_FOR: f64 = 3.0;

/// A process that booked is expected to book again for this long, in seconds: parts are cut so that it can.
const REMEMBERED_FOR: f64 = 30.0;

/// This part of the rate is never booked, and at least twice what reads and drafts took of late.
const UNBOOKED: f64 = 0.1;

/// Reads and drafts are counted over this time, in seconds.
const MEMORY: f64 = 20.0;

/// One process's part of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Booking {
    /// Whose: a random number of each process.
    holder: u64,
    /// Calls a second, and calls at once.
    rate: f64,
    burst: f64,
    until: Timestamp,
}

/// What is booked of one quota, kept beside its [`TokenBucket`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Bookings {
    /// In the order of their ends; for a while also those that have ended.
    bookings: Vec<Booking>,
    /// Calls that went out of the reserve, forgotten slowly; as of the bucket's time.
    reads: f64,
}

/// What one process has booked, and what it made of it. Times are by its own clock.
#[derive(Debug, Clone, PartialEq)]
pub struct BookedCalls {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Timestamp,
    until: Timestamp,
}

impl BookedCalls {
    /// Takes a booked call, or says when to ask again; nothing when the booking has ended.
    pub fn take(&mut self, now: Timestamp) -> Option<Grant> {
        if now >= self.until {
            return None;
        }
        self.tokens = (self.tokens + self.rate * now.since(self.at).as_secs_f64()).min(self.burst);
        self.at = self.at.max(now);
        Some(if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            Grant::Granted
        } else {
            Grant::Wait(after(now, (1.0 - self.tokens) / self.rate).min(self.until))
        })
    }

    /// When it was last used.
    pub const fn used_at(&self) -> Timestamp {
        self.at
    }
}

impl Bookings {
    /// What is booked at `at`.
    fn booked(&self, at: Timestamp) -> Booked {
        let running = self.bookings.iter().filter(|booking| booking.until > at);
        running.fold(Booked::default(), |sum, booking| Booked {
            rate: sum.rate + booking.rate,
            burst: sum.burst + booking.burst,
        })
    }

    /// Whether it is known that `holder` wants a part.
    pub fn knows(&self, holder: u64) -> bool {
        self.bookings.iter().any(|booking| booking.holder == holder)
    }

    /// Brings the bucket to `now`, booking by booking as they end, and gives what is booked then.
    fn gather(&mut self, bucket: &mut TokenBucket, allowance: Allowance, now: Timestamp) -> Booked {
        let since = now.since(bucket.at).as_secs_f64();
        self.reads *= (-since / MEMORY).exp();
        let ends: Vec<Timestamp> = self.bookings.iter().map(|booking| booking.until).collect();
        for end in ends {
            if end > bucket.at && end < now {
                let booked = self.booked(bucket.at);
                bucket.gather(allowance, booked, end);
            }
        }
        let booked = self.booked(bucket.at);
        bucket.gather(allowance, booked, now);
        let remembered = Duration::from_secs_f64(REMEMBERED_FOR);
        self.bookings.retain(|booking| booking.until + remembered > bucket.at);
        // A booking that ends at this very moment holds nothing back any more.
        self.booked(bucket.at)
    }

    /// Takes one call from what is not booked: [`TokenBucket::take`].
    pub fn take(&mut self, bucket: &mut TokenBucket, allowance: Allowance, kind: CallKind, now: Timestamp) -> Grant {
        let booked = self.gather(bucket, allowance, now);
        let grant = bucket.grant(allowance, booked, kind, now);
        if grant == Grant::Granted && kind.has_reserve() {
            self.reads += 1.0;
        }
        grant
    }

    /// Books calls for `holder`, whose last booking has ended: an equal part of what processes that book may have. Nothing when others
    /// have it at present, there is too little to share, or the EHR refused a call: then calls are taken one by one. That
    /// `holder` wants some is noted in any case, so that it gets its part when others book again.
    pub fn book(
        &mut self,
        bucket: &mut TokenBucket,
        allowance: Allowance,
        holder: u64,
        now: Timestamp,
    ) -> Option<BookedCalls> {
        self.gather(bucket, allowance, now);
        self.bookings.retain(|booking| booking.holder != holder);
        let booked = self.booked(bucket.at);
        let rate = allowance.rate * bucket.share;
        let unbooked = (UNBOOKED * rate).max(2.0 * self.reads / MEMORY);
        // What polls may have at once: one of them, and the reserve, are left to whoever books nothing.
        let at_once = allowance.burst - allowance.reserve - 1.0;
        let holders = (self.bookings.len() + 1) as f64;
        let mine = Booking {
            holder,
            rate: ((rate - unbooked) / holders).min(rate - unbooked - booked.rate),
            burst: (at_once / holders).min(at_once - booked.burst).floor(),
            until: bucket.at + Duration::from_secs_f64(BOOKED_FOR),
        };
        // Not worth it for a call or two.
        let worth_it = mine.burst >= 1.0 && mine.rate * BOOKED_FOR >= 2.0;
        if now < bucket.held_until || !worth_it {
            let (rate, burst, until) = (0.0, 0.0, bucket.at);
            let wanted = Booking {
                holder,
                rate,
                burst,
                until,
            };
            self.bookings.push(wanted);
            self.bookings.sort_by_key(|booking| booking.until);
            return None;
        }
        let tokens = (bucket.tokens - allowance.reserve).clamp(0.0, mine.burst).floor();
        bucket.tokens -= tokens;
        self.bookings.push(mine);
        self.bookings.sort_by_key(|booking| booking.until);
        bucket.tokens = bucket.tokens.min(allowance.burst - self.booked(bucket.at).burst);
        Some(BookedCalls {
            rate: mine.rate,
            burst: mine.burst,
            tokens,
            at: now,
            until: now + Duration::from_secs_f64(BOOKED_FOR),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{JITTER, tests::most_at_once};

    const WINDOW: Duration = Duration::from_secs(60);

    /// One quota, and processes that poll as fast as they may, each out of bookings; one more reads now and then.
    struct Play {
        allowance: Allowance,
        bucket: TokenBucket,
        bookings: Bookings,
        polls: Vec<(Option<BookedCalls>, Timestamp, usize)>,
        /// When each call began, in milliseconds.
        calls: Vec<i64>,
        writes: usize,
        longest_read: i64,
    }

    impl Play {
        fn new(budget: u32, processes: usize) -> Self {
            let start = Timestamp::from_millis(0);
            Self {
                allowance: Allowance::of(budget, WINDOW),
                bucket: TokenBucket::empty(start),
                bookings: Bookings::default(),
                polls: vec![(None, start, 0); processes],
                calls: Vec::new(),
                writes: 0,
                longest_read: 0,
            }
        }

        /// A poll of process `number`, as the store makes it.
        fn poll(&mut self, number: usize, now: Timestamp) -> Grant {
            let booked = self.polls[number].0.as_mut();
            if let Some(grant) = booked.and_then(|calls| calls.take(now)) {
                return grant;
            }
            self.writes += 1;
            let holder = number as u64;
            let mut calls = self.bookings.book(&mut self.bucket, self.allowance, holder, now);
            let grant = match &mut calls {
                Some(calls) => calls.take(now).unwrap(),
                None => self
                    .bookings
                    .take(&mut self.bucket, self.allowance, CallKind::Document, now),
            };
            self.polls[number].0 = calls;
            grant
        }

        /// Ten minutes, with a read each `read_every` milliseconds; `forgetful`: nobody knows what others booked.
        fn run(&mut self, read_every: i64, forgetful: bool) {
            let (mut asked, mut read_again) = (0, 0);
            for now in 0..600_000 {
                let at = Timestamp::from_millis(now);
                for number in 0..self.polls.len() {
                    while self.polls[number].1 <= at {
                        match self.poll(number, at) {
                            Grant::Granted => {
                                self.calls.push(now);
                                self.polls[number].2 += 1;
                            }
                            Grant::Wait(until) => self.polls[number].1 = until,
                        }
                    }
                    if forgetful {
                        self.bookings = Bookings::default();
                    }
                }
                if asked <= now && read_again <= now {
                    let kind = CallKind::Read;
                    match self.bookings.take(&mut self.bucket, self.allowance, kind, at) {
                        Grant::Granted => {
                            self.calls.push(now);
                            self.longest_read = self.longest_read.max(now - asked);
                            asked += read_every;
                        }
                        Grant::Wait(until) => read_again = until.as_millis(),
                    }
                }
            }
        }

        /// The most calls that arrive in a window, each up to JITTER after it began.
        fn most_in_a_window(&self) -> usize {
            let late = |(turn, began): (usize, &i64)| began + (turn as i64 * 7919) % JITTER.as_millis() as i64;
            most_at_once(self.calls.iter().enumerate().map(late).collect(), WINDOW)
        }
    }

    #[test]
    fn no_window_holds_more_than_the_budget_and_hardly_less() {
        for (budget, processes) in [
            (10, 1),
            (60, 2),
            (100, 1),
            (250, 2),
            (1000, 1),
            (1000, 4),
            (1000, 9),
            (6000, 3),
        ] {
            let mut play = Play::new(budget, processes);
            play.run(4_000, false);
            let most = play.most_in_a_window();
            assert!(most <= budget as usize, "budget {budget}: {most} calls in a window");
            let least = if budget < 60 { 0.5 } else { 0.8 };
            assert!(
                most as f64 >= least * f64::from(budget),
                "budget {budget}, {processes} processes: only {most} calls in a window"
            );
        }
    }

    #[test]
    fn who_does_not_know_what_others_booked_calls_too_often() {
        let mut play = Play::new(1000, 4);
        play.run(4_000, true);
        assert!(play.most_in_a_window() > 1000);
    }

    #[test]
    fn a_write_is_good_for_many_calls() {
        let mut play = Play::new(1000, 1);
        play.run(4_000, false);
        assert!(
            play.writes * 20 < play.calls.len(),
            "{} writes, {} calls",
            play.writes,
            play.calls.len()
        );
    }

    #[test]
    fn processes_get_equal_parts() {
        let mut play = Play::new(1000, 3);
        play.run(4_000, false);
        let mut calls: Vec<usize> = play.polls.iter().map(|(.., calls)| *calls).collect();
        calls.sort_unstable();
        assert!(calls[0] * 10 > calls[2] * 8, "{calls:?}");
    }

    /// Many at once wait until it shows how many there are: then less is booked.
    #[test]
    fn reads_do_not_wait_long_for_polls() {
        for (read_every, most) in [(4_000, 1_000), (1_000, 2_000), (400, 8_000)] {
            let mut play = Play::new(1000, 2);
            play.run(read_every, false);
            assert!(
                play.longest_read <= most,
                "a read each {read_every} ms waited {} ms",
                play.longest_read
            );
        }
    }

    #[test]
    fn nothing_is_booked_of_a_quota_that_is_held() {
        let (start, allowance) = (Timestamp::from_millis(0), Allowance::of(1000, WINDOW));
        let (mut bucket, mut bookings) = (TokenBucket::empty(start), Bookings::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(bookings.book(&mut bucket, allowance, 1, at(60)).is_some());
        bucket.hold(at(64), at(70));
        assert_eq!(bookings.book(&mut bucket, allowance, 1, at(69)), None);
        let after = bookings.book(&mut bucket, allowance, 1, at(70)).unwrap();
        assert!(after.rate < 0.6 * allowance.rate, "the EHR refused: half the rate");
    }
}
