//! Polling: which call to make next.
//!
//! A policy is pure: it is told the time and what was observed, and says which call comes next. It holds no port and
//! reads no clock, so the same code runs in production and in a simulation. What it decides is carried out by the
//! stages, whose leases make a decision that comes twice harmless.

mod adaptive;
mod learned;
mod reference;
mod round_robin;
mod share;
mod shedding;
mod watch_list;

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    domain::{Encounter, EncounterId, FirmId, WatchedEncounter},
    ports::{CallKind, DocumentSearches},
    time::Timestamp,
};

pub use adaptive::Adaptive;
pub use learned::{Count, Learned};
pub use reference::Reference;
pub use round_robin::RoundRobin;
pub use share::{PipelineShares, Turn};
pub use shedding::{LIVE_FOR, Shedding, ShortageChange};

/// A poll to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PollCall {
    /// What changed in the firm since the cursor.
    Encounters {
        /// Which firm.
        firm: FirmId,
    },
    /// New documents of these encounters of one firm.
    Documents {
        /// Which firm.
        firm: FirmId,
        /// Which encounters, first things first.
        encounters: Vec<EncounterId>,
        /// By which right.
        hold: Hold,
        /// Whether there is a hint that a photo is there: such a call may take from the quota's reserve.
        hinted: bool,
    },
    /// All documents that changed in the firm since they were last asked for so.
    ChangedDocuments {
        /// Which firm.
        firm: FirmId,
    },
}

/// By which right a worker looks at encounters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The poller has leased the firm's watch list.
    WatchList,
    /// The worker leases these very encounters for this long, as published.
    Batch(Duration),
}

impl PollCall {
    /// What its first call counts as.
    pub const fn kind(&self) -> CallKind {
        match self {
            Self::Encounters { .. } => CallKind::Encounter,
            Self::Documents { hinted: true, .. } => CallKind::HintedDocument,
            Self::Documents { .. } | Self::ChangedDocuments { .. } => CallKind::Document,
        }
    }

    /// The firm that is polled.
    pub const fn firm(&self) -> &FirmId {
        match self {
            Self::Encounters { firm } | Self::Documents { firm, .. } | Self::ChangedDocuments { firm } => firm,
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

/// A firm to be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedFirm {
    /// Which.
    pub firm: FirmId,
    /// The name of the quota that its calls count against ([`crate::ports::QuotaKey::name`]).
    pub quota: String,
}

/// The answer to a poll, as far as time is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Of when the answer is, by our clock: in the middle between request and reply of the first page.
    pub as_of: Timestamp,
    /// The EHR's clock in the reply, where it shows one. HTTP's `Date` has whole seconds.
    pub server_time: Option<Timestamp>,
    /// Pages, hence calls.
    pub pages: u32,
}

impl Answer {
    /// The answer with a further page, asked for at `sent` and there at `received`.
    pub fn another_page(
        before: Option<Self>,
        sent: Timestamp,
        received: Timestamp,
        server_time: Option<Timestamp>,
    ) -> Self {
        match before {
            Some(before) => Self {
                pages: before.pages + 1,
                ..before
            },
            None => Self {
                as_of: sent + received.since(sent) / 2,
                server_time,
                pages: 1,
            },
        }
    }
}

/// What a look at an encounter's documents brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPhotos {
    /// The encounter.
    pub encounter: EncounterId,
    /// For each photo that was not known before: when it was filed, by the EHR's clock, where the EHR tells.
    pub filed_at: Vec<Option<Timestamp>>,
}

/// What a policy is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// The firms to serve are these, no others.
    Firms(Vec<ServedFirm>),
    /// After a start: these encounters of the firm are under watch already, or are past it and to be looked at once more.
    Watching(FirmId, Vec<WatchedEncounter>),
    /// What was learned before, by this poller or others.
    Learned(Learned),
    /// A poll showed these encounters; those known at this version are no news.
    EncountersSeen {
        /// Which firm.
        firm: FirmId,
        /// What was seen.
        encounters: Vec<Encounter>,
        /// Of when, in how many calls.
        answer: Answer,
    },
    /// These encounters' documents were looked at, all at the same time; those without a new photo are listed too.
    DocumentsSeen {
        /// Which firm.
        firm: FirmId,
        /// What the looks brought.
        looks: Vec<NewPhotos>,
        /// Of when, in how many calls.
        answer: Answer,
    },
    /// All changed documents of the firm were asked for: what is not listed has no new photo.
    AllDocumentsSeen {
        /// Which firm.
        firm: FirmId,
        /// New photos, of encounters under watch.
        looks: Vec<NewPhotos>,
        /// When the latest photo changed whose encounter is not known, by the EHR's clock: the next encounter poll may show it.
        stray: Option<Timestamp>,
        /// Of when, in how many calls.
        answer: Answer,
    },
    /// A call given out by [`PollPolicy::next`] was not made: its quota has nothing before then.
    NotGranted(PollCall, Timestamp),
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
/// of times. Each call given out is followed by [`Observation::Ended`] or [`Observation::NotGranted`] with that very call.
pub trait PollPolicy: Send {
    /// Takes notice of something.
    fn observe(&mut self, observation: Observation, now: Timestamp);

    /// The next call.
    fn next(&mut self, now: Timestamp) -> Decision;

    /// What was learned since this was last asked, for [`crate::ports::PollingMemory`].
    fn gained(&mut self) -> Learned {
        Learned::default()
    }

    /// For how many photos times seconds longer photos are to be expected to wait if nobody looks for this long. Without bounds for
    /// a policy that expects nothing in particular.
    fn loss_of_a_pause(&self, _pause: Duration) -> f64 {
        f64::INFINITY
    }

    /// How it stands.
    fn figures(&self) -> PolicyFigures {
        PolicyFigures::default()
    }
}

/// A second of a cycle, its state machine's and a sweep's, costs about what so many calls do (docs/aws.md).
const CALLS_FOR_A_SECOND: f64 = 1.5;

/// Whether polling in sweeps does better to pause for this long than to go on: whether photos would gain less from it than the calls
/// would that its seconds cost.
pub fn is_better_paused(policy: &dyn PollPolicy, pause: Duration, least_price: f64) -> bool {
    policy.loss_of_a_pause(pause) < CALLS_FOR_A_SECOND * pause.as_secs_f64() * least_price
}

/// How a policy stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PolicyFigures {
    /// Encounters under watch.
    pub encounters: usize,
    /// The price of a call, for each quota: the undetected mass (photos times seconds) that a call has to clear.
    pub prices: BTreeMap<String, f64>,
}

/// What a policy has to know of the EHR and of the operator's wishes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolicySettings {
    /// Which searches for documents there are.
    pub searches: DocumentSearches,
    /// Calls cost at least this much: what an idle system spends. See [`Self::USE_THE_QUOTA`].
    pub least_price: f64,
    /// How long after the end of its watch an encounter is looked at once more, when nobody else needs the calls.
    pub reconcile_within: Duration,
    /// How many seconds of a clinic pass in one of the clock's: 1, but where a demonstration plays a clinic faster than clinics are.
    /// [`Adaptive`] knows how long after the beginning of a visit photos are filed.
    pub pace: f64,
    /// What [`Adaptive`] does without, to measure what it is worth.
    pub without: Option<AdaptivePart>,
}

/// A part of [`Adaptive`] that can be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdaptivePart {
    /// The index: whoever has the most undetected photos comes next, however fast they come.
    Index,
    /// What a changed `lastUpdated` tells about photos.
    Hints,
    /// Rates stay as they are assumed before anything was seen.
    Learning,
    /// Small firms, and providers who seldom take photos, are polled no more often than is best for the mean.
    Fairness,
}

impl PolicySettings {
    /// [`Self::least_price`] for making the most of the quota.
    pub const USE_THE_QUOTA: f64 = 1e-5;

    /// For an EHR that is asked for one visit at a time, making the most of the quota.
    pub const fn one_by_one() -> Self {
        Self {
            searches: DocumentSearches {
                visits_in_one_call: 1,
                changed_since: false,
            },
            least_price: Self::USE_THE_QUOTA,
            reconcile_within: Duration::from_secs(3 * 24 * 60 * 60),
            pace: 1.0,
            without: None,
        }
    }
}

/// The policies by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyName {
    /// Where a new photo is most likely to wait for longest: [`Adaptive`].
    Adaptive,
    /// The published schedule.
    Reference,
    /// Everything in turn, as fast as the quota allows.
    RoundRobin,
}

impl PolicyName {
    /// All of them, the default first.
    pub const ALL: [Self; 3] = [Self::Adaptive, Self::Reference, Self::RoundRobin];

    /// A fresh policy of this name.
    pub fn build(self, settings: PolicySettings) -> Box<dyn PollPolicy> {
        match self {
            Self::Adaptive => Box::new(Adaptive::new(settings)),
            Self::Reference => Box::new(Reference::default()),
            Self::RoundRobin => Box::new(RoundRobin::default()),
        }
    }

    /// Whether its calls are made under leases on whole watch lists ([`Hold::WatchList`]), so that each firm is served by
    /// one poller at a time.
    pub const fn leases_watch_lists(self) -> bool {
        !matches!(self, Self::Reference)
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Adaptive => "adaptive",
            Self::Reference => "reference",
            Self::RoundRobin => "round-robin",
        })
    }
}

impl FromStr for PolicyName {
    type Err = UnknownPolicy;
    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.to_string() == text)
            .ok_or(UnknownPolicy)
    }
}

/// There is no policy of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such polling policy; there are `adaptive`, `reference` and `round-robin`")]
pub struct UnknownPolicy;
