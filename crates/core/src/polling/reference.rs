//! The published schedule, kept real so that it can be measured against.
//!
//! Each minute one cycle: an encounter poll for every firm at its start; then three document iterations, at +10, +30
//! and +50 s, in each of which two workers for each firm lease a batch of 50 encounters for 30 s, those looked at
//! longest ago first.
//!
//! Where the quota does not carry all of that, what is late is made when it can be: a poll stays planned until it is made, and
//! the batches of an iteration take the place of those that the one before did not get to. Whoever waited longest is
//! first, across all firms, so that each of them gets its share of what there is.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use super::{Decision, Hold, Observation, PollCall, PollPolicy, watch_list::WatchList};
use crate::{
    domain::{EncounterId, FirmId},
    time::Timestamp,
};

const CYCLE: Duration = Duration::from_secs(60);
const ITERATIONS: [Duration; 3] = [
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(50),
];
const WORKERS: usize = 2;
const BATCH: usize = 50;
const LEASE: Duration = Duration::from_secs(30);

/// So many encounter polls come before a batch that waits too. A batch is twice as many calls: with more firms than the quota
/// has calls for, polls leave most of it to the looks.
const POLLS_IN_A_ROW: usize = BATCH / 2;

/// See the module.
#[derive(Debug, Default)]
pub struct Reference {
    watch: WatchList,
    /// The present cycle's start and how many of its iterations have begun.
    cycle: Option<(Timestamp, usize)>,
    /// Encounter polls that are planned, those polled longest ago first.
    polls: VecDeque<FirmId>,
    /// Batches that are planned, those looked at longest ago first.
    batches: VecDeque<PollCall>,
    polls_in_a_row: usize,
    /// Nobody has a call before then.
    not_before: Timestamp,
}

impl Reference {
    fn begin_cycle(&mut self, now: Timestamp) {
        let planned: BTreeSet<FirmId> = self.polls.drain(..).collect();
        let mut due: Vec<_> = self
            .watch
            .firms
            .iter()
            .filter(|(firm, entry)| {
                let is_free = !entry.poll_under_way && entry.resting_until <= now;
                planned.contains(*firm) || is_free
            })
            .map(|(firm, entry)| (entry.polled_at, firm))
            .collect();
        due.sort();
        self.polls.extend(due.into_iter().map(|(_, firm)| firm.clone()));
        self.cycle = Some((now, 0));
    }

    fn begin_iteration(&mut self, now: Timestamp) {
        let mut batches = Vec::new();
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
            due.truncate(WORKERS * BATCH);
            for batch in due.chunks(BATCH) {
                let encounters: Vec<EncounterId> = batch.iter().map(|(_, id)| (*id).clone()).collect();
                let call = PollCall::Documents {
                    firm: firm.clone(),
                    encounters,
                    hold: Hold::Batch(LEASE),
                    hinted: false,
                };
                batches.push((batch.first().map(|(looked_at, _)| *looked_at), call));
            }
        }
        // Stable: a firm's first batch stays before its second.
        batches.sort_by_key(|(looked_at, _)| *looked_at);
        self.batches = batches.into_iter().map(|(_, call)| call).collect();
    }

    /// The next of what is planned.
    fn planned(&mut self) -> Option<PollCall> {
        let poll_first = self.batches.is_empty() || self.polls_in_a_row < POLLS_IN_A_ROW;
        if poll_first && let Some(firm) = self.polls.pop_front() {
            return Some(PollCall::Encounters { firm });
        }
        self.batches.pop_front()
    }

    /// Marks a call as under way; false when it has become pointless since it was planned.
    fn take(&mut self, call: &mut PollCall, now: Timestamp) -> bool {
        let Some(entry) = self.watch.firms.get_mut(call.firm()) else {
            return false;
        };
        if entry.resting_until > now {
            return false;
        }
        match call {
            PollCall::Encounters { .. } | PollCall::ChangedDocuments { .. } => {
                self.polls_in_a_row += 1;
                !std::mem::replace(&mut entry.poll_under_way, true)
            }
            PollCall::Documents { encounters, .. } => {
                encounters.retain(|id| entry.encounters.get(id).is_some_and(|encounter| encounter.is_free(now)));
                for id in encounters.iter() {
                    if let Some(encounter) = entry.encounters.get_mut(id) {
                        encounter.look_under_way = true;
                        encounter.asked_at = now;
                    }
                }
                self.polls_in_a_row = 0;
                !encounters.is_empty()
            }
        }
    }

    /// What the quota does not allow now comes when it does, before all else.
    fn give_back(&mut self, call: PollCall) {
        match call {
            PollCall::Encounters { firm } | PollCall::ChangedDocuments { firm } => {
                self.polls_in_a_row = self.polls_in_a_row.saturating_sub(1);
                self.polls.push_front(firm);
            }
            PollCall::Documents { .. } => {
                self.batches.push_front(call);
                self.polls_in_a_row = POLLS_IN_A_ROW;
            }
        }
    }

    /// A batch in which nobody was looked at: the encounter that it began with goes to the end, so that one whose looks always
    /// fail does not keep the others of its batch waiting for ever.
    fn skip_what_fails(&mut self, call: &PollCall, now: Timestamp) {
        let PollCall::Documents { firm, encounters, .. } = call else {
            return;
        };
        let Some(entry) = self.watch.firms.get_mut(firm) else {
            return;
        };
        let unseen = |id: &EncounterId| {
            let encounter = entry.encounters.get(id);
            encounter.is_none_or(|encounter| encounter.looked_at < encounter.asked_at)
        };
        if encounters.iter().all(unseen)
            && let Some(first) = encounters.first().and_then(|first| entry.encounters.get_mut(first))
        {
            first.looked_at = now;
        }
    }
}

impl PollPolicy for Reference {
    fn observe(&mut self, observation: Observation, now: Timestamp) {
        // The first firms begin the first cycle, so that a start does not wait for a minute to pass.
        let was_empty = self.watch.firms.is_empty();
        self.watch.observe(&observation, now);
        match observation {
            Observation::Ended(call) => self.skip_what_fails(&call, now),
            Observation::NotGranted(call, until) => {
                self.not_before = self.not_before.max(until);
                self.give_back(call);
            }
            _ => {}
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
        while let Some(mut call) = self.planned() {
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
        polling::{Answer, NewPhotos, ServedFirm},
    };

    fn answer(now: Timestamp) -> Answer {
        Answer {
            as_of: now,
            server_time: None,
            pages: 1,
        }
    }

    fn looked_at(firm: &FirmId, encounters: &[EncounterId], now: Timestamp) -> Observation {
        let look = |encounter: &EncounterId| NewPhotos {
            encounter: encounter.clone(),
            filed_at: Vec::new(),
        };
        Observation::DocumentsSeen {
            firm: firm.clone(),
            looks: encounters.iter().map(look).collect(),
            answer: answer(now),
        }
    }

    fn served_firms(firms: &[&str]) -> Observation {
        let served = |firm: &&str| ServedFirm {
            firm: FirmId::new(*firm),
            quota: "q".to_owned(),
        };
        Observation::Firms(firms.iter().map(served).collect())
    }

    fn served() -> Observation {
        served_firms(&["a"])
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
                                answer: answer(now),
                            };
                            policy.observe(seen, now);
                        }
                        PollCall::Documents { firm, encounters, .. } => {
                            calls.push((second, encounters.len().to_string()));
                            policy.observe(looked_at(firm, encounters, now), now);
                        }
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
            .filter(|encounter| encounter.looked_at < at(10));
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

    /// All calls that are given out at once.
    fn all_calls(policy: &mut Reference, now: Timestamp) -> Vec<PollCall> {
        let next = || match policy.next(now) {
            Decision::Poll(call) => Some(call),
            Decision::Wait(_) => None,
        };
        std::iter::from_fn(next).collect()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn with_firms(firms: &[&str], visits: usize) -> Reference {
        let mut policy = Reference::default();
        policy.observe(served_firms(firms), at(0));
        for call in all_calls(&mut policy, at(0)) {
            let firm = call.firm().clone();
            // The ids are each firm's own.
            let seen = Observation::EncountersSeen {
                firm,
                encounters: encounters(visits),
                answer: answer(at(0)),
            };
            policy.observe(seen, at(0));
            policy.observe(Observation::Ended(call), at(0));
        }
        policy
    }

    #[test]
    fn what_a_batch_did_not_get_to_comes_first_next_time() {
        let mut policy = with_firms(&["a"], 50);
        let calls = all_calls(&mut policy, at(10));
        let [PollCall::Documents { firm, encounters, .. }] = calls.as_slice() else {
            panic!("one batch: {calls:?}")
        };
        policy.observe(looked_at(firm, &encounters[..30], at(20)), at(20));
        policy.observe(Observation::Ended(calls[0].clone()), at(28));
        let Decision::Poll(PollCall::Documents { encounters: next, .. }) = policy.next(at(30)) else {
            panic!("the second iteration has a batch")
        };
        assert_eq!(next[..20], encounters[30..]);
        assert_eq!(next[20..], encounters[..30]);
    }

    #[test]
    fn an_encounter_that_always_fails_does_not_keep_others_waiting() {
        let mut policy = with_firms(&["a"], 3);
        let mut seen = BTreeSet::new();
        for second in 1..200 {
            for call in all_calls(&mut policy, at(second)) {
                if let PollCall::Documents { firm, encounters, .. } = &call {
                    let failing = EncounterId::new("e000");
                    let good = encounters.iter().take_while(|id| **id != failing);
                    let good: Vec<_> = good.cloned().collect();
                    if !good.is_empty() {
                        policy.observe(looked_at(firm, &good, at(second)), at(second));
                    }
                    seen.extend(good);
                }
                policy.observe(Observation::Ended(call), at(second));
            }
        }
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn on_a_scarce_quota_each_firm_gets_its_share() {
        let firms = ["a", "b", "c", "d", "e", "f"];
        let mut policy = with_firms(&firms, 60);
        let mut batches = std::collections::BTreeMap::<FirmId, usize>::new();
        let mut polls = std::collections::BTreeMap::<FirmId, usize>::new();
        // One call in nine seconds: much less than six firms want.
        for turn in 1..400 {
            let now = at(turn * 9);
            let Decision::Poll(call) = policy.next(now) else {
                continue;
            };
            match &call {
                PollCall::Documents { firm, encounters, .. } => {
                    *batches.entry(firm.clone()).or_default() += 1;
                    policy.observe(looked_at(firm, encounters, now), now);
                }
                PollCall::Encounters { firm } | PollCall::ChangedDocuments { firm } => {
                    *polls.entry(firm.clone()).or_default() += 1;
                    let seen = Observation::EncountersSeen {
                        firm: firm.clone(),
                        encounters: Vec::new(),
                        answer: answer(now),
                    };
                    policy.observe(seen, now);
                }
            }
            policy.observe(Observation::Ended(call), now);
        }
        for counts in [batches, polls] {
            assert_eq!(counts.len(), firms.len(), "{counts:?}");
            let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
            assert!(most - least <= 2, "{counts:?}");
        }
    }
}
