//! Encounters and watching them.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{EncounterId, FirmId, PatientId, PractitionerId, Reason};
use crate::{circuit::RestingHost, time::Timestamp};

/// How long an encounter is watched after its last change: photos filed later are out of the stated horizon.
pub const WATCH_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long after its watch has ended an encounter can still be looked at (reconciliation).
pub const RECONCILED_FOR: Duration = Duration::from_secs(4 * 24 * 60 * 60);

/// How far behind the cursor a poll may reach: its overlap, and an EHR that counts in days. What it shows there was watched already: by its
/// row it is known.
pub const POLL_REACH: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// A visit, as the EHR last showed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encounter {
    /// `Encounter.id`.
    pub id: EncounterId,
    /// `Encounter.subject`.
    pub patient: PatientId,
    /// The treating practitioner: the participant of type PPRF.
    pub practitioner: Option<PractitionerId>,
    /// `Encounter.status`.
    pub status: EncounterStatus,
    /// `Encounter.meta.lastUpdated`, by the EHR's clock. Some EHRs omit it.
    pub last_updated: Option<Timestamp>,
}

impl Encounter {
    /// Whether this is news to who knows `known`. Versions decide where both have one (an older one may arrive late, from a page
    /// that shifted), the contents otherwise.
    pub fn is_news_to(&self, known: &Self) -> bool {
        match (known.last_updated, self.last_updated) {
            (Some(known), Some(seen)) => seen > known,
            (None, Some(_)) => true,
            (_, None) => {
                (&known.patient, &known.practitioner, known.status) != (&self.patient, &self.practitioner, self.status)
            }
        }
    }
}

/// `Encounter.status`, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncounterStatus {
    /// planned: not yet begun. Apart from open, since an EHR may tell the beginning by nothing else.
    Planned,
    /// arrived, triaged, in-progress, onleave: a note can still be taken.
    Open,
    /// finished.
    Finished,
    /// cancelled or entered in error.
    Cancelled,
}

/// An encounter being watched, until [`WATCH_LIFE`] after its last change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncounterWatch {
    /// Whose encounter.
    pub firm: FirmId,
    /// The encounter as last seen.
    pub encounter: Encounter,
    /// When we first saw it, by our clock.
    pub first_seen_at: Timestamp,
    /// When its documents were last looked for, by our clock.
    pub looked_at: Option<Timestamp>,
    /// When the watch ends, by our clock. An expired watch is never returned, whether or not its row still exists.
    pub expires_at: Timestamp,
}

/// An encounter of a watch list, with what its photos tell whoever polls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedEncounter {
    /// The watch, running or past.
    pub watch: EncounterWatch,
    /// Photos found so far.
    pub photos: u32,
    /// When the latest of them was filed, by the EHR's clock; when it was found, where the EHR does not tell.
    pub latest_photo_at: Option<Timestamp>,
}

/// A firm's watch list, as what is leased to one poller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchList {
    /// Whose.
    pub firm: FirmId,
}

/// A poller: one run of a process that polls. Random, so that no two are the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PollerId(pub String);

/// How a poller is doing, by its own account.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PollerFigures {
    /// When this was true.
    pub at: Option<Timestamp>,
    /// Firms whose watch lists it holds.
    pub firms: usize,
    /// Encounters under watch.
    pub encounters: usize,
    /// The price of a call for each quota: how much undetected mass (photos times seconds) a call has to clear to be worth
    /// making. Low means that the quota is plenty.
    pub prices: BTreeMap<String, f64>,
    /// EHR hosts that it leaves alone, since they failed again and again.
    #[serde(default)]
    pub resting_hosts: Vec<RestingHost>,
    /// Of the firms that it polls those that it cannot read.
    #[serde(default)]
    pub failing_firms: Vec<FailingFirm>,
}

/// A firm that cannot be read: its last polls failed, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingFirm {
    /// Which firm.
    pub firm: FirmId,
    /// When the first of them failed.
    pub since: Timestamp,
    /// Why the latest one did.
    pub reason: Reason,
}

/// How far a firm's encounters, or its documents, have been read: the latest `meta.lastUpdated` recorded, by the EHR's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor(pub Timestamp);

impl Cursor {
    /// An EHR may show a record only two minutes after the time it carries, and may give several the same time: each
    /// query reaches back this far behind the cursor, and what was known already is recognised by id and version.
    pub const OVERLAP: Duration = Duration::from_secs(180);

    /// Where the next query starts.
    pub fn query_from(self) -> Timestamp {
        self.0 - Self::OVERLAP
    }
}
