//! Bulkheads: what one firm's EHR does to its calls - hangs, trickles, fails - takes no more than a part of what is done at once.
//!
//! # Invariants
//! - Of the places of a loop a quarter, at least one, is kept from every single firm, so that there is always one that a firm
//!   with a hanging EHR does not have.
//! - Firms whose last call failed share a quarter of the places, at least one, and each has one of them at the most.
//! - Who is turned away is put off, one item after the other and never for longer than [`LONGEST_PUT_OFF`]: a firm with a
//!   thousand items and one place does not have them looked at every second.
//!
//! A firm that is alone has all places. With one place there is nothing to be kept.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use skin_assist_core::{domain::FirmId, time::Timestamp};

/// How far apart the items of a firm are put off that has its places full, taken together.
const AT_FULL_PLACES: Duration = Duration::from_secs(1);

/// How far apart those of a firm whose calls fail.
const WHILE_FAILING: Duration = Duration::from_secs(5);

/// Nothing is put off for longer at once.
const LONGEST_PUT_OFF: Duration = Duration::from_secs(300);

/// The places of one loop.
#[derive(Debug)]
pub(super) struct Bulkhead {
    places: usize,
    taken: HashMap<FirmId, usize>,
    failing: HashSet<FirmId>,
    put_off_until: HashMap<FirmId, Timestamp>,
}

impl Bulkhead {
    /// A loop that does so much at once.
    pub(super) fn new(places: usize) -> Self {
        Self {
            places,
            taken: HashMap::new(),
            failing: HashSet::new(),
            put_off_until: HashMap::new(),
        }
    }

    /// Places that no single firm gets.
    fn kept(&self) -> usize {
        (self.places / 4).max(1)
    }

    fn is_failing(&self, firm: &FirmId, is_ill: bool) -> bool {
        is_ill || self.failing.contains(firm)
    }

    /// Takes a place for a call of `firm`, one of `firms`, if it may have one. `is_ill` says that its calls fail elsewhere.
    pub(super) fn enter(&mut self, firm: &FirmId, firms: usize, is_ill: bool) -> bool {
        let taken = self.taken.get(firm).copied().unwrap_or(0);
        let may = if firms <= 1 {
            true
        } else if self.is_failing(firm, is_ill) {
            let of_failing = self.taken.keys().filter(|other| self.failing.contains(*other));
            taken == 0 && of_failing.count() < self.kept()
        } else {
            taken < self.places.saturating_sub(self.kept()).max(1)
        };
        if may {
            if is_ill {
                self.failing.insert(firm.clone());
            }
            self.taken.insert(firm.clone(), taken + 1);
        }
        may
    }

    /// Gives the place back, and says how it went where that is known.
    pub(super) fn leave(&mut self, firm: &FirmId, went_well: Option<bool>) {
        match self.taken.get_mut(firm) {
            Some(taken) if *taken > 1 => *taken -= 1,
            _ => _ = self.taken.remove(firm),
        }
        match went_well {
            Some(true) => {
                self.failing.remove(firm);
                self.put_off_until.remove(firm);
            }
            Some(false) => _ = self.failing.insert(firm.clone()),
            None => {}
        }
    }

    /// When an item of a firm that was turned away is due again.
    pub(super) fn put_off(&mut self, firm: &FirmId, is_ill: bool, now: Timestamp) -> Timestamp {
        let apart = if self.is_failing(firm, is_ill) {
            WHILE_FAILING
        } else {
            AT_FULL_PLACES / u32::try_from(self.places).unwrap_or(1).max(1)
        };
        let until = self.put_off_until.get(firm).map_or(now, |last| (*last).max(now)) + apart;
        let until = until.min(now + LONGEST_PUT_OFF);
        self.put_off_until.insert(firm.clone(), until);
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firm(number: usize) -> FirmId {
        FirmId::new(format!("firm-{number}"))
    }

    /// How many of so many tries got a place.
    fn entered(bulkhead: &mut Bulkhead, firm: &FirmId, tries: usize) -> usize {
        (0..tries).filter(|_| bulkhead.enter(firm, 10, false)).count()
    }

    #[test]
    fn no_firm_has_all_places_unless_it_is_alone() {
        for (places, most) in [(1, 1), (2, 1), (4, 3), (8, 6), (32, 24)] {
            assert_eq!(entered(&mut Bulkhead::new(places), &firm(0), 100), most);
            let mut alone = Bulkhead::new(places);
            assert!((0..places).all(|_| alone.enter(&firm(0), 1, false)));
        }
    }

    #[test]
    fn firms_that_fail_share_a_quarter_and_have_one_place_each() {
        let mut bulkhead = Bulkhead::new(8);
        for number in 0..20 {
            assert!(bulkhead.enter(&firm(number), 10, false));
            bulkhead.leave(&firm(number), Some(false));
        }
        let of_failing: usize = (0..20).map(|number| entered(&mut bulkhead, &firm(number), 3)).sum();
        assert_eq!(of_failing, 2);
        assert_eq!(entered(&mut bulkhead, &firm(99), 9), 6, "one that is well has its own");
        assert!(
            !bulkhead.enter(&firm(50), 10, true),
            "neither has one that fails elsewhere"
        );
        // What went well counts, what became of nothing does not.
        bulkhead.leave(&firm(0), None);
        assert_eq!(entered(&mut bulkhead, &firm(0), 3), 1);
        bulkhead.leave(&firm(0), Some(true));
        assert_eq!(entered(&mut bulkhead, &firm(0), 9), 6);
    }

    #[test]
    fn items_are_put_off_one_after_the_other_and_not_for_ever() {
        let mut bulkhead = Bulkhead::new(4);
        let now = Timestamp::from_millis(0);
        let mut last = now;
        for _ in 0..8 {
            let until = bulkhead.put_off(&firm(0), false, now);
            assert_eq!(until.since(last), Duration::from_millis(250));
            last = until;
        }
        bulkhead.leave(&firm(0), Some(false));
        assert_eq!(bulkhead.put_off(&firm(0), false, now).since(last), WHILE_FAILING);
        for _ in 0..1_000 {
            last = bulkhead.put_off(&firm(0), false, now);
        }
        assert_eq!(last, now + LONGEST_PUT_OFF);
        bulkhead.leave(&firm(0), Some(true));
        assert!(bulkhead.put_off(&firm(0), false, now) < now + Duration::from_secs(1));
    }
}
