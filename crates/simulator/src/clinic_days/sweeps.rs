//! Polling in sweeps.

use std::time::Duration;

/// Sweeps, as functions make them that cannot go on all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweeps {
    /// One begins each time that this has passed.
    pub every: Duration,
    /// It begins no call after this time.
    pub lasting: Duration,
    /// Where that is better ([`skin_assist_core::polling::is_better_paused`]), the next one begins only when this has passed.
    pub cycle: Duration,
}
