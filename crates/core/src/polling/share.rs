//! What one firm may use of a quota that others need too: however many photos one practice files, the others keep theirs.
//!
//! A firm may use what it usually does at this time of the day, and for a while what it uses in its busiest hours; always half
//! an equal part of the quota. Beyond that it gets what nobody else needs. What it usually uses is learned and remembered.

use std::collections::{BTreeMap, HashMap};

use super::{Count, Learned};
use crate::{domain::FirmId, quota::Allowance, time::Timestamp};

/// A firm may use this much of what it used so far.
const HEADROOM: f64 = 1.25;

/// What it does not use of either is saved up for this long, in seconds.
const SAVED_UP: [f64; 2] = [120.0, 1200.0];

/// A firm that has used up its share waits until this is there of it again, in seconds' worth: it is not asked about after
/// every call.
const RESUMES_WITH: f64 = 10.0;

const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;

/// Hours of a day.
const HOURS: usize = 24;

/// Names in what is remembered of a firm.
fn busiest_hours(prefix: &str) -> String {
    format!("{prefix}-busiest-hours-1")
}

fn hour_of(prefix: &str, hour: usize) -> String {
    format!("{prefix}-hour-1/{hour}")
}

fn hour_of_day(at: f64) -> usize {
    (at.rem_euclid(DAY) / HOUR) as usize % HOURS
}

/// A count that forgets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Decayed {
    count: f64,
    at: f64,
}

impl Decayed {
    pub(super) fn value(&self, now: f64, memory: f64) -> f64 {
        self.count * (-(now - self.at).max(0.0) / memory).exp()
    }

    pub(super) fn add(&mut self, amount: f64, now: f64, memory: f64) {
        self.count = self.value(now, memory) + amount;
        self.at = now;
    }
}

/// Calls a second, as a mean in which each hour or day counts as much as was used in it: the sum of squares against the sum.
/// Nights and days of rest do not lower it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Use {
    known: Count,
    gained: Count,
}

impl Use {
    fn learn(&mut self, rate: f64) {
        let count = Count {
            events: rate * rate,
            exposure: rate,
        };
        self.known.add(count);
        self.gained.add(count);
    }

    fn recall(&mut self, known: Count) {
        if known.events.is_finite() && known.exposure.is_finite() {
            self.known.add(known);
        }
    }

    fn rate(&self) -> f64 {
        self.known.events / self.known.exposure.max(f64::MIN_POSITIVE)
    }
}

/// One firm's share of one quota. Times are in seconds, rates in calls a second.
#[derive(Debug, Clone)]
pub(super) struct Share {
    /// What is saved up of the busiest hours' rate, and of the usual one.
    saved: [f64; 2],
    at: f64,
    /// What it uses in the hour that began then, and used in each hour of the day that began then: a day counts when it is over,
    /// or a burst would take its own first hour for usual.
    used: f64,
    hour_began: f64,
    today: [f64; HOURS],
    day_began: f64,
    /// What it used in the busiest hour of each day, and in each hour of the day.
    busiest_hours: Use,
    hours: [Use; HOURS],
    /// What it may use at present.
    rate: f64,
    over_until: f64,
}

impl Share {
    /// Of a firm of which nothing is known: it is not limited for a day.
    pub(super) fn new(now: f64) -> Self {
        Self {
            saved: [0.0; 2],
            at: now,
            used: 0.0,
            hour_began: now,
            today: [0.0; HOURS],
            day_began: now,
            busiest_hours: Use::default(),
            hours: [Use::default(); HOURS],
            rate: 0.0,
            over_until: f64::NEG_INFINITY,
        }
    }

    /// So many calls were made for it, or will have to be. It may always use `least`, in calls a second: infinite where nobody
    /// else is on the quota.
    pub(super) fn spend(&mut self, calls: f64, least: f64, now: f64) {
        self.learn(now);
        if now >= self.over_until {
            // What nobody else needed says nothing about what it needs.
            self.used += calls;
        }
        if self.busiest_hours.known.exposure <= 0.0 || least.is_infinite() {
            return;
        }
        let passed = (now - self.at).max(0.0);
        self.rate = f64::INFINITY;
        self.at = self.at.max(now);
        for (place, usual) in [self.busiest_hours.rate(), self.at_this_time(now)]
            .into_iter()
            .enumerate()
        {
            let rate = (HEADROOM * usual).max(least).max(1e-6);
            self.rate = self.rate.min(rate);
            let most = SAVED_UP[place] * rate;
            // What it gets beyond its share is not held against it for long.
            let left = (self.saved[place] + passed * rate).min(most) - calls;
            self.saved[place] = left.max(-SAVED_UP[0] * rate);
            if left < 0.0 {
                self.over_until = self.over_until.max(now + RESUMES_WITH - self.saved[place] / rate);
            }
        }
    }

    /// What it usually uses at this time of the day, or an hour earlier or later: days are not all alike.
    fn at_this_time(&self, now: f64) -> f64 {
        let hour = hour_of_day(now);
        let near = [hour + HOURS - 1, hour, hour + 1];
        near.map(|hour| self.hours[hour % HOURS].rate())
            .into_iter()
            .fold(0.0, f64::max)
    }

    fn learn(&mut self, now: f64) {
        if now - self.hour_began < HOUR {
            return;
        }
        self.today[hour_of_day(self.hour_began)] = self.used / HOUR;
        (self.used, self.hour_began) = (0.0, now);
        if now - self.day_began < DAY {
            return;
        }
        let mut busiest = 0.0_f64;
        for (hour, rate) in std::mem::take(&mut self.today).into_iter().enumerate() {
            busiest = busiest.max(rate);
            if rate > 0.0 {
                self.hours[hour].learn(rate);
            }
        }
        if busiest > 0.0 {
            self.busiest_hours.learn(busiest);
        }
        self.day_began = now;
    }

    /// Takes over what was learned of a firm before, under names that begin with `prefix`.
    pub(super) fn recall(&mut self, prefix: &str, counts: &BTreeMap<String, Count>) {
        if let Some(count) = counts.get(&busiest_hours(prefix)) {
            self.busiest_hours.recall(*count);
        }
        for (hour, used) in self.hours.iter_mut().enumerate() {
            if let Some(count) = counts.get(&hour_of(prefix, hour)) {
                used.recall(*count);
            }
        }
    }

    /// Adds what was learned since this was last asked.
    pub(super) fn gained(&mut self, prefix: &str, firm: &FirmId, learned: &mut Learned) {
        let busiest = (busiest_hours(prefix), &mut self.busiest_hours);
        let hours = self.hours.iter_mut().enumerate();
        for (name, used) in hours.map(|(hour, used)| (hour_of(prefix, hour), used)).chain([busiest]) {
            let gained = std::mem::take(&mut used.gained);
            if gained != Count::default() {
                learned.firms.entry(firm.clone()).or_default().insert(name, gained);
            }
        }
    }

    /// Until when others come first; a time that has passed where the firm is within its share.
    pub(super) fn over_until(&self) -> f64 {
        self.over_until
    }
}

/// The name of reads and drafts in what is remembered.
const PIPELINE: &str = "pipeline";

/// However few photos a firm had so far: this part of an equal part of the quota is its own for reads and drafts.
const LEAST_PART: f64 = 0.1;

/// Nobody is put off for longer than this at once, in seconds: by then the quota may have calls that nobody else needs.
const LONGEST_PUT_OFF: f64 = 300.0;

/// Each firm's share of the quota for what follows a photo that was found: reads and drafts, which go before polls. A firm that
/// has used up its share makes them with calls that nobody else needs, or when its turn comes.
#[derive(Debug, Default)]
pub struct PipelineShares {
    firms: HashMap<FirmId, (Share, f64)>,
}

/// When a firm may make its next call for a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Now: it was counted.
    Now,
    /// Its share is used up: with a call that nobody else needs, or then.
    At(Timestamp),
}

impl PipelineShares {
    /// Asks for a call of `firm`, one of `firms` on a quota of `allowance`.
    pub fn turn(&mut self, firm: &FirmId, allowance: Allowance, firms: usize, now: Timestamp) -> Turn {
        let at = now.as_millis() as f64 / 1000.0;
        let (share, next) = self.share(firm, at);
        if share.over_until() <= at {
            let least = if firms > 1 {
                LEAST_PART * allowance.rate / firms as f64
            } else {
                f64::INFINITY
            };
            share.spend(1.0, least, at);
            return Turn::Now;
        }
        // One after the other, as the share comes in.
        *next = next.max(share.over_until()) + 1.0 / share.rate;
        Turn::At(now + std::time::Duration::from_secs_f64((*next - at).clamp(0.0, LONGEST_PUT_OFF)))
    }

    /// Takes over what was learned before.
    pub fn recall(&mut self, learned: &Learned, now: Timestamp) {
        for (firm, counts) in &learned.firms {
            self.share(firm, now.as_millis() as f64 / 1000.0)
                .0
                .recall(PIPELINE, counts);
        }
    }

    /// Adds what was learned since this was last asked.
    pub fn gained(&mut self, learned: &mut Learned) {
        for (firm, (share, _)) in &mut self.firms {
            share.gained(PIPELINE, firm, learned);
        }
    }

    fn share(&mut self, firm: &FirmId, now: f64) -> &mut (Share, f64) {
        self.firms
            .entry(firm.clone())
            .or_insert_with(|| (Share::new(now), f64::NEG_INFINITY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A firm that uses a call each `every` seconds from `from` to `to`, when it may; how many it used.
    fn uses(share: &mut Share, every: f64, from: f64, to: f64) -> u32 {
        let (mut now, mut used) = (from, 0);
        while now < to {
            if share.over_until() <= now {
                share.spend(1.0, 0.0, now);
                used += 1;
            }
            now += every;
        }
        used
    }

    fn after_a_day() -> Share {
        let mut share = Share::new(0.0);
        // Ten calls a minute for eight hours, then none; the first of the next day ends the day.
        assert_eq!(uses(&mut share, 6.0, 0.0, 8.0 * HOUR), 4800);
        share.spend(1.0, 0.0, DAY);
        share
    }

    #[test]
    fn a_usual_day_is_never_held_back() {
        let mut share = after_a_day();
        assert_eq!(uses(&mut share, 6.0, DAY + HOUR, DAY + 9.0 * HOUR), 4800);
    }

    #[test]
    fn a_burst_gets_little_more_than_the_busiest_hour() {
        let mut share = after_a_day();
        let used = uses(&mut share, 0.06, DAY + HOUR, DAY + 2.0 * HOUR);
        assert!((600..=900).contains(&used), "{used} calls in an hour after 600 an hour");
    }

    #[test]
    fn an_equal_part_is_never_refused() {
        let mut share = after_a_day();
        let mut now = DAY + HOUR;
        for _ in 0..6000 {
            share.spend(1.0, 1.01, now);
            now += 1.0;
            assert!(share.over_until() <= now, "at {now}");
        }
    }

    #[test]
    fn days_of_rest_are_not_what_it_needs() {
        let mut share = after_a_day();
        for day in 2..4 {
            share.spend(1.0, 0.0, f64::from(day) * DAY);
        }
        let used = uses(&mut share, 6.0, 4.0 * DAY + HOUR, 4.0 * DAY + 9.0 * HOUR);
        assert_eq!(used, 4800);
    }

    #[test]
    fn what_was_learned_is_recalled() {
        let mut learned = Learned::default();
        after_a_day().gained("calls", &FirmId::new("a"), &mut learned);
        let mut share = Share::new(5.0 * DAY);
        share.recall("calls", &learned.firms[&FirmId::new("a")]);
        let used = uses(&mut share, 0.06, 5.0 * DAY, 5.0 * DAY + HOUR);
        assert!(used < 1000, "{used} calls in an hour");
    }

    #[test]
    fn who_has_used_up_its_share_is_put_off_and_nobody_else() {
        let (busy, other) = (FirmId::new("busy"), FirmId::new("other"));
        let usual = Count {
            events: 1e-4,
            exposure: 1e-2,
        };
        let of_a_firm: BTreeMap<_, _> = (0..HOURS)
            .map(|hour| hour_of(PIPELINE, hour))
            .chain([busiest_hours(PIPELINE)])
            .map(|name| (name, usual))
            .collect();
        let mut learned = Learned::default();
        for firm in [&busy, &other] {
            learned.firms.insert(firm.clone(), of_a_firm.clone());
        }
        let start = Timestamp::from_millis(1_000_000_000);
        let mut shares = PipelineShares::default();
        shares.recall(&learned, start);
        let allowance = Allowance::of(100, std::time::Duration::from_secs(60));
        let mut turn = |firm: &FirmId, seconds: u64| {
            shares.turn(firm, allowance, 2, start + std::time::Duration::from_secs(seconds))
        };
        // After an hour: what it saved up, then one call each minute or two, one after the other.
        let turns: Vec<Turn> = (0..20).map(|_| turn(&busy, 3600)).collect();
        let now = turns.iter().filter(|turn| **turn == Turn::Now).count();
        assert!((1..=10).contains(&now), "{now} calls at once: {turns:?}");
        let put_off: Vec<Turn> = turns.into_iter().filter(|turn| *turn != Turn::Now).collect();
        assert!(put_off.is_sorted_by_key(|turn| match turn {
            Turn::Now => start,
            Turn::At(at) => *at,
        }));
        assert_eq!(turn(&other, 3600), Turn::Now);
        assert_eq!(turn(&busy, 7200), Turn::Now, "its share comes in again");
    }
}
