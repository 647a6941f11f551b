//! What the store knows of the practices, for policies that begin anew with each sweep.

use std::collections::{BTreeMap, HashMap};

use skin_assist_core::{
    domain::{Encounter, EncounterId, EncounterWatch, FirmId, WATCH_LIFE, WatchedEncounter},
    polling::{Answer, Learned, Observation, PollPolicy, ServedFirm},
    time::Timestamp,
};

/// The state of all practices, as far as polling reads it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    firms: HashMap<FirmId, Known>,
    learned: Learned,
}

#[derive(Debug, Default)]
struct Known {
    watches: BTreeMap<EncounterId, WatchedEncounter>,
    polled: Option<Timestamp>,
}

impl Memory {
    /// An encounter poll was recorded: what is new or changed is watched from now on.
    pub(super) fn seen(&mut self, firm: &FirmId, encounters: &[Encounter], as_of: Timestamp, now: Timestamp) {
        let known = self.firms.entry(firm.clone()).or_default();
        known.polled = Some(as_of);
        for encounter in encounters {
            let expires_at = now + WATCH_LIFE;
            known
                .watches
                .entry(encounter.id.clone())
                .and_modify(|known| {
                    if known.watch.encounter.last_updated < encounter.last_updated {
                        known.watch.encounter = encounter.clone();
                        known.watch.expires_at = expires_at;
                    }
                })
                .or_insert_with(|| WatchedEncounter {
                    watch: EncounterWatch {
                        firm: firm.clone(),
                        encounter: encounter.clone(),
                        first_seen_at: now,
                        looked_at: None,
                        expires_at,
                    },
                    photos: 0,
                    latest_photo_at: None,
                });
        }
    }

    /// A look was recorded, with the photos that it found.
    pub(super) fn looked(
        &mut self,
        firm: &FirmId,
        encounter: &EncounterId,
        filed_at: &[Option<Timestamp>],
        as_of: Timestamp,
    ) {
        let known = self
            .firms
            .get_mut(firm)
            .and_then(|known| known.watches.get_mut(encounter));
        if let Some(known) = known {
            known.watch.looked_at = Some(as_of);
            known.photos += filed_at.len() as u32;
            known.latest_photo_at = known.latest_photo_at.max(filed_at.iter().copied().flatten().max());
        }
    }

    /// A search for all that changed was recorded: all of the firm's encounters were looked at.
    pub(super) fn looked_at_all(&mut self, firm: &FirmId, as_of: Timestamp) {
        for known in self.firms.entry(firm.clone()).or_default().watches.values_mut() {
            known.watch.looked_at = Some(as_of);
        }
    }

    /// Keeps what a policy learned.
    pub(super) fn remember(&mut self, policy: &mut dyn PollPolicy) {
        self.learned.add(&policy.gained());
    }

    /// Tells a new policy what is known, as a sweep does.
    pub(super) fn tell(&mut self, policy: &mut dyn PollPolicy, served: Vec<ServedFirm>, now: Timestamp) {
        let firms: Vec<FirmId> = served.iter().map(|served| served.firm.clone()).collect();
        policy.observe(Observation::Firms(served), now);
        policy.observe(Observation::Learned(self.learned.clone()), now);
        for firm in firms {
            let Some(known) = self.firms.get_mut(&firm) else {
                continue;
            };
            known.watches.retain(|_, watched| watched.watch.expires_at > now);
            let watches = known.watches.values().cloned().collect();
            policy.observe(Observation::Watching(firm.clone(), watches), now);
            if let Some(as_of) = known.polled {
                let answer = Answer {
                    as_of,
                    server_time: None,
                    pages: 1,
                };
                let encounters = Vec::new();
                policy.observe(
                    Observation::EncountersSeen {
                        firm,
                        encounters,
                        answer,
                    },
                    now,
                );
            }
        }
    }
}
