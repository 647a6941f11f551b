//! Looking at the state and repairing it: what operators see and do.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{RetractedDraft, StateError};
use crate::{
    domain::{
        AssessmentId, AssistResult, Cursor, DeadLetter, DeadLetterSubject, DocumentId, DraftReference, FailingFirm,
        Firm, FirmId, FirmStatus, Journey, Mode, PollerFigures, Reason, Stage,
    },
    time::Timestamp,
};

type Outcome<T> = Result<T, StateError>;

/// How a firm stands, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// The firm.
    pub firm: Firm,
    /// Why its credential is refused, if it is.
    pub credential_refused: Option<Reason>,
    /// That its polls fail, where whoever polls it says so ([`Overview::told_by`]); a store alone does not know.
    #[serde(default)]
    pub failing: Option<FailingFirm>,
    /// The cursor.
    pub cursor: Option<Cursor>,
    /// Encounters under watch.
    pub watched_encounters: u64,
    /// Photos waiting for their bytes.
    pub waiting_download: u64,
    /// Photos waiting for the models.
    pub waiting_inference: u64,
    /// Results waiting for write-back.
    pub waiting_delivery: u64,
    /// Drafts in the chart.
    pub delivered: u64,
    /// Drafts that may be in the chart.
    pub uncertain: u64,
    /// Results kept back, by silent mode or because the EHR takes no draft.
    pub withheld: u64,
    /// Drafts whose photo was retracted after the post, and that no operator has taken note of.
    pub retracted: u64,
    /// Given up.
    pub dead_letters: u64,
    /// How long photos found in the last 24 hours had been filed for, by the documents' own times.
    pub detection: DetectionLatency,
}

/// Whether a firm is served, and what keeps it from being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It is served.
    Served,
    /// An operator paused it.
    Paused,
    /// It is switched off.
    Off,
    /// Its credential is refused, for this reason.
    Stopped(&'a Reason),
    /// It is polled, and every poll fails.
    Failing(&'a FailingFirm),
}

impl Standing<'_> {
    /// The word of each.
    pub const WORDS: [&'static str; 5] = ["served", "paused", "off", "stopped", "failing"];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Paused => "paused",
            Self::Off => "off",
            Self::Stopped(_) => "stopped",
            Self::Failing(_) => "failing",
        }
    }
}

impl Overview {
    /// Whether the firm is served.
    pub fn standing(&self) -> Standing<'_> {
        match (&self.credential_refused, &self.failing) {
            _ if self.firm.status == FirmStatus::Paused => Standing::Paused,
            _ if self.firm.mode == Mode::Off => Standing::Off,
            (Some(reason), _) => Standing::Stopped(reason),
            (None, Some(failing)) => Standing::Failing(failing),
            (None, None) => Standing::Served,
        }
    }

    /// How firms stand, with what pollers say of those that they cannot read.
    pub fn told_by<'a>(firms: Vec<Self>, pollers: impl IntoIterator<Item = &'a PollerFigures>) -> Vec<Self> {
        let failing = pollers.into_iter().flat_map(|poller| &poller.failing_firms);
        let mut failing: HashMap<&FirmId, &FailingFirm> = failing.map(|failing| (&failing.firm, failing)).collect();
        let told = firms.into_iter().map(|overview| Self {
            failing: failing.remove(&overview.firm.id).cloned(),
            ..overview
        });
        told.collect()
    }

    /// Whether it is polled for nothing: no category of its documents is chosen, so that none is a photo.
    pub fn sees_nothing(&self) -> bool {
        self.firm.is_served() && self.firm.categories.is_empty()
    }
}

/// How long photos had been filed when they were found: of those whose filing time the EHR tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DetectionLatency {
    /// How many photos.
    pub photos: u64,
    /// The median, in milliseconds.
    pub p50_ms: u64,
    /// 95 % were found within, in milliseconds.
    pub p95_ms: u64,
}

/// Photos of one firm and hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PhotosOfHour {
    /// Whose.
    pub firm: FirmId,
    /// When the hour begins, UTC.
    pub hour: Timestamp,
    /// How many were found in it.
    pub photos: u64,
}

/// An item that waits for a step of the pipeline, or is worked on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Queued {
    /// Whose.
    pub firm: FirmId,
    /// A photo before it has a result, or a result before it is delivered.
    pub subject: DeadLetterSubject,
    /// The step.
    pub stage: Stage,
    /// When it may be acquired: its due time, or when the lease on it ends.
    pub available_at: Timestamp,
    /// The number of its latest lease.
    pub fence: u64,
    /// How often it was tried since its last progress.
    pub attempts: u32,
}

impl DetectionLatency {
    /// Of these, in milliseconds. By nearest rank: each figure is a latency that was observed.
    pub fn of(mut latencies: Vec<u64>) -> Self {
        latencies.sort_unstable();
        let percentile = |percent: usize| {
            let rank = (latencies.len() * percent).div_ceil(100);
            latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self {
            photos: latencies.len() as u64,
            p50_ms: percentile(50),
            p95_ms: percentile(95),
        }
    }
}

/// What an operator found out about an uncertain draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UncertainResolution {
    /// It is in the chart.
    Delivered(DraftReference),
    /// It is not: post it again.
    PostAgain,
    /// It is not, and shall not be.
    Discard,
}

/// Looking at the state and repairing it: for operators.
#[async_trait]
pub trait Operations: Send + Sync {
    /// Every firm in numbers.
    async fn overview(&self, now: Timestamp) -> Outcome<Vec<Overview>>;

    /// One firm in numbers, as [`overview`](Operations::overview) has it.
    async fn firm_overview(&self, firm: &FirmId, now: Timestamp) -> Outcome<Option<Overview>>;

    /// The ways of photos found since `since`, of one firm or of all, latest first, at most `limit`.
    async fn journeys(&self, firm: Option<&FirmId>, since: Timestamp, limit: usize) -> Outcome<Vec<Journey>>;

    /// The way of one photo; none where [`journeys`](Operations::journeys) would not list it.
    async fn journey(&self, firm: &FirmId, document: &DocumentId) -> Outcome<Option<Journey>>;

    /// How many photos were found in each hour since `since`, by firm and time. Hours without a photo are not listed.
    async fn photos_by_hour(&self, since: Timestamp) -> Outcome<Vec<PhotosOfHour>>;

    /// What waits for a step of the pipeline or is worked on, soonest available first, at most `limit`. What waits for a firm
    /// that is paused or off is not listed.
    async fn queued(&self, limit: usize) -> Outcome<Vec<Queued>>;

    /// A result; also one that was cancelled.
    async fn result(&self, firm: &FirmId, assessment: &AssessmentId) -> Outcome<Option<AssistResult>>;

    /// Everything given up, oldest first.
    async fn dead_letters(&self) -> Outcome<Vec<DeadLetter>>;

    /// Puts a dead letter back where it failed, with its attempts forgotten, due at `due_at`. [`StateError::NotFound`] when
    /// there is no such letter.
    async fn replay(&self, dead_letter: i64, due_at: Timestamp) -> Outcome<()>;

    /// All results of the firm but those that were cancelled, earliest first.
    async fn firm_results(&self, firm: &FirmId) -> Outcome<Vec<AssistResult>>;

    /// Results whose delivery is uncertain, oldest first.
    async fn uncertain(&self) -> Outcome<Vec<AssistResult>>;

    /// Ends an uncertainty. [`StateError::NotFound`] when the result is not uncertain.
    async fn resolve(
        &self,
        firm: &FirmId,
        assessment: &AssessmentId,
        resolution: &UncertainResolution,
        now: Timestamp,
    ) -> Outcome<()>;

    /// Drafts whose photo was retracted after the post and that no operator has taken note of, oldest first.
    async fn retracted_drafts(&self) -> Outcome<Vec<RetractedDraft>>;

    /// An operator took note. [`StateError::NotFound`] when there is nothing to take note of.
    async fn acknowledge_retraction(&self, firm: &FirmId, assessment: &AssessmentId, now: Timestamp) -> Outcome<()>;

    /// Deletes rows that have expired. Housekeeping: nothing depends on it.
    async fn sweep_expired(&self, now: Timestamp) -> Outcome<u64>;
}
