//! Many runs together: how often each kind of fault and each safeguard fired, and what did not hold.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Outcome;

/// Kinds of faults of which each has to happen in many runs.
pub const FAULTS: &[&str] = &[
    "clocks differ",
    "crash at a call",
    "crash at a moment",
    "crash between the models' answer and its commit",
    "document entered in error",
    "document superseded",
    "firm paused",
    "full disk",
    "models hang",
    "outage",
    "outage for longer than polls overlap",
    "pages shift while they are read",
    "process stands still",
    "records show late",
    "records show out of order",
    "reply delayed, and overtaken by others",
    "reply lost",
    "request doubled",
    "request lost",
    "slow disk",
    "storm of 429",
    "storm of 5xx",
    "three processes",
    "token over, or nearly",
    "token revoked",
];

/// Safeguards of which each has to be needed in many runs.
pub const SAFEGUARDS: &[&str] = &[
    "a call waits for its grant",
    "a cursor that was moved is not overwritten",
    "a draft of a retracted photo is not begun",
    "a lost lease is refused",
    "a lost watch list is not renewed",
    "a photo is taken up again",
    "a photo that is known is recognised",
    "a post that nobody knows about is listed as uncertain",
    "a search of several pages is read again",
    "a retraction after the post is an alarm",
    "a retraction is noticed",
    "a token is being asked for by another process",
    "a visit is found by reaching back behind the cursor",
    "an interrupted post is found by its intent",
    "an interrupted post is settled by a search",
    "an interrupted post is settled by posting again",
    "bytes that are gone are downloaded again",
    "everybody holds still after a 429",
    "everybody slows down for a late grant",
    "findings that were paid for are not paid for again",
    "what cannot be done is given up with a reason",
];

/// Runs together.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// How many runs.
    pub runs: u64,
    /// The seeds of those in which something did not hold.
    pub failed: Vec<u64>,
    /// What did not hold, at most a hundred.
    pub violations: Vec<String>,
    /// How often each kind of fault happened.
    pub faults: BTreeMap<&'static str, u64>,
    /// How often each safeguard was needed.
    pub safeguards: BTreeMap<&'static str, u64>,
    /// Photos that asked for a draft.
    pub photos: u64,
    /// With one draft in the chart.
    pub delivered: u64,
    /// Listed as uncertain.
    pub uncertain: u64,
    /// Dead letters.
    pub buried: u64,
    /// Retracted, and without a draft.
    pub retracted: u64,
    /// Looks of the models.
    pub looks: u64,
    /// Calls on the EHR.
    pub calls: u64,
    /// The fewest photos of a run.
    pub fewest_photos: u64,
    /// Seconds of virtual time.
    pub seconds: u64,
}

impl Summary {
    /// Adds a run.
    pub fn add(&mut self, outcome: &Outcome) {
        self.fewest_photos = if self.runs == 0 {
            outcome.photos
        } else {
            self.fewest_photos.min(outcome.photos)
        };
        self.runs += 1;
        if !outcome.violations.is_empty() {
            self.failed.push(outcome.seed);
            for (invariant, what) in &outcome.violations {
                if self.violations.len() < 100 {
                    self.violations
                        .push(format!("seed {}: {invariant}: {what}", outcome.seed));
                }
            }
        }
        for (kind, times) in &outcome.faults {
            *self.faults.entry(kind).or_default() += times;
        }
        for (kind, times) in &outcome.safeguards {
            *self.safeguards.entry(kind).or_default() += times;
        }
        self.photos += outcome.photos;
        self.delivered += outcome.delivered;
        self.uncertain += outcome.uncertain;
        self.buried += outcome.buried;
        self.retracted += outcome.retracted;
        self.looks += outcome.looks;
        self.calls += outcome.calls;
        self.seconds += outcome.seconds;
    }

    /// What never fired, of all that has to in many runs.
    pub fn never_fired(&self) -> Vec<&'static str> {
        let faults = FAULTS.iter().filter(|kind| !self.faults.contains_key(**kind));
        let safeguards = SAFEGUARDS.iter().filter(|kind| !self.safeguards.contains_key(**kind));
        faults.chain(safeguards).copied().collect()
    }
}
