//! Everything in turn: each firm's encounter poll and each watched encounter's documents, as fast as the quota allows.
//!
//! What was polled goes to the end of the line and comes back when it gets to the front, though not within [`PAUSE`] of its
//! last poll: a practice with three open visits need not be asked a thousand times a minute. A turn may take many minutes,
//! and a visit that no encounter poll has shown has none at all. So an encounter poll waits for [`LONGEST_WAIT`] at
//! most, as long as no more than one call in [`POLLS_ONE_IN`] is spent for that.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use super::{Decision, Hold, Observation, PollCall, PollPolicy, watch_list::WatchList};
use crate::{
    domain::{EncounterId, FirmId},
    time::Timestamp,
};

const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const POLLS_ONE_IN: u32 = 4;

type Item = (FirmId, Option<EncounterId>);

/// By when an item is due, then by who came first.
type Place = (Timestamp, u64);

/// See the module.
#[derive(Debug, Default)]
pub struct RoundRobin {
    watch: WatchList,
    /// The encounters that wait for their turn.
    looks: BTreeMap<Place, Item>,
    /// The firms whose encounter polls do.
    polls: BTreeMap<Place, Item>,
    /// Looks given out since the last encounter poll.
    looks_in_a_row: u32,
    arrivals: u64,
    /// What is in line or under way: each item once.
    known: HashSet<Item>,
    /// Nobody has a call before then.
    not_before: Timestamp,
}

impl RoundRobin {
    fn enqueue(&mut self, due: Timestamp, item: Item) {
        self.arrivals += 1;
        let line = if item.1.is_some() {
            &mut self.looks
        } else {
            &mut self.polls
        };
        line.insert((due, self.arrivals), item);
    }

    fn admit(&mut self, now: Timestamp, items: impl IntoIterator<Item = Item>) {
        for item in items {
            if self.known.insert(item.clone()) {
                self.enqueue(now, item);
            }
        }
    }

    /// Puts a call's items back in line, due at `due`. A call that was not made keeps its place at the front.
    fn put_back(&mut self, due: Timestamp, call: PollCall, in_front: bool) {
        let items: Vec<Item> = match call {
            PollCall::Documents { firm, encounters, .. } => encounters
                .into_iter()
                .map(|encounter| (firm.clone(), Some(encounter)))
                .collect(),
            PollCall::Encounters { firm } | PollCall::ChangedDocuments { firm } => vec![(firm, None)],
        };
        // In front: before all that is due, in the order in which they were given back.
        let due = if in_front { Timestamp::ALWAYS } else { due };
        for item in items {
            self.enqueue(due, item);
        }
    }

    /// Whose turn it is, taken out of the line; or when somebody's turn comes.
    fn in_turn(&mut self, now: Timestamp) -> Result<Item, Timestamp> {
        let front = |line: &BTreeMap<Place, Item>| line.keys().next().copied();
        let (look, poll) = (front(&self.looks), front(&self.polls));
        let look_is_due = look.is_some_and(|(due, _)| due <= now);
        let waited_long = poll.is_some_and(|(due, _)| due + LONGEST_WAIT <= now + PAUSE);
        let may_go_first = self.looks_in_a_row + 1 >= POLLS_ONE_IN || !look_is_due;
        let poll_first = match (look, poll) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(look), Some(poll)) => poll < look || (waited_long && may_go_first),
        };
        let line = if poll_first { &mut self.polls } else { &mut self.looks };
        match line.first_entry() {
            None => Err(Timestamp::NEVER),
            Some(first) if first.key().0 > now => Err(first.key().0),
            Some(first) => Ok(first.remove()),
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
                    hold: Hold::WatchList,
                    hinted: false,
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
            Observation::Ended(call) => self.put_back(now + PAUSE, call, false),
            Observation::NotGranted(call, until) => {
                self.not_before = self.not_before.max(until);
                self.looks_in_a_row = match call {
                    PollCall::Encounters { .. } => POLLS_ONE_IN,
                    _ => self.looks_in_a_row.saturating_sub(1),
                };
                self.put_back(until, call, true);
            }
            Observation::Firms(firms) => {
                let items: Vec<Item> = firms.into_iter().map(|served| (served.firm, None)).collect();
                self.admit(now, items);
            }
            Observation::Watching(firm, encounters) => self.admit(
                now,
                encounters
                    .into_iter()
                    .map(|known| (firm.clone(), Some(known.watch.encounter.id))),
            ),
            Observation::EncountersSeen { firm, encounters, .. } => {
                self.admit(now, encounters.into_iter().map(|seen| (firm.clone(), Some(seen.id))));
            }
            Observation::Resting { .. }
            | Observation::Learned(_)
            | Observation::DocumentsSeen { .. }
            | Observation::AllDocumentsSeen { .. } => {}
        }
    }

    fn next(&mut self, now: Timestamp) -> Decision {
        if now < self.not_before {
            return Decision::Wait(self.not_before);
        }
        loop {
            let item = match self.in_turn(now) {
                Ok(item) => item,
                Err(due) => return Decision::Wait(due),
            };
            match self.plan(&item, now) {
                Some(Ok(call)) => {
                    self.looks_in_a_row = match call {
                        PollCall::Encounters { .. } => 0,
                        _ => self.looks_in_a_row + 1,
                    };
                    return Decision::Poll(call);
                }
                Some(Err(resting_until)) => self.enqueue(resting_until, item),
                None => {
                    self.known.remove(&item);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Encounter, EncounterStatus, PatientId},
        polling::{Answer, ServedFirm},
    };

    fn encounter(id: &str) -> Encounter {
        Encounter {
            id: EncounterId::new(id),
            patient: PatientId::new("p"),
            practitioner: None,
            status: EncounterStatus::Open,
            last_updated: Some(Timestamp::from_millis(1)),
        }
    }

    fn served(firm: &FirmId) -> Observation {
        Observation::Firms(vec![ServedFirm {
            firm: firm.clone(),
            quota: "q".to_owned(),
        }])
    }

    fn seen(firm: &FirmId, ids: &[&str], now: Timestamp) -> Observation {
        Observation::EncountersSeen {
            firm: firm.clone(),
            encounters: ids.iter().map(|id| encounter(id)).collect(),
            answer: Answer {
                as_of: now,
                server_time: None,
                pages: 1,
            },
        }
    }

    #[test]
    fn everything_gets_its_turn_and_nothing_runs_twice_at_once() {
        let now = Timestamp::from_millis(0);
        let firm = FirmId::new("a");
        let mut policy = RoundRobin::default();
        policy.observe(served(&firm), now);
        let Decision::Poll(poll) = policy.next(now) else {
            panic!("the firm is due")
        };
        assert_eq!(
            policy.next(now),
            Decision::Wait(Timestamp::NEVER),
            "the poll is under way"
        );
        let seen = seen(&firm, &["1", "2"], now);
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
        policy.observe(served(&firm), now);
        policy.observe(seen(&firm, &["1"], now), now);
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
        policy.observe(served(&firm), now);
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

    #[test]
    fn an_encounter_poll_does_not_wait_for_a_whole_turn() {
        let start = Timestamp::from_millis(0);
        let firms = [FirmId::new("a"), FirmId::new("b")];
        let mut policy = RoundRobin::default();
        let served = firms.iter().map(|firm| ServedFirm {
            firm: firm.clone(),
            quota: "q".to_owned(),
        });
        policy.observe(Observation::Firms(served.collect()), start);
        let ids: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        policy.observe(seen(&firms[0], &ids, start), start);
        let mut polled = [start; 2];
        let mut looks = HashSet::new();
        for second in 0..1200 {
            let now = start + Duration::from_secs(second);
            let Decision::Poll(call) = policy.next(now) else {
                panic!("a thousand visits are due")
            };
            match &call {
                PollCall::Encounters { firm } => {
                    let polled = &mut polled[usize::from(*firm == firms[1])];
                    assert!(now.since(*polled) <= LONGEST_WAIT + Duration::from_secs(2 * u64::from(POLLS_ONE_IN)));
                    *polled = now;
                }
                PollCall::Documents { encounters, .. } => looks.extend(encounters.clone()),
                PollCall::ChangedDocuments { .. } => panic!("there is no such search"),
            }
            policy.observe(Observation::Ended(call), now);
        }
        assert_eq!(looks.len(), 1000, "and everybody was looked at");
    }
}
