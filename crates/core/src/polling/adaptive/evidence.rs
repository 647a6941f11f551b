//! What a new `lastUpdated` tells: whether filing a photo bumps the encounter, and how often it is bumped by other things.

use super::hazard::Phase;
use crate::polling::{Count, Learned};

/// Bumps that photos do not explain come while somebody works on the visit: they are counted apart by the time since it
/// opened, with and without photos, and for finished visits.
const NOISE_EDGES: [f64; 6] = [600.0, 1200.0, 1800.0, 2400.0, 3600.0, 7200.0];
const KINDS: usize = 2 * (NOISE_EDGES.len() + 1) + 1;
const FINISHED: usize = KINDS - 1;

/// What each is assumed to be before anything was learned, in bumps a second, worth so many seconds of watching.
const NOISE: f64 = 2e-3;
const NOISE_WHEN_FINISHED: f64 = 1e-5;
const NOISE_EXPOSURE: f64 = 1200.0;

const BUMPS: &str = "bumps-1";
const NOISES: &str = "noise-2";

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    /// Whether bumps are taken notice of.
    heeds_bumps: bool,
    /// Photos that bumped their encounter, of those of which it is known.
    bumps: Count,
    noise: [Count; KINDS],
    gained_bumps: Count,
    gained_noise: [Count; KINDS],
}

fn kind(phase: Phase, age: f64) -> usize {
    let bin = NOISE_EDGES.partition_point(|edge| *edge <= age);
    match phase {
        Phase::Planned | Phase::Open => bin,
        Phase::After { finished: false, .. } => NOISE_EDGES.len() + 1 + bin,
        Phase::Finished | Phase::After { .. } => FINISHED,
    }
}

impl Evidence {
    pub(super) fn new(heeds_bumps: bool) -> Self {
        Self {
            heeds_bumps,
            bumps: Count::default(),
            noise: [Count::default(); KINDS],
            gained_bumps: Count::default(),
            gained_noise: [Count::default(); KINDS],
        }
    }

    /// The share of photos that bump their encounter: the mean of what is believed after what was seen. Software does such
    /// a thing always, or never, or now and then; each is taken for equally likely at first, and "now and then" for any
    /// share. (A third of the prior on 1, a third on 0, a third uniform.)
    pub(super) fn bump_share(&self) -> f64 {
        if !self.heeds_bumps {
            return 0.0;
        }
        let seen = self.bumps.exposure;
        let (hits, misses) = (self.bumps.events, (seen - self.bumps.events).max(0.0));
        // How likely what was seen is when the share may be anything, against that it is always, or never.
        let uniform_mean = (hits + 1.0) / (seen + 2.0);
        match (hits < 0.5, misses < 0.5) {
            (true, true) => 0.5,
            (false, true) => (1.0 + uniform_mean / (seen + 1.0)) / (1.0 + 1.0 / (seen + 1.0)),
            (true, false) => (uniform_mean / (seen + 1.0)) / (1.0 + 1.0 / (seen + 1.0)),
            (false, false) => uniform_mean,
        }
    }

    /// Bumps a second that no photo explains, of a visit that opened `age` seconds ago.
    pub(super) fn noise(&self, phase: Phase, age: f64) -> f64 {
        let kind = kind(phase, age);
        let prior = if kind == FINISHED { NOISE_WHEN_FINISHED } else { NOISE };
        let count = self.noise[kind];
        (count.events + prior * NOISE_EXPOSURE) / (count.exposure + NOISE_EXPOSURE)
    }

    /// A photo bumped its encounter, or did not.
    pub(super) fn book_photo(&mut self, bumped: bool) {
        let count = Count {
            events: f64::from(u8::from(bumped)),
            exposure: 1.0,
        };
        self.bumps.add(count);
        self.gained_bumps.add(count);
    }

    /// So many bumps in so many seconds turned out not to be photos.
    pub(super) fn book_noise(&mut self, phase: Phase, age: f64, events: f64, exposure: f64) {
        let count = Count { events, exposure };
        self.noise[kind(phase, age)].add(count);
        self.gained_noise[kind(phase, age)].add(count);
    }

    pub(super) fn recall(&mut self, learned: &Learned) {
        if let Some([bumps]) = learned.shared.get(BUMPS).map(Vec::as_slice) {
            self.bumps.add(*bumps);
        }
        if let Some(noise) = learned.shared.get(NOISES) {
            for (known, count) in self.noise.iter_mut().zip(noise) {
                known.add(*count);
            }
        }
    }

    pub(super) fn gained(&mut self, learned: &mut Learned) {
        if self.gained_bumps != Count::default() {
            learned
                .shared
                .insert(BUMPS.to_owned(), vec![std::mem::take(&mut self.gained_bumps)]);
        }
        if self.gained_noise != [Count::default(); KINDS] {
            let noise = std::mem::take(&mut self.gained_noise);
            learned.shared.insert(NOISES.to_owned(), noise.to_vec());
        }
    }
}
