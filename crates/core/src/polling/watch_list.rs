//! What every policy knows of the firms: which encounters are under watch, and which calls are under way.

use std::collections::{BTreeMap, BTreeSet};

use super::{Observation, PollCall};
use crate::{
    domain::{EncounterId, FirmId, WATCH_LIFE, WatchedEncounter},
    time::Timestamp,
};

/// The firms being served.
#[derive(Debug, Default)]
pub(super) struct WatchList {
    pub(super) firms: BTreeMap<FirmId, FirmEntry>,
}

/// One firm.
#[derive(Debug)]
pub(super) struct FirmEntry {
    pub(super) encounters: BTreeMap<EncounterId, EncounterEntry>,
    pub(super) poll_under_way: bool,
    /// Of when the last encounter poll is, or of none: the beginning of time.
    pub(super) polled_at: Timestamp,
    pub(super) resting_until: Timestamp,
}

/// One encounter under watch.
#[derive(Debug)]
pub(super) struct EncounterEntry {
    last_updated: Option<Timestamp>,
    expires_at: Timestamp,
    pub(super) look_under_way: bool,
    /// When the last look was given out, by policies that note it.
    pub(super) asked_at: Timestamp,
    /// Of when the last look is, or if there was none: when it was first seen. One that is new is not more urgent than those
    /// that wait for their turn.
    pub(super) looked_at: Timestamp,
}

const NEVER: Timestamp = Timestamp::ALWAYS;

impl Default for FirmEntry {
    fn default() -> Self {
        Self {
            encounters: BTreeMap::new(),
            poll_under_way: false,
            polled_at: NEVER,
            resting_until: NEVER,
        }
    }
}

impl WatchList {
    pub(super) fn observe(&mut self, observation: &Observation, now: Timestamp) {
        match observation {
            Observation::Firms(firms) => {
                let served: BTreeSet<_> = firms.iter().map(|served| &served.firm).collect();
                self.firms.retain(|firm, _| served.contains(firm));
                for firm in served {
                    self.firms.entry(firm.clone()).or_default();
                }
            }
            Observation::Watching(firm, encounters) => {
                let Some(firm) = self.firms.get_mut(firm) else {
                    return;
                };
                for WatchedEncounter { watch, .. } in encounters {
                    firm.encounters
                        .entry(watch.encounter.id.clone())
                        .or_insert(EncounterEntry {
                            last_updated: watch.encounter.last_updated,
                            expires_at: watch.expires_at,
                            look_under_way: false,
                            asked_at: NEVER,
                            looked_at: watch.looked_at.unwrap_or(watch.first_seen_at),
                        });
                }
            }
            Observation::EncountersSeen {
                firm,
                encounters,
                answer,
            } => {
                let Some(firm) = self.firms.get_mut(firm) else {
                    return;
                };
                firm.polled_at = firm.polled_at.max(answer.as_of);
                for encounter in encounters {
                    let entry = firm.encounters.entry(encounter.id.clone()).or_insert(EncounterEntry {
                        last_updated: encounter.last_updated,
                        expires_at: now + WATCH_LIFE,
                        look_under_way: false,
                        asked_at: NEVER,
                        looked_at: answer.as_of,
                    });
                    if encounter.last_updated.is_none() || encounter.last_updated != entry.last_updated {
                        entry.last_updated = encounter.last_updated;
                        entry.expires_at = now + WATCH_LIFE;
                    }
                }
                firm.encounters
                    .retain(|_, entry| entry.look_under_way || entry.expires_at > now);
            }
            Observation::Ended(PollCall::Encounters { firm } | PollCall::ChangedDocuments { firm })
            | Observation::NotGranted(PollCall::Encounters { firm } | PollCall::ChangedDocuments { firm }, _) => {
                if let Some(firm) = self.firms.get_mut(firm) {
                    firm.poll_under_way = false;
                }
            }
            // Whether it brought looks, and at whom, was said before: a batch may end before it got to its last encounters.
            Observation::Ended(PollCall::Documents { firm, encounters, .. })
            | Observation::NotGranted(PollCall::Documents { firm, encounters, .. }, _) => {
                let Some(firm) = self.firms.get_mut(firm) else {
                    return;
                };
                for encounter in encounters {
                    if let Some(entry) = firm.encounters.get_mut(encounter) {
                        entry.look_under_way = false;
                    }
                }
            }
            Observation::DocumentsSeen { firm, looks, answer } => {
                let Some(firm) = self.firms.get_mut(firm) else {
                    return;
                };
                for look in looks {
                    if let Some(entry) = firm.encounters.get_mut(&look.encounter) {
                        entry.looked_at = entry.looked_at.max(answer.as_of);
                    }
                }
            }
            Observation::Learned(_) | Observation::AllDocumentsSeen { .. } => {}
            Observation::Resting { firm, until } => {
                if let Some(firm) = self.firms.get_mut(firm) {
                    firm.resting_until = *until;
                }
            }
        }
    }
}

impl EncounterEntry {
    /// Whether a look can be given out.
    pub(super) fn is_free(&self, now: Timestamp) -> bool {
        !self.look_under_way && self.expires_at > now
    }
}
