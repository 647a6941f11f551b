//! When calls are short for long, what is of today goes first: old photos wait, and nothing is dropped.
//!
//! Reads and drafts go before polls, so that they wait for a call only where the quota allows fewer than the photos need. When
//! they have had to wait for a minute on end, calls are *short*. Then a photo that was filed more than an hour ago (after an
//! outage, a backfill, a replay) makes its calls when nobody else needs them, or when its turn comes: the old ones together get
//! a call's worth of time in [`CALLS_BETWEEN`].

use std::{collections::HashMap, time::Duration};

use super::Turn;
use crate::{quota::Allowance, time::Timestamp};

/// A photo filed within this time is of a visit that may still be going on.
pub const LIVE_FOR: Duration = Duration::from_secs(60 * 60);

/// Calls are short when some had to wait for so long on end.
const SHORT_AFTER: Duration = Duration::from_secs(60);

/// They are no longer, when none had to wait for so long.
const ENOUGH_AFTER: Duration = Duration::from_secs(30);

/// An old photo begins its two or three calls each time that so many may be made.
const CALLS_BETWEEN: f64 = 12.0;

/// Nothing is put off for longer than this at once.
const LONGEST_PUT_OFF: Duration = Duration::from_secs(300);

/// How the quotas stand that reads and drafts count against.
#[derive(Debug, Default)]
pub struct Shedding(HashMap<String, Shortage>);

#[derive(Debug, Clone, Copy)]
struct Shortage {
    since: Timestamp,
    last: Timestamp,
    is_told: bool,
    /// When the next old photo may begin, and until when they are put off.
    free_at: Timestamp,
    put_off_until: Timestamp,
}

/// Calls of a quota have become short, or are no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShortageChange {
    /// Old photos wait from now on.
    Short,
    /// They no longer do.
    Enough,
}

impl Shedding {
    /// A read or a draft asked for a call and got one, or has to wait.
    pub fn asked(&mut self, quota: &str, has_to_wait: bool, now: Timestamp) -> Option<ShortageChange> {
        if !has_to_wait {
            let over = self.0.get(quota).filter(|shortage| shortage.is_over(now))?;
            let was_told = over.is_told;
            self.0.remove(quota);
            return was_told.then_some(ShortageChange::Enough);
        }
        let new = Shortage {
            since: now,
            last: now,
            is_told: false,
            free_at: now,
            put_off_until: now,
        };
        let shortage = self.0.entry(quota.to_owned()).or_insert(new);
        if shortage.is_over(now) {
            *shortage = new;
        }
        shortage.last = now;
        let becomes = !shortage.is_told && now.since(shortage.since) >= SHORT_AFTER;
        shortage.is_told |= becomes;
        becomes.then_some(ShortageChange::Short)
    }

    /// When a photo that was filed at `filed_at` may make its next calls.
    pub fn turn(&mut self, quota: &str, allowance: Allowance, filed_at: Timestamp, now: Timestamp) -> Turn {
        let short = self
            .0
            .get_mut(quota)
            .filter(|shortage| shortage.is_told && !shortage.is_over(now));
        let Some(shortage) = short.filter(|_| now.since(filed_at) > LIVE_FOR) else {
            return Turn::Now;
        };
        let apart =
            Duration::from_secs_f64((CALLS_BETWEEN / allowance.rate.max(1e-3)).min(LONGEST_PUT_OFF.as_secs_f64()));
        if now >= shortage.free_at {
            shortage.free_at = now + apart;
            return Turn::Now;
        }
        let until = shortage.put_off_until.max(shortage.free_at) + apart;
        shortage.put_off_until = until.min(now + LONGEST_PUT_OFF);
        Turn::At(shortage.put_off_until)
    }
}

impl Shortage {
    fn is_over(&self, now: Timestamp) -> bool {
        // A clock that was set back ends it, too.
        now < self.last || now.since(self.last) >= ENOUGH_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: &str = "key";

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn allowance() -> Allowance {
        Allowance::of(60, Duration::from_secs(60))
    }

    /// Waits for calls each second from `from` to `to`.
    fn wait(shedding: &mut Shedding, from: i64, to: i64) -> Vec<ShortageChange> {
        (from..=to)
            .filter_map(|second| shedding.asked(QUOTA, true, at(second)))
            .collect()
    }

    #[test]
    fn a_minute_of_waiting_makes_calls_short_and_a_burst_does_not() {
        let mut shedding = Shedding::default();
        assert_eq!(wait(&mut shedding, 0, 50), []);
        assert_eq!(wait(&mut shedding, 100, 150), [], "half a minute without");
        assert_eq!(shedding.turn(QUOTA, allowance(), at(-9999), at(150)), Turn::Now);
        assert_eq!(wait(&mut shedding, 151, 200), [ShortageChange::Short], "said once");
        assert!(matches!(
            shedding.turn(QUOTA, allowance(), at(-9999), at(200)),
            Turn::Now
        ));
        assert!(matches!(
            shedding.turn(QUOTA, allowance(), at(-9999), at(200)),
            Turn::At(_)
        ));
        assert_eq!(shedding.turn("another", allowance(), at(-9999), at(200)), Turn::Now);
        assert_eq!(
            shedding.asked(QUOTA, false, at(201)),
            None,
            "one that need not wait is no end"
        );
        assert_eq!(shedding.turn(QUOTA, allowance(), at(-9999), at(230)), Turn::Now);
        assert_eq!(shedding.asked(QUOTA, false, at(231)), Some(ShortageChange::Enough));
    }

    #[test]
    fn old_photos_wait_for_their_turn_which_comes_and_live_ones_never_do() {
        let mut shedding = Shedding::default();
        wait(&mut shedding, 0, 60);
        let (mut began, mut due) = (0, vec![at(60); 100]);
        for second in 60..660 {
            shedding.asked(QUOTA, true, at(second));
            assert_eq!(
                shedding.turn(QUOTA, allowance(), at(second - 3600), at(second)),
                Turn::Now
            );
            due.retain_mut(|due| {
                if *due > at(second) {
                    return true;
                }
                match shedding.turn(QUOTA, allowance(), at(-7200), at(second)) {
                    Turn::Now => {
                        began += 1;
                        false
                    }
                    Turn::At(until) => {
                        assert!(until > at(second) && until <= at(second) + LONGEST_PUT_OFF);
                        *due = until;
                        true
                    }
                }
            });
        }
        // A call a second, an old photo each twelve.
        assert!((35..=51).contains(&began), "{began} old photos began in ten minutes");
    }
}
