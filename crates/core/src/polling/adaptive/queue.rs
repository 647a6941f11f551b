//! Who comes next on one quota.
//!
//! Each arm (a visit, a firm) has an index W that grows with time. The arm with the greatest W is to be polled whenever
//! the quota has a call. Sorting by an index that moves is avoided: W is cut into *levels*, each a quarter more than the one
//! below, and an arm sleeps in the heap of its level until about the time when its W reaches the next one. The greatest W is
//! in the highest level that is not empty; a few of its arms are awake, and compared. Levels far below the price are
//! climbed several at once. An arm climbs a dozen times between two polls, so that a decision costs O(log n).
//!
//! The price of a call is nothing that has to be controlled: it is the W of what is being polled at present.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{polling::share::Decayed, time::Timestamp};

/// What can be polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Arm {
    /// A firm's encounters.
    Firm(u32),
    /// A visit's documents; of a firm with searches for several visits: the documents of those of its visits that need it
    /// most.
    Visit(u32),
    /// The documents of several visits of a firm, or of all.
    Documents(u32),
}

/// An arm, valid as long as its generation is the arm's present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) arm: Arm,
    pub(super) generation: u32,
}

/// An arm that sleeps until it is due, in milliseconds. The arm is packed, so that twice as many fit into a cache line and two are compared
/// at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sleeper {
    due: i64,
    packed: u64,
}

impl Sleeper {
    const KIND: u32 = 62;
    const NUMBER: u64 = (1 << 30) - 1;

    fn new(due: i64, Entry { arm, generation }: Entry) -> Self {
        let (kind, number) = match arm {
            Arm::Firm(number) => (0, number),
            Arm::Visit(number) => (1, number),
            Arm::Documents(number) => (2, number),
        };
        debug_assert!(u64::from(number) <= Self::NUMBER, "a thousand million arms at most");
        Self {
            due,
            packed: (kind << Self::KIND) | (u64::from(number) << 32) | u64::from(generation),
        }
    }

    fn entry(self) -> Entry {
        let number = (self.packed >> 32 & Self::NUMBER) as u32;
        let arm = match self.packed >> Self::KIND {
            0 => Arm::Firm(number),
            1 => Arm::Visit(number),
            _ => Arm::Documents(number),
        };
        Entry {
            arm,
            generation: self.packed as u32,
        }
    }
}

/// Levels: the first is below the least price, and each is so many times the one below. The highest are above all that
/// is expected of anybody, and hold what is overdue.
const LEVELS: usize = 116;
const STEP: f64 = 1.25;

/// Who is so many levels below the price need not be known so well, and climbs so many levels at once.
const FAR_BELOW: usize = 3;
const STRIDE: usize = 12;

/// Arms awake at the least, if the highest level has them: the choice is among these.
const AWAKE_AT_LEAST: usize = 6;

/// Arms awake at the most: above it the lower half goes back to sleep.
const AWAKE_AT_MOST: usize = 24;

/// What is put to sleep sleeps for this long at least, in seconds.
const LEAST_SLEEP: f64 = 0.02;

/// What an arm that is awake is worth is worked out again after this time, in seconds: a call or two at the greatest quotas.
const HOLDS_FOR: f64 = 0.1;

/// Calls are counted over this time, in seconds.
const HOUR: f64 = 3600.0;

/// What is overdue is worth this much and more: it comes before everything, the longest overdue first.
pub(super) const FORCED: f64 = 1e9;

/// One quota's arms.
#[derive(Debug)]
pub(super) struct Queue {
    /// The quota's name.
    pub(super) name: String,
    /// The price of a call: W of what is being polled at present.
    pub(super) price: f64,
    /// Nothing that is worth less is polled.
    least_price: f64,
    /// The quota has no call before then.
    pub(super) blocked_until: Timestamp,
    /// It has none before then for what may take from the reserve either.
    pub(super) exhausted_until: Timestamp,
    /// Arms that a hint points to: they may take from the reserve.
    hinted: Vec<Entry>,
    /// The price of busy hours: the highest of late.
    busy_price: f64,
    /// Calls chosen since the last one that nobody needs otherwise.
    since_spare: u32,
    calls: Decayed,
    /// Calls a second in the busiest hour of late.
    pub(super) busy_rate: f64,
    /// What an arm is worth that leaves each level.
    ends: [f64; LEVELS],
    /// Those asleep on each level, by when they reach the next, in milliseconds; and when the first of each does.
    asleep: [BinaryHeap<Reverse<Sleeper>>; LEVELS],
    first: [i64; LEVELS],
    awake: Vec<Awake>,
    /// Those that climb at one moment; kept for its room.
    climbing: Vec<Entry>,
}

/// An arm that is awake, and what it was worth when that was last worked out, in seconds.
#[derive(Debug, Clone, Copy)]
struct Awake {
    entry: Entry,
    worth: f64,
    at: f64,
}

/// What an arm is worth now, and when that reaches a given price.
pub(super) trait Worth {
    /// What was worked out about an arm at one moment.
    type Weighed;

    /// Whether the entry is not outdated.
    fn is_current(&self, entry: Entry) -> bool;

    /// Weighs an arm as of now. Of a current entry.
    fn weigh(&mut self, entry: Entry) -> Self::Weighed;

    /// The index that was worked out.
    fn index(weighed: &Self::Weighed) -> f64;

    /// When the index of an arm that was weighed just now will reach `price`, if nothing is observed until then, in seconds.
    fn due(&self, entry: Entry, weighed: &Self::Weighed, price: f64) -> f64;

    /// The arm's index now. Of a current entry.
    fn worth(&mut self, entry: Entry) -> f64 {
        Self::index(&self.weigh(entry))
    }
}

impl Queue {
    pub(super) fn new(name: String, least_price: f64) -> Self {
        Self {
            name,
            price: least_price,
            least_price,
            blocked_until: Timestamp::ALWAYS,
            exhausted_until: Timestamp::ALWAYS,
            hinted: Vec::new(),
            busy_price: least_price,
            since_spare: 0,
            calls: Decayed::default(),
            busy_rate: 0.0,
            ends: std::array::from_fn(|level| {
                if level == LEVELS - 1 {
                    f64::INFINITY
                } else {
                    least_price * STEP.powi(level as i32)
                }
            }),
            asleep: [const { BinaryHeap::new() }; LEVELS],
            first: [i64::MAX; LEVELS],
            awake: Vec::new(),
            climbing: Vec::new(),
        }
    }

    fn level(&self, worth: f64) -> usize {
        self.ends.partition_point(|end| *end <= worth).min(LEVELS - 1)
    }

    /// Lets an arm sleep until it reaches a higher level.
    pub(super) fn sleep<A: Worth>(&mut self, entry: Entry, now: f64, arms: &mut A) {
        let weighed = arms.weigh(entry);
        self.sleep_on(entry, &weighed, now, arms);
    }

    fn sleep_on<A: Worth>(&mut self, entry: Entry, weighed: &A::Weighed, now: f64, arms: &A) {
        let level = self.level(A::index(weighed));
        let near = self.level(self.price).saturating_sub(FAR_BELOW);
        let last = if level < near {
            near.min(level + STRIDE) - 1
        } else {
            level
        };
        let due = if last == LEVELS - 1 {
            f64::INFINITY
        } else {
            // Not at once again: the time has to pass, even where worth and due time disagree by a rounding.
            arms.due(entry, weighed, self.ends[last]).max(now + LEAST_SLEEP)
        };
        // What never reaches the next level is the last of its own.
        let due = if due.is_finite() {
            (due * 1000.0).ceil() as i64
        } else {
            i64::MAX
        };
        self.asleep[level].push(Reverse(Sleeper::new(due, entry)));
        self.first[level] = self.first[level].min(due);
    }

    /// Who is next to leave a level, woken.
    fn wake(&mut self, level: usize) -> Option<Entry> {
        let woken = self.asleep[level].pop();
        self.first[level] = self.asleep[level].peek().map_or(i64::MAX, |Reverse(next)| next.due);
        woken.map(|Reverse(sleeper)| sleeper.entry())
    }

    /// A hint points to the arm: it may be polled out of the reserve.
    pub(super) fn hint(&mut self, entry: Entry) {
        self.hinted.push(entry);
    }

    /// The hinted arm that is worth most, if one is worth its price.
    pub(super) fn choose_hinted(&mut self, arms: &mut impl Worth) -> Option<Entry> {
        let mut best: Option<(f64, Entry)> = None;
        let price = self.price;
        self.hinted.retain(|entry| {
            let worth = if arms.is_current(*entry) {
                arms.worth(*entry)
            } else {
                0.0
            };
            if worth >= price && best.is_none_or(|(most, _)| worth > most) {
                best = Some((worth, *entry));
            }
            worth >= price
        });
        best.map(|(_, entry)| entry)
    }

    /// The highest level that somebody is on, asleep or awake.
    fn highest(&self) -> usize {
        let asleep = self.asleep.iter().rposition(|level| !level.is_empty()).unwrap_or(0);
        self.best()
            .map_or(asleep, |place| asleep.max(self.level(self.awake[place].worth)))
    }

    /// Moves those up that have reached the next level.
    fn climb(&mut self, now: f64, arms: &mut impl Worth) {
        let now_ms = (now * 1000.0) as i64;
        let mut climbing = std::mem::take(&mut self.climbing);
        for level in 0..LEVELS {
            while self.first[level] <= now_ms
                && let Some(entry) = self.wake(level)
            {
                climbing.push(entry);
            }
        }
        // Arms are far apart in memory: asked for one after the other, they are fetched together.
        climbing.retain(|entry| arms.is_current(*entry));
        for entry in climbing.drain(..) {
            self.sleep(entry, now, arms);
        }
        self.climbing = climbing;
    }

    /// The arm to poll now, taken out; or when to ask again, in seconds.
    pub(super) fn choose<A: Worth>(&mut self, now: f64, arms: &mut A) -> Result<Entry, f64> {
        self.climb(now, arms);
        self.awake.retain(|awake| arms.is_current(awake.entry));
        for awake in &mut self.awake {
            if now - awake.at > HOLDS_FOR {
                awake.worth = arms.worth(awake.entry);
                awake.at = now;
            }
        }
        let mut level = self.highest();
        while level > 0 {
            let (begins, ends) = (self.ends[level - 1], self.ends[level]);
            let peers = self.awake.iter().filter(|awake| awake.worth >= begins).count();
            if peers >= AWAKE_AT_LEAST || self.awake.iter().any(|awake| awake.worth >= ends) {
                break;
            }
            match self.wake(level) {
                Some(entry) if arms.is_current(entry) => {
                    let weighed = arms.weigh(entry);
                    let worth = A::index(&weighed);
                    if worth >= begins {
                        self.awake.push(Awake { entry, worth, at: now });
                    } else {
                        // It fell behind since: its firm was polled.
                        self.sleep_on(entry, &weighed, now, arms);
                    }
                }
                Some(_) => {}
                None if peers > 0 => break,
                None => level -= 1,
            }
        }
        let place = self.best();
        let Some(place) = place.filter(|place| self.awake[*place].worth >= self.least_price) else {
            // Nobody is worth a call: all sleep until somebody is.
            self.price = self.least_price;
            self.put_to_sleep(0, now, arms);
            let next = self.first[0];
            return Err(if next == i64::MAX {
                f64::INFINITY
            } else {
                next as f64 / 1000.0
            });
        };
        let Awake { entry, worth, .. } = self.awake.swap_remove(place);
        if worth < FORCED {
            self.price *= (0.05 * (worth / self.price).ln().clamp(-2.0, 2.0)).exp();
            self.price = self.price.max(self.least_price);
        }
        // Forgotten by a tenth over some ten thousand calls.
        self.busy_price = (self.busy_price * 0.99999).max(self.price);
        self.calls.add(1.0, now, HOUR);
        self.busy_rate = (self.busy_rate * 0.99999).max(self.calls.value(now, HOUR) / HOUR);
        self.since_spare = self.since_spare.saturating_add(1);
        if self.awake.len() > AWAKE_AT_MOST {
            self.awake.sort_by(|a, b| b.worth.total_cmp(&a.worth));
            self.put_to_sleep(AWAKE_AT_MOST / 2, now, arms);
        }
        Ok(entry)
    }

    /// The place of the arm that is worth most of those awake.
    fn best(&self) -> Option<usize> {
        (0..self.awake.len()).reduce(|best, place| {
            if self.awake[place].worth > self.awake[best].worth {
                place
            } else {
                best
            }
        })
    }

    /// Puts those awake to sleep, but for so many at their beginning.
    fn put_to_sleep(&mut self, but: usize, now: f64, arms: &mut impl Worth) {
        for awake in self.awake.split_off(but.min(self.awake.len())) {
            self.sleep(awake.entry, now, arms);
        }
    }

    /// Whether a call is to spare for what can wait for days: calls are worth little against busy hours, and not too many
    /// were spared of late.
    pub(super) fn is_quiet(&mut self) -> bool {
        const QUIET: f64 = 0.1;
        const ONE_IN: u32 = 4;
        let quiet = self.price < QUIET * self.busy_price && self.since_spare >= ONE_IN;
        if quiet {
            self.since_spare = 0;
        }
        quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arms whose W is `pace` times the square of the seconds since they were polled.
    struct Arms(Vec<(f64, f64, u32)>, f64);

    impl Arms {
        fn worth_of(&self, number: usize) -> f64 {
            let (pace, polled, _) = self.0[number];
            pace * (self.1 - polled).powi(2)
        }

        fn greatest(&self) -> f64 {
            (0..self.0.len())
                .map(|number| self.worth_of(number))
                .fold(0.0, f64::max)
        }
    }

    fn number(entry: Entry) -> usize {
        let Arm::Visit(number) = entry.arm else {
            panic!("only visits here")
        };
        number as usize
    }

    impl Worth for Arms {
        type Weighed = f64;

        fn is_current(&self, entry: Entry) -> bool {
            self.0[number(entry)].2 == entry.generation
        }

        fn weigh(&mut self, entry: Entry) -> f64 {
            self.worth_of(number(entry))
        }

        fn index(weighed: &f64) -> f64 {
            *weighed
        }

        fn due(&self, entry: Entry, _: &f64, price: f64) -> f64 {
            let (pace, polled, _) = self.0[number(entry)];
            polled + (price / pace).sqrt()
        }
    }

    const LEAST: f64 = 1e-5;

    /// Polls the greatest again and again, one each `every` seconds, and gives the least and the mean of what was chosen over
    /// the greatest of all.
    fn play(queue: &mut Queue, arms: &mut Arms, seconds: f64, every: f64) -> (f64, f64) {
        let (end, mut least, mut sum, mut count) = (arms.1 + seconds, 1.0_f64, 0.0, 0.0);
        while arms.1 < end {
            let now = arms.1;
            match queue.choose(now, arms) {
                Ok(entry) => {
                    let share = arms.worth_of(number(entry)) / arms.greatest();
                    least = least.min(share);
                    sum += share;
                    count += 1.0;
                    let arm = &mut arms.0[number(entry)];
                    (arm.1, arm.2) = (now, arm.2 + 1);
                    let generation = arm.2;
                    queue.sleep(Entry { generation, ..entry }, now, arms);
                    arms.1 = now + every;
                }
                Err(due) => {
                    assert!(arms.greatest() < LEAST, "somebody is worth a call at {now}");
                    assert!(due > now, "time passes");
                    arms.1 = due.min(end);
                }
            }
        }
        (least, sum / count)
    }

    #[test]
    fn the_greatest_comes_next_in_busy_hours_and_in_quiet_ones() {
        let pace = |number: u32| 1e-9 * 10_f64.powf(f64::from(number * 7919 % 1000) / 200.0);
        let mut arms = Arms((0..1000).map(|number| (pace(number), 0.0, 0)).collect(), 0.0);
        let mut queue = Queue::new("q".to_owned(), LEAST);
        for visit in 0..1000 {
            let entry = Entry {
                arm: Arm::Visit(visit),
                generation: 0,
            };
            queue.sleep(entry, 0.0, &mut arms);
        }
        // A thousand times dearer in the busy hour than in the quiet one, and back.
        for every in [10.0, 0.01, 10.0] {
            let (least, mean) = play(&mut queue, &mut arms, 3600.0, every);
            // So much of the climb may be missed for a moment when the price jumps.
            let stride = STEP.powi(-(STRIDE as i32 + 1));
            assert!(least >= stride, "a call each {every} s went to {least} of the greatest");
            assert!(
                mean >= 0.9,
                "calls each {every} s went to {mean} of the greatest on average"
            );
        }
    }

    #[test]
    fn what_is_exactly_at_the_edge_of_a_level_is_chosen() {
        let mut arms = Arms(vec![(1.0, 0.0, 0)], 0.0);
        let mut queue = Queue::new("q".to_owned(), LEAST);
        for level in 0..LEVELS - 1 {
            let entry = Entry {
                arm: Arm::Visit(0),
                generation: arms.0[0].2,
            };
            for worth in [
                queue.ends[level].next_down(),
                queue.ends[level],
                queue.ends[level].next_up(),
            ] {
                arms.1 = 1000.0;
                arms.0[0] = (worth, 999.0, arms.0[0].2);
                queue.sleep(entry, arms.1, &mut arms);
                if worth >= LEAST {
                    assert_eq!(queue.choose(arms.1, &mut arms), Ok(entry), "worth {worth}");
                }
            }
        }
    }
}
