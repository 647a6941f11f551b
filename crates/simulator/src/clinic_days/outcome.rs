//! What came of a simulated day.

use serde::Serialize;
use skin_assist_core::{polling::Learned, ports::CallKind};

/// How a policy did. Seconds throughout.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The policy.
    pub policy: String,
    /// How documents were searched for.
    pub search: String,
    /// Practices.
    pub firms: usize,
    /// Calls a minute for all of them.
    pub budget_per_minute: u32,
    /// The share of photos that bump their visit's `lastUpdated`.
    pub hint: f64,
    /// Delays of photos filed while the visit was in progress.
    pub live: LiveDelay,
    /// Σ w·delay / Σ w over the photos of day 1, w = 1 while the visit was in progress and 0.25 after it.
    pub weighted_mean_s: f64,
    /// No policy can do better, where the hint is 0.
    pub lower_bound_s: Option<f64>,
    /// Photos not found within 24 h.
    pub missed: usize,
    /// The share of live photos that were found before the visit was over.
    pub detected_in_progress: f64,
    /// Calls made from the start of day 1 on.
    pub calls: CallCounts,
    /// Of all calls of day 1, for each photo of day 1.
    pub calls_per_document: f64,
    /// Calls that the EHR refused for its quota, on all days.
    pub over_quota: u64,
    /// The highest live mean of a practice over the median one.
    pub worst_over_median_firm: f64,
    /// How long the simulation took, by the clock of whoever ran it; nothing here reads one.
    pub wall_s: f64,
    /// Every live delay, for pictures.
    #[serde(skip)]
    pub live_delays: Vec<f64>,
    /// Calls in each quarter of an hour from the start of day 1 on, by kind as in [`CallCounts`].
    #[serde(skip)]
    pub calls_over_day: Vec<[u32; 4]>,
    /// Live delays by practice.
    #[serde(skip)]
    pub firm_delays: Vec<(u32, Vec<f64>)>,
    /// Weight and delay of each photo of day 1.
    #[serde(skip)]
    pub weighted: Vec<(f64, f64)>,
    /// What the policy learned.
    #[serde(skip)]
    pub learned: Learned,
    /// Each photo of day 1, in the order of their numbers.
    #[serde(skip)]
    pub photos: Vec<PhotoDelay>,
    /// What was counted on all days.
    #[serde(skip)]
    pub ledger: Ledger,
}

/// When a photo was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PhotoDelay {
    /// Its practice.
    pub firm: u32,
    /// When it was filed, in the trace's seconds.
    pub filed: f64,
    /// Whether its visit was in progress then.
    pub live: bool,
    /// How long it took to find it, in seconds; a day if it was not found within one.
    pub delay_s: f64,
}

/// What was counted on all days, from the first call to the last moment that was played.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ledger {
    /// Tokens that the quota gave out.
    pub granted: u64,
    /// Calls that arrived at the EHR, by kind.
    pub arrived: CallCounts,
    /// Calls that were on their way there when the play ended.
    pub on_their_way: u64,
    /// The most calls that arrived within any 60 seconds, refused ones included.
    pub most_in_a_window: usize,
    /// Calls refused in a storm; those that the policy caused are [`Outcome::over_quota`].
    pub refused_in_storms: u64,
    /// Calls that failed in an outage.
    pub failed: u64,
    /// Photos that were found.
    pub found: u64,
    /// How often a read or a draft of a practice that had used up its share was put off.
    pub put_off: u64,
    /// The longest time that a visit under watch was not looked at, in seconds.
    pub longest_unseen_s: f64,
    /// The longest time between two encounter polls of a practice, in seconds.
    pub longest_unpolled_s: f64,
}

/// Delays of live photos.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LiveDelay {
    /// The mean.
    pub mean_s: f64,
    /// The median.
    pub p50_s: f64,
    /// 90 % are below.
    pub p90_s: f64,
    /// 99 % are below.
    pub p99_s: f64,
}

/// Calls by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CallCounts {
    /// Encounter polls, by page.
    pub encounter: u64,
    /// Document polls, by page.
    pub document: u64,
    /// Reads of found documents.
    pub read: u64,
    /// Drafts.
    pub draft: u64,
}

impl CallCounts {
    /// Counts a call, and gives the place of its kind in [`Outcome::calls_over_day`].
    pub(super) const fn count(&mut self, kind: CallKind) -> usize {
        let (count, place) = match kind {
            CallKind::Encounter => (&mut self.encounter, 0),
            CallKind::Document | CallKind::HintedDocument => (&mut self.document, 1),
            CallKind::Read => (&mut self.read, 2),
            CallKind::Draft | CallKind::Context | CallKind::Surplus => (&mut self.draft, 3),
        };
        *count += 1;
        place
    }

    /// All.
    pub const fn total(&self) -> u64 {
        self.encounter + self.document + self.read + self.draft
    }
}

/// The value below which a share of `sorted` lies, by nearest rank; 0 of nothing.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    if sorted.is_empty() {
        return 0.0;
    }
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

pub(super) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        0.0
    } else {
        values.iter().sum::<f64>() / values.len() as f64
    }
}
