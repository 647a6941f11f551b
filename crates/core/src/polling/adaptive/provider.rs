//! Who takes photos: the factor by which a provider's first photos come more often than those of others.

use crate::polling::Count;

/// The factor is believed to be 1 as much as this many first photos would make it so. The generated practices' propensities
/// have a relative standard deviation of 0.3, hence 1 / 0.3².
const WEIGHT: f64 = 11.0;

/// One provider of one firm.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Provider {
    /// First photos, against those that the tables had to expect.
    pub(super) firsts: Count,
    pub(super) gained: Count,
}

impl Provider {
    pub(super) fn factor(&self) -> f64 {
        (self.firsts.events + WEIGHT) / (self.firsts.exposure + WEIGHT)
    }

    pub(super) fn book(&mut self, events: f64, exposure: f64) {
        let count = Count { events, exposure };
        self.firsts.add(count);
        self.gained.add(count);
    }
}
