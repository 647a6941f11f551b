//! The published schedule, kept real so that it can be measured against.
//!
//! Each minute one cycle: an encounter poll for every firm at its start; then three document iterations, at +10, +30
//! and +50 s, in each of which two workers for each firm lease a batch of 50 encounters for 30 s, those looked at
//! longest ago first.

use std::{collections::VecDeque, time::Duration};

use super::{Decision, Hold, Observation, PollCall, PollPolicy, watch_list::WatchList};
use crate::{domain::EncounterId, time::Timestamp};

const CYCLE: Duration = Duration::from_secs(60);
const ITERATIONS: [Duration; 3] = [
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(50),
];
const WORKERS: usize = 2;
const BATCH: usize = 50;
const LEASE: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Default)]
pub struct Reference {
    watch: WatchList,
    /// The present cycle's start and how many of its iterations have begun.
    cycle: Option<(Timestamp, usize)>,
    ready: VecDeque<PollCall>,
    /// Nobody has a call before then.
    not_before: Timestamp,
}

impl Reference {
    fn begin_cycle(&mut self, now: Timestamp) {
        self.ready.clear();
        for (firm, entry) in &self.watch.firms {
            if !entry.poll_under_way && entry.resting_until <= now {
                self.ready.push_back(PollCall::Encounters { firm: firm.clone() });
            }
        }
        self.cycle = Some((now, 0));
    }

    fn begin_iteration(&mut self, now: Timestamp) {
        for (firm, entry) in &self.watch.firms {
            if entry.resting_until > now {
                continue;
            }
            let mut due: Vec<_> = entry
                .encounters
                .iter()
                .filter(|(_, encounter)| encounter.is_free(now))
                .map(|(id, encounter)| (encounter.looked_at, id))
                .collect();
            due.sort();
            let due: Vec<EncounterId> = due
                .into_iter()
                .take(WORKERS * BATCH)
                .map(|(_, id)| id.clone())
                .collect();
            for batch in due.chunks(BATCH) {
                self.ready.push_back(PollCall::Documents {
                    firm: firm.clone(),
                    encounters: batch.to_vec(),
                    hold: Hold::Batch(LEASE),
                    hinted: false,
                });
            }
        }
    }

    /// Marks a call as under way; false when it has become pointless since it was planned.
    fn take(&mut self, call: &mut PollCall, now: Timestamp) -> bool {
        let Some(entry) = self.watch.firms.get_mut(call.firm()) else {
            return false;
        };
        match call {
            PollCall::Encounters { .. } | PollCall::ChangedDocuments { .. } => {
                !std::mem::replace(&mut entry.poll_under_way, true)
            }
            PollCall::Documents { encounters, .. } => {
                encounters.retain(|id| entry.encounters.get(id).is_some_and(|encounter| encounter.is_free(now)));
                for id in encounters.iter() {
                    if let Some(encounter) = entry.encounters.get_mut(id) {
                        encounter.look_under_way = true;
                    }
                }
                !encounters.is_empty()
            }
        }
    }
}

impl PollPolicy for Reference {
    fn observe(&mut self, observation: Observation, now: Timestamp) {
        // The first firms begin the first cycle, so that a start does not wait for a minute to pass.
        let was_empty = self.watch.firms.is_empty();
        self.watch.observe(&observation, now);
        // What the quota does not allow now comes when it does, before all else.
        if let Observation::NotGranted(call, until) = observation {
            self.not_before = self.not_before.max(until);
            self.ready.push_front(call);
        }
        if was_empty && !self.watch.firms.is_empty() {
            self.cycle = None;
        }
    }

    fn next(&mut self, now: Timestamp) -> Decision {
        if self.watch.firms.is_empty() {
            return Decision::Wait(Timestamp::NEVER);
        }
        match self.cycle {
            Some((start, _)) if now < start + CYCLE => {}
            _ => self.begin_cycle(now),
        }
        if let Some((start, begun)) = self.cycle
            && begun < ITERATIONS.len()
            && now >= start + ITERATIONS[begun]
        {
            self.cycle = Some((start, begun + 1));
            self.begin_iteration(now);
        }
        if now < self.not_before {
            return Decision::Wait(self.not_before);
        }
        while let Some(mut call) = self.ready.pop_front() {
            if self.take(&mut call, now) {
                return Decision::Poll(call);
            }
        }
        let (start, begun) = self.cycle.unwrap_or((now, 0));
        Decision::Wait(start + ITERATIONS.get(begun).copied().unwrap_or(CYCLE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Encounter, EncounterStatus, FirmId, PatientId},
        polling::{Answer, ServedFirm},
    };

    fn served() -> Observation {
        Observation::Firms(vec![ServedFirm {
            firm: FirmId::new("a"),
            quota: "q".to_owned(),
        }])
    }

    fn encounters(count: usize) -> Vec<Encounter> {
        (0..count)
            .map(|number| Encounter {
                id: EncounterId::new(format!("e{number:03}")),
                patient: PatientId::new("p"),
                practitioner: None,
                status: EncounterStatus::Open,
                last_updated: Some(Timestamp::from_millis(1)),
            })
            .collect()
    }

    /// Runs the policy for `seconds`, every call ending at once, and lists (second, calls) as "e" or the batch size.
    fn play(policy: &mut Reference, seen: &[Encounter], seconds: i64) -> Vec<(i64, String)> {
        let mut calls = Vec::new();
        let mut now = Timestamp::from_millis(0);
        let end = Timestamp::from_millis(seconds * 1000);
        while now < end {
            match policy.next(now) {
                Decision::Wait(until) => now = until,
                Decision::Poll(call) => {
                    let second = now.as_millis() / 1000;
                    match &call {
                        PollCall::Encounters { firm } => {
                            calls.push((second, "e".to_owned()));
                            let seen = Observation::EncountersSeen {
                                firm: firm.clone(),
                                encounters: seen.to_vec(),
                                answer: Answer {
                                    as_of: now,
                                    server_time: None,
                                    pages: 1,
                                },
                            };
                            policy.observe(seen, now);
                        }
                        PollCall::Documents { encounters, .. } => calls.push((second, encounters.len().to_string())),
                        PollCall::ChangedDocuments { .. } => panic!("not published"),
                    }
                    policy.observe(Observation::Ended(call), now);
                }
            }
        }
        calls
    }

    #[test]
    fn keeps_the_published_times_and_batches() {
        let mut policy = Reference::default();
        policy.observe(served(), Timestamp::from_millis(0));
        let expected = [
            (0, "e"),
            (10, "50"),
            (10, "20"),
            (30, "50"),
            (30, "20"),
            (50, "50"),
            (50, "20"),
            (60, "e"),
        ];
        let played = play(&mut policy, &encounters(70), 61);
        let played: Vec<_> = played.iter().map(|(second, call)| (*second, call.as_str())).collect();
        assert_eq!(played, expected);
    }

    #[test]
    fn no_more_than_two_batches_and_the_longest_unseen_first() {
        let mut policy = Reference::default();
        policy.observe(served(), Timestamp::from_millis(0));
        let played = play(&mut policy, &encounters(130), 31);
        assert_eq!(played.iter().filter(|(second, _)| *second == 10).count(), 2);
        let entry = &policy.watch.firms[&FirmId::new("a")];
        let unseen = entry
            .encounters
            .values()
            .filter(|encounter| encounter.looked_at < Timestamp::from_millis(0));
        assert_eq!(
            unseen.count(),
            0,
            "the 30 that the first iteration left out come first in the second"
        );
    }

    #[test]
    fn a_resting_firm_is_left_alone() {
        let mut policy = Reference::default();
        let firm = FirmId::new("a");
        let start = Timestamp::from_millis(0);
        policy.observe(served(), start);
        policy.observe(
            Observation::Resting {
                firm,
                until: start + CYCLE,
            },
            start,
        );
        assert_eq!(play(&mut policy, &[], 60), []);
        assert_eq!(
            policy.next(start + CYCLE),
            Decision::Poll(PollCall::Encounters { firm: FirmId::new("a") })
        );
    }
}
