//! What polling learns, as sums: so that what several pollers learned adds up, and what is old fades.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::FirmId;

/// Events and what they are counted against: exposure in seconds, or expected events.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Count {
    /// How many, or how much.
    pub events: f64,
    /// Against what.
    pub exposure: f64,
}

impl Count {
    /// Adds another count.
    pub fn add(&mut self, other: Self) {
        self.events += other.events;
        self.exposure += other.exposure;
    }

    fn fade(&mut self, factor: f64) {
        self.events *= factor;
        self.exposure *= factor;
    }
}

/// What was learned: tables of counts by name, of all firms together and of each.
///
/// The names are the policy's own. A table whose meaning changes gets another name, so that what an earlier version of
/// the program learned is never misread.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Learned {
    /// Of all firms together: a table by name.
    pub shared: BTreeMap<String, Vec<Count>>,
    /// Of each firm: a count by name.
    pub firms: BTreeMap<FirmId, BTreeMap<String, Count>>,
}

impl Learned {
    /// What is learned counts half after this time: practices change their ways.
    pub const HALF_LIFE: std::time::Duration = std::time::Duration::from_secs(14 * 24 * 60 * 60);

    /// Adds what another learned. Tables of different lengths are joined as far as the longer one goes.
    pub fn add(&mut self, gained: &Self) {
        for (name, counts) in &gained.shared {
            let table = self.shared.entry(name.clone()).or_default();
            if table.len() < counts.len() {
                table.resize(counts.len(), Count::default());
            }
            for (known, gained) in table.iter_mut().zip(counts) {
                known.add(*gained);
            }
        }
        for (firm, counts) in &gained.firms {
            let known = self.firms.entry(firm.clone()).or_default();
            for (name, count) in counts {
                known.entry(name.clone()).or_default().add(*count);
            }
        }
    }

    /// Lets what is known count less, after `passed`: half after [`Self::HALF_LIFE`].
    pub fn fade(&mut self, passed: std::time::Duration) {
        let factor = 0.5_f64.powf(passed.as_secs_f64() / Self::HALF_LIFE.as_secs_f64());
        let firms = self.firms.values_mut().flat_map(BTreeMap::values_mut);
        for count in self.shared.values_mut().flatten().chain(firms) {
            count.fade(factor);
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.firms.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_firm(firm: &str, events: f64) -> Learned {
        let count = Count { events, exposure: 10.0 };
        Learned {
            shared: BTreeMap::from([("table".to_owned(), vec![count])]),
            firms: BTreeMap::from([(FirmId::new(firm), BTreeMap::from([("count".to_owned(), count)]))]),
        }
    }

    fn of_firms(counts: &[(&str, f64, f64)]) -> BTreeMap<FirmId, BTreeMap<String, Count>> {
        counts
            .iter()
            .map(|(firm, events, exposure)| {
                let count = Count {
                    events: *events,
                    exposure: *exposure,
                };
                (FirmId::new(*firm), BTreeMap::from([("count".to_owned(), count)]))
            })
            .collect()
    }

    #[test]
    fn adds_up_and_fades() {
        let mut learned = of_firm("a", 1.0);
        learned.add(&of_firm("b", 3.0));
        assert_eq!(
            learned.shared["table"],
            [Count {
                events: 4.0,
                exposure: 20.0
            }]
        );
        assert_eq!(learned.firms, of_firms(&[("a", 1.0, 10.0), ("b", 3.0, 10.0)]));
        learned.fade(Learned::HALF_LIFE);
        assert_eq!(
            learned.shared["table"],
            [Count {
                events: 2.0,
                exposure: 10.0
            }]
        );
        assert_eq!(learned.firms, of_firms(&[("a", 0.5, 5.0), ("b", 1.5, 5.0)]));
    }
}
