//! Everything in turn: each firm's encounter poll and each watched encounter's documents, as fast as the quota allows.
//!
//! One queue for all. What was polled goes to its end and comes back when it gets to the front, though not within
//! [`PAUSE`] of its last poll: a practice with three open visits need not be asked a thousand times a minute.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Decision, Observation, PollCall, PollPolicy, watch_list::WatchList};
use crate::{
    domain::{EncounterId, FirmId},
    time::Timestamp,
};

const PAUSE: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(30);

type Item = (FirmId, Option<EncounterId>);

/// See the module.
#[derive(Debug, Default)]
pub struct RoundRobin {
    watch: WatchList,
    /// What waits for its turn, by when it is due and then by who came first.
    queue: BTreeMap<(Timestamp, u64), Item>,
    arrivals: u64,
    /// What is in the queue or under way: each item once.
    known: BTreeSet<Item>,
}

impl RoundRobin {
    fn enqueue(&mut self, due: Timestamp, item: Item) {
        self.arrivals += 1;
        self.queue.insert((due, self.arrivals), item);
    }

    fn admit_new(&mut self, now: Timestamp) {
        let items = self.watch.firms.iter().flat_map(|(firm, entry)| {
            let encounters = entry.encounters.keys().map(|id| (firm.clone(), Some(id.clone())));
            std::iter::once((firm.clone(), None)).chain(encounters)
        });
        let new: Vec<Item> = items.filter(|item| !self.known.contains(item)).collect();
        for item in new {
            self.known.insert(item.clone());
            self.enqueue(now, item);
        }
    }

    /// The call for an item and until when it has to wait for other reasons; none when the item is over.
    fn plan(&mut self, (firm, encounter): &Item, now: Timestamp) -> Option<Result<PollCall, Timestamp>> {
        let entry = self.watch.firms.get_mut(firm)?;
        let resting_until = entry.resting_until;
        let call = match encounter {
            None => PollCall::Encounters { firm: firm.clone() },
            Some(id) => {
                let encounter = entry
                    .encounters
                    .get_mut(id)
                    .filter(|encounter| encounter.is_free(now))?;
                encounter.look_under_way = resting_until <= now;
                PollCall::Documents {
                    firm: firm.clone(),
                    encounters: vec![id.clone()],
                    lease_for: LEASE,
                }
            }
        };
        Some(if resting_until > now {
            Err(resting_until)
        } else {
            Ok(call)
        })
    }
}

impl PollPolicy for RoundRobin {
    fn observe(&mut self, observation: Observation, now: Timestamp) {
        self.watch.observe(&observation, now);
        match observation {
            Observation::Ended(PollCall::Encounters { firm }) => self.enqueue(now + PAUSE, (firm, None)),
            Observation::Ended(PollCall::Documents { firm, encounters, .. }) => {
                for encounter in encounters {
                    self.enqueue(now + PAUSE, (firm.clone(), Some(encounter)));
                }
            }
            Observation::Resting { .. } => {}
            Observation::Firms(_) | Observation::Watching(_) | Observation::EncountersSeen { .. } => {
                self.admit_new(now);
            }
        }
    }

    fn next(&mut self, now: Timestamp) -> Decision {
        while let Some(first) = self.queue.first_entry() {
            let due = first.key().0;
            if due > now {
                return Decision::Wait(due);
            }
            let item = first.remove();
            match self.plan(&item, now) {
                Some(Ok(call)) => return Decision::Poll(call),
                Some(Err(resting_until)) => self.enqueue(resting_until, item),
                None => {
                    self.known.remove(&item);
                }
            }
        }
        Decision::Wait(Timestamp::NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Encounter, EncounterStatus, PatientId};

    fn encounter(id: &str) -> Encounter {
        Encounter {
            id: EncounterId::new(id),
            patient: PatientId::new("p"),
            practitioner: None,
            status: EncounterStatus::Open,
            last_updated: Some(Timestamp::from_millis(1)),
        }
    }

    #[test]
    fn everything_gets_its_turn_and_nothing_runs_twice_at_once() {
        let now = Timestamp::from_millis(0);
        let firm = FirmId::new("a");
        let mut policy = RoundRobin::default();
        policy.observe(Observation::Firms(vec![firm.clone()]), now);
        let Decision::Poll(poll) = policy.next(now) else {
            panic!("the firm is due")
        };
        assert_eq!(
            policy.next(now),
            Decision::Wait(Timestamp::NEVER),
            "the poll is under way"
        );
        let seen = Observation::EncountersSeen {
            firm: firm.clone(),
            encounters: vec![encounter("1"), encounter("2")],
        };
        policy.observe(seen.clone(), now);
        policy.observe(seen, now);
        policy.observe(Observation::Ended(poll.clone()), now);

        let mut looks = Vec::new();
        while let Decision::Poll(call) = policy.next(now) {
            looks.push(call);
        }
        assert_eq!(looks.len(), 2);
        for look in looks {
            policy.observe(Observation::Ended(look), now);
        }
        assert_eq!(policy.next(now), Decision::Wait(now + PAUSE));
        assert_eq!(policy.next(now + PAUSE), Decision::Poll(poll));
    }

    #[test]
    fn ends_with_the_watch_and_with_the_firm() {
        let now = Timestamp::from_millis(0);
        let firm = FirmId::new("a");
        let mut policy = RoundRobin::default();
        policy.observe(Observation::Firms(vec![firm.clone()]), now);
        policy.observe(
            Observation::EncountersSeen {
                firm: firm.clone(),
                encounters: vec![encounter("1")],
            },
            now,
        );
        let later = now + crate::domain::WATCH_LIFE;
        assert_eq!(policy.next(later), Decision::Poll(PollCall::Encounters { firm }));
        assert_eq!(
            policy.next(later),
            Decision::Wait(Timestamp::NEVER),
            "the watch of the encounter is over"
        );
        policy.observe(Observation::Firms(Vec::new()), later);
        assert_eq!(policy.next(later + PAUSE), Decision::Wait(Timestamp::NEVER));
    }

    #[test]
    fn a_resting_firm_comes_back() {
        let now = Timestamp::from_millis(0);
        let firm = FirmId::new("a");
        let mut policy = RoundRobin::default();
        policy.observe(Observation::Firms(vec![firm.clone()]), now);
        policy.observe(
            Observation::Resting {
                firm: firm.clone(),
                until: now + PAUSE,
            },
            now,
        );
        assert_eq!(policy.next(now), Decision::Wait(now + PAUSE));
        assert_eq!(policy.next(now + PAUSE), Decision::Poll(PollCall::Encounters { firm }));
    }
}
