//! Polling: which call to make next.
//!
//! A policy is pure: it is told the time and what was observed, and says which call comes next. It holds no port and
//! reads no clock, so the same code runs in production and in a simulation. What it decides is carried out by the
//! stages, whose leases make a decision that comes twice harmless.

mod reference;
mod round_robin;
mod watch_list;

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    domain::{Encounter, EncounterId, EncounterWatch, FirmId},
    time::Timestamp,
};

pub use reference::Reference;
pub use round_robin::RoundRobin;

/// A poll to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PollCall {
    /// What changed in the firm since the cursor.
    Encounters {
        /// Which firm.
        firm: FirmId,
    },
    /// New documents of these encounters of one firm, leased together by one worker.
    Documents {
        /// Which firm.
        firm: FirmId,
        /// Which encounters, first things first.
        encounters: Vec<EncounterId>,
        /// For how long they are leased.
        lease_for: Duration,
    },
}

impl PollCall {
    /// The firm that is polled.
    pub const fn firm(&self) -> &FirmId {
        match self {
            Self::Encounters { firm } | Self::Documents { firm, .. } => firm,
        }
    }
}

/// What a policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Make this call now.
    Poll(PollCall),
    /// Nothing to do before then, unless something is observed.
    Wait(Timestamp),
}

/// What a policy is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// The firms to serve are these, no others.
    Firms(Vec<FirmId>),
    /// After a start: these encounters are under watch already.
    Watching(Vec<EncounterWatch>),
    /// A poll showed these encounters; those known at this version are no news.
    EncountersSeen {
        /// Which firm.
        firm: FirmId,
        /// What was seen.
        encounters: Vec<Encounter>,
    },
    /// A call given out by [`PollPolicy::next`] came to its end, good or bad.
    Ended(PollCall),
    /// The firm cannot be polled before then: its EHR is down, or its credential refused.
    Resting {
        /// Which firm.
        firm: FirmId,
        /// Until when.
        until: Timestamp,
    },
}

/// Decides which call to make next.
///
/// # Contract
/// Deterministic: the same observations at the same times give the same decisions. Never gives out a call for an
/// encounter, or an encounter poll of a firm, that is still under way. `next` may be called at any time and any number
/// of times.
pub trait PollPolicy: Send {
    /// Takes notice of something.
    fn observe(&mut self, observation: Observation, now: Timestamp);

    /// The next call.
    fn next(&mut self, now: Timestamp) -> Decision;
}

/// The policies by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyName {
    /// The published schedule.
    Reference,
    /// Everything in turn, as fast as the quota allows.
    RoundRobin,
}

impl PolicyName {
    /// A fresh policy of this name.
    pub fn build(self) -> Box<dyn PollPolicy> {
        match self {
            Self::Reference => Box::new(Reference::default()),
            Self::RoundRobin => Box::new(RoundRobin::default()),
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Reference => "reference",
            Self::RoundRobin => "round-robin",
        })
    }
}

impl FromStr for PolicyName {
    type Err = UnknownPolicy;
    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        match text {
            "reference" => Ok(Self::Reference),
            "round-robin" => Ok(Self::RoundRobin),
            _ => Err(UnknownPolicy),
        }
    }
}

/// There is no policy of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such polling policy; there are `reference` and `round-robin`")]
pub struct UnknownPolicy;
