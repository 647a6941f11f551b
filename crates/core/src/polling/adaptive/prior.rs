//! What is assumed before anything was learned.
//!
//! The rates are those of generated clinic days (the simulator's `clinic_days::generate`: visits with a median of 22 minutes,
//! first photos at a median of 11, bursts of up to four, one in 25 first photos half an hour to six hours after the visit),
//! rounded, and never quite nothing. They count as much as two photos in each bin, and where little is expected as much as a
//! day's watching at a few practices: a practice that has other ways is soon known by them.

use super::hazard::{AFTER_EDGES, FINISHED_EDGES, OPEN_EDGES, Phase};

/// The prior counts as much as this many photos in each bin.
pub(super) const EVENTS: f64 = 2.0;

/// But not more than so many seconds under watch. Where next to nothing is expected, two photos would outweigh weeks in which
/// none came, and a tenth of all calls would go to visits that are long over.
pub(super) const LONGEST_EXPOSURE: f64 = 1e6;

const PLANNED: f64 = 1e-6;

const OPEN: [f64; OPEN_EDGES.len() + 1] = [
    1e-6, 2e-6, 1.5e-5, 7e-5, 1.9e-4, 3.4e-4, 4.9e-4, 5.9e-4, 6.5e-4, 6.4e-4, 6.1e-4, 5.6e-4, 4.7e-4, 3.5e-4, 2.7e-4,
    1.8e-4, 1.2e-4, 7e-5, 3.4e-5, 1.4e-5, 6e-6, 2e-6, 2e-7, 5e-8, 5e-8, 5e-8, 5e-8, 5e-8,
];

const FINISHED: [f64; FINISHED_EDGES.len() + 1] = [
    1e-7, 1e-7, 1e-7, 1e-7, 1e-7, 1e-7, 1.1e-6, 1.1e-6, 1.1e-6, 1.1e-6, 1.1e-6, 1.1e-6, 1.1e-6, 1.1e-6, 1e-7, 5e-8,
    3e-8, 2e-8,
];

const AFTER: [f64; AFTER_EDGES.len() + 1] = [
    3.8e-3, 8.3e-3, 7.5e-3, 7.1e-3, 6.2e-3, 5.2e-3, 4.1e-3, 3.3e-3, 2.4e-3, 1.8e-3, 1.2e-3, 7e-4, 4.6e-4, 3.1e-4,
    2.1e-4, 1.5e-4, 1e-4, 6.8e-5, 3.6e-5, 2.2e-5, 1e-5, 5e-6, 1e-6, 2e-7, 2e-8,
];

/// After the fourth photo and later ones another is less likely.
const AFTER_MANY: f64 = 0.25;

/// Rates by bin, photos a second.
pub(super) fn rates(phase: Phase) -> Vec<f64> {
    match phase {
        Phase::Planned => vec![PLANNED],
        Phase::Open => OPEN.to_vec(),
        Phase::Finished => FINISHED.to_vec(),
        Phase::After { photos: 1..=3, .. } => AFTER.to_vec(),
        Phase::After { .. } => AFTER.iter().map(|rate| AFTER_MANY * rate).collect(),
    }
}
