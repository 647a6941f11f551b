//! Who comes next on one quota.
//!
//! Each arm (a visit, a firm) has an index W that grows with time. The arm with the greatest W is to be polled whenever
//! the quota has a call. Sorting by an index that moves is avoided: an arm sleeps in a heap until about the time when its W
//! reaches the *price*, the W of the arms that are being polled at present; those that are awake are few, and the greatest
//! among them is the greatest of all. A decision thus costs O(log n).
//!
//! The price is nothing that has to be controlled: it follows what was polled. With too low a price too many are awake, and
//! it is raised; with too high a price nobody is, and those that would wake next are woken early.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::time::Timestamp;

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

/// Arms awake at the least, if there are any: the choice is among these.
const AWAKE_AT_LEAST: usize = 6;

/// What is put back to sleep sleeps for this long at least, in seconds.
const LEAST_SLEEP: f64 = 0.02;

/// Arms awake at the most: above it the price is raised.
const AWAKE_AT_MOST: usize = 64;

/// What is overdue is worth this much and more: it comes before everything, the longest overdue first.
pub(super) const FORCED: f64 = 1e9;

/// One quota's arms.
#[derive(Debug)]
pub(super) struct Queue {
    /// The quota's name.
    pub(super) name: String,
    /// The price of a call: W of what is being polled at present.
    pub(super) price: f64,
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
    asleep: BinaryHeap<Reverse<(i64, Entry)>>,
    awake: Vec<Entry>,
}

/// What an arm is worth now, and when that reaches a given price.
pub(super) trait Worth {
    /// The arm's index now; none when the entry is outdated or the arm must not be polled before it is told otherwise.
    fn worth(&mut self, entry: Entry) -> Option<f64>;

    /// When the arm's index will reach `price`, or should be worked out again, in seconds.
    fn due(&mut self, entry: Entry, price: f64) -> f64;
}

impl Queue {
    pub(super) fn new(name: String, price: f64) -> Self {
        Self {
            name,
            price,
            blocked_until: Timestamp::ALWAYS,
            exhausted_until: Timestamp::ALWAYS,
            hinted: Vec::new(),
            busy_price: price,
            since_spare: 0,
            asleep: BinaryHeap::new(),
            awake: Vec::new(),
        }
    }

    /// Lets an arm sleep until `due`, in seconds.
    pub(super) fn sleep(&mut self, entry: Entry, due: f64) {
        // Not past what the heap's clock can hold; an arm that never becomes due is looked at now and then all the same.
        let due = if due.is_finite() {
            (due * 1000.0).ceil() as i64
        } else {
            i64::MAX
        };
        self.asleep.push(Reverse((due, entry)));
    }

    /// A hint points to the arm: it sleeps until `due`, and may be polled before out of the reserve.
    pub(super) fn hint(&mut self, entry: Entry, due: f64) {
        self.hinted.push(entry);
        self.sleep(entry, due);
    }

    /// The hinted arm that is worth most, if one is worth its price.
    pub(super) fn choose_hinted(&mut self, arms: &mut impl Worth) -> Option<Entry> {
        let mut best: Option<(f64, Entry)> = None;
        let price = self.price;
        self.hinted.retain(|entry| {
            let Some(worth) = arms.worth(*entry) else { return false };
            if worth >= price && best.is_none_or(|(most, _)| worth > most) {
                best = Some((worth, *entry));
            }
            worth >= price
        });
        best.map(|(_, entry)| entry)
    }

    /// The arm to poll now, taken out; or when to ask again, in seconds.
    pub(super) fn choose(&mut self, now: f64, least_price: f64, arms: &mut impl Worth) -> Result<Entry, f64> {
        let now_ms = (now * 1000.0) as i64;
        loop {
            while let Some(Reverse((due, entry))) = self.asleep.peek().copied() {
                let early = self.awake.len() < AWAKE_AT_LEAST && due < i64::MAX;
                if due > now_ms && !early {
                    break;
                }
                self.asleep.pop();
                self.awake.push(entry);
            }
            let mut best: Option<(usize, f64)> = None;
            let mut place = 0;
            while place < self.awake.len() {
                let entry = self.awake[place];
                match arms.worth(entry) {
                    None => {
                        self.awake.swap_remove(place);
                    }
                    // What fell behind since it was woken (its firm was polled) sleeps again.
                    Some(worth) if worth < 0.5 * self.price && self.awake.len() > AWAKE_AT_LEAST => {
                        self.awake.swap_remove(place);
                        self.sleep_on(entry, now, arms);
                    }
                    Some(worth) => {
                        if best.is_none_or(|(_, most)| worth > most) {
                            best = Some((place, worth));
                        }
                        place += 1;
                    }
                }
            }
            let Some((place, worth)) = best else {
                // What was awake was outdated: wake others, if there are any.
                if self.asleep.peek().is_some_and(|Reverse((due, _))| *due < i64::MAX) {
                    continue;
                }
                return Err(f64::INFINITY);
            };
            if worth < least_price {
                // Nobody is worth a call: all sleep until somebody is. Those that went to sleep at a high price would sleep too
                // long now.
                let was_dear = self.price > 2.0 * least_price;
                self.price = least_price;
                if was_dear {
                    for Reverse((_, entry)) in std::mem::take(&mut self.asleep) {
                        if arms.worth(entry).is_some() {
                            self.sleep_on(entry, now, arms);
                        }
                    }
                }
                for entry in std::mem::take(&mut self.awake) {
                    self.sleep_on(entry, now, arms);
                }
                let next = self.asleep.peek().map_or(i64::MAX, |Reverse((due, _))| *due);
                return Err(if next == i64::MAX {
                    f64::INFINITY
                } else {
                    next as f64 / 1000.0
                });
            }
            let entry = self.awake.swap_remove(place);
            if worth < FORCED {
                self.price *= (0.05 * (worth / self.price).ln().clamp(-2.0, 2.0)).exp();
                self.price = self.price.max(least_price);
            }
            // Forgotten by a tenth over some ten thousand calls.
            self.busy_price = (self.busy_price * 0.99999).max(self.price);
            self.since_spare = self.since_spare.saturating_add(1);
            if self.awake.len() > AWAKE_AT_MOST {
                self.thin_out(now, arms);
            }
            return Ok(entry);
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

    fn sleep_on(&mut self, entry: Entry, now: f64, arms: &mut impl Worth) {
        // Not at once again: the time has to pass, even where worth and due time disagree by a rounding.
        let due = arms.due(entry, self.price).max(now + LEAST_SLEEP);
        self.sleep(entry, due);
    }

    /// Too many are awake: the price was too low. It becomes what the upper half is worth, and the others sleep.
    fn thin_out(&mut self, now: f64, arms: &mut impl Worth) {
        let awake = std::mem::take(&mut self.awake);
        let mut worths: Vec<(f64, Entry)> = awake
            .into_iter()
            .filter_map(|entry| Some((arms.worth(entry)?, entry)))
            .collect();
        worths.sort_by(|a, b| b.0.total_cmp(&a.0));
        let lower = worths.split_off(worths.len() / 2);
        if let Some((least, _)) = worths.last().filter(|(least, _)| *least < FORCED) {
            self.price = self.price.max(*least);
        }
        self.awake.extend(worths.into_iter().map(|(_, entry)| entry));
        for (_, entry) in lower {
            self.sleep_on(entry, now, arms);
        }
    }
}
